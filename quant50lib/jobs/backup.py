"""Backups of a desk: the store, the books, the models and the sealed runs, in one file."""

from __future__ import annotations

import contextlib
import sqlite3
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import duckdb
import pandas as pd

from quant50lib import __version__
from quant50lib.adapters import backup, database, snapshots, trials
from quant50lib.adapters.backup import Member
from quant50lib.adapters.store import Store
from quant50lib.errors import ContractError, SettingsError
from quant50lib.pipeline import archive
from quant50lib.settings import Settings
from quant50lib.simulator import process
from quant50lib.utils.config import Home

Part = Literal["store", "books", "models", "runs"]
PARTS: tuple[Part, ...] = get_args(Part)
NEWEST_EVENT = """
    SELECT max(event) FROM (SELECT max(event) AS event FROM order_events UNION ALL
    SELECT max(event) FROM cash_events UNION ALL SELECT max(event) FROM position_events UNION ALL
    SELECT max(event) FROM sessions UNION ALL SELECT max(event) FROM risk_states UNION ALL
    SELECT max(event) FROM halts)"""


@dataclass(frozen=True)
class Saved:
    """A backup that was written or restored."""

    file: Path
    parts: tuple[Part, ...]
    files: int
    aside: Path | None = None  # where what was replaced lies now


def write(
    home: Home, settings: Settings, file: Path, now: pd.Timestamp, only: tuple[Part, ...] = PARTS
) -> Saved:
    """Write a backup of a desk at rest. A run that wants to begin meanwhile is not kept waiting.

    Raises
    ------
    SettingsError
        A run is at work or began meanwhile, there is nothing to save, or the file cannot be written.
    ContractError
        The store is damaged.
    """
    file = file.absolute()
    if not file.parent.is_dir():
        raise SettingsError(f"the folder {file.parent} does not exist")
    before = _at_rest(home)
    with tempfile.TemporaryDirectory(dir=file.parent, prefix=f".{file.name}.") as name:
        members: dict[Part, list[Member]] = {
            part: GATHER[part](home, settings, Path(name)) for part in only
        }
        kept: tuple[Part, ...] = tuple(part for part in only if members[part])
        if not kept:
            raise SettingsError(f"there is nothing to save under {home.root}")
        facts = {
            "made_at": now.isoformat(),
            "quant50": __version__,
            "parts": {part: [m.place for m in members[part]] for part in kept},
            "newest": {part: NEWEST[part](home, settings) for part in kept},
        }
        if _at_rest(home) != before:
            raise SettingsError("a run began meanwhile: wait for its end and save again")
        head = backup.write(file, [m for part in kept for m in members[part]], facts)
    return Saved(file, kept, len(head["files"]))


def _at_rest(home: Home) -> tuple[str, ...]:
    """Marks of the desk's files, which change with any write to them."""
    if archive.is_locked(home.lock):
        holder = home.lock.read_text("utf-8").strip()
        raise SettingsError(f"a run of this desk is at work in process {holder}: wait for its end")
    return tuple(snapshots.mark(p) for p in (home.store, home.ledger, home.runs / "chain.jsonl"))


def restore(
    home: Home,
    settings: Settings,
    file: Path,
    only: tuple[Part, ...] = PARTS,
    force: bool = False,
) -> Saved:
    """Put a backup back. All of it is checked before anything is touched.

    What is replaced moves into a folder of the home; runs and models that the backup lacks stay, and
    so does every line of the ledger of trials.

    Raises
    ------
    SettingsError
        A run or the twin is at work, or (without `force`) the desk knows more than the backup.
    ArchiveError
        The backup is damaged.
    """
    with archive.locked(home.lock, "a run of this desk"):
        if (twin := process.find(home.twin)) is not None:
            raise SettingsError(f"the twin is at work in process {twin.pid}: end it first")
        backup.finish(home.root, home.data)
        with backup.unpacked(file, home.data / backup.UNPACKED) as head:
            return _put_back(home, settings, file, head, only, force)


def _put_back(
    home: Home,
    settings: Settings,
    file: Path,
    head: dict[str, Any],
    only: tuple[Part, ...],
    force: bool,
) -> Saved:
    """The second half of a restore: the members lie unpacked and checked."""
    parts: tuple[Part, ...] = tuple(p for p in PARTS if p in only and p in head["parts"])
    if not parts:
        raise SettingsError(f"{file} holds {', '.join(head['parts'])}: nothing that was asked")
    newer = [part for part in parts if _is_newer(home, settings, part, head["newest"][part])]
    if newer and not force:
        raise SettingsError(
            f"the desk knows more than the backup of {head['made_at'][:16]}: "
            f"{', '.join(newer)}. --only restores some parts, --force all the same (what is "
            "replaced is kept aside)"
        )
    places = [place for part in parts for place in head["parts"][part]]
    aside = _free(home.root / f"replaced-{head['made_at'][:10]}")
    _keep_trials(home, home.data / backup.UNPACKED)
    backup.swap(home.root, home.data / backup.UNPACKED, places, aside)
    return Saved(file, parts, len(places), aside if aside.exists() else None)


