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
        if symbols is self.symbols:
            return self
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
        values = weights.to_numpy(dtype=float)
        if weights.index is self.symbols:
            return values
        at = self.symbols.get_indexer(weights.index)
        unknown = weights.index[(at < 0) & (values != 0)]
        if len(unknown):
            raise OptimizationError(f"no risk forecast for {', '.join(map(str, unknown))}")
        aligned = np.zeros(len(self.symbols))
        aligned[at[at >= 0]] = values[at >= 0]
        return aligned


def ledoit_wolf(
    returns: np.ndarray, half_life_sessions: float | None = None
) -> tuple[float, np.ndarray, float]:
    """Ledoit and Wolf's shrinkage towards a scaled identity, in factor form.

    Parameters
    ----------
    returns : array, (n_sessions, n_symbols)
        Finite, the newest last; centred here.
    half_life_sessions : float, optional
        A session so much older counts half. None: all count the same.

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
    two Gram matrices, so that 252 sessions of 3,000 names cost a 252 x 252 product. With weights
    w that sum to 1, the error of the sample covariance S is the sum of ``w_t^2 ||x_t x_t' - S||^2``,
    their equation for ``w_t = 1/n`` and independent sessions.
    """
    weights = session_weights(len(returns), half_life_sessions)
    scaled = np.sqrt(weights)[:, None] * (returns - weights @ returns)
    n, p = scaled.shape
    own = np.einsum("ij,ij->i", scaled, scaled)
    gram = scaled @ scaled.T if n < p else scaled.T @ scaled
    mean_variance = own.sum() / p
    norm = np.einsum("ij,ij->", gram, gram)
    # w_t^2 x_t' S x_t, from either Gram matrix
    across = (
        np.einsum("ij,ij->i", gram, gram) if n < p else np.einsum("ij,ij->i", scaled @ gram, scaled)
    )
    noise = own @ own - 2 * weights @ across + norm * (weights @ weights)
    distance = norm - p * mean_variance**2
    shrinkage = float(min(noise, distance) / distance) if distance > 0 else 0.0
    return shrinkage, np.sqrt(1 - shrinkage) * scaled, float(shrinkage * mean_variance)


def session_weights(n_sessions: int, half_life_sessions: float | None) -> np.ndarray:
    """What each session of a window counts, (n_sessions,), the newest last; they sum to 1."""
    if half_life_sessions is None:
        return np.full(n_sessions, 1 / n_sessions)
    weights = 0.5 ** (np.arange(n_sessions)[::-1] / half_life_sessions)
    return weights / weights.sum()


def eligible(panel: Panel, settings: OptimizeSettings) -> pd.Index:
    """Symbols with a return in at least 80 % of the covariance window, in alphabetical order.

    A younger name is left out of the universe of the day: its risk would be a guess.
    """
    return panel.symbols[_known(_window(panel, settings), settings)].sort_values()


def risk_model(
    panel: Panel,
    symbols: pd.Index | list[str],
    settings: OptimizeSettings,
    horizon: int,
    feedback: float = 1.0,
) -> Risk:
    """The covariance of returns over the horizon, as forecast at the panel's last close.

    Shape: Ledoit-Wolf over `covariance_sessions` daily total returns, weighted by
    `covariance_half_life_sessions` if that is set. Level: with `fast_scale`, the exponentially
    weighted variance of the equal-weight universe over its variance in the window; times
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
    wanted, window = pd.Index(symbols), _window(panel, settings)
    known, at = _known(window, settings), panel.symbols.get_indexer(wanted)
    short = wanted[(at < 0) | ~known[at]]
    if len(short):
        raise OptimizationError(
            f"too short a history for a risk forecast: {', '.join(map(str, short[:8]))}; "
            "take the symbols from covariance.eligible"
        )
    market = _mean_known(window[:, known])
    returns = _filled(window[:, at], market)
    _, factors, diagonal = ledoit_wolf(returns, settings.covariance_half_life_sessions)
    level = fast_scale(pd.Series(market), settings) if settings.fast_scale else 1.0
    scale = feedback**2 * horizon * level
    return Risk(
        symbols=wanted,
        factors=np.sqrt(scale) * factors,
        diagonal=np.full(len(wanted), scale * diagonal),
        horizon_sessions=horizon,
    )


def fast_scale(market: pd.Series, settings: OptimizeSettings) -> float:
    """Variance of the market now over its variance in the window, `fast_scale_min` at least.

    By default it only raises the forecast. On real bars a book's variance falls with about the root
    of the market's in a calm, and rises by more than in proportion in a storm: scaled both ways, the
    forecast was too low after every calm (benchmarks/risk_forecast.py). What a calm is worth is left
    to the book's own surprises (`risk.feedback`).

    Parameters
    ----------
    market : Series, (n_sessions,)
        Daily returns of the equal-weight universe. Now: squared deviations weighted by
        exp(-age / `fast_scale_sessions`); in the window: as `covariance_half_life_sessions` has it.
    """
    known = market.dropna().to_numpy()
    shape = session_weights(len(known), settings.covariance_half_life_sessions)
    squares = (known - shape @ known) ** 2
    weights = np.exp(-np.arange(len(squares))[::-1] / settings.fast_scale_sessions)
    slow = shape @ squares
    now = float(weights @ squares / weights.sum())
    return max(settings.fast_scale_min, now / slow) if slow > 0 else 1.0


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


def _filled(returns: np.ndarray, market: np.ndarray) -> np.ndarray:
    """The same for arrays, (n_sessions, n_symbols) and (n_sessions,)."""
    gaps = np.flatnonzero(np.isnan(returns).any(axis=0))
    if len(gaps):
        returns = returns.copy()
        returns[:, gaps] = filled(pd.DataFrame(returns[:, gaps]), pd.Series(market)).to_numpy()
    return returns


def _window(panel: Panel, settings: OptimizeSettings) -> np.ndarray:
    """Daily total returns, (n_sessions, n_symbols), the last `covariance_sessions`; a gap makes two
    missing returns."""
    prices = panel.close.iloc[-settings.covariance_sessions - 1 :].to_numpy(dtype=float)
    return prices[1:] / prices[:-1] - 1


def _known(window: np.ndarray, settings: OptimizeSettings) -> np.ndarray:
    """Which columns have returns enough, (n_symbols,) bool."""
    count = len(window) - np.isnan(window).sum(axis=0)
    return count >= HISTORY_MIN * settings.covariance_sessions


def _mean_known(returns: np.ndarray) -> np.ndarray:
    """The mean of what is known in each session, (n_sessions,); missing where nothing is."""
    missing = np.isnan(returns)
    count = returns.shape[1] - missing.sum(axis=1)
    total = np.where(missing, 0.0, returns).sum(axis=1)
    return np.divide(total, count, out=np.full(len(returns), np.nan), where=count > 0)
