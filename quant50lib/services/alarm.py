"""Is the book riskier than was forecast? An alarm that may be looked at every day. Pure.

Let z be a session's surprise: its return over the volatility forecast for it the evening before. If
the forecast is right or too high, ``E[z^2 | past] <= 1``. Betting a share b of a fortune of 1 on z^2
being larger multiplies it by ``1 + b (z^2 - 1) >= 0``, and a fair or unfair game does not make rich:
by Ville's inequality (1939) the fortune ever exceeds ``1 / error`` with probability at most `error`,
however often one looks and whenever one stops, under any law of z, fat tails and volatility clusters
included (Shafer 2021; Waudby-Smith and Ramdas, "Estimating means of bounded random variables by
betting", JRSS B 2024). A mean of such fortunes is one: `BETS` of different size, half of each begun
on the first session of the calendar year and half spread over its sessions, so that a change in
autumn is not buried under a calm spring. Each January starts again with 1: `error` is the chance of a
false alarm within a year.

That volatility was forecast too high costs return, not safety; of that nothing is alarmed.
"""

from __future__ import annotations

import math

import numpy as np
import pandas as pd

from quant50lib.services.covariance import SESSIONS_PER_YEAR

#: shares of the fortune that are bet; the best for volatilities 2, 1.5 and 1.2 times the forecast
BETS = (0.15, 0.08, 0.03)


def fortune(squares: np.ndarray) -> np.ndarray:
    """The fortune after each session of a year, an e-process.

    Parameters
    ----------
    squares : array, (n_sessions, ...)
        Squared surprises of one year, more axes for many books; NaN: no forecast, no bet.

    Returns
    -------
    array, (n_sessions, ...)
    """
    edges = np.where(np.isnan(squares), 0.0, squares - 1)
    fortunes = [_fortune(1 + bet * edges) for bet in BETS]
    return np.mean(fortunes, axis=0)


def _fortune(factors: np.ndarray) -> np.ndarray:
    """Of one size of bets: half begun at once, the rest in equal parts before each session."""
    part, left = 0.5 / SESSIONS_PER_YEAR, 0.5
    working = np.full(factors.shape[1:], 0.5)
    out = np.empty(factors.shape)
    for at, factor in enumerate(factors):
        begun = min(part, left)
        left -= begun
        working = (working + begun) * factor
        out[at] = working + left
    return out


def evidence(surprises: pd.Series) -> pd.Series:
    """The fortune by session; it begins anew with every calendar year.

    Parameters
    ----------
    surprises : Series by session
        In order; NaN where nothing was forecast.
    """
    years = pd.DatetimeIndex(surprises.index).year
    squares = surprises.astype(float) ** 2
    return squares.groupby(years).transform(lambda year: fortune(year.to_numpy()))


def raised(surprises: pd.Series, error: float) -> pd.Series:
    """Whether the alarm of the year is on, by session: once on, it stays on until the year ends."""
    years = pd.DatetimeIndex(surprises.index).year
    return evidence(surprises).groupby(years).cummax() >= 1 / error


def realised_over_forecast(surprises: pd.Series, sessions: int = 63) -> float:
    """Root of the mean squared surprise of the last sessions; NaN without any."""
    known = surprises.dropna().to_numpy()[-sessions:]
    return math.sqrt(float(np.mean(known**2))) if len(known) else math.nan
