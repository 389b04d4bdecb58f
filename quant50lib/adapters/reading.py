"""The store for quants: `with quant50lib.open_market() as market: market.closes("2026-11-20")`.

Read-only, on a snapshot of the store (`adapters.snapshots`): what is read does not change while it is
open, however long that is, and no scheduled run ever waits for it.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, TypeAlias

import duckdb
import pandas as pd

from quant50lib.adapters import snapshots, universe
from quant50lib.adapters.store import Store
from quant50lib.adapters.store_rows import FIELDS
from quant50lib.errors import SettingsError
from quant50lib.services import adjust
from quant50lib.services import universe as names_of
from quant50lib.services.adjust import Raw
from quant50lib.services.panel import Panel
from quant50lib.utils import dates

Kind = Literal["pandas", "polars", "arrow"]
Day: TypeAlias = str | pd.Timestamp
#: no other file is read or written, and nothing of this can be switched off
LOCKED: dict[str, Any] = {"enable_external_access": "false", "lock_configuration": "true"}


class Snapshot(Store):
    """A store that is read over one connection, kept open; nothing can be written to it."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.connection = duckdb.connect(str(path), read_only=True, config=LOCKED)

    @contextmanager
    def opened(self, *, read_only: bool) -> Iterator[duckdb.DuckDBPyConnection]:
        if not read_only:
            raise SettingsError("a snapshot of the store is read only")
        with self.connection.cursor() as cursor:
            yield cursor


class Market:
    """What the store held when it was opened; a context manager. See `open_market`.

    Sessions may be given as text, YYYY-MM-DD. `known_at` is an instant (timezone-aware, or text in
    ISO 8601, UTC where it names no zone): what was learnt later is not seen. None: all that is known.
    """

    def __init__(self, path: Path, wait_seconds: float = 10.0) -> None:
        snapshot, self._held = snapshots.take(path, wait_seconds)
        self._store = Snapshot(snapshot)

    def sql(self, query: str, kind: Kind = "pandas") -> Any:
        """The answer to a query, as a frame of pandas or polars, or as an Arrow table.

        Tables: bars, actions, assets, checks (every row ever known, with known_at in UTC), ingests,
        meta; views bars_in_force, actions_in_force, assets_in_force (the newest word on each key).

        Raises
        ------
        SettingsError
            The query is wrong, or would write; polars is asked for and not installed.
        """
        if kind == "polars" and importlib.util.find_spec("polars") is None:
            raise SettingsError(
                "polars is not installed here: `.venv/bin/pip install polars`, or take pandas"
            )
        with self._store.opened(read_only=True) as cursor:
            try:
                found = cursor.sql(query)
                if found is None:
                    raise SettingsError(f"that asks for nothing: {query[:80]!r}; begin with SELECT")
                table = found.to_arrow_table()
            except duckdb.Error as error:
                if not isinstance(
                    error, duckdb.InvalidInputException
                ):  # of the query, not the file
                    self._store.explain(error)
                raise SettingsError(f"the query cannot be answered: {error}") from error
        return _as(kind, table)

    def bars(
        self,
        run_date: Day,
        known_at: Day | None = None,
        sessions: int | None = None,
        symbols: Sequence[str] | None = None,
    ) -> pd.DataFrame:
        """Raw bars up to a session, as traded and under the tickers of their day."""
        day = dates.as_session(run_date)
        return self._store.bars_asof(day, _instant(known_at), sessions, symbols)

    def actions(self, run_date: Day, known_at: Day | None = None) -> pd.DataFrame:
        """Corporate actions with an ex-date up to a session."""
        return self._store.actions_asof(dates.as_session(run_date), _instant(known_at))

    def panel(
        self,
        run_date: Day,
        known_at: Day | None = None,
        sessions: int | None = None,
        symbols: Sequence[str] | None = None,
        adjusted: bool = True,
    ) -> Panel:
        """Bars as wide matrices (n_sessions, n_symbols), adjusted as of the session.

        Parameters
        ----------
        sessions : int, optional
            How many, `run_date` included. None: all that there are.
        symbols : sequence of str, optional
            The columns. None: every symbol that has a bar.
        adjusted : bool
            Total-return prices: for splits and dividends with ex-dates up to `run_date`, computed
            from raw prices; at the last session they are the prices as traded. False: raw prices
            and volumes.
        """
        raw, actions = self._raw(run_date, known_at, sessions, symbols, FIELDS)
        return adjust.panel_of(raw, actions if adjusted else actions.iloc[:0])

    def closes(
        self,
        run_date: Day,
        known_at: Day | None = None,
        sessions: int | None = None,
        symbols: Sequence[str] | None = None,
    ) -> pd.DataFrame:
        """Adjusted closes alone, in a fraction of the time; see `panel`."""
        return adjust.adjusted_close(*self._raw(run_date, known_at, sessions, symbols, ("close",)))

    def _raw(
        self,
        run_date: Day,
        known_at: Day | None,
        sessions: int | None,
        symbols: Sequence[str] | None,
        fields: Sequence[str],
    ) -> tuple[Raw, pd.DataFrame]:
        """Raw matrices and corporate actions, both under the tickers of the session."""
        day, instant = dates.as_session(run_date), _instant(known_at)
        actions = self._store.actions_asof(day, instant)
        renamed = universe.changes_of_name(self._store, day, instant)
        if renamed.empty:
            return self._store.raw_asof(day, instant, sessions, symbols, fields), actions
        names = symbols if symbols is None else list(symbols)
        tickers = names if names is None else names + names_of.earlier_tickers(names, renamed)
        bars = self._store.bars_asof(day, instant, sessions, tickers)
        raw = adjust.arrange(names_of.unified(bars, renamed, ["session"]), day, names)
        return raw, names_of.unified_actions(actions, renamed)

    def close(self) -> None:
        """Let go of the snapshot."""
        self._store.connection.close()
        self._held.close()

    def __enter__(self) -> Market:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def _instant(moment: Day | None) -> pd.Timestamp | None:
    if moment is None:
        return None
    stamp = pd.Timestamp(moment)
    return stamp.tz_localize("UTC") if stamp.tzinfo is None else stamp


def _as(kind: Kind, table: Any) -> Any:
    """An Arrow table as what was asked for; dates become time stamps in pandas."""
    if kind == "polars":
        import polars

        return polars.from_arrow(table)
    if kind == "arrow":
        return table
    frame = table.to_pandas(date_as_object=False)
    days = [name for name, held in frame.dtypes.items() if held == "datetime64[ms]"]
    return frame.astype(dict.fromkeys(days, "datetime64[us]"))
