"""The tables and the stages, declared once. Read this first.

A *table* is a pandera model: strict (a surplus column is an error), without coercion (a wrong dtype
is an error, not a repair), with unique keys. A *stage* is a notebook that reads some tables and
writes others. Runner, notebooks, tests, the generated page notebooks/README.md and the API take
both from here.

Large panels (bars) are not tables: they stay in the store and are read as they were known.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, Literal

import pandas as pd
import pandera.errors
import pandera.pandas as pa
from pandera.typing import Series

from quant50lib.errors import ContractError

SYMBOL = r"^[A-Z][A-Z0-9]{0,5}(\.[A-Z]{1,2})?$"
SIDES = ("buy", "sell")
#: why an order exists
INTENTS = ("rebalance", "stop", "halt", "exit")
#: the life of an order in our books; `deferred` was wanted but not sent, `shadow` never will be
ORDER_STATES = (
    "planned",
    "sending",
    "accepted",
    "partially_filled",
    "filled",
    "cancelled",
    "expired",
    "refused",
    "unknown",
    "deferred",
    "shadow",
)
#: what a RiskEvent may be of; the last two are the alarm, on which nothing is traded
RISK_RULES = (
    "stop_loss",
    "barred",
    "brake",
    "halt",
    "rearm",
    "forecast_too_low",
    "forecast_too_high",
)
SEVERITIES = ("note", "quarantine", "stop")


#: the one unit of time in tables; pandera itself would accept any
TIME = "datetime64[us]"


def _dtype(column: pa.Column) -> str:
    name = str(column.dtype)
    if name.startswith("datetime64"):
        return TIME
    return "str" if name.startswith("str") else name


#: rows among which looking whether they are in order takes less time than sorting them
SHORT = 1000


def _ascending(frame: pd.DataFrame, key: list[str]) -> bool:
    """Whether a short frame is in the order of its key, and no key is repeated."""
    if len(frame) > SHORT:
        return False
    rows = list(zip(*(frame[name].to_numpy() for name in key), strict=True))
    return all(one < other for one, other in pairwise(rows))


def _sorted(frame: pd.DataFrame, key: list[str]) -> pd.DataFrame:
    return frame.sort_values(key, kind="stable", ignore_index=True)


_DEFERRED: ContextVar[bool] = ContextVar("deferred", default=False)


@contextmanager
def deferred() -> Iterator[None]:
    """Within the block, `Table.check` looks at columns, times and keys alone.

    For a back-test, whose loop makes thousands of tables and checks them together when it is done:
    the other checks of one small table take longer than computing it.
    """
    token = _DEFERRED.set(True)
    try:
        yield
    finally:
        _DEFERRED.reset(token)


class Table(pa.DataFrameModel):
    """Base of all tables. Sessions are naive midnights in microseconds."""

    class Config:
        strict = True
        coerce = False
        ordered = True

    @classmethod
    def file_name(cls) -> str:
        return f"{cls.__name__.lower()}.parquet"

    @classmethod
    def key(cls) -> list[str]:
        """Columns whose combination identifies a row."""
        return list(cls.to_schema().unique or ())

    @classmethod
    def columns(cls) -> list[str]:
        return list(cls.to_schema().columns)

    @classmethod
    def empty(cls) -> pd.DataFrame:
        """A frame without rows and with the right dtypes."""
        return pd.DataFrame(
            {
                name: pd.Series(dtype=_dtype(column))
                for name, column in cls.to_schema().columns.items()
            }
        )

    @classmethod
    def check(cls, frame: pd.DataFrame) -> pd.DataFrame:
        """The frame, sorted by key, if it keeps the contract.

        Raises
        ------
        ContractError
            With every failing column, check and value at once.
        """
        missing = [c for c in cls.columns() if c not in frame.columns]
        surplus = [c for c in frame.columns if c not in cls.columns()]
        if missing or surplus:
            raise ContractError(f"{cls.__name__}: missing columns {missing}, surplus {surplus}")
        ordered = _ascending(frame, cls.key())
        frame = frame.set_axis(range(len(frame))) if ordered else _sorted(frame, cls.key())
        frame = frame if list(frame.columns) == cls.columns() else frame[cls.columns()]
        for name, column in cls.to_schema().columns.items():
            wanted, found = _dtype(column), str(frame[name].dtype)
            if wanted == TIME and found != TIME:
                raise ContractError(f"{cls.__name__}.{name}: {wanted} expected, {found} found")
        repeated = None if ordered else frame.duplicated(cls.key())
        if repeated is not None and repeated.any():
            first = frame.loc[repeated, cls.key()].iloc[0].to_dict()
            raise ContractError(f"{cls.__name__}: key {first} is repeated ({repeated.sum()} rows)")
        if _DEFERRED.get():
            return frame
        try:
            return cls.validate(frame, lazy=True)
        except pandera.errors.SchemaErrors as error:
            cases = error.failure_cases[["column", "check", "failure_case"]].head(8)
            raise ContractError(f"{cls.__name__}:\n{cases.to_string(index=False)}") from error


def _session(description: str = "close at which it was known") -> Any:
    return pa.Field(
        ge=pd.Timestamp("1990-01-01"), le=pd.Timestamp("2045-12-31"), description=description
    )


def _symbol() -> Any:
    return pa.Field(str_matches=SYMBOL)


class Universe(Table):
    """The names of the day: what each is, and whether it may be traded."""

    class Config:
        unique = ["session", "symbol"]

    session: Series[pa.DateTime] = _session()
    symbol: Series[str] = _symbol()
    name: Series[str] = pa.Field()
    sector: Series[str] = pa.Field(description="the group under one sector cap")
    kind: Series[str] = pa.Field(isin=("stock", "etf"))
    close: Series[float] = pa.Field(gt=0, nullable=True, description="as traded, US dollars")
    tradable: Series[bool] = pa.Field(description="may be bought; a holding may always be sold")
    fractionable: Series[bool] = pa.Field()
    reason: Series[str] = pa.Field(description="why it may not be bought, or empty")


class Finding(Table):
    """What the quality gates saw."""

    class Config:
        unique = ["gate", "symbol", "session"]

    gate: Series[str] = pa.Field(description="name of the quality gate")
    symbol: Series[str] = pa.Field(description="empty: the market as a whole")
    session: Series[pa.DateTime] = _session("the session found wanting")
    severity: Series[str] = pa.Field(isin=SEVERITIES)
    detail: Series[str] = pa.Field()


class Feature(Table):
    """The cross-section of the day, one row per symbol and feature."""

    class Config:
        unique = ["session", "symbol", "feature"]

    session: Series[pa.DateTime] = _session()
    symbol: Series[str] = _symbol()
    feature: Series[str] = pa.Field(str_matches=r"^[a-z][a-z0-9_]*$")
    value: Series[float] = pa.Field(nullable=True, description="in the feature's own unit")
    standardised: Series[float] = pa.Field(nullable=True, description="across the names of the day")


class Label(Table):
    """Excess return over the benchmark from the next open to the open a horizon later."""

    class Config:
        unique = ["session", "symbol"]

    session: Series[pa.DateTime] = _session("the decision: features end at its close")
    symbol: Series[str] = _symbol()
    known_at: Series[pa.DateTime] = _session("the session at whose open it became known")
    excess_return: Series[float] = pa.Field(description="simple, over the horizon, a fraction")
    positive: Series[bool] = pa.Field(description="excess_return > 0")

    @pa.dataframe_check(name="known after it was decided")
    def _later(cls, rows: pd.DataFrame) -> Series[bool]:
        return rows["known_at"] > rows["session"]


class Fold(Table):
    """Out-of-fold quality of a model, per fold; the row `all` pools them."""

    class Config:
        unique = ["model", "fold"]

    model: Series[str] = pa.Field(description="lightgbm, or a baseline")
    fold: Series[str] = pa.Field()
    first_session: Series[pa.DateTime] = _session("first test session")
    last_session: Series[pa.DateTime] = _session("last test session")
    rows: Series[int] = pa.Field(ge=1)
    auc: Series[float] = pa.Field(ge=0, le=1, nullable=True)
    rank_ic: Series[float] = pa.Field(ge=-1, le=1, nullable=True)
    rank_ic_error: Series[float] = pa.Field(ge=0, nullable=True, description="standard error")


class Prediction(Table):
    """Out-of-fold scores: what the model said of sessions it had not seen."""

    class Config:
        unique = ["session", "symbol"]

    session: Series[pa.DateTime] = _session()
    symbol: Series[str] = _symbol()
    fold: Series[int] = pa.Field(ge=0)
    score: Series[float] = pa.Field(ge=0, le=1, description="probability of a positive label")
    excess_return: Series[float] = pa.Field()


class Forecast(Table):
    """Expected return over cash from the next open over the horizon."""

    class Config:
        unique = ["session", "symbol"]

    session: Series[pa.DateTime] = _session()
    symbol: Series[str] = _symbol()
    score: Series[float] = pa.Field(nullable=True, description="standardised; missing: no model")
    volatility: Series[float] = pa.Field(gt=0, description="of the return over the horizon")
    alpha: Series[float] = pa.Field(ge=-0.5, le=0.5, description="IC x volatility x score")
    expected_return: Series[float] = pa.Field(ge=-0.5, le=0.5, description="premium + alpha")
    error: Series[float] = pa.Field(ge=0, description="standard error of expected_return")


class Drift(Table):
    """The day against what the model learnt from, and its rank IC since; empty without a model."""

    class Config:
        unique = ["session", "measure", "name"]

    session: Series[pa.DateTime] = _session()
    measure: Series[str] = pa.Field(isin=("feature", "score", "ic"))
    name: Series[str] = pa.Field(description="of the feature; else what is measured")
    value: Series[float] = pa.Field(
        nullable=True, description="stability index beyond chance, or mean rank IC since training"
    )
    low: Series[float] = pa.Field(nullable=True, description="of the anytime-valid 95 % band")
    high: Series[float] = pa.Field(nullable=True)
    limit: Series[float] = pa.Field(description="what sounds the alarm")
    alarm: Series[bool] = pa.Field()
    n: Series[int] = pa.Field(ge=0, description="sessions in the value")


class Holding(Table):
    """What is owned at the close."""

    class Config:
        unique = ["session", "symbol"]

    session: Series[pa.DateTime] = _session()
    symbol: Series[str] = _symbol()
    qty: Series[float] = pa.Field(gt=0, description="shares, up to nine decimals")
    entry_price: Series[float] = pa.Field(gt=0, description="average cost a share, US dollars")
    entry_session: Series[pa.DateTime] = _session("session of the first fill")
    price: Series[float] = pa.Field(gt=0, description="close as traded, US dollars")
    value: Series[float] = pa.Field(gt=0, description="US dollars")
    weight: Series[float] = pa.Field(ge=0, description="of equity")


class Equity(Table):
    """The account, session by session, from its first day."""

    class Config:
        unique = ["session"]

    session: Series[pa.DateTime] = _session()
    cash: Series[float] = pa.Field(description="US dollars")
    holdings: Series[float] = pa.Field(ge=0, description="at the close, US dollars")
    equity: Series[float] = pa.Field(gt=0, description="cash + holdings, our ledger")
    broker_equity: Series[float] = pa.Field(gt=0, nullable=True, description="as the broker says")
    dividends: Series[float] = pa.Field(ge=0, description="due since inception, omitted on paper")
    flow: Series[float] = pa.Field(description="paid in (+) or out (-) on the day")
    turnover: Series[float] = pa.Field(ge=0, description="traded value of the day over equity")


class RiskState(Table):
    """What the risk rules remember from one session to the next; one row."""

    class Config:
        unique = ["session"]

    session: Series[pa.DateTime] = _session()
    mark: Series[float] = pa.Field(gt=0, description="high-water mark of the episode, US dollars")
    drawdown: Series[float] = pa.Field(ge=0, le=1, description="below the mark")
    budget: Series[float] = pa.Field(ge=0, le=1, description="exposure budget B")
    halted: Series[bool] = pa.Field()
    halted_sessions: Series[int] = pa.Field(ge=0, description="sessions since the halt")
    feedback: Series[float] = pa.Field(gt=0, description="realised over ex-ante volatility")


class RiskEvent(Table):
    """What a risk rule did."""

    class Config:
        unique = ["session", "rule", "symbol"]

    session: Series[pa.DateTime] = _session()
    rule: Series[str] = pa.Field(isin=RISK_RULES)
    symbol: Series[str] = pa.Field(description="empty: the whole book")
    value: Series[float] = pa.Field(description="what was measured")
    limit: Series[float] = pa.Field(description="what it was measured against")
    detail: Series[str] = pa.Field()


class Target(Table):
    """Weights wanted after the next open, and where each comes from."""

    class Config:
        unique = ["session", "symbol"]

    session: Series[pa.DateTime] = _session()
    symbol: Series[str] = _symbol()
    sector: Series[str] = pa.Field()
    held: Series[float] = pa.Field(ge=0, description="weight before")
    weight: Series[float] = pa.Field(ge=0, le=1, description="weight wanted, of equity")
    expected_return: Series[float] = pa.Field(description="over the horizon")
    risk_share: Series[float] = pa.Field(description="share of the book's variance")
    intent: Series[str] = pa.Field(isin=(*INTENTS, "hold"))


class Limit(Table):
    """Each rule of the book: its limit, where the target stands, and the price of the rule."""

    class Config:
        unique = ["session", "rule"]

    session: Series[pa.DateTime] = _session()
    rule: Series[str] = pa.Field()
    value: Series[float] = pa.Field()
    limit: Series[float] = pa.Field()
    headroom: Series[float] = pa.Field(description="limit - value; negative: breached")
    breached: Series[bool] = pa.Field()
    price_bps: Series[float] = pa.Field(
        nullable=True, description="expected return over the horizon per 1 % of limit"
    )
    detail: Series[str] = pa.Field()


class Order(Table):
    """Every order of the session, sent or not, as our journal knows it."""

    class Config:
        unique = ["client_order_id"]

    session: Series[pa.DateTime] = _session()
    client_order_id: Series[str] = pa.Field(
        str_matches=r"^q50-\d{8}-[A-Z0-9.]+-(buy|sell)-[a-z]+-\d+$"
    )
    symbol: Series[str] = _symbol()
    side: Series[str] = pa.Field(isin=SIDES)
    intent: Series[str] = pa.Field(isin=INTENTS)
    attempt: Series[int] = pa.Field(ge=1)
    qty: Series[float] = pa.Field(gt=0, description="shares, up to nine decimals")
    price: Series[float] = pa.Field(gt=0, description="close it was planned on, US dollars")
    notional: Series[float] = pa.Field(gt=0, description="qty x price")
    state: Series[str] = pa.Field(isin=ORDER_STATES)
    broker_id: Series[str] = pa.Field(description="empty until the broker knows it")
    filled_qty: Series[float] = pa.Field(ge=0)
    filled_price: Series[float] = pa.Field(gt=0, nullable=True, description="average, US dollars")
    reason: Series[str] = pa.Field(description="why deferred, refused or shadow; else empty")


class Fill(Table):
    """Executions booked since the last run."""

    class Config:
        unique = ["fill_id"]

    fill_id: Series[str] = pa.Field(description="the broker's id of the execution")
    session: Series[pa.DateTime] = _session("session in which it happened")
    client_order_id: Series[str] = pa.Field()
    symbol: Series[str] = _symbol()
    side: Series[str] = pa.Field(isin=SIDES)
    qty: Series[float] = pa.Field(gt=0)
    price: Series[float] = pa.Field(gt=0, description="US dollars")
    value: Series[float] = pa.Field(gt=0, description="qty x price, US dollars")
    slippage_bps: Series[float] = pa.Field(
        nullable=True, description="paid above (+) the close it was planned on"
    )


class Kpi(Table):
    """The figures of the report, each with its unit."""

    class Config:
        unique = ["name"]

    name: Series[str] = pa.Field()
    value: Series[float] = pa.Field(nullable=True)
    unit: Series[str] = pa.Field(isin=("fraction", "usd", "ratio", "count", "sessions"))
    detail: Series[str] = pa.Field()


Schedule = Literal["daily", "weekly"]


@dataclass(frozen=True)
class Stage:
    """One notebook: what it reads, what it writes, and when it runs."""

    name: str
    number: int
    purpose: str
    reads: tuple[type[Table], ...] = ()
    writes: tuple[type[Table], ...] = ()
    schedules: tuple[Schedule, ...] = ("daily",)
    settings: tuple[str, ...] = field(default=())

    @property
    def notebook(self) -> str:
        return f"{self.number:02d}_{self.name}.ipynb"


INGEST = Stage(
    "ingest",
    1,
    "fetch what happened, judge it, and close yesterday's books",
    writes=(Universe, Finding, Holding, Equity, Fill),
    schedules=("daily", "weekly"),
    settings=("universe", "data"),
)
FEATURES = Stage(
    "features",
    2,
    "describe every name by what was known at the close",
    reads=(Universe,),
    writes=(Feature,),
    schedules=("daily", "weekly"),
    settings=("features",),
)
LABELS = Stage(
    "labels",
    3,
    "say what would have been worth knowing, and when it became known",
    reads=(Universe,),
    writes=(Label,),
    schedules=("weekly",),
    settings=("label", "model"),
)
TRAIN = Stage(
    "train",
    4,
    "learn from the past, and measure honestly what was learnt",
    reads=(Universe, Label),
    writes=(Fold, Prediction),
    schedules=("weekly",),
    settings=("model", "label", "features"),
)
OPTIMIZE = Stage(
    "optimize",
    5,
    "turn forecasts into the weights to hold after the next open",
    reads=(Universe, Feature, Holding, Equity),
    writes=(Forecast, Drift, RiskState, RiskEvent, Target, Limit),
    settings=("forecast", "model", "optimize", "risk"),
)
EXECUTE = Stage(
    "execute",
    6,
    "plan the orders, write them down, and send them",
    reads=(Universe, Holding, Equity, RiskState, RiskEvent, Target),
    writes=(Order,),
    settings=("execute",),
)
REPORT = Stage(
    "report",
    7,
    "show what happened, what it earned and what it risks",
    reads=(
        Universe,
        Finding,
        Holding,
        Equity,
        Fill,
        Forecast,
        Drift,
        RiskState,
        RiskEvent,
        Target,
        Limit,
        Order,
    ),
    writes=(Kpi,),
    settings=("report",),
)

#: the order is the pipeline
STAGES = (INGEST, FEATURES, LABELS, TRAIN, OPTIMIZE, EXECUTE, REPORT)
TABLES: tuple[type[Table], ...] = tuple(
    dict.fromkeys(table for stage in STAGES for table in stage.writes)
)


def stage_named(name: str) -> Stage:
    """The stage of that name."""
    for stage in STAGES:
        if stage.name == name:
            return stage
    raise KeyError(f"{name!r} is no stage; there are {', '.join(s.name for s in STAGES)}")


def stages_of(schedule: Schedule) -> tuple[Stage, ...]:
    """The stages of a schedule, in order."""
    return tuple(stage for stage in STAGES if schedule in stage.schedules)
