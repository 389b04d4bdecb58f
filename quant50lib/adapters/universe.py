"""The desk's names, when each was a member, and the tickers under which it has stood.

Three CSVs, each read strictly, each error naming file and line:

    universe.file         symbol, name, sector, kind and, optionally, first, last
    universe.membership   symbol, first, last (or start_date, end_date); a symbol may come repeatedly
    universe.renames      symbol, later_symbol and, optionally, date

Without a membership file the columns first and last of the universe count, and without these every
name has always been a member. Empty ends are open; both ends are included.
"""

from __future__ import annotations

import re
from importlib import resources
from pathlib import Path

import pandas as pd

from quant50lib.adapters.store import Store
from quant50lib.contracts import SYMBOL
from quant50lib.errors import SettingsError
from quant50lib.services import universe
from quant50lib.settings import UniverseSettings

COLUMNS = ("symbol", "name", "sector", "kind")
KINDS = ("stock", "etf")
ENDS = ("first", "last")
OTHER_ENDS = {"start_date": "first", "end_date": "last"}
#: the header is line 1
FIRST_LINE = 2


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
        cannot be; all bad rows are named at once, with their lines.
    """
    frame = _names(path, benchmark)
    return frame[list(COLUMNS)].sort_values("symbol", ignore_index=True)


def membership(
    settings: UniverseSettings, names: pd.DataFrame, changed: pd.DataFrame
) -> pd.DataFrame:
    """When each of the names was a member: symbol, first, last, both ends included.

    Parameters
    ----------
    names : DataFrame
        The universe under its present tickers: symbol, kind.
    changed : DataFrame
        Changes of name that the market has told of, beside those of `universe.renames`.

    Raises
    ------
    SettingsError
        A file cannot be read or has a row that cannot be; or no stock of the universe is in the
        membership file.
    """
    told = _told(settings)
    if told is None:
        return universe.intervals((symbol, pd.NaT, pd.NaT) for symbol in names["symbol"])
    renamed = pd.concat([_renames(settings.renames), changed], ignore_index=True)
    found = universe.of_names(names, told, renamed)
    stocks = names.loc[names["kind"] == "stock", "symbol"]
    if len(stocks) and not stocks.isin(found["symbol"]).any():
        raise SettingsError(
            f"no stock of the universe ({', '.join(stocks.head(4))} …) is in "
            f"{settings.membership or settings.file}: name the file of its index in "
            "universe.membership"
        )
    return found


def of_session(
    settings: UniverseSettings, store: Store, run_date: pd.Timestamp, known_at: pd.Timestamp | None
) -> pd.DataFrame:
    """The desk's names under the tickers of a session: symbol, name, sector, kind."""
    names = load(settings.file, settings.benchmark)
    return universe.under_present_names(names, changes_of_name(store, run_date, known_at))


def tickers(
    store: Store, symbols: list[str], run_date: pd.Timestamp, known_at: pd.Timestamp | None
) -> list[str]:
    """The tickers of names at a session, sorted."""
    changed = changes_of_name(store, run_date, known_at)
    return universe.under_present_names(pd.DataFrame({"symbol": symbols}), changed)[
        "symbol"
    ].tolist()


def changes_of_name(
    store: Store, run_date: pd.Timestamp, known_at: pd.Timestamp | None
) -> pd.DataFrame:
    """Changes of name up to a session, as they were known at an instant: old, new, day."""
    actions = store.actions_asof(run_date, known_at)
    changes = actions[actions["type"] == universe.NAME_CHANGE]
    if changes.empty:
        return universe.renames([])
    return universe.changes_of_name(changes, store.newest_sessions(run_date, known_at))


# ---- the files -----------------------------------------------------------------------------------


def _names(path: Path | None, benchmark: str) -> pd.DataFrame:
    where = str(path) if path else "the packaged universe"
    frame = _read(path, where, "universe.file")
    _require(frame, COLUMNS, where)
    complaints = _complaints(frame, benchmark)
    if complaints:
        raise SettingsError(f"{where}: " + "; ".join(complaints))
    return frame


def _told(settings: UniverseSettings) -> pd.DataFrame | None:
    """The intervals as a file tells them; None where no file does."""
    if settings.membership is not None:
        where = str(settings.membership)
        frame = _read(settings.membership, where, "universe.membership")
        frame = frame.rename(columns=OTHER_ENDS)
        _require(frame, ("symbol", *ENDS), where)
    else:
        where = str(settings.file)
        frame = _names(settings.file, settings.benchmark).rename(columns=OTHER_ENDS)
        if not {*ENDS} & {*frame.columns}:
            return None
        frame = frame.reindex(columns=["symbol", *ENDS], fill_value="")
    return _intervals(frame, where)


