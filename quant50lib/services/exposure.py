"""What a book is exposed to: sectors, the market, single names, and the time it takes to leave. Pure.

Weights are fractions of equity, by symbol; what is not invested is cash and has no exposure.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd

#: share of a name's median daily volume that can be sold without being the market
PARTICIPATION = 0.10
#: sessions over which betas are measured, and how many of them must be known
BETA_SESSIONS, BETA_MIN = 252, 126


@dataclass(frozen=True)
class Concentration:
    """How evenly the invested capital is spread.

    With s the shares of the invested capital, `herfindahl` is ``sum of s^2`` (1: one name, 1/n: n
    equal ones) and `effective_names` its inverse: as many equal names are as concentrated. Without
    a book: 0 names and 0 of everything.
    """

    names: int
    largest: float  # weight, of equity
    largest_symbol: str
    herfindahl: float
    effective_names: float


def concentration(weights: pd.Series) -> Concentration:
    """Concentration of a book; Hirschman (1945), Herfindahl (1950)."""
    held = weights[weights > 0]
    if held.empty:
        return Concentration(0, 0.0, "", 0.0, 0.0)
    shares = held / held.sum()
    herfindahl = float(shares @ shares)
    return Concentration(
        len(held), float(held.max()), str(held.idxmax()), herfindahl, 1 / herfindahl
    )


def by_sector(weights: pd.Series, sectors: pd.Series) -> pd.Series:
    """Weight of every sector held, largest first; a name without sector stands as `unknown`."""
    held = weights[weights > 0]
    names = sectors.reindex(held.index).fillna("unknown")
    return held.groupby(names).sum().sort_values(ascending=False).rename("weight")


def betas(close: pd.DataFrame, benchmark: str) -> pd.Series:
    """Beta of every name to the benchmark: slope of daily total returns over 252 sessions.

    Parameters
    ----------
    close : DataFrame, (n_sessions, n_symbols)
        Total-return closes up to the session; the benchmark is one of them.

    Returns
    -------
    Series by symbol
        Over the sessions on which both have a return; NaN where those are fewer than 126.
    """
    returns = close.iloc[-BETA_SESSIONS - 1 :].pct_change(fill_method=None).iloc[1:]
    own, market = returns.to_numpy(), returns[benchmark].to_numpy()[:, None]
    known = ~np.isnan(own) & ~np.isnan(market)
    n = known.sum(axis=0)
    x, y = np.where(known, market, 0.0), np.where(known, own, 0.0)
    with np.errstate(divide="ignore", invalid="ignore"):
        covariance = (x * y).sum(axis=0) - x.sum(axis=0) * y.sum(axis=0) / n
        slope = covariance / ((x * x).sum(axis=0) - x.sum(axis=0) ** 2 / n)
    return pd.Series(np.where(n >= BETA_MIN, slope, math.nan), index=close.columns, name="beta")


def book_beta(weights: pd.Series, beta: pd.Series) -> float:
    """Beta of the book ex ante, ``sum of w beta``; a name without one counts as the market, 1."""
    held = weights[weights > 0]
    return float(held @ beta.reindex(held.index).fillna(1.0))


def days_to_exit(qty: pd.Series, median_volume: pd.Series) -> pd.Series:
    """Sessions that selling a holding takes at 10 % of its median daily volume, by symbol.

    Parameters
    ----------
    qty, median_volume : Series by symbol
        Shares owned, and shares traded on a median day.

    Returns
    -------
    Series
        A fraction below 1: part of a session. Infinite where the volume is zero or not known.
    """
    held = qty[qty > 0]
    pace = PARTICIPATION * median_volume.reindex(held.index).fillna(0.0)
    return (held / pace.where(pace > 0)).fillna(math.inf).rename("days_to_exit")


def exit_sessions(value: pd.Series, days: pd.Series, share: float = 1.0) -> float:
    """Sessions until `share` of a book's value is sold, all names side by side.

    All of it takes as long as the slowest name.

    Parameters
    ----------
    value : Series by symbol
        US dollars, or weights.
    days : Series by symbol
        From `days_to_exit`.
    """
    if not value.sum() > 0:
        return 0.0
    worth, needed = value.to_numpy(), days.reindex(value.index).to_numpy()
    if share >= 1:
        return float(needed.max())
    ends = np.concatenate([[0.0], np.unique(needed[np.isfinite(needed)])])
    sold = np.minimum(ends[:, None] / needed, 1.0) @ worth / worth.sum()
    return float(np.interp(share, sold, ends)) if share <= sold[-1] else math.inf
