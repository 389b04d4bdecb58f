"""What trades in the twin and at what prices: the interface, and a market read from Parquet.

Prices are raw, as traded on the day; a split shows as a jump and stands among the actions.
"""

from __future__ import annotations

import csv
import datetime as dt
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from quant50lib.errors import ContractError, SettingsError

COLUMNS = ("symbol", "date", "open", "high", "low", "close", "volume")
PRICES = ("open", "high", "low", "close")

Kind = Literal["stock", "etf"]
ActionKind = Literal[
    "forward_split",
    "reverse_split",
    "unit_split",
    "stock_dividend",
    "cash_dividend",
    "spin_off",
    "cash_merger",
    "stock_merger",
    "stock_and_cash_merger",
    "name_change",
    "worthless_removal",
    "redemption",
    "rights_distribution",
    "partial_call",
    "reorganization",
]
#: after these the symbol is no longer traded: it is paid off, exchanged or called otherwise
ENDING = frozenset(
    "unit_split cash_merger stock_merger stock_and_cash_merger name_change worthless_removal "
    "redemption".split()
)


@dataclass(frozen=True)
class Listing:
    """A security: what it is called and which group it belongs to."""

    symbol: str
    name: str
    sector: str
    kind: Kind


@dataclass(frozen=True)
class Action:
    """A corporate action: `new` shares for `old`, `cash` US dollars a share, or both.

    The new shares are of the symbol itself (splits; a stock dividend of 5 % is 1.05 for 1) or of
    `other_symbol`: the new name, the company that was spun off, or the one that buys. `ex_date` is
    the day from whose 04:00 in New York it holds: the effective date of a merger, the process date
    of a change of name. `shown` are fields of the data service that do not follow from the others.
    """

    kind: ActionKind
    symbol: str
    ex_date: dt.date
    new: Decimal = Decimal(1)
    old: Decimal = Decimal(1)
    cash: Decimal = Decimal(0)
    special: bool = False
    other_symbol: str = ""
    shown: Mapping[str, Any] = field(default_factory=dict, compare=False)

    @property
    def is_split(self) -> bool:
        """Whether it multiplies the shares of the symbol itself by new / old."""
        return self.kind in ("forward_split", "reverse_split", "stock_dividend")

    @property
    def is_ending(self) -> bool:
        return self.kind in ENDING


@dataclass(frozen=True)
class Series:
    """Daily bars of one symbol, raw; arrays of equal length, in order of `day` (datetime64[D])."""

    day: np.ndarray
    open: np.ndarray
    high: np.ndarray
    low: np.ndarray
    close: np.ndarray
    volume: np.ndarray
    trades: np.ndarray
    vwap: np.ndarray


class Market(Protocol):
    """Prices and securities as a function of the session; knows nothing of a clock."""

    name: str  # "demo", or the path of the file
    identity: str  # tells two markets apart, whatever they are called
    simulated: bool  # whether prices are made up

    @property
    def first_day(self) -> dt.date: ...

    @property
    def last_day(self) -> dt.date | None:
        """The last session there will ever be bars for; None: without end."""

    def extend(self, day: dt.date) -> None:
        """Have all bars and actions up to that date ready; earlier ones never change."""

    def listings(self) -> dict[str, Listing]: ...

    def series(self, symbol: str) -> Series | None:
        """All bars so far made of a symbol, possibly past the date asked for."""

    def actions(self) -> list[Action]:
        """All actions so far made, by date and symbol."""


class NoMarket:
    """Nothing trades and nothing has a price but what the control plane sets (`--market none`)."""

    name = identity = "none"
    simulated = True
    first_day = dt.date(2016, 1, 4)  # where Alpaca's own history begins
    last_day = None

    def extend(self, day: dt.date) -> None:
        """Nothing to make."""

    def listings(self) -> dict[str, Listing]:
        return {}

    def series(self, symbol: str) -> Series | None:
        return None

    def actions(self) -> list[Action]:
        return []


def read_universe(path: Path) -> list[Listing]:
    """Listings from a CSV with the columns symbol, name, sector, kind.

    Raises
    ------
    SettingsError
        The file is missing, or a row does not fit; names file and line.
    """
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
    except OSError as error:
        raise SettingsError(f"the universe {path} cannot be read: {error.strerror}") from error
    found = [_listing(row, path, line) for line, row in enumerate(rows, start=2)]
    if not found or len({listing.symbol for listing in found}) < len(found):
        raise SettingsError(f"the universe {path} is empty or repeats a symbol; correct it")
    return found


def _listing(row: dict[str, str], path: Path, line: int) -> Listing:
    if not row.get("symbol") or row.get("kind") not in ("stock", "etf"):
        raise SettingsError(
            f"{path}, line {line}: a symbol and a kind (stock or etf) are needed, found {row}"
        )
    kind: Kind = "etf" if row["kind"] == "etf" else "stock"
    return Listing(row["symbol"], row.get("name") or row["symbol"], row.get("sector") or "", kind)


