"""Is the book riskier, or calmer, than was forecast? An alarm that may be looked at every day. Pure.

Let z be a session's surprise: its return over the volatility forecast for it the evening before. If
the forecast is right or too high, ``E[z^2 | past] <= 1``. Betting a share b of a fortune of 1 on z^2
being larger multiplies it by ``1 + b (z^2 - 1) >= 0``, and a fair or unfair game does not make rich:
by Ville's inequality (1939) the fortune ever exceeds ``1 / error`` with probability at most `error`,
however often one looks and whenever one stops, under any law of z, fat tails and volatility clusters
included (Shafer 2021; Waudby-Smith and Ramdas, "Estimating means of bounded random variables by
betting", JRSS B 2024). A mean of such fortunes is one: `BETS` of different size, half of each begun
on the first session of the calendar year and half spread over its sessions, so that a change in
autumn is not buried under a calm spring. Each January starts again with 1: `error` is the chance of a
false alarm within a year, on either side.

The other side, a forecast too high, costs return and not safety, and cannot be judged without a word
on the tails: a year of small z^2 may be a right forecast whose one great day did not come. It is
judged on ``min(z^2, 9)``, of which a right forecast has a mean of at least `CLIPPED_MEAN`: that of
Student's t with 4 degrees of freedom, fatter than a diversified book's days. The bet is
``1 + b (CLIPPED_MEAN - min(z^2, 9))``, never negative for the `CALM_BETS`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd

from quant50lib.services.covariance import SESSIONS_PER_YEAR

Side = Literal["too low", "too high"]
#: what the forecast was, if the alarm of that name is raised
SIDES: tuple[Side, ...] = ("too low", "too high")
#: the same as rules of a RiskEvent
RULES: dict[Side, str] = {"too low": "forecast_too_low", "too high": "forecast_too_high"}
#: shares of the fortune that are bet; the best for volatilities 2, 1.5 and 1.2 times the forecast
BETS = (0.15, 0.08, 0.03)
#: sessions of the ratio that is told
QUARTER = 63
#: a larger squared surprise counts as this much, where the forecast may be too high
CLIP = 9.0
#: E[min(z^2, CLIP)] for Student's t with 4 degrees of freedom and variance 1
CLIPPED_MEAN = 0.8591
#: below 1 / (CLIP - CLIPPED_MEAN); good for volatilities a half and three quarters of the forecast
CALM_BETS = (0.12, 0.06)


@dataclass(frozen=True)
class Standing:
    """The alarm at one session."""

    sessions: int  # of the year, that had a forecast
    realised_over_forecast: float  # volatility of the last 63 of them
    too_low: float  # evidence that the forecast was too low; 1: none
    too_high: float
    needed: float  # the evidence that raises it, 1 / error
    raised: str  # "too low", "too high", or empty


def fortune(squares: np.ndarray, side: Side = "too low") -> np.ndarray:
    """The fortune after each session of a year, an e-process.

    Parameters
    ----------
    squares : array, (n_sessions, ...)
        Squared surprises of one year, more axes for many books; NaN: no forecast, no bet.
    side
        On what it is bet.

    Returns
    -------
    array, (n_sessions, ...)
    """
    high = side == "too high"
    edges = CLIPPED_MEAN - np.minimum(squares, CLIP) if high else squares - 1
    edges = np.where(np.isnan(squares), 0.0, edges)
    return np.mean([_fortune(1 + bet * edges) for bet in (CALM_BETS if high else BETS)], axis=0)


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


def evidence(surprises: pd.Series, side: Side = "too low") -> pd.Series:
    """The fortune by session; it begins anew with every calendar year.

    Parameters
    ----------
    surprises : Series by session
        In order; NaN where nothing was forecast.
    """
    years = pd.DatetimeIndex(surprises.index).year
    squares = surprises.astype(float) ** 2
    return squares.groupby(years).transform(lambda year: fortune(year.to_numpy(), side))


def raised(surprises: pd.Series, error: float, side: Side = "too low") -> pd.Series:
    """Whether the alarm of the year is on, by session: once on, it stays on until the year ends."""
    years = pd.DatetimeIndex(surprises.index).year
    return evidence(surprises, side).groupby(years).cummax() >= 1 / error


def standing(surprises: pd.Series, error: float) -> Standing:
    """Where both sides stand at the last of the surprises; where both are on, the graver is told."""
    last = {side: 1.0 for side in SIDES}
    on = ""
    if len(surprises):
        last = {side: float(evidence(surprises, side).iloc[-1]) for side in SIDES}
        on = next((side for side in SIDES if raised(surprises, error, side).iloc[-1]), "")
    return Standing(
        sessions=int(surprises.notna().sum()),
        realised_over_forecast=realised_over_forecast(surprises),
        too_low=last["too low"],
        too_high=last["too high"],
        needed=1 / error,
        raised=on,
    )


def events(
    surprises: pd.Series, session: pd.Timestamp, error: float, before: pd.DataFrame
) -> list[dict[str, Any]]:
    """Rows of RiskEvent for a side that is on at the session and was not told of in its year.

    Parameters
    ----------
    before : RiskEvent
        Of earlier sessions.
    """
    known = surprises[surprises.index <= session] if len(surprises) else surprises
    if not len(known) or known.index[-1] != session:
        return []
    ratio = realised_over_forecast(known)
    told = before.loc[before["session"].dt.year == session.year, "rule"]
    return [
        {
            "session": session,
            "rule": RULES[side],
            "symbol": "",
            "value": float(evidence(known, side).iloc[-1]),
            "limit": 1 / error,
            "detail": f"realised over forecast volatility {ratio:.2f}; nothing is traded on it",
        }
        for side in SIDES
        if raised(known, error, side).iloc[-1] and RULES[side] not in set(told)
    ]


def realised_over_forecast(surprises: pd.Series, sessions: int = QUARTER) -> float:
    """Root of the mean squared surprise of the last sessions; NaN without any."""
    known = surprises.dropna().to_numpy()[-sessions:]
    return math.sqrt(float(np.mean(known**2))) if len(known) else math.nan
