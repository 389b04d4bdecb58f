"""What a back-test earned and risked, beside what anybody could have had.

Benchmarks are paid no costs: the index as it stands, every name of the day in equal parts, and the
long-only book of least variance, put together anew every month. Every comparison has an interval from a moving
block bootstrap; where it spans zero, nothing is claimed.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from scipy.optimize import nnls

from quant50lib.services import alarm, covariance, exposure, inference
from quant50lib.services.backtest import Result
from quant50lib.services.backtest_market import Market, Window
from quant50lib.settings import Settings

YEAR = 252
BLOCK = 21
#: sessions between two books of least variance
MONTH = 21
DRAWS = 1000
SEED = 50
#: sessions without which no annual figure is told
SHORT = 60

Figures = dict[str, Any]


def returns_of(result: Result) -> pd.Series:
    """Simple daily returns of the account, dividends that are due included."""
    wealth = result.daily["equity"] + result.daily["dividends"]
    return (wealth / wealth.shift(1) - 1).iloc[1:].rename("book")


def benchmarks(market: Market, result: Result) -> pd.DataFrame:
    """Daily total returns of the benchmarks over the sessions of a result, a column each."""
    settings, sessions = result.settings, result.daily.index
    last = Window.at(market, market.row(sessions[-1]), settings)
    panel = last.panel(last.row - market.row(sessions[0]) + 2 + YEAR)
    daily = panel.close.pct_change(fill_method=None)
    allowed = panel.admitted.loc[:, daily.columns] if panel.admitted is not None else daily.notna()
    known = allowed.shift(1, fill_value=False) & daily.notna()
    found = {
        settings.universe.benchmark: daily[settings.universe.benchmark],
        "equal weight": daily.where(known).mean(axis=1),
        "minimum variance": _least_variance(market, sessions, settings),
    }
    return pd.DataFrame(found).loc[sessions[1:]]


def _least_variance(market: Market, sessions: pd.DatetimeIndex, settings: Settings) -> pd.Series:
    """Returns of the book of least variance, chosen every month and left to drift in between."""
    parts = []
    for begin in range(0, len(sessions) - 1, MONTH):
        end = min(begin + MONTH, len(sessions) - 1)
        window = Window.at(market, market.row(sessions[begin]), settings)
        weights = least_variance(window, settings)
        later = Window.at(market, market.row(sessions[end]), settings).panel(end - begin + 1)
        growth = (later.close[weights.index].ffill() / later.close[weights.index].iloc[0]).fillna(
            1.0
        )
        parts.append((growth @ weights).pct_change().iloc[1:])
    return pd.concat(parts)


def least_variance(window: Window, settings: Settings) -> pd.Series:
    """Long-only weights of least variance, sum one, from the shape of the desk's risk forecast.

    min w'Vw over w >= 0, 1'w = 1 is, up to its scale, min w'Vw / 2 - 1'w over w >= 0: least squares
    without negatives in a root of V (Lawson and Hanson 1974).
    """
    panel = window.panel(settings.optimize.covariance_sessions + 2)
    names = covariance.eligible(panel, settings.optimize)
    if panel.admitted is not None:
        names = names[panel.admitted.iloc[-1].reindex(names).to_numpy(dtype=bool)]
    risk = covariance.risk_model(panel, names, settings.optimize, 1)
    root = np.linalg.cholesky(risk.matrix().to_numpy() * YEAR)
    weights, _ = nnls(root.T, np.linalg.solve(root, np.ones(len(names))), maxiter=20 * len(names))
    return pd.Series(weights / weights.sum(), names)


def annual(returns: pd.Series) -> Figures:
    """Total return, worst drawdown and worst day; a year's return, volatility and Sharpe ratio.

    Cash is taken to earn nothing. Annual figures are NaN, withheld, below `SHORT` sessions.
    """
    wealth = np.concatenate([[1.0], np.cumprod(1 + returns.to_numpy())])
    years, deviation = len(returns) / YEAR, returns.std(ddof=1)
    told = len(returns) >= SHORT
    sharpe = returns.mean() / deviation * np.sqrt(YEAR) if deviation > 0 else np.nan
    return {
        "return_total": float(wealth[-1] - 1),
        "return_annual": float(wealth[-1] ** (1 / years) - 1) if told else np.nan,
        "volatility_annual": float(deviation * np.sqrt(YEAR)) if told else np.nan,
        "sharpe": float(sharpe) if told else np.nan,
        "drawdown": float((1 - wealth / np.maximum.accumulate(wealth)).max()),
        "worst_day": float(returns.min()),
    }


def sharpe_difference(own: pd.Series, other: pd.Series) -> tuple[float, float, float]:
    """Annual Sharpe ratio of one less the other's, and its 95 % interval; NaN where withheld."""
    return _difference(own, other, _sharpe)


def return_difference(own: pd.Series, other: pd.Series) -> tuple[float, float, float]:
    """Mean return a year of one less the other's, and its 95 % interval; NaN where withheld."""
    return _difference(own, other, lambda sample: sample.mean(axis=1) * YEAR)


def _sharpe(sample: np.ndarray) -> np.ndarray:
    with np.errstate(divide="ignore", invalid="ignore"):
        found: np.ndarray = sample.mean(axis=1) / sample.std(axis=1, ddof=1) * np.sqrt(YEAR)
    return found


