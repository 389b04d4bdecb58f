"""What a name looks like at the close: a registry of features and their standardisation.

1. `describe` does the whole: it computes the features of a panel (`compute`), decides which names
   are compared with each other (`eligible`), and makes the values comparable (`standardise`).
2. `to_table` cuts out the session of the day as a table; `as_matrix` gives it back to a model.

Every value at a session depends on exactly the `window` sessions that end there: not on later ones,
nor, to the last bit, on how much history was loaded before them (`windowed` says why). Nothing is filled:
where a bar that a feature uses is missing, so is the feature.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import pandas as pd

from quant50lib.contracts import Feature
from quant50lib.errors import DataQualityError, SettingsError
from quant50lib.services.panel import Panel
from quant50lib.services.rolling import highest, shift, variance, windowed
from quant50lib.settings import FeatureSettings

SESSIONS_A_YEAR = 252
LIQUIDITY_SESSIONS = 21
RSI_SMOOTHING = 1 / 14
#: the seed of Wilder's recursion keeps a weight of (13/14)^237 = 2e-8 in a window of this length
RSI_SESSIONS = 252
OUTLIER = 3.0

Wide: TypeAlias = pd.DataFrame
Compute = Callable[[Panel, str], Wide]


@dataclass(frozen=True)
class FeatureSpec:
    """One feature: `function(panel, benchmark)` gives values (n_sessions, n_symbols)."""

    name: str
    window: int  # sessions needed, the one of the value included
    group: str
    function: Compute
    unit: str
    reference: str

    @property
    def meaning(self) -> str:
        """First line of the function's docstring."""
        return (self.function.__doc__ or "").strip().splitlines()[0]


@dataclass(frozen=True)
class Described:
    """Features of a panel, by name: in their own units, and comparable across names."""

    raw: dict[str, Wide]
    standardised: dict[str, Wide]


FEATURES: dict[str, FeatureSpec] = {}


def feature(
    name: str, window: int, group: str, unit: str, reference: str
) -> Callable[[Compute], Compute]:
    """Enter the decorated function into the registry."""

    def register(function: Compute) -> Compute:
        FEATURES[name] = FeatureSpec(name, window, group, function, unit, reference)
        return function

    return register


def _returns(close: Wide, n: int = 1) -> np.ndarray:
    values = close.to_numpy()
    return values / shift(values, n) - 1.0


def _wide(values: np.ndarray, like: Wide) -> Wide:
    """A frame of the values; what is not finite (a division by no volume) is missing."""
    return pd.DataFrame(
        np.where(np.isfinite(values), values, np.nan), index=like.index, columns=like.columns
    )


# ---- the core set --------------------------------------------------------------------------------


@feature("ret_1", 2, "reversal", "fraction", "Jegadeesh (1990)")
def ret_1(panel: Panel, benchmark: str) -> Wide:
    """Return of the session."""
    return _wide(_returns(panel.close), panel.close)


@feature("ret_5", 6, "reversal", "fraction", "Lehmann (1990)")
def ret_5(panel: Panel, benchmark: str) -> Wide:
    """Return over 5 sessions."""
    return _wide(_returns(panel.close, 5), panel.close)


@feature("ret_21", 22, "reversal", "fraction", "Jegadeesh (1990)")
def ret_21(panel: Panel, benchmark: str) -> Wide:
    """Return over 21 sessions."""
    return _wide(_returns(panel.close, 21), panel.close)


def _momentum(close: Wide, sessions: int, skipped: int) -> Wide:
    values = close.to_numpy()
    return _wide(shift(values, skipped) / shift(values, sessions) - 1.0, close)


@feature("mom_12_1", 253, "momentum", "fraction", "Jegadeesh and Titman (1993); Asness (1994)")
def mom_12_1(panel: Panel, benchmark: str) -> Wide:
    """Return over 252 sessions without the last 21."""
    return _momentum(panel.close, 252, 21)


@feature("mom_6_1", 127, "momentum", "fraction", "Jegadeesh and Titman (1993)")
def mom_6_1(panel: Panel, benchmark: str) -> Wide:
    """Return over 126 sessions without the last 21."""
    return _momentum(panel.close, 126, 21)


@feature("high_52w", 252, "momentum", "fraction", "George and Hwang (2004)")
def high_52w(panel: Panel, benchmark: str) -> Wide:
    """Close over the highest close of 252 sessions, minus one: the distance to the 52-week high."""
    close = panel.close.to_numpy()
    return _wide(close / highest(close, 252) - 1.0, panel.close)