class FileMarket:
    """Real daily bars from a Parquet file: symbol, date, open, high, low, close, volume.

    Actions are read from a CSV with symbol, ex_date, type, ratio_new, ratio_old, cash_amount and
    already_in_prices; rows that the prices already contain are left out, and so are types that
    have neither a ratio nor an amount.

    Raises
    ------
    ContractError
        A file cannot be read, lacks a column, or repeats a symbol and date; names the file.
    """

    simulated = False

    def __init__(
        self,
        parquet: Path,
        actions_csv: Path | None = None,
        names: dict[str, Listing] | None = None,
    ) -> None:
        self.name = str(parquet.resolve())
        table = _read_bars(parquet)
        self._series = _split_by_symbol(table, parquet)
        self.identity = f"file {parquet.name} sha256={_digest(parquet)}"
        days = np.concatenate([series.day for series in self._series.values()])
        self._first, self._last = days.min().astype(object), days.max().astype(object)
        known = names or {}
        self._listings = {s: known.get(s, Listing(s, s, "", "stock")) for s in self._series}
        self._actions = _read_actions(actions_csv, self) if actions_csv else []
        if actions_csv:
            self.identity += f" actions={_digest(actions_csv)}"

    @property
    def first_day(self) -> dt.date:
        return self._first

    @property
    def last_day(self) -> dt.date:
        return self._last

    def extend(self, day: dt.date) -> None:
        """Nothing to do: a file holds what it holds."""

    def listings(self) -> dict[str, Listing]:
        return self._listings

    def series(self, symbol: str) -> Series | None:
        return self._series.get(symbol)

    def actions(self) -> list[Action]:
        return self._actions


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()[:12]


def _read_bars(path: Path) -> pa.Table:
    try:
        table = pq.read_table(path, columns=list(COLUMNS))
    except (OSError, pa.ArrowException) as error:
        raise ContractError(
            f"{path} cannot be read as Parquet with the columns {', '.join(COLUMNS)} "
            f"({str(error).splitlines()[0]}); give a whole file of daily bars"
        ) from error
    missing = [name for name in COLUMNS if name not in table.column_names]
    if missing or not table.num_rows:
        raise ContractError(f"{path} has no rows or lacks the columns {missing}")
    try:
        types = [pa.string(), pa.date32(), *[pa.float64()] * 4, pa.int64()]
        return table.select(COLUMNS).cast(pa.schema(list(zip(COLUMNS, types)))).combine_chunks()
    except pa.ArrowException as error:
        raise ContractError(f"{path}: a column has the wrong type: {error}") from error


def _split_by_symbol(table: pa.Table, path: Path) -> dict[str, Series]:
    nulls = [name for name in COLUMNS if table[name].null_count]
    if nulls:
        raise ContractError(f"{path}: missing values in the columns {nulls}")
    table = table.sort_by([("symbol", "ascending"), ("date", "ascending")])
    codes = pc.dictionary_encode(table["symbol"]).combine_chunks()
    index, names = codes.indices.to_numpy(), codes.dictionary.to_pylist()
    day = table["date"].to_numpy().astype("datetime64[D]")
    if ((index[1:] == index[:-1]) & (day[1:] == day[:-1])).any():
        raise ContractError(f"{path}: a symbol and date is repeated; keep one row of each")
    values = {name: table[name].to_numpy() for name in (*PRICES, "volume")}
    edges = [0, *np.flatnonzero(np.diff(index)) + 1, len(index)]
    return {
        names[index[a]]: _series(day[a:b], {k: v[a:b] for k, v in values.items()})
        for a, b in zip(edges[:-1], edges[1:])
    }


def _series(day: np.ndarray, values: dict[str, np.ndarray]) -> Series:
    """A file has neither trade counts nor volume-weighted prices: both are estimated."""
    typical = sum(values[name] for name in PRICES) / 4
    trades = np.maximum(values["volume"] // 120, np.minimum(values["volume"], 1))
    return Series(day, **values, trades=trades, vwap=np.round(typical, 4))


def _read_actions(path: Path, market: FileMarket) -> list[Action]:
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = [row for row in csv.DictReader(file) if row["already_in_prices"] == "no"]
        found = [action for row in rows if (action := _action(row))]
    except (OSError, KeyError, ValueError, ArithmeticError) as error:
        raise ContractError(f"{path} is not a table of corporate actions: {error!r}") from error
    inside = [a for a in found if market.first_day <= a.ex_date <= market.last_day]
    return sorted(inside, key=lambda action: (action.ex_date, action.symbol))


def _action(row: dict[str, str]) -> Action | None:
    day = dt.date.fromisoformat(row["ex_date"])
    if row["ratio_new"] and row["ratio_old"]:
        new, old = Decimal(row["ratio_new"]), Decimal(row["ratio_old"])
        kind: ActionKind = "forward_split" if new > old else "reverse_split"
        return Action(kind, row["symbol"], day, new=new, old=old)
    if row["cash_amount"]:
        special = row["type"] != "cash_dividend"
        amount = Decimal(row["cash_amount"])
        return Action("cash_dividend", row["symbol"], day, cash=amount, special=special)
    return None