def _difference(own: pd.Series, other: pd.Series, of: Any) -> tuple[float, float, float]:
    both = pd.concat([own, other], axis=1).dropna().to_numpy()
    if len(both) < SHORT:
        return np.nan, np.nan, np.nan
    gap = lambda sample: np.subtract(*np.moveaxis(of(sample), -1, 0))  # noqa: E731
    low, high = inference.block_bootstrap(both, gap, BLOCK, SEED, DRAWS)
    return float(gap(both[None])[0]), low, high


def compared(own: pd.Series, others: pd.DataFrame) -> pd.DataFrame:
    """The book and each benchmark: annual figures, and differences in Sharpe ratio with interval."""
    rows = [{"name": "book", **annual(own)}]
    for name, other in others.items():
        gap, low, high = sharpe_difference(own, other)
        row = {"name": str(name), **annual(other.dropna())}
        rows.append(row | {"sharpe_gap": gap, "sharpe_low": low, "sharpe_high": high})
    return pd.DataFrame(rows).set_index("name")


def surprises(result: Result) -> pd.Series:
    """Return of each session over the daily volatility forecast for it; NaN without exposure.

    The forecast of a session is the one made for its target at the close before.
    """
    forecast = result.daily["ex_ante"].shift(1) / np.sqrt(YEAR)
    found: pd.Series = returns_of(result) / forecast.where(forecast > 0).iloc[1:]
    return found.rename("surprise")


def ex_ante_ratio(result: Result) -> float:
    """Realised over forecast volatility: the root of the mean square of return over forecast."""
    return float(np.sqrt((surprises(result) ** 2).mean()))


def alarms(result: Result) -> dict[str, list[str]]:
    """On which sessions the alarm on volatility would have been raised, by side; nothing trades on it."""
    known, error = surprises(result), result.settings.risk.alarm_error
    found: dict[str, list[str]] = {}
    for side in alarm.SIDES:
        on = alarm.raised(known, error, side)
        begins = on.groupby(on.index.year).cumsum() == 1
        found[side] = [str(day.date()) for day in on.index[on & begins]]
    return found


def exposures(market: Market, result: Result) -> pd.DataFrame:
    """Beta of the book to the benchmark, and its weight in every sector, at each close.

    Columns `beta` and the sectors; weights of equity. Betas are over the 252 sessions before.
    """
    sessions, settings = result.daily.index, result.settings
    last = Window.at(market, market.row(sessions[-1]), settings)
    span = last.row - market.row(sessions[0]) + exposure.BETA_SESSIONS + 2
    close = last.panel(span).close
    held = dict(list(result.holdings.groupby("session")))
    rows = {
        session: _exposed(
            held[session], close, session, settings.universe.benchmark, market.sectors
        )
        for session in sessions
        if session in held
    }
    found = pd.DataFrame.from_dict(rows, orient="index").reindex(sessions).fillna(0.0)
    found.index.name = "session"
    return found


def _exposed(
    held: pd.DataFrame,
    close: pd.DataFrame,
    session: pd.Timestamp,
    benchmark: str,
    sectors: pd.Series,
) -> dict[str, float]:
    weights = held.set_index("symbol")["weight"]
    names = pd.Index([*weights.index, benchmark]).unique().intersection(close.columns)
    beta = exposure.betas(close.loc[:session, names], benchmark)
    by_sector = exposure.by_sector(weights, sectors).to_dict()
    return {"beta": exposure.book_beta(weights, beta), **by_sector}


def summary(result: Result) -> Figures:
    """The headline of a back-test, as plain numbers; None: withheld, the span is too short."""
    daily, returns = result.daily, returns_of(result)
    years = len(returns) / YEAR if len(returns) >= SHORT else np.nan
    stops = result.events[result.events["rule"] == "stop_loss"]
    told = {
        "market": result.label,
        "first": str(daily.index[0].date()),
        "last": str(daily.index[-1].date()),
        "sessions": len(daily),
        **annual(returns),
        "realised_over_ex_ante": ex_ante_ratio(result),
        "alarms": alarms(result),
        "drawdown_episode": float(daily["drawdown"].max()),
        "exposure_mean": float(daily["gross"].mean()),
        "turnover_daily": float(daily["turnover"].mean()),
        "forced_annual": float(daily["forced"].sum() / years),
        "cost_annual": float((daily["cost"] / daily["equity"]).sum() / years),
        "braked_sessions": int((daily["budget"] < 1).sum()),
        "halted_sessions": int(daily["halted"].sum()),
        "unfit_sessions": int((daily["why_not"] != "").sum()),
        "stops": len(stops),
        "names_max": int(daily["names"].max()),
        "names_mean": float(daily["names"].mean()),
        "breaches": result.breaches["rule"].value_counts().to_dict(),
    }
    return {name: None if value != value else value for name, value in told.items()}


def price_of_safety(ruled: Result, free: Result) -> pd.DataFrame:
    """A book under all rules, the same without brake and stops, and what the rules cost and saved.

    Rows `with`, `without` and `difference`: the figures of `annual`, and for the difference
    `low` and `high`, the 95 % interval of its return a year (difference of means, block bootstrap).
    """
    own, other = returns_of(ruled), returns_of(free)
    rows = {"with": annual(own), "without": annual(other)}
    gap, low, high = return_difference(own, other)
    rows["difference"] = {name: rows["with"][name] - rows["without"][name] for name in rows["with"]}
    rows["difference"] |= {"return_annual": gap, "low": low, "high": high}
    return pd.DataFrame.from_dict(rows, orient="index")
