"""Quant50: the daily desk of a 50-asset quantitative portfolio.

Read `contracts` first: it declares every table and every stage. A stage notebook reads tables,
calls pure functions of `services`, and writes tables; `pipeline` runs the notebooks and seals what
they did; `adapters` touch the world. Research begins with `open_market`.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from quant50lib.adapters.reading import Market

__version__ = "0.1.0"


def open_market(path: Path | str | None = None) -> Market:
    """The desk's bars and corporate actions, read only, on a snapshot that stays as it is.

    Parameters
    ----------
    path : Path, optional
        A store; None: the one of the desk's home (QUANT50_HOME).

    Examples
    --------
    >>> with open_market() as market:                                           # doctest: +SKIP
    ...     panel = market.panel("2026-11-20", sessions=252)    # adjusted as of that session
    ...     frame = market.sql("SELECT symbol, count(*) AS n FROM bars GROUP BY symbol")

    Raises
    ------
    SettingsError
        There is no store yet, or a writer keeps it for too long.
    """
    from quant50lib.adapters.reading import Market  # it brings DuckDB and pandas
    from quant50lib.utils import config

    home = config.home()
    waits = config.load(home).data.store_wait_seconds
    return Market(Path(path).expanduser() if path else home.store, waits)
