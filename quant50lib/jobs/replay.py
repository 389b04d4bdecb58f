"""Many sessions in a row against a twin whose clock moves on: a rehearsal of the desk.

1. the twin opens the market as it stood after the session before the first one;
2. the desk trains on what was known then;
3. for each session: the clock moves to 22:00 UTC of it (yesterday's orders fill at its open on the
   way), and the daily pipeline runs exactly as the scheduled one does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from decimal import Decimal

import pandas as pd

from quant50lib.adapters.journal import Ledger
from quant50lib.errors import ReconciliationError, SettingsError
from quant50lib.jobs import desk
from quant50lib.pipeline import archive
from quant50lib.pipeline.archive import RunInfo
from quant50lib.pipeline.runner import Watcher
from quant50lib.settings import Secrets, Settings
from quant50lib.utils import dates
from quant50lib.utils.config import Home


@dataclass(frozen=True)
class Replayed:
    """One replayed session: its run, and our cash beside the twin's."""

    session: pd.Timestamp
    run: RunInfo
    cash: Decimal
    twin_cash: Decimal


def replay(
    home: Home,
    settings: Settings,
    secrets: Secrets,
    first: str,
    last: str,
    watch: Callable[[str], Watcher],
    retrain: bool = False,
) -> Iterator[Replayed]:
    """Train, then run each session from `first` to `last`; yields each as it is sealed.

    Parameters
    ----------
    watch : callable
        Given a title ("train 2017-05-31", "2017-06-01 (1 of 10)"), returns the watcher of that run.
    retrain : bool
        Train again after each Monday's close, as the weekly schedule does.

    Raises
    ------
    ReconciliationError
        Our books and the twin's differ after a session.
    """
    sessions = dates.sessions_between(first, last)
    if not len(sessions):
        raise SettingsError(f"there is no session from {first} to {last}")
    before = dates.shift(sessions[0], -1)
    with archive.locked(home.lock, "a run of this desk"):
        archive.mend_chain(home)
        with (
            desk.kernels_of(home, settings) as kernels,
            desk.twin_of(home, settings, dates.scheduled(before)) as twin,
        ):
            opened = desk.simulated_desk(home, settings, secrets, kernels, twin)
            _within(twin.info(), sessions)
            if pd.Timestamp(twin.info()["now"]) <= dates.scheduled(before):
                desk.weekly(opened, str(before.date()), watch(f"train {before.date()}"))
            for n, session in enumerate(sessions, 1):
                if pd.Timestamp(twin.info()["now"]) < dates.scheduled(session):
                    twin.set_clock(dates.scheduled(session))
                day = str(session.date())
                if retrain and session.dayofweek == 0:
                    desk.weekly(opened, day, watch(f"train {day}"))
                run, _ = desk.daily(opened, day, watch(f"{day} ({n} of {len(sessions)})"))
                yield _compared(home, settings, twin, session, run)


def _within(info: dict[str, str], sessions: pd.DatetimeIndex) -> None:
    """The market must hold the sessions asked for."""
    first, last = dates.as_date(info["first_session"][:10]), dates.as_date(
        info["last_session"][:10]
    )
    if info["simulated_prices"]:
        return
    if sessions[0] <= first or sessions[-1] > last:
        raise SettingsError(
            f"the market holds {first.date()} to {last.date()}: choose --from and --to inside it"
        )


def _compared(
    home: Home, settings: Settings, twin: desk.Twin, session: pd.Timestamp, run: RunInfo
) -> Replayed:
    """Hold our books against the twin's: cash to the cent, every position to the share."""
    ledger = Ledger(home.ledger, settings.data.store_wait_seconds)
    truth = twin.truth()
    ours = {s: p.qty for s, p in ledger.positions().items() if p.qty}
    theirs = {p["symbol"]: Decimal(p["qty"]) for p in truth["positions"]}
    cash, twin_cash = ledger.cash(), Decimal(truth["cash"])
    if ours != theirs or round(cash, 2) != round(twin_cash, 2):
        raise ReconciliationError(
            f"after {session.date()}: cash {cash} here, {twin_cash} at the twin; positions that "
            f"differ: {sorted({s for s in ours | theirs if ours.get(s) != theirs.get(s)})}"
        )
    return Replayed(session, run, cash, twin_cash)
