"""The figures of the report, from the account's equity, session by session.

Conventions: simple returns with flows taken out; the first row is the base point and keeps its
place (a loss on the first day is a loss); 252 sessions to a year; standard deviations with one
degree of freedom taken off; drawdown from the running maximum, base included; year and month to
date from the last session before them. Annualised figures are withheld while returns are few.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd

from quant50lib.contracts import Kpi
from quant50lib.errors import ContractError
from quant50lib.services.covariance import SESSIONS_PER_YEAR
from quant50lib.settings import ReportSettings
from quant50lib.utils.frames import typed

#: a standard deviation up to this is rounding: nothing moved
STILL = float(np.finfo(float).eps)


@dataclass(frozen=True)
class Drawdown:
    """The deepest fall of a series: from which peak to which trough, and how far it is now."""

    worst: float  # <= 0, a fraction
    peak: pd.Timestamp
    trough: pd.Timestamp
    current: float  # <= 0


def returns(equity: pd.DataFrame) -> pd.Series:
    """Daily simple returns of an `Equity` table, (n_sessions - 1,), flows taken out.

    What is paid in or out on a session is taken as moved at its close.
    """
    by_session = equity.set_index("session").sort_index()
    value, flow = by_session["equity"], by_session["flow"]
    return ((value - flow) / value.shift(1) - 1).iloc[1:].rename("return")


def wealth(equity: pd.DataFrame) -> pd.Series:
    """Growth of one dollar, (n_sessions,), 1 at the base point."""
    base = pd.Series(1.0, index=[equity["session"].min()])
    return pd.concat([base, (1 + returns(equity)).cumprod()]).rename("wealth")


def drawdown(wealth: pd.Series) -> Drawdown:
    """The deepest drawdown of a wealth series, base point included."""
    below = wealth / wealth.cummax() - 1
    trough = below.idxmin()
    return Drawdown(
        worst=float(below[trough]),
        peak=wealth.loc[:trough].idxmax(),
        trough=trough,
        current=float(below.iloc[-1]),
    )


def since(wealth: pd.Series, start: pd.Timestamp) -> float:
    """Return from the last session before `start`, or from the base point if there is none."""
    before = wealth[wealth.index < start]
    base = before.iloc[-1] if len(before) else wealth.iloc[0]
    return float(wealth.iloc[-1] / base - 1)


def volatility_annual(returns: pd.Series) -> float:
    """Standard deviation of daily returns, annual; NaN for fewer than two."""
    return float(returns.std(ddof=1) * math.sqrt(SESSIONS_PER_YEAR))


def sharpe(returns: pd.Series, cash_returns: pd.Series | float = 0.0) -> float:
    """Mean over standard deviation of daily returns in excess of cash, annual; NaN without risk."""
    excess = (returns - cash_returns).dropna()
    deviation = excess.std(ddof=1)
    if not deviation > STILL:
        return math.nan
    return float(excess.mean() / deviation * math.sqrt(SESSIONS_PER_YEAR))


def beta(returns: pd.Series, benchmark: pd.Series) -> float:
    """Slope of returns on the benchmark's over their common sessions; NaN without variance."""
    both = pd.concat([returns, benchmark], axis=1, join="inner").dropna()
    covariance = np.cov(both.to_numpy().T, ddof=1) if len(both) > 1 else np.zeros((2, 2))
    moves = covariance[1, 1] > STILL**2
    return float(covariance[0, 1] / covariance[1, 1]) if moves else math.nan


def tracking_error_annual(returns: pd.Series, benchmark: pd.Series) -> float:
    """Standard deviation of the difference to the benchmark, annual, over common sessions."""
    return volatility_annual((returns - benchmark).dropna())


def growth_annual(wealth: pd.Series) -> float:
    """Compound annual growth, years counted as sessions / 252."""
    return float((wealth.iloc[-1] / wealth.iloc[0]) ** (SESSIONS_PER_YEAR / (len(wealth) - 1)) - 1)


def kpis(
    equity: pd.DataFrame,
    benchmark_returns: pd.Series,
    settings: ReportSettings,
    cash_returns: pd.Series | float = 0.0,
) -> pd.DataFrame:
    """The `contracts.Kpi` frame of an account.

    Parameters
    ----------
    equity : Equity
        From the account's first session to the session of the report.
    benchmark_returns : Series, by session
        Daily total returns of the benchmark; sessions outside the account's life are not looked at.
    cash_returns : Series by session, or float
        Daily return of cash, taken off for the Sharpe ratio.

    Raises
    ------
    ContractError
        The table is empty.
    """
    if equity.empty:
        raise ContractError("no equity yet: the account's books start with its first session")
    book = equity.sort_values("session", ignore_index=True)
    rows = _money(book) + _returns(book) + _risk(book, benchmark_returns, cash_returns, settings)
    return Kpi.check(typed(Kpi, rows))


