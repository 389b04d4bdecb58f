"""From the market into the store: only what is missing, page by page, so that a kill costs nothing.

1. `data_plan.plan` compares the sessions that are wanted with the store's log of ingests, and cuts
   what is missing into units of some names each;
2. a unit is logged as begun, its bars are stored while the next page is on its way, corporate
   actions follow (one that the vendor took back is marked so), and it is logged as complete;
   sessions that were left out are asked for once more, and what is still owed then is not logged;
3. for a few names, others every day, our adjusted closes are held against the vendor's.

Run again, it goes on where it stopped, and where everything is there it asks nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pandas as pd

from quant50lib.adapters.broker import access_keys
from quant50lib.adapters.market_client import MarketData, Page, connect
from quant50lib.adapters.store import WITHDRAWN, Store
from quant50lib.adapters.universe import tickers
from quant50lib.errors import SettingsError, Unreachable
from quant50lib.services import adjust, data_plan, vendor
from quant50lib.services.data_plan import Unit
from quant50lib.services.gaps import Received
from quant50lib.settings import DataSettings, Secrets, Settings
from quant50lib.utils import dates
from quant50lib.utils.ahead import arriving

__all__ = ["IngestSummary", "MarketData", "connect", "ingest", "service"]

Progress = Callable[[str, float], None]
#: a name with a bar this recently should have one today
LIVE_SESSIONS = 5
SESSIONS_PER_YEAR = 252
#: pages that come this quickly one after the other are stored together
GATHER_SECONDS = 1.0
#: the share of the work that is bars; the comparison with the vendor is the rest
BARS_SHARE = 0.97


@dataclass(frozen=True)
class IngestSummary:
    """What an ingest did. All zero: everything was there already."""

    symbols: int  # for which anything was missing
    first_session: pd.Timestamp | None  # of the bars received
    last_session: pd.Timestamp | None
    pages: int
    fetched: int  # bars received
    new: int  # bars stored that were not known before
    revised: int  # bars stored that differ from what was known
    actions: int  # corporate actions stored, new or changed
    dropped: int  # rows that were no bars
    dropped_rows: tuple[str, ...]  # the first of them, in words


NOTHING = IngestSummary(0, None, None, 0, 0, 0, 0, 0, 0, ())
NAMED_ROWS, NAMED = 50, 8


def service(settings: Settings, secrets: Secrets, endpoints: dict[str, str]) -> MarketData:
    """The market data of the desk's broker; see `connect`."""
    keys = access_keys(settings, secrets)
    return connect(endpoints["data"], endpoints["trading"], *keys, settings.data)


def ingest(
    market: MarketData,
    store: Store,
    symbols: list[str],
    run_date: pd.Timestamp,
    known_at: pd.Timestamp,
    settings: DataSettings,
    progress: Progress,
    first: pd.Timestamp | None = None,
) -> IngestSummary:
    """Make the store whole up to `run_date`, as known at `known_at`.

    Parameters
    ----------
    symbols : list of str
        Names under tickers of any time; each is asked for under that of the session.
    known_at : Timestamp
        The broker's time; every row stored carries it, and only what was known by then counts as
        being there.
    progress : callable
        Told what is being done, and the share that is done (0 to 1).
    first : Timestamp, optional
        The first session wanted; None: as much history as a run of `run_date` needs.

    Raises
    ------
    SettingsError
        The session has not closed yet at `known_at`: its bar would still change.
    BrokerError, Unreachable
        The service refuses, does not answer, or has nothing of many names that it lists; all pages
        so far are kept.
    """
    run_date = dates.as_session(run_date)
    if known_at < dates.close_of(run_date):
        raise SettingsError(
            f"{run_date.date()} closes at {dates.close_of(run_date)}, and the broker's time is "
            f"{known_at}: run it after the close"
        )
    work = _Work(market, store, run_date, known_at, settings, progress)
    sessions = dates.sessions_between(first or first_needed(run_date, settings), run_date)
    wanted: list[str] = []
    while wanted != (names := tickers(store, symbols, run_date, known_at)):
        wanted = names  # a change of name comes with the actions: then again, for the new ticker
        work.fill(wanted, sessions)
    work.compare(wanted, sessions)
    if work.told:
        progress("complete", 1.0)
    return work.summary()


