"""Copies of the store for those who read at leisure: whoever writes waits for no reader.

A snapshot is the store as it was between two writes. It is made when the store has changed since the
last one (a writer waits for the length of one file copy), shared by everybody who looks at the same
state, and removed once a newer one exists and nobody reads it any more. It lies in `snapshots/`
beside the store or, where that cannot be written, in the machine's folder for temporary files.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import IO

import duckdb

from quant50lib.adapters.store import Store
from quant50lib.adapters.store_tables import ACTIONS, ASSETS, BARS
from quant50lib.errors import SettingsError


def take(path: Path, wait_seconds: float = 10.0) -> tuple[Path, IO[bytes]]:
    """A snapshot of the store as it is now, and the file that keeps it from being removed.

    Raises
    ------
    SettingsError
        There is no store, a writer keeps it beyond `wait_seconds`, or the disk is full.
    ContractError
        The store is damaged.
    """
    if not path.is_file():
        raise SettingsError(f"there is no store at {path}: `quant50 ingest` makes one")
    folder = _folder(path)
    with _full_disk(folder), (folder / ".lock").open("a") as guard:
        fcntl.flock(guard, fcntl.LOCK_EX)
        found = folder / f"{mark(path)}.duckdb"
        if not found.is_file():
            found = _make(Store(path, wait_seconds), folder)
        held = found.open("rb")
        fcntl.flock(held, fcntl.LOCK_SH)
        _remove_others(folder, found)
    return found, held


def copy(path: Path, target: Path, opened: AbstractContextManager[object]) -> str:
    """Copy a DuckDB file while it is `opened` for reading; returns the mark of its state.

    What a killed writer left in its log is part of the copy.
    """
    with opened:
        state = mark(path)
        # the log first: closing the copied file gives up this process's lock on it
        for name in (_log(path), path):
            if name.is_file():
                shutil.copyfile(name, target if name == path else _log(target))
    with duckdb.connect(str(target)) as connection:
        connection.execute("CHECKPOINT")
    return state


def _log(path: Path) -> Path:
    return path.with_name(path.name + ".wal")


def _make(store: Store, folder: Path) -> Path:
    """A fresh snapshot, complete before it can be seen."""
    part = folder / ".part"
    try:
        state = copy(store.path, part, store.opened(read_only=True))
        with Store(part).writing() as connection:
            for table in (BARS, ACTIONS, ASSETS):
                newest = table.in_force([])
                connection.execute(f"CREATE VIEW {table.name}_in_force AS {newest}")
        made = folder / f"{state}.duckdb"
        os.replace(part, made)
    finally:
        for left in (part, _log(part)):
            left.unlink(missing_ok=True)
    return made


def _folder(path: Path) -> Path:
    """Where snapshots of this store lie."""
    beside = path.parent / "snapshots"
    with contextlib.suppress(PermissionError):
        beside.mkdir(exist_ok=True)
        if os.access(beside, os.W_OK):
            return beside
    mark = hashlib.sha256(str(path.absolute()).encode()).hexdigest()[:12]
    elsewhere = Path(tempfile.gettempdir()) / f"quant50-{os.getuid()}-{mark}"
    elsewhere.mkdir(mode=0o700, exist_ok=True)
    return elsewhere


def mark(path: Path) -> str:
    """A mark that changes with every write to the file or its log."""
    seen = []
    for name in (path, _log(path)):
        with contextlib.suppress(FileNotFoundError):
            found = name.stat()
            seen.append((found.st_ino, found.st_size, found.st_mtime_ns))
    return hashlib.sha256(repr(seen).encode()).hexdigest()[:16]


def _remove_others(folder: Path, current: Path) -> None:
    """Remove snapshots that nobody reads."""
    for old in folder.glob("*.duckdb"):
        if old == current:
            continue
        with old.open("rb") as stream, contextlib.suppress(BlockingIOError):
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            old.unlink()


@contextlib.contextmanager
def _full_disk(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise SettingsError(f"no snapshot can be written to {folder}: {error}") from error