def _row(name: str, value: float, unit: str, detail: str = "") -> dict:
    return {"name": name, "value": float(value), "unit": unit, "detail": detail}


def _gains(book: pd.DataFrame) -> pd.Series:
    """Profit of each session in dollars, flows taken out; 0 at the base point."""
    profit = book["equity"].diff() - book["flow"]
    return profit.fillna(0.0).set_axis(pd.DatetimeIndex(book["session"]))


def _starts(session: pd.Timestamp) -> dict[str, pd.Timestamp]:
    return {"mtd": session.replace(day=1), "ytd": session.replace(month=1, day=1)}


def _money(book: pd.DataFrame) -> list[dict]:
    last, gains = book.iloc[-1], _gains(book)
    rows = [
        _row("equity", last["equity"], "usd"),
        _row("cash", last["cash"], "usd"),
        _row("invested", last["holdings"] / last["equity"], "fraction", "of equity"),
        _row("pnl_day", gains.iloc[-1], "usd"),
        _row("pnl_total", gains.sum(), "usd", f"since {book['session'].iloc[0].date()}"),
    ]
    for name, start in _starts(last["session"]).items():
        rows.append(_row(f"pnl_{name}", gains[gains.index >= start].sum(), "usd"))
    return rows


def _returns(book: pd.DataFrame) -> list[dict]:
    daily, path = returns(book), wealth(book)
    rows = [
        _row("return_day", daily.iloc[-1] if len(daily) else math.nan, "fraction"),
        _row("return_total", path.iloc[-1] - 1, "fraction", f"since {path.index[0].date()}"),
    ]
    for name, start in _starts(path.index[-1]).items():
        rows.append(_row(f"return_{name}", since(path, start), "fraction", _from(path, start)))
    for name, at in {"best_day": "max", "worst_day": "min"}.items():
        value = getattr(daily, at)()
        detail = str(daily.index[daily == value][0].date()) if len(daily) else ""
        rows.append(_row(name, value, "fraction", detail))
    traded = daily[daily != 0]
    hit_rate = (traded > 0).mean() if len(traded) else math.nan
    rows.append(_row("hit_rate", hit_rate, "fraction", "share of sessions with a gain"))
    rows.append(_row("sessions", len(daily), "sessions", "with a return"))
    return rows


def _from(path: pd.Series, start: pd.Timestamp) -> str:
    before = path.index[path.index < start]
    return f"from the close of {(before[-1] if len(before) else path.index[0]).date()}"


def _risk(
    book: pd.DataFrame,
    benchmark: pd.Series,
    cash_returns: pd.Series | float,
    settings: ReportSettings,
) -> list[dict]:
    daily, path = returns(book), wealth(book)
    fall = drawdown(path)
    dates = f"{fall.peak.date()} to {fall.trough.date()}" if fall.worst < 0 else "never below"
    turnover = book["turnover"]
    rows = [
        _row("max_drawdown", fall.worst, "fraction", dates),
        _row("drawdown", fall.current, "fraction", "below the highest equity so far"),
        _row("turnover_day", turnover.iloc[-1], "fraction", "bought and sold, of equity"),
        _row("turnover_mean", turnover.iloc[1:].mean(), "fraction", "a session"),
    ]
    annual: dict[str, tuple[Callable[[], float], str]] = {
        "return_annual": (lambda: growth_annual(path), "fraction"),
        "volatility_annual": (lambda: volatility_annual(daily), "fraction"),
        "sharpe": (lambda: sharpe(daily, cash_returns), "ratio"),
        "beta": (lambda: beta(daily, benchmark), "ratio"),
        "tracking_error_annual": (lambda: tracking_error_annual(daily, benchmark), "fraction"),
        "turnover_annual": (lambda: turnover.iloc[1:].mean() * SESSIONS_PER_YEAR, "fraction"),
    }
    wanted = settings.annualise_from_sessions
    for name, (figure, unit) in annual.items():
        few = len(daily) < wanted
        detail = f"withheld until {wanted} sessions" if few else ""
        rows.append(_row(name, math.nan if few else figure(), unit, detail))
    return rows
