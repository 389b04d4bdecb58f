"""What a book may lose on a bad day: value at risk and expected shortfall. Pure.

Conventions, everywhere: over one session; a loss is a positive fraction of equity; at level p the
loss is exceeded with probability 1 - p; the mean return of a session counts as zero in the
parametric figures and as it was in the historical ones. Two views: *historical* replays today's
weights over past sessions, *parametric* takes the volatility forecast and a normal law.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.stats import norm

from quant50lib.services import covariance
from quant50lib.services.covariance import SESSIONS_PER_YEAR

LEVELS = (0.95, 0.99)


@dataclass(frozen=True)
class Tail:
    """Value at risk and expected shortfall at one level, of one session, fractions of equity."""

    method: str  # historical or parametric
    level: float
    value_at_risk: float
    expected_shortfall: float


def replayed(weights: pd.Series, close: pd.DataFrame) -> np.ndarray:
    """Returns that today's weights would have earned on each past session, (n_sessions - 1,).

    Parameters
    ----------
    weights : Series by symbol
        Held constant from session to session; the rest is cash and earns nothing.
    close : DataFrame, (n_sessions, n_symbols)
        Total-return closes. A missing return is what the market model says (`covariance.filled`);
        the market is the mean of all columns.
    """
    returns = close.pct_change(fill_method=None).iloc[1:]
    held = weights[weights > 0]
    complete = covariance.filled(returns[list(held.index)], returns.mean(axis=1))
    return complete.to_numpy() @ held.to_numpy()


def historical(returns: np.ndarray, level: float) -> Tail:
    """Of an empirical law: every return of the past is as likely.

    Value at risk is the smallest loss c with ``P(loss > c) <= 1 - p``; expected shortfall is the mean
    of the worst share 1 - p of all outcomes, the last of them in part (Rockafellar and Uryasev 2002,
    Acerbi and Tasche 2002), so that it is coherent for any number of sessions.
    """
    if not len(returns):
        return Tail("historical", level, math.nan, math.nan)
    worst = np.sort(returns)
    share = round((1 - level) * len(worst), 9)  # 0.05 x 260 is 13, not 13.000000000000002
    whole = max(0, math.ceil(share) - 1)
    short = -(worst[:whole].sum() + (share - whole) * worst[whole]) / share
    return Tail("historical", level, float(-worst[whole]), float(short))


def parametric(volatility_annual: float, level: float) -> Tail:
    """Of a normal law with mean zero: ``z s`` and ``s phi(z) / (1 - p)``, s of one session."""
    deviation = volatility_annual / math.sqrt(SESSIONS_PER_YEAR)
    z = float(norm.ppf(level))
    short = deviation * float(norm.pdf(z)) / (1 - level)
    return Tail("parametric", level, z * deviation, short)


def tails(returns: np.ndarray, volatility_annual: float) -> tuple[Tail, ...]:
    """Both views at 95 % and 99 %."""
    views = [(historical(returns, p), parametric(volatility_annual, p)) for p in LEVELS]
    return tuple(view for pair in zip(*views, strict=True) for view in pair)
