"""Every knob of the desk, typed and frozen; the defaults run the demo.

Values come from `quant50.toml`, then from the environment as ``QUANT50_<SECTION>__<KEY>``
(`utils.config.load` reads them). A function receives its own section, never the whole. Secrets are
not settings: they live in the environment alone (`Secrets`). Units are in the names; rates are
fractions, not percent, unless the name says ``_bps``.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr, model_validator

Fraction = Annotated[float, Field(ge=0.0, le=1.0)]
Positive = Annotated[float, Field(gt=0.0)]
NonNegative = Annotated[float, Field(ge=0.0)]
Count = Annotated[int, Field(ge=1)]

PAPER_HOST = "paper-api.alpaca.markets"
DATA_HOST = "data.alpaca.markets"


class Section(BaseModel):
    """A group of knobs: immutable, and a misspelt key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class UniverseSettings(Section):
    """Which names the desk may hold."""

    file: Path | None = Field(None, description="a CSV in place of the packaged universe")
    membership: Path | None = Field(
        None, description="a CSV of symbol, first, last: when each stock was a member; none: always"
    )
    renames: Path | None = Field(
        None,
        description="a CSV of symbol, later_symbol and, where known, date: one company's tickers",
    )
    benchmark: str = Field("SPY", description="excess returns and betas are measured against it")


class DataSettings(Section):
    """What is fetched, and what makes a day unfit to trade."""

    history_years: Count = Field(5, description="bars fetched for an empty store")
    feed: Literal["sip", "iex"] = "sip"
    request_timeout_seconds: Positive = 30.0
    overlap_sessions: Annotated[int, Field(ge=0)] = Field(
        5, description="sessions before the newest stored one that are asked again, for revisions"
    )
    coverage_min: Fraction = Field(0.95, description="share of live names that must have a bar")
    jump_max: Positive = Field(0.40, description="a one-day return above it needs an explanation")
    news_volume: Positive = Field(
        5.0, description="times the usual value traded: a jump with so much trade is news"
    )
    quiet_volume: Positive = Field(
        1.5, description="times the usual volume: a move with less was not caused by trade"
    )
    displaced_scales: Positive = Field(
        10.0, description="times a name's usual overnight move: its bar belongs to another day"
    )
    disorder_share: Fraction = Field(
        0.02, description="share of names with a bar out of place that makes a day unfit"
    )
    split_tolerance: Positive = Field(
        0.01, description="a gap this near to a split's ratio, relative, looks like the split"
    )
    quarantine_sessions: Count = Field(
        21, description="a finding this recent keeps a name out of trading"
    )
    min_history_sessions: Count = Field(252, description="bars without which a name is not bought")
    action_overlap_sessions: Annotated[int, Field(ge=0)] = Field(
        63, description="sessions back for which corporate actions are asked again"
    )
    vendor_sample: Annotated[int, Field(ge=0)] = Field(
        8, description="names whose adjusted closes are held against the vendor's each session"
    )
    vendor_tolerance: Fraction = Field(
        5e-4, description="relative difference that is none, beyond rounding to the cent"
    )
    store_wait_seconds: Positive = Field(10.0, description="patience with another process's lock")


class SimulatorSettings(Section):
    """The embedded twin of Alpaca on loopback (used when broker = "sim")."""

    market: str = Field("demo", description='"demo", or the path of a Parquet of real daily bars')
    actions: Path | None = Field(None, description="corporate actions (CSV) for a Parquet market")
    seed: int = 50
    first_session: str = Field("2012-01-03", description="first session of the demo market")
    planted_ic: float = Field(
        0.03, ge=0.0, le=0.2, description="strength of the known edge in the demo market"
    )
    cash: str = Field("100000", pattern=r"^\d+(\.\d+)?$", description="opening cash, US dollars")
    port: Annotated[int, Field(ge=0, le=65535)] = Field(0, description="0: any free port")
    control_port: Annotated[int, Field(ge=0, le=65535)] = 0
    p_partial: Fraction = Field(0.10, description="chance of a partial fill per evaluation")
    half_spread_bps: NonNegative = Field(1.0, description="paid on each side of the open")
    rate_limit_per_minute: Annotated[int, Field(ge=0)] = Field(0, description="0: no limit")


