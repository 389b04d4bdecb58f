"""The desk opened for work: its lock, its broker (the twin or Alpaca paper), and its clock."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import NamedTuple

import pandas as pd

from quant50lib.adapters import backup, broker
from quant50lib.contracts import Schedule, stages_of
from quant50lib.errors import SettingsError
from quant50lib.pipeline import archive, provenance, runner
from quant50lib.pipeline.archive import RunInfo
from quant50lib.pipeline.kernels import Kernels
from quant50lib.pipeline.runner import Watcher
from quant50lib.settings import Secrets, Settings
from quant50lib.simulator import process
from quant50lib.simulator.process import Twin
from quant50lib.utils import config, dates
from quant50lib.utils.config import Home


@dataclass(frozen=True)
class Desk:
    """A desk whose lock is held and whose broker answers."""

    home: Home
    settings: Settings
    secrets: Secrets
    endpoints: dict[str, str]
    source: str
    simulated: str
    kernels: Kernels
    twin: Twin | None = None

    def clock(self) -> pd.Timestamp:
        """The broker's time, UTC: the only present there is."""
        return self.account().clock()

    def account(self) -> broker.Broker:
        """A client of the desk's account."""
        return broker.connect(self.settings, self.secrets, self.endpoints["trading"])


@contextlib.contextmanager
def open_desk(
    home: Home, settings: Settings, secrets: Secrets, now: pd.Timestamp
) -> Iterator[Desk]:
    """Lock the desk, reach its broker (starting the twin where that is the broker), and mend a
    chain that a crash left short.

    Parameters
    ----------
    now : Timestamp
        Present time, UTC. It moves the clock of the twin's demo market, or is held against the
        broker's; everybody else asks the broker.
    """
    with archive.locked(home.lock, "a run of this desk"):
        backup.finish(home.root, home.data)
        archive.mend_chain(home)
        with kernels_of(home, settings) as kernels:
            if settings.broker == "paper":
                opened = paper_desk(home, settings, secrets, kernels)
                require_true_clock(opened, now)
                yield opened
                return
            with twin_of(home, settings, now) as twin:
                yield simulated_desk(home, settings, secrets, kernels, twin)


def kernels_of(home: Home, settings: Settings) -> Kernels:
    """The desk's kernels; opened first, they import while the twin starts."""
    return Kernels({"QUANT50_HOME": str(home.root)}, home.root, settings.runner)


@contextlib.contextmanager
def twin_of(home: Home, settings: Settings, now: pd.Timestamp) -> Iterator[Twin]:
    """The desk's twin: the one that runs already, or one started for the time of the block."""
    state = home.twin
    state.parent.mkdir(parents=True, exist_ok=True)
    log = state.with_suffix(".log")
    twin = process.attach_or_start(state, settings.simulator, settings.universe.file, now, log)
    try:
        if settings.simulator.market == "demo" and pd.Timestamp(twin.info()["now"]) < now:
            twin.set_clock(now)
        yield twin
    finally:
        twin.stop()


class Place(NamedTuple):
    """Where the broker and its market data answer, which data they are, and what is simulated."""

    endpoints: dict[str, str]
    source: str
    simulated: str


def place_of_twin(twin: Twin) -> Place:
    """A running twin."""
    info = twin.info()
    simulated = (
        "SIMULATED prices and account"
        if info["simulated_prices"]
        else "real prices, SIMULATED account"
    )
    return Place({"trading": twin.url, "data": twin.url}, info["identity"], simulated)


def place_of_paper(settings: Settings) -> Place:
    """Alpaca paper."""
    endpoints = {"trading": settings.alpaca.trading_url, "data": settings.alpaca.data_url}
    return Place(endpoints, f"alpaca feed={settings.data.feed}", "Alpaca PAPER account")


def simulated_desk(
    home: Home, settings: Settings, secrets: Secrets, kernels: Kernels, twin: Twin
) -> Desk:
    """The desk on a running twin."""
    return Desk(home, settings, secrets, *place_of_twin(twin), kernels, twin)


