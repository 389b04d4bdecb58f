"""The risk forecast: a slow shape, a fast scale, and the book's own surprises.

The covariance over the horizon is kept in factor form, ``F'F + diag(d)``, in which Ledoit-Wolf is
born: F is the centred window of returns, d the shrinkage target. No n x n matrix is needed to
estimate it, nor to ask for the variance of a book.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from quant50lib.errors import OptimizationError
from quant50lib.services.panel import Panel
from quant50lib.settings import OptimizeSettings

SESSIONS_PER_YEAR = 252
#: share of the window in which a name must have a return, or its risk is not estimated
HISTORY_MIN = 0.8


@dataclass(frozen=True)
class Risk:
    """Covariance of returns over the horizon, ``factors' factors + diag(diagonal)``.

    `factors` has shape (k, n_symbols), `diagonal` (n_symbols,), in the order of `symbols`.
    """

    symbols: pd.Index
    factors: np.ndarray
    diagonal: np.ndarray
    horizon_sessions: int

    def matrix(self) -> pd.DataFrame:
        """The dense covariance, (n_symbols, n_symbols)."""
        dense = self.factors.T @ self.factors + np.diag(self.diagonal)
        return pd.DataFrame(dense, index=self.symbols, columns=self.symbols)

    def only(self, symbols: pd.Index | list[str]) -> Risk:
        """The covariance of some of the symbols, in the order given."""
        at = self.symbols.get_indexer(symbols)
        if (at < 0).any():
            missing = [s for s, i in zip(symbols, at, strict=True) if i < 0]
            raise OptimizationError(f"no risk forecast for {', '.join(map(str, missing))}")
        return replace(
            self,
            symbols=self.symbols[at],
            factors=self.factors[:, at],
            diagonal=self.diagonal[at],
        )

    def variance(self, weights: pd.Series) -> float:
        """Variance of a book over the horizon; `weights` by symbol, absent ones are zero."""
        w = self._aligned(weights)
        return float(np.sum((self.factors @ w) ** 2) + self.diagonal @ w**2)

    def volatility_annual(self, weights: pd.Series) -> float:
        """Ex-ante volatility of a book, a year of 252 sessions."""
        return float(np.sqrt(self.variance(weights) * SESSIONS_PER_YEAR / self.horizon_sessions))

    def shares(self, weights: pd.Series) -> pd.Series:
        """Share of each symbol in the book's variance; they sum to 1, or are 0 for no book."""
        w = self._aligned(weights)
        marginal = self.factors.T @ (self.factors @ w) + self.diagonal * w
        total = w @ marginal
        return pd.Series(w * marginal / total if total > 0 else 0.0 * w, index=self.symbols)

    def _aligned(self, weights: pd.Series) -> np.ndarray:
        owned = weights[weights != 0]
        unknown = owned.index.difference(self.symbols)
        if len(unknown):
            raise OptimizationError(f"no risk forecast for {', '.join(map(str, unknown))}")
        return owned.reindex(self.symbols, fill_value=0.0).to_numpy(dtype=float)


def ledoit_wolf(returns: np.ndarray) -> tuple[float, np.ndarray, float]:
    """Ledoit and Wolf's shrinkage towards a scaled identity, in factor form.

    Parameters
    ----------
    returns : array, (n_sessions, n_symbols)
        Finite; centred here.

    Returns
    -------
    shrinkage : float
        0 (sample covariance) to 1 (identity times the mean variance).
    factors : array, (n_sessions, n_symbols)
    diagonal : float
        ``factors' factors + diagonal * I`` is the estimate.

    Notes
    -----
    O. Ledoit and M. Wolf, "A well-conditioned estimator for large-dimensional covariance
    matrices", Journal of Multivariate Analysis 88 (2004). The norms come from the smaller of the
    two Gram matrices, so that 252 sessions of 3,000 names cost a 252 x 252 product.
    """
    centred = returns - returns.mean(axis=0)
    n, p = centred.shape
    squares = np.einsum("ij,ij->i", centred, centred)
    gram = centred @ centred.T if n < p else centred.T @ centred
    mean_variance = squares.sum() / (n * p)
    norm = np.einsum("ij,ij->", gram, gram) / n**2
    noise = (squares @ squares / n - norm) / n
    distance = norm - p * mean_variance**2
    shrinkage = float(min(noise, distance) / distance) if distance > 0 else 0.0
    return shrinkage, np.sqrt((1 - shrinkage) / n) * centred, float(shrinkage * mean_variance)