class AlpacaSettings(Section):
    """Where the paper account is (used when broker = "paper"). No other host is accepted."""

    trading_url: str = f"https://{PAPER_HOST}"
    data_url: str = f"https://{DATA_HOST}"


class FeatureSettings(Section):
    """Which features the model sees, and how they are made comparable across names."""

    set: Literal["core", "alpha158"] = Field("core", description="see notebooks/features.md")
    file: Path | None = Field(
        None, description="a Python file with a list FEATURES of your own, beside the set"
    )
    names: tuple[str, ...] = Field((), description="empty: the whole set, and all of the file")
    winsorise: Annotated[float, Field(ge=0.0, lt=0.5)] = Field(
        0.0,
        description="share of names at either end of a session brought to its quantile; 0: none",
    )
    neutralise: bool = Field(False, description="less the mean of the name's sector, per session")
    standardise: Literal["rank", "zscore", "sector_rank"] = "rank"
    min_dollar_volume: NonNegative = Field(
        1e6, description="median over 21 sessions, US dollars; thinner names are not traded"
    )
    min_price: NonNegative = Field(
        1.0, description="close as traded, US dollars; cheaper names are not traded"
    )


class LabelSettings(Section):
    """What the model is asked to predict."""

    horizon_sessions: Count = 5
    kind: Literal["class", "rank", "excess"] | None = Field(
        None,
        description="what is learnt: the sign of the excess return, its place among the names of the "
        "session, or itself; none: what the learner is made for",
    )


#: what each learner can be asked, the first by default
ASKED: dict[str, tuple[str, ...]] = {
    "lightgbm": ("class",),
    "logistic": ("class",),
    "regressor": ("rank", "excess"),
    "ranker": ("rank",),
    "momentum": ("class", "rank", "excess"),
}


class ModelSettings(Section):
    """The learner, its validation, and the gate a challenger has to pass."""

    learner: Literal["lightgbm", "regressor", "ranker", "logistic", "momentum"] = Field(
        "lightgbm",
        description="on the sign of the excess return, its rank, the order of names; or no trees",
    )
    calibration: Literal["none", "platt", "isotonic"] = Field(
        "platt", description="from a score to a probability, learnt out of fold"
    )
    search: Literal["off", "small"] = Field(
        "off", description="of leaves, learning rate and trees, inside each fold's training rows"
    )
    seeds: Annotated[int, Field(ge=1, le=20)] = Field(1, description="fits that are averaged")
    n_splits: Annotated[int, Field(ge=2, le=20)] = 5
    embargo_sessions: Annotated[int, Field(ge=0)] = 5
    trees: Count = 150
    leaves: Annotated[int, Field(ge=2)] = 15
    learning_rate: Positive = 0.05
    min_rows_per_leaf: Count = 500
    feature_share: Fraction = 0.7
    row_share: Fraction = 0.7
    l2: NonNegative = 10.0
    threads: Count = 2
    seed: int = 50
    min_training_sessions: Count = Field(252, description="labelled sessions below it: no model")
    max_age_sessions: Count = Field(30, description="an older model stops the day, or counts zero")
    without_model: Literal["stop", "zero"] = Field(
        "stop",
        description='no usable model: stop the day, or trade with a forecast of "zero" alpha',
    )
    renew_after_sessions: Count = Field(
        20, description="a champion this old gives way to any sound challenger that is not worse"
    )
    drift_max: Positive = Field(
        0.25, description="population stability index above which a feature or score has drifted"
    )
    calibration_gap_max: Fraction = Field(
        0.05, description="the gate: share of positive labels less mean score, beyond its error"
    )
    calibration_slope_min: NonNegative = Field(
        0.5, description="the gate: of labels on log odds, beyond its error; below: claims too much"
    )
    calibration_slope_max: Positive = Field(2.0, description="the gate: above: claims too little")

    @model_validator(mode="after")
    def _probable(self) -> ModelSettings:
        if self.calibration == "none" and self.learner in ("regressor", "ranker", "momentum"):
            raise ValueError(f'learner "{self.learner}" needs calibration "platt" or "isotonic"')
        return self


