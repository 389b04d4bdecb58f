"""From scores to expected returns, no further than the evidence carries.

expected_return = premium + alpha,  alpha = IC × volatility × score      (Grinold 1994)

The premium is the same for every name. The IC is the out-of-fold one, shrunk by its own error: a
model without evidence has alpha zero.
"""

from __future__ import annotations

from typing import Protocol

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
    returns = panel.close.iloc[-VOLATILITY_SESSIONS - 1 :].pct_change(fill_method=None).iloc[1:]
    daily = returns.std().where(returns.count() >= VOLATILITY_SESSIONS // 3)
    daily = daily.fillna(daily.max()).clip(lower=VOLATILITY_MIN)
    return (daily * np.sqrt(horizon)).rename("volatility")


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
    deviation = score.std(ddof=0)
    if not deviation > 1e-12:
        return score * 0.0
    return ((score - score.mean()) / deviation).clip(-SCORE_MAX, SCORE_MAX)


def forecast(
    session: pd.Timestamp,
    volatility: pd.Series,
    score: pd.Series | None,
    ic: float,
    ic_error: float,
    settings: ForecastSettings,
    horizon: int,
) -> pd.DataFrame:
    """Table `Forecast` of one session, a row for each symbol of `volatility`.

    `error` is the standard error of the expectation, not the risk of the return:
    volatility × √(prior² + (posterior deviation of the IC × score)²). The first term is what no
    score can tell, the spread of true expected returns that the prior allows around the premium;
    the second is how badly the IC itself is known.

    Parameters
    ----------
    session
        At whose close the forecast is made.
    volatility
        Of the return over the horizon, by symbol.
    score
        Of the model, by symbol, on any scale; None or missing: alpha is zero.
    ic, ic_error
        Out-of-fold rank IC and its standard error.
    """
    given = pd.Series(np.nan, volatility.index) if score is None else score
    z = standard_score(given.reindex(volatility.index).astype(float))
    deviation = posterior(ic, ic_error, settings.shrink_prior_ic)[1]
    alpha = shrunk_ic(ic, ic_error, settings.shrink_prior_ic) * volatility * z.fillna(0.0)
    spread = np.hypot(settings.shrink_prior_ic, deviation * z.fillna(0.0))
    table = pd.DataFrame(
        {
            "session": pd.Series(session, index=volatility.index).astype("datetime64[us]"),
            "symbol": volatility.index.astype("str"),
            "score": z,
            "volatility": volatility,
            "alpha": alpha,
            "expected_return": settings.premium_annual * horizon / SESSIONS_A_YEAR + alpha,
            "error": volatility * spread,
        }
    )
    return Forecast.check(table)


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
    volatility = horizon_volatility(panel, horizon)
    if model is None:
        return forecast(session, volatility, None, 0.0, np.inf, settings, horizon)
    score = model.score(matrix)
    return forecast(session, volatility, score, model.ic, model.ic_error, settings, horizon)
