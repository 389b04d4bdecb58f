"""Small random inputs for tests; every one is a function of its seed."""

from __future__ import annotations

import numpy as np
import pandas as pd

from quant50lib.services.panel import Panel
from quant50lib.utils import dates

SECTORS = ("Energy", "Health Care", "Information Technology", "Utilities")


def symbols(n: int) -> list[str]:
    """`n` symbols in alphabetical order, the benchmark SPY among them."""
    letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
    names = [f"{a}{b}{c}" for a in letters for b in letters for c in letters]
    step = max(1, len(names) // max(n, 1))
    return sorted([*[s for s in names[::step] if s != "SPY"][: n - 1], "SPY"])


def panel(
    n_symbols: int = 12, n_sessions: int = 320, seed: int = 0, last: str = "2024-06-28"
) -> Panel:
    """A random walk with a market factor; no action, so traded and adjusted prices agree."""
    rng = np.random.default_rng(seed)
    index = dates.sessions_between("2000-01-03", last)[-n_sessions:]
    names = symbols(n_symbols)
    market = rng.normal(3e-4, 8e-3, (n_sessions, 1))
    own = rng.normal(0, 1.2e-2, (n_sessions, n_symbols))
    own[:, names.index("SPY")] *= 0.05
    close = 50 * np.exp(np.cumsum(market + own, axis=0)) * rng.uniform(0.5, 3, n_symbols)
    gap = np.exp(rng.normal(0, 3e-3, close.shape))
    opening = np.vstack([close[:1], close[:-1]]) * gap
    high = np.maximum(opening, close) * np.exp(np.abs(rng.normal(0, 3e-3, close.shape)))
    low = np.minimum(opening, close) * np.exp(-np.abs(rng.normal(0, 3e-3, close.shape)))
    volume = np.round(rng.lognormal(14, 0.5, close.shape))
    frame = lambda values: pd.DataFrame(values, index=index, columns=names)  # noqa: E731
    return Panel(
        open=frame(opening),
        high=frame(high),
        low=frame(low),
        close=frame(close),
        volume=frame(volume),
        traded_close=frame(close),
        dollar_volume=frame(close * volume),
    )
