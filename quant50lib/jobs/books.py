"""The books alone: hold them against the broker's, adopt what differs, and throw the kill switch."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from quant50lib.adapters import broker
from quant50lib.adapters.broker import Broker
from quant50lib.adapters.journal import Ledger
from quant50lib.adapters.store import Store
from quant50lib.errors import SettingsError
from quant50lib.pipeline import archive
from quant50lib.pipeline.reconcile import (
    Reconciliation,
    adopt_differences,
    examine,
    page_name,
    write_page,
)
from quant50lib.settings import Secrets, Settings
from quant50lib.simulator import process
from quant50lib.utils import dates
from quant50lib.utils.config import Home
from quant50lib.utils.logging import facts, log

LOG = log(__name__)
#: what the market store says of corporate actions, where there is no store yet
NO_ACTIONS = ["id", "symbol", "type", "ex_date", "new_rate", "old_rate", "cash", "other_symbol"]


@dataclass(frozen=True)
class Look:
    """Both sides as they stand, where the page shows them, and how many differences were adopted."""

    done: Reconciliation
    page: Path
    adopted: int = 0


def reconcile(
    home: Home,
    settings: Settings,
    secrets: Secrets,
    now: pd.Timestamp,
    adopt: str = "",
    who: str = "",
    symbol: str = "",
) -> Look:
    """Bring our books up to now and compare them with the broker's, at which nothing is changed.

    Parameters
    ----------
    now : Timestamp
        The clock of a twin that has no account yet; one that has keeps its own time.
    adopt : str
        A reason to take the broker's side over where the two differ; empty: only look.
    who : str
        Who adopts.
    symbol : str
        Adopt the shares of this name alone, also if a declared event explains them.

    Raises
    ------
    SettingsError
        There are no books yet.
    ReconciliationError
        Open orders that are not ours cannot be adopted.
    """
    if not home.ledger.is_file():
        raise SettingsError("this desk has no books yet: its first `quant50 run` opens them")
    with (
        archive.locked(home.lock, "a run of this desk"),
        _broker(home, settings, secrets, now) as account,
    ):
        ledger = Ledger(home.ledger, settings.data.store_wait_seconds)
        look, adopted = _look(home, settings, account, ledger), 0
        if adopt and (look.done.differences or symbol):
            adopted = len(adopt_differences(ledger, look.done, who, adopt, symbol))
            LOG.warning("differences adopted", extra=facts(who=who, why=adopt, events=adopted))
            look = _look(home, settings, account, ledger)
        return Look(look.done, look.page, adopted)


@contextlib.contextmanager
def _broker(
    home: Home, settings: Settings, secrets: Secrets, now: pd.Timestamp
) -> Iterator[Broker]:
    if settings.broker == "paper":
        yield broker.connect(settings, secrets)
        return
    home.twin.parent.mkdir(parents=True, exist_ok=True)
    twin = process.attach_or_start(
        home.twin, settings.simulator, settings.universe.file, now, home.twin.with_suffix(".log")
    )
    try:
        yield broker.connect(settings, secrets, twin.url)
    finally:
        twin.stop()


def _look(home: Home, settings: Settings, account: Broker, ledger: Ledger) -> Look:
    at = account.clock()
    if ledger.opened_at() is None:
        raise SettingsError("this desk has no books yet: its first `quant50 run` opens them")
    with ledger.held():
        done = examine(account, ledger, _actions(home, settings, at), settings.execute, at)
    page = home.reports / page_name(dates.last_closed(at))
    write_page(page, done)
    return Look(done, page)


def _actions(home: Home, settings: Settings, at: pd.Timestamp) -> pd.DataFrame:
    if not home.store.is_file():
        return pd.DataFrame(columns=NO_ACTIONS)
    store = Store(home.store, settings.data.store_wait_seconds)
    return store.actions_asof(dates.shift(dates.last_closed(at), 1))


def halt(home: Home, settings: Settings, reason: str, now: pd.Timestamp) -> str:
    """Throw the kill switch: no buy leaves this desk until `resume`. Returns what is left to say.

    It is in force at once, also for a run that is at work and keeps the ledger to itself.
    """
    ledger = Ledger(home.ledger, settings.data.store_wait_seconds)
    try:
        ledger.halt(reason, now)
    except SettingsError as error:
        return f"it becomes an event of the ledger at the next start ({error})"
    return ""


def resume(home: Home, settings: Settings, reason: str, now: pd.Timestamp) -> None:
    """Lift the kill switch.

    Raises
    ------
    SettingsError
        The desk is not halted, or a run keeps the ledger to itself: wait for its end.
    """
    if not halted(home, settings):
        raise SettingsError("the desk is not halted: there is nothing to resume")
    Ledger(home.ledger, settings.data.store_wait_seconds).resume(reason, now)


def halted(home: Home, settings: Settings) -> str:
    """Why the desk is halted, or empty; while a run keeps the ledger, the switch's file alone."""
    ledger = Ledger(home.ledger, settings.data.store_wait_seconds)
    if not home.ledger.is_file() or archive.is_locked(home.lock):
        return ledger.switched()
    return ledger.halted()