def eligible(panel: Panel, settings: OptimizeSettings) -> pd.Index:
    """Symbols with a return in at least 80 % of the covariance window, in alphabetical order.

    A younger name is left out of the universe of the day: its risk would be a guess.
    """
    known = _window(panel, settings).notna().sum()
    return known.index[known >= HISTORY_MIN * settings.covariance_sessions].sort_values()


def risk_model(
    panel: Panel,
    symbols: pd.Index | list[str],
    settings: OptimizeSettings,
    horizon: int,
    feedback: float = 1.0,
) -> Risk:
    """The covariance of returns over the horizon, as forecast at the panel's last close.

    Shape: Ledoit-Wolf over `covariance_sessions` daily total returns. Level: the exponentially
    weighted variance of the equal-weight universe over its variance in the window, times
    ``feedback**2``, the book's own realised over ex-ante variance. The universe is every eligible
    name of the panel, whichever symbols are asked for.

    Parameters
    ----------
    symbols : (n_symbols,)
        Each must be `eligible`. Gaps are filled by the market model (see `filled`).
    horizon : int
        Sessions over which the covariance is wanted; returns are taken as uncorrelated in time.
    feedback : float
        Realised over ex-ante volatility, from `risk.feedback`.

    Raises
    ------
    OptimizationError
        A symbol has too short a history, or the feedback is not a positive number.
    """
    if not (np.isfinite(feedback) and feedback > 0):
        raise OptimizationError(f"feedback is {feedback}; it must be a positive number")
    known = eligible(panel, settings)
    short = pd.Index(symbols).difference(known)
    if len(short):
        raise OptimizationError(
            f"too short a history for a risk forecast: {', '.join(map(str, short[:8]))}; "
            "take the symbols from covariance.eligible"
        )
    universe = _window(panel, settings)[list(known)]
    market = universe.mean(axis=1)
    _, factors, diagonal = ledoit_wolf(filled(universe[list(symbols)], market).to_numpy())
    scale = feedback**2 * horizon * fast_scale(market, settings)
    return Risk(
        symbols=pd.Index(symbols),
        factors=np.sqrt(scale) * factors,
        diagonal=np.full(len(symbols), scale * diagonal),
        horizon_sessions=horizon,
    )


def fast_scale(market: pd.Series, settings: OptimizeSettings) -> float:
    """Variance of the market now over its variance in the window.

    Parameters
    ----------
    market : Series, (n_sessions,)
        Daily returns of the equal-weight universe. Now: squared deviations weighted by
        exp(-age / `fast_scale_sessions`).
    """
    known = market.dropna().to_numpy()
    squares = (known - known.mean()) ** 2
    weights = np.exp(-np.arange(len(squares))[::-1] / settings.fast_scale_sessions)
    slow = squares.mean()
    return float(weights @ squares / weights.sum() / slow) if slow > 0 else 1.0


def filled(returns: pd.DataFrame, market: pd.Series) -> pd.DataFrame:
    """Returns without gaps: a missing one is what the market model says, beta x market.

    A zero would lower both variance and correlation of exactly the names we know least. The
    residuals that are known are stretched by sqrt(n_sessions / n_known), so that the gaps lower
    neither: the variance stays ``beta^2 var(market) + mean of known squared residuals``.
    """
    complete, level = returns.copy(), market.fillna(0.0)
    for symbol in returns.columns[returns.isna().any()]:
        complete[symbol] = _market_model(returns[symbol], level)
    return complete


def _market_model(own: pd.Series, market: pd.Series) -> pd.Series:
    known = own.notna()
    x, y = market[known] - market[known].mean(), own[known] - own[known].mean()
    beta = float(x @ y / (x @ x)) if x @ x > 0 else 0.0
    residual = (y - beta * x).reindex(own.index, fill_value=0.0)
    return beta * market + np.sqrt(len(own) / known.sum()) * residual


def _window(panel: Panel, settings: OptimizeSettings) -> pd.DataFrame:
    """Daily total returns, the last `covariance_sessions`; a gap makes two missing returns."""
    prices = panel.close.iloc[-settings.covariance_sessions - 1 :]
    return prices.pct_change(fill_method=None).iloc[1:]