def _volatility(close: Wide, n: int) -> Wide:
    return _wide(np.sqrt(variance(_returns(close), n) * SESSIONS_A_YEAR), close)


@feature("vol_21", 22, "risk", "fraction a year", "Ang, Hodrick, Xing and Zhang (2006)")
def vol_21(panel: Panel, benchmark: str) -> Wide:
    """Annualised standard deviation of 21 daily returns."""
    return _volatility(panel.close, 21)


@feature("vol_63", 64, "risk", "fraction a year", "Ang, Hodrick, Xing and Zhang (2006)")
def vol_63(panel: Panel, benchmark: str) -> Wide:
    """Annualised standard deviation of 63 daily returns."""
    return _volatility(panel.close, 63)


def _market_model(panel: Panel, benchmark: str, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Slope and residual variance (n - 2 degrees of freedom) of returns on the benchmark's."""
    own = _returns(panel.close)
    market = _returns(panel.close[[benchmark]])
    own_mean, market_mean = windowed(own, n) / n, windowed(market, n) / n
    covariance = windowed(own * market, n) / n - own_mean * market_mean
    beta = covariance / (windowed(market**2, n) / n - market_mean**2)
    residual = windowed(own**2, n) / n - own_mean**2 - beta * covariance
    return beta, np.maximum(residual, 0.0) * n / (n - 2)


@feature("beta_60", 61, "risk", "ratio", "Sharpe (1964); Frazzini and Pedersen (2014)")
def beta_60(panel: Panel, benchmark: str) -> Wide:
    """Slope of 60 daily returns on the benchmark's."""
    return _wide(_market_model(panel, benchmark, 60)[0], panel.close)


@feature("residual_vol_60", 61, "risk", "fraction a year", "Ang, Hodrick, Xing and Zhang (2006)")
def residual_vol_60(panel: Panel, benchmark: str) -> Wide:
    """Annualised standard deviation of what the benchmark leaves of 60 daily returns."""
    residual = _market_model(panel, benchmark, 60)[1]
    return _wide(np.sqrt(residual * SESSIONS_A_YEAR), panel.close)


@feature("max_21", 22, "risk", "fraction", "Bali, Cakici and Whitelaw (2011)")
def max_21(panel: Panel, benchmark: str) -> Wide:
    """Highest daily return of 21 sessions."""
    return _wide(highest(_returns(panel.close), 21), panel.close)


@feature("skew_63", 64, "risk", "ratio", "Boyer, Mitton and Vorkink (2010)")
def skew_63(panel: Panel, benchmark: str) -> Wide:
    """Skewness of 63 daily returns: third central moment over the cube of the deviation."""
    returns = _returns(panel.close)
    mean, second, third = (windowed(returns**k, 63) / 63 for k in (1, 2, 3))
    square = np.maximum(second - mean**2, 0.0)
    flat = square < 1e-12  # rounding, not risk: a name that does not move has no skewness
    moment = third - 3 * mean * second + 2 * mean**3
    with np.errstate(divide="ignore", invalid="ignore"):
        return _wide(np.where(flat, np.nan, moment / square**1.5), panel.close)


@feature("rsi_14", RSI_SESSIONS, "oscillator", "0 to 100", "Wilder (1978)")
def rsi_14(panel: Panel, benchmark: str) -> Wide:
    """Wilder's relative strength index over 14 sessions, 50 where nothing moved.

    The recursion starts with the plain mean of the first 14 changes *of the window* of 252
    sessions, so that the value does not depend on where the panel begins.
    """
    close = panel.close.to_numpy()
    change = close - shift(close, 1)
    up, down = _wilder(np.maximum(change, 0.0)), _wilder(np.maximum(-change, 0.0))
    moved = up + down
    with np.errstate(divide="ignore", invalid="ignore"):
        return _wide(np.where(moved == 0.0, 50.0, 100.0 * up / moved), panel.close)


def _wilder(values: np.ndarray) -> np.ndarray:
    """Wilder's average at the end of each window: the mean of the first 14, then smoothing."""
    seeded, keep = round(1 / RSI_SMOOTHING), 1.0 - RSI_SMOOTHING
    smoothed = RSI_SESSIONS - 1 - seeded
    seed = shift(windowed(values, seeded), smoothed) / seeded
    return seed * keep**smoothed + RSI_SMOOTHING * windowed(values, smoothed, keep)


@feature("overnight_21", 22, "clock", "log return", "Lou, Polk and Skouras (2019)")
def overnight_21(panel: Panel, benchmark: str) -> Wide:
    """Sum of 21 log returns from close to open."""
    opening, close = panel.open.to_numpy(), panel.close.to_numpy()
    return _wide(windowed(np.log(opening / shift(close, 1)), 21), panel.close)


@feature("intraday_21", 21, "clock", "log return", "Lou, Polk and Skouras (2019)")
def intraday_21(panel: Panel, benchmark: str) -> Wide:
    """Sum of 21 log returns from open to close."""
    return _wide(windowed(np.log(panel.close.to_numpy() / panel.open.to_numpy()), 21), panel.close)


@feature("log_dollar_volume_21", 21, "liquidity", "log US dollars", "Brennan et al. (1998)")
def log_dollar_volume_21(panel: Panel, benchmark: str) -> Wide:
    """Logarithm of the mean dollar volume of 21 sessions."""
    with np.errstate(divide="ignore"):
        return _wide(np.log(windowed(panel.dollar_volume.to_numpy(), 21) / 21), panel.close)


@feature("amihud_21", 22, "liquidity", "fraction per million US dollars", "Amihud (2002)")
def amihud_21(panel: Panel, benchmark: str) -> Wide:
    """Mean of absolute return over dollar volume, 21 sessions; missing after one without volume."""
    with np.errstate(divide="ignore", invalid="ignore"):
        impact = np.abs(_returns(panel.close)) / (panel.dollar_volume.to_numpy() / 1e6)
    return _wide(windowed(np.where(np.isfinite(impact), impact, np.nan), 21) / 21, panel.close)


@feature("volume_trend_5_63", 63, "liquidity", "log ratio", "Gervais, Kaniel and Mingelgrin (2001)")
def volume_trend_5_63(panel: Panel, benchmark: str) -> Wide:
    """Logarithm of the mean dollar volume of 5 sessions over that of 63."""
    traded = panel.dollar_volume.to_numpy()
    with np.errstate(divide="ignore", invalid="ignore"):
        return _wide(np.log(windowed(traded, 5) / 5 / (windowed(traded, 63) / 63)), panel.close)


# ---- the whole ----------------------------------------------------------------------------------


def chosen(settings: FeatureSettings) -> list[FeatureSpec]:
    """The features of the settings, all where none is named, in the order of the registry.

    Raises
    ------
    SettingsError
        A name is not in the registry; says which is nearest.
    """
    for name in settings.names:
        if name not in FEATURES:
            near = difflib.get_close_matches(name, FEATURES, n=1) or sorted(FEATURES)
            raise SettingsError(f"features.names: {name!r} is no feature; did you mean {near[0]}?")
    return [spec for name, spec in FEATURES.items() if not settings.names or name in settings.names]


def sessions_needed(settings: FeatureSettings) -> int:
    """How many sessions a panel must hold for a complete last row."""
    return max(LIQUIDITY_SESSIONS, *(spec.window for spec in chosen(settings)))


def compute(panel: Panel, settings: FeatureSettings, benchmark: str) -> dict[str, Wide]:
    """Every chosen feature of every name at every session, in its own unit.

    Raises
    ------
    DataQualityError
        The panel lacks the benchmark.
    """
    if benchmark not in panel.symbols:
        raise DataQualityError(f"no bars of the benchmark {benchmark}: fetch it, or name another")
    return {spec.name: spec.function(panel, benchmark) for spec in chosen(settings)}


def eligible(panel: Panel, settings: FeatureSettings) -> Wide:
    """Which names the panel admits and had a bar, a price and a dollar volume (median of 21
    sessions) of at least `min_price` and `min_dollar_volume`; booleans."""
    median = panel.dollar_volume.rolling(LIQUIDITY_SESSIONS).median()
    liquid = (median >= settings.min_dollar_volume) & (panel.traded_close >= settings.min_price)
    liquid &= panel.close.notna()
    return liquid if panel.admitted is None else liquid & panel.admitted


def _ranked(values: Wide) -> Wide:
    """Rank across each row, (rank - 1/2) / count - 1/2: symmetric within ±1/2."""
    count = values.notna().sum(axis=1)
    return (values.rank(axis=1) - 0.5).div(count.where(count > 0), axis=0) - 0.5


def _normed(values: np.ndarray) -> np.ndarray:
    """Each row less its mean, over its standard deviation; zero where a row does not vary."""
    count = np.maximum(np.isfinite(values).sum(axis=1, keepdims=True), 1)
    centred = values - np.nansum(values, axis=1, keepdims=True) / count
    deviation = np.sqrt(np.nansum(centred**2, axis=1, keepdims=True) / count)
    size = np.max(np.abs(values), axis=1, keepdims=True, initial=0.0, where=np.isfinite(values))
    return np.where(deviation > 1e-9 * size, centred, centred * 0.0) / np.where(
        deviation > 1e-9 * size, deviation, 1.0
    )


def _scored(values: Wide) -> Wide:
    """Standard scores across each row, clipped at three and standardised once more."""
    clipped = np.clip(_normed(values.to_numpy()), -OUTLIER, OUTLIER)
    return pd.DataFrame(_normed(clipped), index=values.index, columns=values.columns)


def standardise(
    values: Mapping[str, Wide], sectors: pd.Series, allowed: Wide | None, method: str
) -> dict[str, Wide]:
    """Every feature made comparable, session by session, across the names that are compared.

    Parameters
    ----------
    values
        Features by name, each (n_sessions, n_symbols).
    sectors
        Group of each symbol (index); used by ``sector_rank``. Names without one form a group.
    allowed
        Booleans (n_sessions, n_symbols); other names get no value. None: all.
    method
        ``rank`` (uniform within ±1/2), ``zscore`` (clipped at ±3) or ``sector_rank`` (the rank
        within the name's own group). A missing value stays missing.
    """
    if method == "sector_rank":
        return {name: _by_group(_allowed(v, allowed), sectors) for name, v in values.items()}
    rule = {"rank": _ranked, "zscore": _scored}[method]
    return {name: rule(_allowed(v, allowed)) for name, v in values.items()}


def _allowed(values: Wide, allowed: Wide | None) -> Wide:
    return values if allowed is None else values.where(allowed)


def _by_group(values: Wide, sectors: pd.Series) -> Wide:
    group = sectors.reindex(values.columns).fillna("").to_numpy()
    parts = [_ranked(values.loc[:, group == name]) for name in sorted(set(group))]
    return pd.concat(parts, axis=1)[values.columns]


def describe(
    panel: Panel, sectors: pd.Series, settings: FeatureSettings, benchmark: str
) -> Described:
    """Features of the names in `sectors` (symbol → group), raw and standardised.

    Training and the day both come through here, so that a model sees tomorrow what it has learnt
    from. Only liquid names are compared. The benchmark gets no standardised value: its excess
    return over itself is nothing to predict.
    """
    names = panel.symbols.intersection(sectors.index)
    raw = {name: v[names] for name, v in compute(panel, settings, benchmark).items()}
    allowed = eligible(panel.only(names), settings)
    if benchmark in names:
        allowed[benchmark] = False
    return Described(raw, standardise(raw, sectors, allowed, settings.standardise))


def to_table(
    raw: Mapping[str, Wide], standardised: Mapping[str, Wide], session: pd.Timestamp
) -> pd.DataFrame:
    """The cross-section of one session as a table `Feature`: a row per symbol and feature."""
    rows = pd.DataFrame(
        {
            "value": pd.DataFrame({n: v.loc[session] for n, v in raw.items()}).stack(),
            "standardised": pd.DataFrame(
                {n: v.loc[session] for n, v in standardised.items()}
            ).stack(),
        }
    )
    rows.index = rows.index.set_names(["symbol", "feature"])
    rows = rows.reset_index().astype({"symbol": "str", "feature": "str"})
    rows.insert(0, "session", pd.Series(session, index=rows.index).astype("datetime64[us]"))
    return Feature.check(rows)


def as_matrix(table: pd.DataFrame) -> pd.DataFrame:
    """Standardised values of a table `Feature` as (n_symbols, n_features)."""
    matrix = table.pivot(index="symbol", columns="feature", values="standardised")
    return matrix.rename_axis(index=None, columns=None)


def markdown() -> str:
    """The registry as a Markdown table."""
    head = ["| feature | group | sessions | unit | meaning | source |", "|---|---|--:|---|---|---|"]
    return "\n".join(
        head
        + [
            f"| `{s.name}` | {s.group} | {s.window} | {s.unit} | {s.meaning} | {s.reference} |"
            for s in FEATURES.values()
        ]
    )