def paper_desk(home: Home, settings: Settings, secrets: Secrets, kernels: Kernels) -> Desk:
    """The desk on Alpaca paper."""
    return Desk(home, settings, secrets, *place_of_paper(settings), kernels)


def require_true_clock(desk: Desk, now: pd.Timestamp) -> None:
    """Refuse to work where this machine and the broker disagree about what time it is.

    Raises
    ------
    SettingsError
        Says by how much; log lines and schedules of this machine would be wrong by as much.
    """
    skew = desk.account().skew(now).total_seconds()
    limit = desk.settings.execute.max_clock_skew_seconds
    if abs(skew) > limit:
        raise SettingsError(
            f"the broker's clock is {abs(skew):.0f} s {'ahead of' if skew > 0 else 'behind'} this "
            f"machine's, and {limit:.0f} s are allowed: set this machine's clock (timedatectl), or "
            "raise execute.max_clock_skew_seconds"
        )


def check(date: str | None, from_stage: str | None = None) -> None:
    """Refuse what can be refused before anything is started or reached.

    Raises
    ------
    SettingsError
        The date is no session, or there is no such stage in a daily run.
    """
    if date is not None:
        dates.as_session(date)
    names = [stage.name for stage in stages_of("daily")]
    if from_stage is not None and from_stage not in names:
        raise SettingsError(f"{from_stage!r} is no stage of a daily run: {', '.join(names)}")


def daily(
    desk: Desk, date: str | None, watch: Watcher, from_stage: str | None = None
) -> tuple[RunInfo, bool]:
    """Run the daily pipeline of a session; returns the run and whether anything was done.

    The same session twice is harmless: a sealed run is returned as it is.
    """
    order = _order(desk, "daily", date)
    sealed = archive.newest(desk.home, "daily", "sealed", str(order.run_date.date()))
    if sealed and not from_stage:
        return sealed, False
    order = replace(order, from_stage=from_stage)
    return runner.run(desk.home, desk.settings, desk.secrets, order, desk.kernels, watch), True


def weekly(
    desk: Desk, date: str | None, watch: Watcher, again: bool = False
) -> tuple[RunInfo, bool]:
    """Train on everything known at a session; returns the run and whether anything was done."""
    order = _order(desk, "weekly", date)
    sealed = archive.newest(desk.home, "weekly", "sealed", str(order.run_date.date()))
    if sealed and not again:
        return sealed, False
    return runner.run(desk.home, desk.settings, desk.secrets, order, desk.kernels, watch), True


def session_of(date: str | None, clock: pd.Timestamp) -> pd.Timestamp:
    """The session asked for, or the newest closed one.

    Raises
    ------
    SettingsError
        Not a session, or one whose close the broker's clock has not reached.
    """
    newest = dates.last_closed(clock)
    if date is None:
        return newest
    session = dates.as_session(date)
    if session > newest:
        raise SettingsError(
            f"{date} has not closed yet: the newest closed session is {newest.date()} "
            f"(the broker's clock says {clock:%Y-%m-%d %H:%M} UTC)"
        )
    return session


def _order(desk: Desk, schedule: Schedule, date: str | None) -> runner.Order:
    clock = desk.clock()
    session = session_of(date, clock)
    edited = provenance.edited_notebooks(config.checkout())
    experimental = f"{', '.join(edited)} differ from the committed notebooks" if edited else ""
    shadow = "a training sends no order"
    if schedule == "daily":
        shadow = _shadow(session, clock, experimental if desk.twin is None else "")
    return runner.Order(
        schedule=schedule,
        run_date=session,
        known_at=clock,
        endpoints=desk.endpoints,
        source=desk.source,
        simulated=desk.simulated,
        shadow=shadow,
        experimental=experimental,
    )


def _shadow(session: pd.Timestamp, clock: pd.Timestamp, experimental: str) -> str:
    """Why a daily run of that session may send no order, or empty.

    An edited notebook is tried out on the twin, and never on an account elsewhere.
    """
    newest = dates.last_closed(clock)
    if session != newest:
        return f"only the newest closed session is traded, and that is {newest.date()}"
    return f"experimental: {experimental}" if experimental else ""
