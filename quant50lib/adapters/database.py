"""Opening a DuckDB file that other processes also want: for milliseconds, with bounded patience.

DuckDB allows one writing process or many reading ones, and never waits by itself. Threads of one
process do not shut each other out there: `alone` does.
"""

from __future__ import annotations

import os
import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import duckdb
import psutil

from quant50lib.errors import SettingsError

LOCKED = re.compile(r"Could not set lock|different configuration|Unique file handle conflict")
HOLDER = re.compile(r"\(PID (\d+)")
FIRST_PAUSE, LONGEST_PAUSE = 0.01, 0.25
_LOCKS: dict[str, threading.RLock] = {}
_LOCKS_GUARD = threading.Lock()


@contextmanager
def alone(path: Path, wait_seconds: float = 10.0) -> Iterator[None]:
    """No other thread of this process is inside for the same file; re-entrant.

    Raises
    ------
    SettingsError
        Another thread stays inside beyond `wait_seconds`.
    """
    with _LOCKS_GUARD:
        lock = _LOCKS.setdefault(os.path.abspath(path), threading.RLock())
    if not lock.acquire(timeout=wait_seconds):
        raise SettingsError(
            f"{path} is in use by another thread of this process for over {wait_seconds:g} s: let "
            "it finish, then run this again"
        )
    try:
        yield
    finally:
        lock.release()


@contextmanager
def connect(
    path: Path, *, read_only: bool = False, wait_seconds: float = 10.0
) -> Iterator[duckdb.DuckDBPyConnection]:
    """A connection to the file, closed at the end of the block.

    Raises
    ------
    SettingsError
        Another process keeps the file locked beyond `wait_seconds` (names it), the file is no
        database, or its folder cannot be written.
    """
    connection = _patiently(path, read_only, wait_seconds)
    try:
        yield connection
    finally:
        connection.close()


@contextmanager
def transaction(connection: duckdb.DuckDBPyConnection) -> Iterator[duckdb.DuckDBPyConnection]:
    """All of the block or nothing of it; on return it is on disk (DuckDB syncs its log)."""
    connection.begin()
    try:
        yield connection
    except BaseException:
        connection.rollback()
        raise
    connection.commit()


def _patiently(path: Path, read_only: bool, wait_seconds: float) -> duckdb.DuckDBPyConnection:
    deadline, pause = time.monotonic() + wait_seconds, FIRST_PAUSE
    while True:
        try:
            return duckdb.connect(str(path), read_only=read_only)
        except duckdb.Error as error:
            if not LOCKED.search(str(error)):
                raise SettingsError(f"{path} cannot be opened: {_first_line(error)}") from error
            if time.monotonic() >= deadline:
                raise SettingsError(
                    f"{path} is in use by {_holder(str(error))} for over {wait_seconds:g} s; "
                    "close it there (a notebook? a DuckDB shell?) and run this again"
                ) from error
        time.sleep(pause)
        pause = min(2 * pause, LONGEST_PAUSE)


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0]


def _holder(message: str) -> str:
    """The process that holds the lock, in words."""
    found = HOLDER.search(message)
    if not found:
        return "another connection of this process"
    pid = int(found.group(1))
    try:
        return f"process {pid} ({' '.join(psutil.Process(pid).cmdline())[:120]})"
    except psutil.Error:
        return f"process {pid}"
