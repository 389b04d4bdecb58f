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
    scaled = returns - weights @ returns
    scaled *= np.sqrt(weights)[:, None]
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
    scaled *= np.sqrt(1 - shrinkage)
    return shrinkage, scaled, float(shrinkage * mean_variance)


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
    symbols = panel.symbols[_known(_window(panel, settings), settings)]
    return symbols if symbols.is_monotonic_increasing else symbols.sort_values()


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
        A symbol has too short a history, or all have; or the feedback is not a positive number.
    """
    wanted, past = pd.Index(symbols), history(panel, settings)
    return model_at(past, panel.symbols.get_indexer(wanted), wanted, settings, horizon, feedback)


@dataclass(frozen=True)
class History:
    """Daily total returns up to a close, for all risk models of that close to share."""

    returns: np.ndarray  # (n_sessions, n_symbols) in the order of the panel; missing: NaN
    known: np.ndarray  # (n_symbols,) bool: returns enough for a risk
    market: np.ndarray  # (n_sessions,) mean of the known; NaN where nothing is


def history(panel: Panel, settings: OptimizeSettings) -> History:
    """The window that `risk_model` looks at."""
    return history_of(panel.close.to_numpy(dtype=float), settings)


def history_of(closes: np.ndarray, settings: OptimizeSettings) -> History:
    """`history` of total-return closes, (n_sessions, n_symbols)."""
    window = _returns(closes, settings)
    known = _known(window, settings)
    return History(window, known, _mean_known(window if known.all() else window[:, known]))


def model_at(
    past: History,
    at: np.ndarray,
    symbols: pd.Index,
    settings: OptimizeSettings,
    horizon: int,
    feedback: float = 1.0,
) -> Risk:
    """`risk_model` for names by their columns in the history, (n_symbols,) int; -1: in no column."""
    if not (np.isfinite(feedback) and feedback > 0):
        raise OptimizationError(f"feedback is {feedback}; it must be a positive number")
    short = (at < 0) | ~past.known[at]
    if short.any():
        raise OptimizationError(
            f"too short a history for a risk forecast: {', '.join(map(str, symbols[short][:8]))}; "
            "take the symbols from covariance.eligible"
        )
    if not past.known.any():
        raise OptimizationError(
            f"no name has returns enough in the last {len(past.returns)} sessions for a risk "
            f"forecast over {settings.covariance_sessions}: fetch more history "
            "(data.history_years), or shorten optimize.covariance_sessions"
        )
    returns = _filled(past.returns[:, at], past.market)
    _, factors, diagonal = ledoit_wolf(returns, settings.covariance_half_life_sessions)
    level = _fast_scale(past.market, settings) if settings.fast_scale else 1.0
    scale = feedback**2 * horizon * level
    factors *= np.sqrt(scale)
    return Risk(symbols, factors, np.full(len(at), scale * diagonal), horizon)


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
    return _fast_scale(market.to_numpy(dtype=float), settings)


def _fast_scale(market: np.ndarray, settings: OptimizeSettings) -> float:
    known = market[~np.isnan(market)]
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
    complete = _filled(returns.to_numpy(dtype=float), market.to_numpy(dtype=float))
    return pd.DataFrame(complete, index=returns.index, columns=returns.columns)


def _filled(returns: np.ndarray, market: np.ndarray) -> np.ndarray:
    """The same for arrays, (n_sessions, n_symbols) and (n_sessions,)."""
    missing = np.isnan(returns)
    gaps = np.flatnonzero(missing.any(axis=0))
    if len(gaps):
        returns = returns.copy()
        returns[:, gaps] = _market_model(returns[:, gaps], ~missing[:, gaps], np.nan_to_num(market))
    return returns


def _market_model(own: np.ndarray, known: np.ndarray, market: np.ndarray) -> np.ndarray:
    """beta x market + stretched residuals, (n_sessions, n_symbols), by the returns `known`."""
    with np.errstate(divide="ignore", invalid="ignore"):
        count = known.sum(axis=0)
        level = market[:, None]
        x = np.where(known, level - np.where(known, level, 0.0).sum(axis=0) / count, 0.0)
        y = np.where(known, own - np.where(known, own, 0.0).sum(axis=0) / count, 0.0)
        square = (x * x).sum(axis=0)
        beta = np.where(square > 0, (x * y).sum(axis=0) / square, 0.0)
        return beta * level + np.sqrt(len(own) / count) * (y - beta * x)


def _window(panel: Panel, settings: OptimizeSettings) -> np.ndarray:
    """Daily total returns, (n_sessions, n_symbols), the last `covariance_sessions`; a gap makes two
    missing returns."""
    return _returns(panel.close.to_numpy(dtype=float), settings)


def _returns(closes: np.ndarray, settings: OptimizeSettings) -> np.ndarray:
    prices = closes[-settings.covariance_sessions - 1 :]
    returns = prices[1:] / prices[:-1]
    returns -= 1
    return returns


def _known(window: np.ndarray, settings: OptimizeSettings) -> np.ndarray:
    """Which columns have returns enough, (n_symbols,) bool."""
    count = len(window) - np.isnan(window).sum(axis=0)
    return count >= HISTORY_MIN * settings.covariance_sessions


def _mean_known(returns: np.ndarray) -> np.ndarray:
    """The mean of what is known in each session, (n_sessions,); missing where nothing is."""
    total, count = returns.sum(axis=1), np.full(len(returns), returns.shape[1])
    gaps = np.isnan(total)
    if gaps.any():
        missing = np.isnan(returns[gaps])
        count[gaps] -= missing.sum(axis=1)
        total[gaps] = np.where(missing, 0.0, returns[gaps]).sum(axis=1)
    return np.divide(total, count, out=np.full(len(returns), np.nan), where=count > 0)