class ForecastSettings(Section):
    """From scores to expected returns."""

    premium_annual: float = Field(0.05, ge=-0.5, le=0.5, description="for every name, over cash")
    shrink_prior_ic: Positive = Field(
        0.02, description="standard deviation of the prior on a model's true IC, centred on zero"
    )


class OptimizeSettings(Section):
    """The programme of `services.optimize`."""

    risk_aversion: NonNegative = Field(2.0, description="lambda, on variance over the horizon")
    uncertainty_aversion: NonNegative = Field(0.5, description="kappa, on the forecast's own error")
    cost_bps: NonNegative = Field(2.0, description="of traded value, one side")
    max_names: Count = 50
    max_weight: Fraction = 0.05
    min_weight: Fraction = Field(0.0025, description="no smaller position is held")
    max_sector: Fraction = 0.25
    max_turnover: Fraction = Field(0.15, description="sum of |w - w0| a day, both sides summed")
    max_volatility_annual: Positive = 0.10
    cash_buffer: Fraction = Field(0.01, description="never invested: pays for gaps at the open")
    covariance_sessions: Count = 252
    covariance_half_life_sessions: Positive | None = Field(
        None, description="a session so much older counts half in the covariance; none: all alike"
    )
    fast_scale: bool = Field(
        True, description="scale the covariance by the market's variance of late"
    )
    fast_scale_sessions: Count = Field(10, description="memory of the fast scale")
    fast_scale_min: NonNegative = Field(
        1.0, description="the fast scale is no smaller: at 1 it only raises the forecast"
    )
    elastic_order: tuple[Literal["volatility", "sector", "turnover"], ...] = Field(
        ("volatility", "sector"), description="what gives way first when caps cannot all hold"
    )
    solver: Literal["CLARABEL", "SCS", "fast"] = Field(
        "CLARABEL", description="through cvxpy; fast: services.fast, and cvxpy where that fails"
    )
    time_limit_seconds: Positive = 30.0
    swap_solves: Annotated[int, Field(ge=0)] = Field(
        16, description="solves that a day may spend on better names than the first choice"
    )
    certificate_gap: Annotated[float, Field(ge=0, lt=1)] = Field(
        5e-4,
        description="a choice of names proven to be as close to the best, of its value, will do",
    )
    certificate_nodes: Annotated[int, Field(ge=0)] = Field(
        8, description="relaxations that a day may spend to come as close"
    )
    exact: bool = Field(False, description="prove the choice of names by branch and bound")
    exact_time_limit_seconds: Positive = Field(
        60.0, description="solver's own time after which the proof stays open"
    )
    exact_nodes: Annotated[int, Field(ge=1)] = Field(
        20_000, description="relaxations after which it stays open; the fast solver keeps no time"
    )


class RiskSettings(Section):
    """The brake, the halt, the stop-loss and the alarm."""

    drawdown_soft: Fraction = Field(0.05, description="from here exposure shrinks")
    drawdown_hard: Fraction = Field(0.10, description="the promised limit of an episode")
    drawdown_halt: Fraction = Field(0.09, description="from here everything is sold")
    rearm_sessions: Annotated[int, Field(ge=1, le=21)] = Field(
        21, description="a halt ends after so many; never more, or the desk would be stuck"
    )
    stop_multiple: Positive = 3.0
    stop_volatility: Literal["daily", "horizon"] = "daily"
    stop_sessions: Annotated[int, Field(ge=2)] = 5
    stop_bar_sessions: Annotated[int, Field(ge=0)] = 5
    feedback: bool = Field(True, description="the risk forecast learns from the book's surprises")
    feedback_half_life_sessions: Positive = 21.0
    alarm_error: float = Field(
        0.05,
        gt=0.0,
        lt=1.0,
        description="chance of a false alarm on volatility within a year, on either side",
    )

    @model_validator(mode="after")
    def _ordered(self) -> RiskSettings:
        if not self.drawdown_soft < self.drawdown_halt <= self.drawdown_hard:
            raise ValueError("drawdown_soft < drawdown_halt <= drawdown_hard must hold")
        return self


