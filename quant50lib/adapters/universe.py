"""The desk's names: the packaged universe, or the user's own CSV in its place."""

from __future__ import annotations

import re
from importlib import resources
from pathlib import Path

import pandas as pd

from quant50lib.contracts import SYMBOL
from quant50lib.errors import SettingsError
from quant50lib.settings import UniverseSettings

COLUMNS = ("symbol", "name", "sector", "kind")
KINDS = ("stock", "etf")


def load(path: Path | None = None, benchmark: str = UniverseSettings().benchmark) -> pd.DataFrame:
    """The universe, sorted by symbol; the packaged one where `path` is None.

    Returns
    -------
    DataFrame, shape (n_symbols, 4)
        Text columns symbol, name, sector (the group under one sector cap), kind (stock or etf).

    Raises
    ------
    SettingsError
        The file is missing or unreadable, lacks a column or the benchmark, or has a row that
        cannot be; all bad rows are named at once.
    """
    where = str(path) if path else "the packaged universe"
    frame = _read(path, where)
    missing = [c for c in COLUMNS if c not in frame.columns]
    if missing:
        raise SettingsError(f"{where} lacks {missing}; its columns must be {','.join(COLUMNS)}")
    frame = frame[list(COLUMNS)].apply(lambda column: column.str.strip())
    complaints = _complaints(frame, benchmark)
    if complaints:
        raise SettingsError(f"{where}: " + "; ".join(complaints))
    return frame.sort_values("symbol", ignore_index=True)


def _read(path: Path | None, where: str) -> pd.DataFrame:
    source = path if path else resources.files("quant50lib") / "universe.csv"
    try:
        with source.open("r", encoding="utf-8-sig") as lines:
            # "NA" is a ticker, not a gap
            return pd.read_csv(lines, dtype="str", keep_default_na=False)
    except (OSError, UnicodeDecodeError, pd.errors.ParserError, pd.errors.EmptyDataError) as error:
        raise SettingsError(f"{where} cannot be read as a CSV (universe.file): {error}") from error


def _complaints(frame: pd.DataFrame, benchmark: str) -> list[str]:
    """Everything wrong with the rows, in words."""
    symbols = frame["symbol"]
    checks = {
        "not a symbol (class shares take a dot, BRK.B)": symbols[
            ~symbols.map(lambda text: bool(re.fullmatch(SYMBOL, text)))
        ],
        "more than once": symbols[symbols.duplicated()],
        f"kind is not one of {', '.join(KINDS)}": symbols[~frame["kind"].isin(KINDS)],
        "without a name": symbols[frame["name"] == ""],
        "without a sector": symbols[frame["sector"] == ""],
    }
    found = [f"{what}: {', '.join(bad.head(8))}" for what, bad in checks.items() if len(bad)]
    if benchmark not in set(symbols):
        found.append(f"the benchmark {benchmark} (universe.benchmark) is not in it: add its row")
    return found