def _keep_trials(home: Home, unpacked: Path) -> None:
    """No trial is forgotten: the ledger that comes back holds the desk's lines beside its own."""
    here = home.models / trials.FILE
    there = unpacked / _place(home, here)
    if here.is_file() and there.is_file():
        there.write_bytes(trials.union(there.read_bytes(), here.read_bytes()))


def _free(path: Path) -> Path:
    """The path, or it with the first number that is not taken."""
    tries = (path.with_name(f"{path.name}-{n}") if n else path for n in range(10_000))
    return next(found for found in tries if not found.exists())


def _is_newer(home: Home, settings: Settings, part: Part, saved: Any) -> bool:
    """Whether the desk has what the backup has not; what is damaged is nothing."""
    try:
        here = NEWEST[part](home, settings)
    except (ContractError, duckdb.Error):
        return False
    except SettingsError as error:
        if error.__cause__ is None or database.LOCKED.search(str(error.__cause__)):
            raise  # it is in use
        return False
    if isinstance(here, list):
        return not set(here) <= set(saved)
    return here is not None and (saved is None or here > saved)


# -- the parts ----------------------------------------------------------------------------------


def _store(home: Home, settings: Settings, folder: Path) -> list[Member]:
    if not home.store.is_file():
        return []
    store = Store(home.store, settings.data.store_wait_seconds)
    store.contents()  # a damaged block shows only when it is read
    snapshots.copy(home.store, folder / "store", store.opened(read_only=True))
    return [Member(_place(home, home.store), folder / "store")]


def _books(home: Home, settings: Settings, folder: Path) -> list[Member]:
    """The ledger, its kill switch and, since the books are held against it, the twin's account."""
    if not home.ledger.is_file():
        return []
    with contextlib.ExitStack() as stack:
        wait = settings.data.store_wait_seconds
        stack.enter_context(database.alone(home.ledger, wait))
        opened = database.connect(home.ledger, read_only=True, wait_seconds=wait)
        snapshots.copy(home.ledger, folder / "ledger", opened)
    found = [Member(_place(home, home.ledger), folder / "ledger")]
    if home.twin.is_file():
        with (
            contextlib.closing(sqlite3.connect(f"file:{home.twin}?mode=ro", uri=True)) as account,
            contextlib.closing(sqlite3.connect(folder / "twin")) as target,
        ):
            account.backup(target)
        found.append(Member(_place(home, home.twin), folder / "twin"))
    switch = home.data / "HALT"
    return [*found, Member(_place(home, switch), switch)] if switch.is_file() else found


def _models(home: Home, settings: Settings, folder: Path) -> list[Member]:
    return _tree(home, home.models)


def _runs(home: Home, settings: Settings, folder: Path) -> list[Member]:
    """Sealed runs and their chain; a run that is not finished can be run again."""
    found = [m for run in archive.runs(home) if run.sealed for m in _tree(home, run.path)]
    sealed = [m for m in found if m.source.parent.name != archive.STATE]
    chain = home.runs / "chain.jsonl"
    return [*sealed, Member(_place(home, chain), chain)] if chain.is_file() else sealed


def _tree(home: Home, folder: Path) -> list[Member]:
    inside = sorted(p for p in folder.rglob("*") if p.is_symlink() or p.is_file())
    return [Member(_place(home, path), path) for path in inside]


def _place(home: Home, path: Path) -> str:
    return path.relative_to(home.root).as_posix()


def _newest_known(home: Home, settings: Settings) -> str | None:
    """When the store last learnt anything."""
    if not home.store.is_file():
        return None
    newest = Store(home.store, settings.data.store_wait_seconds).newest_moment()
    return None if newest is None else newest.isoformat()


def _newest_event(home: Home, settings: Settings) -> int | None:
    """The number of the ledger's newest event."""
    if not home.ledger.is_file():
        return None
    wait = settings.data.store_wait_seconds
    with (
        database.alone(home.ledger, wait),
        database.connect(home.ledger, read_only=True, wait_seconds=wait) as connection,
    ):
        newest: int | None = connection.execute(NEWEST_EVENT).fetchall()[0][0]
    return newest


def _model_names(home: Home, settings: Settings) -> list[str]:
    return sorted(path.parent.name for path in home.models.glob("registry/*/card.json"))


def _run_names(home: Home, settings: Settings) -> list[str]:
    return sorted(run.id for run in archive.runs(home) if run.sealed)


GATHER: dict[Part, Callable[[Home, Settings, Path], list[Member]]] = {
    "store": _store,
    "books": _books,
    "models": _models,
    "runs": _runs,
}
NEWEST: dict[Part, Callable[[Home, Settings], Any]] = {
    "store": _newest_known,
    "books": _newest_event,
    "models": _model_names,
    "runs": _run_names,
}
