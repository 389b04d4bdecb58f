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

from quant50lib.services import covariance, inference
from quant50lib.services.backtest import Result
from quant50lib.services.backtest_market import Market, Window
from quant50lib.settings import Settings

YEAR = 252
BLOCK = 21
#: sessions between two books of least variance
MONTH = 21
DRAWS = 1000
SEED = 50
#: of a risk forecast that is judged, and of windows of a year
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
    """Return, volatility, Sharpe ratio over cash at nothing, worst drawdown and worst day."""
    wealth = np.concatenate([[1.0], np.cumprod(1 + returns.to_numpy())])
    years = len(returns) / YEAR
    deviation = returns.std(ddof=1)
    return {
        "return_annual": float(wealth[-1] ** (1 / years) - 1),
        "volatility_annual": float(deviation * np.sqrt(YEAR)),
        "sharpe": float(returns.mean() / deviation * np.sqrt(YEAR)) if deviation > 0 else np.nan,
        "drawdown": float((1 - wealth / np.maximum.accumulate(wealth)).max()),
        "worst_day": float(returns.min()),
    }


def sharpe_difference(own: pd.Series, other: pd.Series) -> tuple[float, float, float]:
    """Annual Sharpe ratio of one less the other's, and its 95 % interval."""
    return _difference(own, other, _sharpe)


def return_difference(own: pd.Series, other: pd.Series) -> tuple[float, float, float]:
    """Mean return a year of one less the other's, and its 95 % interval."""
    return _difference(own, other, lambda sample: sample.mean(axis=1) * YEAR)


def _sharpe(sample: np.ndarray) -> np.ndarray:
    with np.errstate(divide="ignore", invalid="ignore"):
        found: np.ndarray = sample.mean(axis=1) / sample.std(axis=1, ddof=1) * np.sqrt(YEAR)
    return found


def _difference(own: pd.Series, other: pd.Series, of: Any) -> tuple[float, float, float]:
    both = pd.concat([own, other], axis=1).dropna().to_numpy()
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


def ex_ante_ratio(result: Result) -> float:
    """Realised over forecast volatility: the root of the mean square of return over forecast.

    The forecast of a session is the one made for its target at the close before; 0 exposure counts
    nothing.
    """
    forecast = result.daily["ex_ante"].shift(1) / np.sqrt(YEAR)
    known = forecast[forecast > 0].dropna().index.intersection(returns_of(result).index)
    return float(np.sqrt(((returns_of(result)[known] / forecast[known]) ** 2).mean()))


def summary(result: Result) -> Figures:
    """The headline of a back-test, as plain numbers."""
    daily, returns = result.daily, returns_of(result)
    years = max(len(returns), 1) / YEAR
    stops = result.events[result.events["rule"] == "stop_loss"]
    return {
        "market": result.label,
        "first": str(daily.index[0].date()),
        "last": str(daily.index[-1].date()),
        "sessions": len(daily),
        **annual(returns),
        "realised_over_ex_ante": ex_ante_ratio(result),
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