class ExecuteSettings(Section):
    """How targets become orders, and how long the broker may take."""

    min_notional: Positive = Field(25.0, description="smaller trades are dust, US dollars")
    price_collar: Fraction = Field(0.04, description="a market buy is valued this much higher")
    max_order_notional: Positive = Field(1e6, description="US dollars")
    max_order_weight: Fraction = Field(0.10, description="of equity")
    max_orders: Count = 200
    max_volume_share: Fraction = Field(0.01, description="of median daily volume, 21 sessions")
    max_price_gap: Fraction = Field(
        0.01, description="between the close and the price that the holding is valued at"
    )
    connect_timeout_seconds: Positive = 3.05
    read_timeout_seconds: Positive = 15.0
    requests_per_minute: Count = Field(
        180, description="below the broker's 200; the twin on loopback has no limit"
    )
    max_clock_skew_seconds: Positive = Field(
        120.0, description="broker = \"paper\": this machine's clock may differ from the broker's"
    )
    account_prefix: str = Field(
        "PA", description="of a paper account's number; an account without it is not traded on"
    )
    poll_seconds: Positive = 1.0
    settle_seconds: Positive = Field(20.0, description="patience for orders to be acknowledged")
    grace_seconds: NonNegative = Field(2.0, description="between two looks for an unseen order")
    unknown_minutes: NonNegative = Field(
        30.0, description="an order of unknown fate freezes its name after that"
    )
    stuck_minutes: NonNegative = Field(
        30.0, description="an order still open so long after its session freezes its name"
    )


class ReportSettings(Section):
    """The daily report."""

    title: str = "Quant50 · daily report"
    annualise_from_sessions: Count = Field(60, description="fewer: annualised figures are withheld")
    chromium: Path | None = Field(None, description="a browser to use in place of the found one")
    timeout_seconds: Positive = 90.0


class RunnerSettings(Section):
    """How notebooks are executed."""

    cell_timeout_seconds: Count = 900
    start_timeout_seconds: Count = 60
    fork_kernels: bool = Field(
        True, description="fork kernels from a process that has the imports done (Linux)"
    )
    prestart_kernels: bool = Field(True, description="start the next kernel while one works")
    carry_features: Literal["off", "weekly", "daily"] = Field(
        "weekly",
        description="features of a session from the state that the one before has left, held against "
        "the whole panel on the first session of a week, or daily; off: always anew",
    )


class ApiSettings(Section):
    """The web service. It binds to loopback unless told otherwise."""

    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65535)] = 8050


class Settings(Section):
    """All sections. `Settings()` is the demo."""

    broker: Literal["sim", "paper"] = Field(
        "sim", description="the embedded twin, or Alpaca paper; there is no third"
    )
    universe: UniverseSettings = UniverseSettings()
    data: DataSettings = DataSettings()
    simulator: SimulatorSettings = SimulatorSettings()
    alpaca: AlpacaSettings = AlpacaSettings()
    features: FeatureSettings = FeatureSettings()
    label: LabelSettings = LabelSettings()
    model: ModelSettings = ModelSettings()
    forecast: ForecastSettings = ForecastSettings()
    optimize: OptimizeSettings = OptimizeSettings()
    risk: RiskSettings = RiskSettings()
    execute: ExecuteSettings = ExecuteSettings()
    report: ReportSettings = ReportSettings()
    runner: RunnerSettings = RunnerSettings()
    api: ApiSettings = ApiSettings()

    @model_validator(mode="after")
    def _asked(self) -> Settings:
        kind, learner = self.label.kind, self.model.learner
        if kind is not None and kind not in ASKED[learner]:
            able = [name for name, kinds in ASKED.items() if kind in kinds]
            raise ValueError(
                f'label.kind = "{kind}" is nothing that model.learner = "{learner}" learns '
                f"({', '.join(ASKED[learner])}); {', '.join(able)} do"
            )
        return self


class Secrets(BaseModel):
    """Credentials, from the environment only; never archived, never logged."""

    model_config = ConfigDict(frozen=True)

    key_id: SecretStr = SecretStr("")
    secret_key: SecretStr = SecretStr("")
    api_token: SecretStr = SecretStr("")