def _intervals(frame: pd.DataFrame, where: str) -> pd.DataFrame:
    ends = {name: _days(frame[name]) for name in ENDS}
    checks = {NO_SYMBOL: frame["symbol"][~_are_symbols(frame["symbol"])]}
    for name, days in ends.items():
        checks[f"{name} is no date (YYYY-MM-DD)"] = frame[name][days.isna() & (frame[name] != "")]
    checks["last before first"] = frame["symbol"][ends["last"] < ends["first"]]
    order = pd.DataFrame({"symbol": frame["symbol"], **ends})
    order = order.sort_values(["symbol", "first"], na_position="first")
    before = order.groupby("symbol")["last"].shift()
    follows = order["symbol"].duplicated()
    overlapping = follows & ~(order["first"] > before)
    checks["begins before its interval before has ended"] = order["symbol"][overlapping]
    complaints = _words(checks)
    if complaints:
        raise SettingsError(f"{where}: " + "; ".join(complaints))
    return frame[["symbol"]].assign(**ends).astype(universe.INTERVALS)


def _renames(path: Path | None) -> pd.DataFrame:
    if path is None:
        return universe.renames([])
    frame = _read(path, str(path), "universe.renames")
    _require(frame, ("symbol", "later_symbol"), str(path))
    told = frame["date"] if "date" in frame else pd.Series("", index=frame.index, dtype="str")
    days, symbols = _days(told), frame["symbol"]
    checks = {
        NO_SYMBOL: symbols[~_are_symbols(symbols) | ~_are_symbols(frame["later_symbol"])],
        "date is no date (YYYY-MM-DD)": told[days.isna() & (told != "")],
        "renamed to itself": symbols[symbols == frame["later_symbol"]],
        "more than once": symbols[symbols.duplicated()],
    }
    complaints = _words(checks)
    if complaints:
        raise SettingsError(f"{path}: " + "; ".join(complaints))
    return universe.renames(zip(symbols, frame["later_symbol"], days, strict=True))


NO_SYMBOL = "not a symbol (class shares take a dot, BRK.B)"


def _read(path: Path | None, where: str, setting: str) -> pd.DataFrame:
    source = path if path else resources.files("quant50lib") / "universe.csv"
    try:
        with source.open("r", encoding="utf-8-sig") as lines:
            # "NA" is a ticker, not a gap
            frame = pd.read_csv(lines, dtype="str", keep_default_na=False, skip_blank_lines=False)
    except (OSError, UnicodeDecodeError, pd.errors.ParserError, pd.errors.EmptyDataError) as error:
        raise SettingsError(f"{where} cannot be read as a CSV ({setting}): {error}") from error
    frame = frame.apply(lambda column: column.fillna("").str.strip())
    return frame[(frame != "").any(axis=1)]


def _require(frame: pd.DataFrame, columns: tuple[str, ...], where: str) -> None:
    missing = [c for c in columns if c not in frame.columns]
    if missing:
        raise SettingsError(f"{where} lacks {missing}; its columns must be {','.join(columns)}")


def _complaints(frame: pd.DataFrame, benchmark: str) -> list[str]:
    """Everything wrong with the rows of a universe, in words."""
    symbols = frame["symbol"]
    checks = {
        NO_SYMBOL: symbols[~_are_symbols(symbols)],
        "more than once": symbols[symbols.duplicated()],
        f"kind is not one of {', '.join(KINDS)}": symbols[~frame["kind"].isin(KINDS)],
        "without a name": symbols[frame["name"] == ""],
        "without a sector": symbols[frame["sector"] == ""],
    }
    found = _words(checks)
    if benchmark not in set(symbols):
        found.append(f"the benchmark {benchmark} (universe.benchmark) is not in it: add its row")
    return found


def _words(checks: dict[str, pd.Series]) -> list[str]:
    """What is wrong, with the values and lines that it is wrong with."""
    return [
        f"{what}: "
        + ", ".join(f"{value} (line {line + FIRST_LINE})" for line, value in bad.head(8).items())
        for what, bad in checks.items()
        if len(bad)
    ]


def _are_symbols(texts: pd.Series) -> pd.Series:
    return texts.map(lambda text: bool(re.fullmatch(SYMBOL, text)))


def _days(texts: pd.Series) -> pd.Series:
    """Dates of texts; NaT for what is none."""
    days = pd.to_datetime(texts, format="%Y-%m-%d", errors="coerce")
    return days.astype("datetime64[us]")
