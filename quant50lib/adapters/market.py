"""From the market into the store: only what is missing, page by page, so that a kill costs nothing.

1. `data_plan.plan` compares the sessions that the run needs with the store's log of ingests;
2. each call is logged as begun, and each of its pages is stored as it arrives;
3. corporate actions and assets follow; an action that the vendor took back is marked so;
4. the log says that the ingest is complete. Run again, it finds nothing to do and asks nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pandas as pd

from quant50lib.adapters.market_client import MarketData, connect
from quant50lib.adapters.store import WITHDRAWN, Store
from quant50lib.errors import SettingsError
from quant50lib.services import data_plan
from quant50lib.services.data_plan import Plan, Span
from quant50lib.settings import DataSettings
from quant50lib.utils import dates

__all__ = ["IngestSummary", "MarketData", "connect", "ingest"]

Progress = Callable[[str, float], None]
#: a name with a bar this recently should have one today
LIVE_SESSIONS = 5
SESSIONS_PER_YEAR = 252


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
NAMED_ROWS = 50


def ingest(
    market: MarketData,
    store: Store,
    symbols: list[str],
    run_date: pd.Timestamp,
    known_at: pd.Timestamp,
    settings: DataSettings,
    progress: Progress,
) -> IngestSummary:
    """Make the store whole up to `run_date`, as known at `known_at`.

    Parameters
    ----------
    known_at : Timestamp
        The broker's time; every row stored carries it.
    progress : callable
        Told what is being done, and the share that is done (0 to 1).

    Raises
    ------
    SettingsError
        The session has not closed yet at `known_at`: its bar would still change.
    BrokerError, Unreachable
        The service refuses or does not answer; all pages so far are kept.
    """
    run_date = dates.as_session(run_date)
    if known_at < dates.close_of(run_date):
        raise SettingsError(
            f"{run_date.date()} closes at {dates.close_of(run_date)}, and the broker's time is "
            f"{known_at}: run it after the close"
        )
    plan = _plan(store, symbols, run_date, settings)
    if not plan.due:
        return NOTHING
    tally = _Tally()
    expected = sum(len(s.symbols) * len(dates.sessions_between(s.first, s.last)) for s in plan.bars)
    for span in plan.bars:
        _fetch(market, store, span, run_date, known_at, tally, _told(progress, expected))
    progress("corporate actions", 0.95)
    changed = sum(_fetch_actions(market, store, span, known_at) for span in plan.actions)
    progress("assets", 0.98)
    store.append_assets(market.assets(symbols), known_at)
    whole = _needed(run_date, settings)[0], run_date
    store.log_ingest(run_date, known_at, whole, plan.due, complete=True, rows_stored=tally.stored)
    progress("complete", 1.0)
    return tally.summary(len(plan.due), changed)


class _Tally:
    """Running totals of an ingest."""

    def __init__(self) -> None:
        self.pages = self.fetched = self.stored = self.revised = 0
        self.dropped: list[str] = []
        self.ends: list[pd.Timestamp] = []

    def add(self, bars: pd.DataFrame, dropped: list[str], rows: int, revised: int) -> None:
        self.pages += 1
        self.fetched += len(bars)
        self.stored += rows
        self.revised += revised
        self.dropped += dropped
        if len(bars):
            self.ends += [bars["session"].min(), bars["session"].max()]

    def summary(self, symbols: int, actions: int) -> IngestSummary:
        return IngestSummary(
            symbols=symbols,
            first_session=min(self.ends, default=None),
            last_session=max(self.ends, default=None),
            pages=self.pages,
            fetched=self.fetched,
            new=self.stored - self.revised,
            revised=self.revised,
            actions=actions,
            dropped=len(self.dropped),
            dropped_rows=tuple(self.dropped[:NAMED_ROWS]),
        )


def _needed(run_date: pd.Timestamp, settings: DataSettings) -> pd.DatetimeIndex:
    first = dates.shift(run_date, 1 - SESSIONS_PER_YEAR * settings.history_years)
    return dates.sessions_between(first, run_date)


def _plan(store: Store, symbols: list[str], run_date: pd.Timestamp, settings: DataSettings) -> Plan:
    newest = store.newest_sessions(run_date)
    log = store.ingests()
    if not _day_arrived(newest, symbols, run_date, settings.coverage_min):
        log = log.assign(last=log["last"].where(log["last"] != run_date, dates.shift(run_date, -1)))
    return data_plan.plan(
        symbols,
        _needed(run_date, settings),
        log,
        newest,
        settings.overlap_sessions,
        settings.action_overlap_sessions,
    )


def _day_arrived(
    newest: pd.Series, symbols: list[str], run_date: pd.Timestamp, coverage_min: float
) -> bool:
    """Whether enough live names have a bar of the day; else an earlier ingest came too soon."""
    known = newest.reindex(symbols).dropna()
    live = known[known >= dates.shift(run_date, -LIVE_SESSIONS)]
    return bool(len(live)) and (live == run_date).mean() >= coverage_min


def _told(progress: Progress, expected: int) -> Callable[[int], None]:
    return lambda fetched: progress("bars", 0.95 * min(fetched / max(expected, 1), 1.0))


def _fetch(
    market: MarketData,
    store: Store,
    span: Span,
    run_date: pd.Timestamp,
    known_at: pd.Timestamp,
    tally: _Tally,
    told: Callable[[int], None],
) -> None:
    """One call for bars, each page stored before the next is asked for."""
    if not span.resumed:
        ends = span.first, span.last
        store.log_ingest(run_date, known_at, ends, span.symbols, complete=False)
    for page in market.bars(span.symbols, span.first, span.last):
        tally.add(*page, *store.append_bars(page.bars, known_at))
        told(tally.fetched)


def _fetch_actions(market: MarketData, store: Store, span: Span, known_at: pd.Timestamp) -> int:
    """One call for corporate actions; those of the span that are gone are taken back."""
    found = market.actions(span.symbols, span.first, span.last)
    known = store.actions_asof(span.last, known_at)
    inside = known["symbol"].isin(span.symbols) & (known["ex_date"] >= span.first)
    gone = known[inside & ~known["id"].isin(found["id"])].assign(type=WITHDRAWN)
    return sum(store.append_actions(frame, known_at).rows for frame in (found, gone))