def first_needed(run_date: pd.Timestamp, settings: DataSettings) -> pd.Timestamp:
    """The first session of the history that a run needs."""
    return dates.shift(run_date, 1 - SESSIONS_PER_YEAR * settings.history_years)


class _Work:
    """An ingest at work, with running totals."""

    def __init__(
        self,
        market: MarketData,
        store: Store,
        run_date: pd.Timestamp,
        known_at: pd.Timestamp,
        settings: DataSettings,
        progress: Progress,
    ) -> None:
        self._market, self._store = market, store
        self._run_date, self._known_at = run_date, known_at
        self._settings, self._progress = settings, progress
        self._expected = 1
        self.told = False  # that there was anything to do
        self.due = self.pages = self.fetched = self.stored = self.revised = self.actions = 0
        self.dropped: dict[str, None] = {}  # in order, each once
        self.ends: list[pd.Timestamp] = []

    def fill(self, symbols: list[str], sessions: pd.DatetimeIndex) -> None:
        """Fetch what is missing of the sessions, unit by unit."""
        units = self._plan(symbols, sessions)
        self.due += sum(len(unit.symbols) for unit in units)
        self._expected = max(self.fetched + sum(_size(unit) for unit in units), 1)
        silent: set[str] = set()
        if units:
            self._tell("assets", 0.0)
            assets = self._market.assets(symbols)
            self._store.append_assets(assets, self._known_at)
            silent = self._never_seen(assets)
        for unit in units:
            silent -= self._fetch(unit, sessions[0], silent)
        self._require_answers(silent, symbols)

    def _plan(self, symbols: list[str], sessions: pd.DatetimeIndex) -> tuple[Unit, ...]:
        newest = self._store.newest_sessions(self._run_date, self._known_at)
        log = self._store.ingests(self._known_at)
        if not _day_arrived(newest, symbols, self._run_date, self._settings.coverage_min):
            eve = dates.shift(self._run_date, -1)
            log = log.assign(last=log["last"].where(log["last"] != self._run_date, eve))
        return data_plan.plan(
            symbols,
            sessions,
            log,
            newest,
            self._settings.overlap_sessions,
            self._settings.action_overlap_sessions,
        )

    def _never_seen(self, assets: pd.DataFrame) -> set[str]:
        """Names that the broker has traded and the store has no bar of."""
        known = self._store.newest_sessions(self._run_date, self._known_at).index
        listed = assets.loc[assets["tradable"] & (assets["status"] == "active"), "symbol"]
        return set(listed) - set(known)

    def _require_answers(self, silent: set[str], symbols: list[str]) -> None:
        """Stop where the service has nothing of many names that the broker has traded."""
        if len(silent) > (1 - self._settings.coverage_min) * len(symbols):
            some = ", ".join(sorted(silent)[:NAMED])
            raise Unreachable(
                f"no bars of {len(silent)} of {len(symbols)} names that the broker has traded "
                f"({some}{' …' if len(silent) > NAMED else ''}): run it again later, or take them "
                "out of the universe"
            )

    def _fetch(self, unit: Unit, first: pd.Timestamp, silent: set[str]) -> set[str]:
        """The bars of a unit, its corporate actions, and the note of what is there.

        Returns the names of the unit that have bars or, not being among the silent, need none.
        """
        before = self.stored
        if unit.bars is None:
            self.actions += self._follow_actions(unit)
            self._log(unit.symbols, first, unit.actions.last)
            return set(unit.symbols)
        if not unit.resumed:
            self._log(unit.symbols, unit.bars.first, unit.actions.last, complete=False)
        span = dates.sessions_between(unit.bars.first, unit.bars.last)
        received = Received(unit.symbols, span)
        self._ask(list(unit.symbols), unit.bars.first, unit.bars.last, received)
        if (doubtful := received.doubtful()) is not None:
            self._ask(*doubtful, received)
        self.actions += self._follow_actions(unit)
        without = silent & set(received.silent)
        for a, b, names in received.runs(self._settings.quarantine_sessions, without):
            stored, before = self.stored - before, self.stored
            self._log(names, first if a == span[0] else a, b, rows_stored=stored)
        return set(unit.symbols) - without

    def _log(
        self,
        names: tuple[str, ...],
        first: pd.Timestamp,
        last: pd.Timestamp,
        complete: bool = True,
        rows_stored: int = 0,
    ) -> None:
        store, run = self._store, (self._run_date, self._known_at)
        store.log_ingest(*run, (first, last), names, complete=complete, rows_stored=rows_stored)

    def _ask(
        self, symbols: list[str], first: pd.Timestamp, last: pd.Timestamp, received: Received
    ) -> None:
        """One call for bars, stored as they arrive."""
        for arrived in arriving(self._market.bars(symbols, first, last), GATHER_SECONDS):
            self._keep(arrived)
            for page in arrived:
                received.add(page.bars, page.refused)

    def _keep(self, pages: list[Page]) -> None:
        """Store pages that have arrived, all of them or none."""
        bars = pd.concat([page.bars for page in pages], ignore_index=True)
        rows, revised = self._store.append_bars(bars, self._known_at)
        self.pages += len(pages)
        self.fetched += len(bars)
        self.stored += rows
        self.revised += revised
        self.dropped |= dict.fromkeys(words for page in pages for words in page.dropped)
        if len(bars):
            self.ends += [bars["session"].min(), bars["session"].max()]
        self._tell("bars", BARS_SHARE * min(self.fetched / self._expected, 1.0))

    def _follow_actions(self, unit: Unit) -> int:
        """Corporate actions, also of the session after the span, in which orders fill.

        Those of these sessions that are gone are taken back.
        """
        first, last = unit.actions.first, dates.shift(unit.actions.last, 1)
        found = self._market.actions(unit.symbols, first, last)
        known = self._store.actions_asof(last, self._known_at)
        inside = known["symbol"].isin(unit.symbols) & (known["ex_date"] >= first)
        gone = known[inside & ~known["id"].isin(found["id"])].assign(type=WITHDRAWN)
        stored = (self._store.append_actions(frame, self._known_at) for frame in (found, gone))
        return sum(done.rows for done in stored)

    def compare(self, symbols: list[str], sessions: pd.DatetimeIndex) -> None:
        """Hold the adjusted closes of a sample against the vendor's, once for each session."""
        settings = self._settings
        names = vendor.sample(symbols, settings.vendor_sample, self._run_date)
        if not names or len(self._store.checks_asof(self._run_date, self._known_at)):
            return
        self._tell("comparing with the vendor", BARS_SHARE)
        span = len(sessions)
        raw = self._store.raw_asof(self._run_date, self._known_at, span, names, ("close",))
        actions = self._store.actions_asof(self._run_date, self._known_at)
        ours = adjust.adjusted_close(raw, actions)
        theirs = self._market.adjusted_closes(names, sessions[0], self._run_date)
        found = vendor.vendor_differences(ours, theirs, actions, settings.vendor_tolerance)
        self._store.append_checks(found, self._run_date, self._known_at)

    def _tell(self, doing: str, share: float) -> None:
        self.told = True
        self._progress(doing, share)

    def summary(self) -> IngestSummary:
        """The totals."""
        return IngestSummary(
            symbols=self.due,
            first_session=min(self.ends, default=None),
            last_session=max(self.ends, default=None),
            pages=self.pages,
            fetched=self.fetched,
            new=self.stored - self.revised,
            revised=self.revised,
            actions=self.actions,
            dropped=len(self.dropped),
            dropped_rows=tuple(self.dropped)[:NAMED_ROWS],
        )


def _size(unit: Unit) -> int:
    """How many bars a unit is expected to bring."""
    if unit.bars is None:
        return 0
    return len(unit.symbols) * len(dates.sessions_between(unit.bars.first, unit.bars.last))


def _day_arrived(
    newest: pd.Series, symbols: list[str], run_date: pd.Timestamp, coverage_min: float
) -> bool:
    """Whether enough live names have a bar of the day; else an earlier ingest came too soon."""
    known = newest.reindex(symbols).dropna()
    live = known[known >= dates.shift(run_date, -LIVE_SESSIONS)]
    return bool(len(live)) and (live == run_date).mean() >= coverage_min
