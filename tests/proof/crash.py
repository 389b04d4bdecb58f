"""A desk that is killed at a chosen instant: at each journal write and each HTTP boundary."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pandas as pd

from quant50lib.adapters import database
from quant50lib.adapters.broker import connect
from quant50lib.adapters.http import TimedSession
from quant50lib.adapters.journal import Ledger
from quant50lib.settings import Secrets
from tests.proof import days

#: forks from a process that has the imports done and no threads
CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(["tests.proof.crash"])


class Instants:
    """Writes each instant at which the process might die to a file; at the chosen one it does."""

    def __init__(self, log: Path, fatal: int) -> None:
        self._log, self._fatal, self._count = log, fatal, 0

    def __call__(self, what: str) -> None:
        self._count += 1
        with self._log.open("a") as file:
            file.write(what + "\n")
        if self._count == self._fatal:
            os.kill(os.getpid(), signal.SIGKILL)


def watch(instant: Callable[[str], None]) -> None:
    """Have every journal write and every request of this process pass by `instant`."""
    transaction, send = database.transaction, TimedSession.send

    @contextmanager
    def watched(connection: Any) -> Iterator[Any]:
        instant("journal: before the write")
        with transaction(connection) as inside:
            yield inside
            instant("journal: before the commit")
        instant("journal: after the commit")

    def watched_send(self: TimedSession, request: Any, **words: Any) -> Any:
        what = f"{request.method} {request.url.partition('/v2')[2].partition('?')[0]}"
        instant(f"http: before {what}")
        response = send(self, request, **words)
        instant(f"http: after {what}")
        return response

    database.transaction = watched
    TimedSession.send = watched_send  # type: ignore[method-assign]


def _live(url: str, books: Path, session: pd.Timestamp, log: Path, fatal: int) -> None:
    watch(Instants(log, fatal))
    broker = connect(days.settings(), Secrets(), url)
    days.evening(broker, Ledger(books), session)


def run(
    url: str,
    books: Path,
    session: pd.Timestamp,
    log: Path,
    fatal: int = 0,
    patience: float = 60.0,
) -> int | None:
    """An evening in a process of its own, killed at its `fatal`-th instant or out of patience."""
    process = CONTEXT.Process(target=_live, args=(url, books, session, log, fatal))
    process.start()
    process.join(patience)
    process.kill()
    process.join()
    return process.exitcode
