"""The store alone: fetch what is missing, without running a session.

``python -m quant50lib.jobs.ingest [--from D] [--to D]`` is what `quant50 ingest` does.
"""

from __future__ import annotations

import argparse
import contextlib
from collections.abc import Iterator
from dataclasses import dataclass

import pandas as pd

from quant50lib.adapters import backup, market, universe
from quant50lib.adapters.market import IngestSummary, Progress
from quant50lib.adapters.store import Store
from quant50lib.errors import SettingsError
from quant50lib.jobs import desk
from quant50lib.jobs.entry import guarded
from quant50lib.jobs.progress import shares
from quant50lib.pipeline import archive
from quant50lib.settings import Secrets, Settings
from quant50lib.utils import config, dates
from quant50lib.utils.config import Home


@dataclass(frozen=True)
class Ingested:
    """The session up to which the store is whole, what was done, and the vendor's word on it."""

    session: pd.Timestamp
    done: IngestSummary
    checks: pd.DataFrame  # see services.vendor


def run(
    home: Home,
    settings: Settings,
    secrets: Secrets,
    now: pd.Timestamp,
    first: str | None = None,
    last: str | None = None,
    progress: Progress | None = None,
) -> Ingested:
    """Make the store whole from one session to another, both included.

    Parameters
    ----------
    now : Timestamp
        Present time, UTC; moves the clock of the twin's demo market. Everything else asks the
        broker.
    first : str, optional
        YYYY-MM-DD; None: as much history as a run of the last session needs.
    last : str, optional
        YYYY-MM-DD, a session; None: the newest closed one.

    Raises
    ------
    SettingsError
        A date that cannot be, a run at work, or a store of another market.
    BrokerError, Unreachable
        The service refuses or does not answer; what had arrived is kept.
    """
    begin = None if first is None else dates.as_date(first)
    if last is not None:
        dates.as_session(last)
    with archive.locked(home.lock, "a run of this desk"), _place(home, settings, now) as place:
        source = market.service(settings, secrets, place.endpoints)
        known_at = source.clock()
        session = desk.session_of(last, known_at)
        if begin is not None and begin > session:
            raise SettingsError(f"there is no session from {first} to {session.date()}")
        store = Store(home.store, settings.data.store_wait_seconds)
        store.claim_source(place.source)
        names = universe.load(settings.universe.file, settings.universe.benchmark)["symbol"]
        wanted = sorted(names), session, known_at, settings.data, progress or shares()
        done = market.ingest(source, store, *wanted, begin)
        return Ingested(session, done, store.checks_asof(session, known_at))


@contextlib.contextmanager
def _place(home: Home, settings: Settings, now: pd.Timestamp) -> Iterator[desk.Place]:
    """Where the market data answer, the twin being started where it is the broker."""
    backup.finish(home.root, home.data)
    if settings.broker == "paper":
        yield desk.place_of_paper(settings)
        return
    with desk.twin_of(home, settings, now) as twin:
        yield desk.place_of_twin(twin)


def in_words(found: Ingested) -> list[str]:
    """What was done, one line a thing."""
    done = found.done
    if not done.symbols:
        lines = [f"{found.session.date()}: everything was there already"]
    else:
        lines = [
            f"{found.session.date()}: {done.symbols} names, {done.fetched:,} bars fetched: "
            f"{done.new:,} new, {done.revised:,} revised · {done.actions:,} corporate actions"
        ]
    lines += [f"left out: {row}" for row in done.dropped_rows]
    compared, differing = (
        frame["symbol"].nunique() for frame in (found.checks, found.checks[found.checks["differs"]])
    )
    if compared:
        lines.append(
            f"{compared} names held against the vendor's adjusted closes: {differing} differ"
        )
    return lines


def main() -> None:
    """Entry point of the module."""
    parser = argparse.ArgumentParser(prog="ingest", description=__doc__)
    parser.add_argument("--from", dest="first", help="first session, YYYY-MM-DD")
    parser.add_argument("--to", dest="last", help="last session, YYYY-MM-DD")
    asked = parser.parse_args()
    home = config.home()

    def work() -> None:
        now = pd.Timestamp.now("UTC")
        found = run(home, config.load(home), config.secrets(), now, asked.first, asked.last)
        print("\n".join(in_words(found)))

    guarded(work)


if __name__ == "__main__":
    main()
