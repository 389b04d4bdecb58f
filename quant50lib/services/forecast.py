"""From scores to expected returns, no further than the evidence carries.

expected_return = premium + alpha,  alpha = IC × volatility × score      (Grinold 1994)

The premium is the same for every name. The IC is the out-of-fold one, shrunk by its own error: a
model without evidence has alpha zero.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

import numpy as np
import pandas as pd

from quant50lib.contracts import Forecast
from quant50lib.services.panel import Panel
from quant50lib.settings import ForecastSettings

SESSIONS_A_YEAR = 252
VOLATILITY_SESSIONS = 63
SCORE_MAX = 3.0
#: keeps a name that does not move from having no risk at all
VOLATILITY_MIN = 1e-4


class Scoring(Protocol):
    """What a forecast asks of a model: a score for each name of the day, and what it is worth."""

    @property
    def ic(self) -> float: ...

    @property
    def ic_error(self) -> float: ...

    def score(self, matrix: pd.DataFrame) -> pd.Series: ...


def horizon_volatility(panel: Panel, horizon: int) -> pd.Series:
    """Standard deviation of the return over the horizon, by symbol.

    Of the last 63 daily returns, times the root of the horizon. A name with fewer than 21 of them
    gets the largest volatility of the panel's other names: what is not known is not safe.
    """
    values = volatilities(panel.close.to_numpy(), horizon)
    return pd.Series(values, panel.symbols, name="volatility")


def volatilities(closes: np.ndarray, horizon: int) -> np.ndarray:
    """`horizon_volatility` of closes (n_sessions, n_symbols), as (n_symbols,)."""
    recent = np.ascontiguousarray(closes[-VOLATILITY_SESSIONS - 1 :])
    returns = recent[1:] / recent[:-1] - 1
    known = returns == returns
    count = known.sum(axis=0)
    with np.errstate(divide="ignore", invalid="ignore"):
        mean = np.where(known, returns, 0.0).sum(axis=0) / count
        squares = np.where(known, returns - mean, 0.0) ** 2
        daily = np.sqrt(squares.sum(axis=0) / (count - 1))
    daily = np.where(count >= VOLATILITY_SESSIONS // 3, daily, np.nan)
    most = np.fmax.reduce(daily, initial=np.nan)
    daily = np.where(np.isnan(daily), most, daily)
    return np.asarray(np.maximum(daily, VOLATILITY_MIN) * np.sqrt(horizon))


def posterior(ic: float, ic_error: float, prior_sd: float) -> tuple[float, float]:
    """Mean and standard deviation of the true IC given the measured one.

    Prior N(0, prior_sd²), likelihood N(ic, ic_error²). What was not measured leaves the prior.
    """
    if not (np.isfinite(ic) and np.isfinite(ic_error)):
        return 0.0, prior_sd
    weight = prior_sd**2 / (prior_sd**2 + ic_error**2)
    return weight * ic, prior_sd * float(np.sqrt(1 - weight))


def shrunk_ic(ic: float, ic_error: float, prior_sd: float) -> float:
    """Posterior mean of the true IC; a negative one counts as zero.

    A model that was wrong more often than right is not turned round: nothing was learnt from it.
    """
    return max(posterior(ic, ic_error, prior_sd)[0], 0.0)


def standard_score(score: pd.Series) -> pd.Series:
    """Scores with mean 0 and standard deviation 1 across the day, clipped at ±3; missing stays."""
    return pd.Series(standardised(score.to_numpy(dtype=float)), score.index, name=score.name)


def standardised(score: np.ndarray) -> np.ndarray:
    """`standard_score` of an array, (n_symbols,)."""
    known = score[score == score]
    deviation = known.std() if len(known) else 0.0
    if not deviation > 1e-12:
        return score * 0.0
    return np.asarray(np.clip((score - known.mean()) / deviation, -SCORE_MAX, SCORE_MAX))


class Expected(NamedTuple):
    """What is expected of each name over the horizon; arrays in the order of `symbols`."""

    symbols: pd.Index
    score: np.ndarray  # standardised; missing where there is none
    volatility: np.ndarray  # of the return over the horizon
    alpha: np.ndarray
    expected_return: np.ndarray
    error: np.ndarray  # standard error of it


def expected(
    symbols: pd.Index,
    volatility: np.ndarray,
    score: np.ndarray | None,
    ic: float,
    ic_error: float,
    settings: ForecastSettings,
    horizon: int,
) -> Expected:
    """The forecast of one session.

    `error` is the standard error of the expectation, not the risk of the return:
    volatility × √(prior² + (posterior deviation of the IC × score)²). The first term is what no
    score can tell, the spread of true expected returns that the prior allows around the premium;
    the second is how badly the IC itself is known.

    Parameters
    ----------
    volatility, score : arrays, (n_symbols,)
        Of the return over the horizon; of the model, on any scale. No score, or a missing one:
        alpha is zero.
    ic, ic_error
        Out-of-fold rank IC and its standard error.
    """
    z = np.full(len(symbols), np.nan) if score is None else standardised(score)
    told = np.where(z == z, z, 0.0)
    deviation = posterior(ic, ic_error, settings.shrink_prior_ic)[1]
    alpha = shrunk_ic(ic, ic_error, settings.shrink_prior_ic) * volatility * told
    spread = np.hypot(settings.shrink_prior_ic, deviation * told)
    mean = settings.premium_annual * horizon / SESSIONS_A_YEAR + alpha
    return Expected(symbols, z, volatility, alpha, mean, volatility * spread)


def to_table(found: Expected, session: pd.Timestamp) -> pd.DataFrame:
    """Table `Forecast` of what is expected at the close of a session."""
    columns = found._asdict() | {"symbol": found.symbols.astype("str")}
    del columns["symbols"]
    table = pd.DataFrame(columns)
    table.insert(0, "session", pd.Series(session, table.index).astype("datetime64[us]"))
    return Forecast.check(table[Forecast.columns()])


def forecast(
    session: pd.Timestamp,
    volatility: pd.Series,
    score: pd.Series | None,
    ic: float,
    ic_error: float,
    settings: ForecastSettings,
    horizon: int,
) -> pd.DataFrame:
    """Table `Forecast` of one session, a row for each symbol of `volatility`; see `expected`."""
    symbols, values = volatility.index, volatility.to_numpy(dtype=float)
    given = None if score is None else score.reindex(symbols).to_numpy(dtype=float)
    return to_table(expected(symbols, values, given, ic, ic_error, settings, horizon), session)


def of_day(
    session: pd.Timestamp,
    panel: Panel,
    matrix: pd.DataFrame,
    model: Scoring | None,
    settings: ForecastSettings,
    horizon: int,
) -> pd.DataFrame:
    """Table `Forecast` for the names of the panel, by the model where there is one.

    Parameters
    ----------
    panel
        Bars up to `session`.
    matrix
        Standardised features of the day, (n_symbols, n_features), see `features.as_matrix`.
    """
    closes = panel.close.to_numpy()
    return to_table(of_closes(panel.symbols, closes, matrix, model, settings, horizon), session)


def of_closes(
    symbols: pd.Index,
    closes: np.ndarray,
    matrix: pd.DataFrame,
    model: Scoring | None,
    settings: ForecastSettings,
    horizon: int,
) -> Expected:
    """`of_day` on total-return closes (n_sessions, n_symbols) up to the session."""
    volatility = volatilities(closes, horizon)
    if model is None:
        return expected(symbols, volatility, None, 0.0, np.inf, settings, horizon)
    said = model.score(matrix)
    score = (said if said.index.equals(symbols) else said.reindex(symbols)).to_numpy(dtype=float)
    return expected(symbols, volatility, score, model.ic, model.ic_error, settings, horizon)
