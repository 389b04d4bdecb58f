"""Start the daily pipeline in a process of its own, one at a time, and know how it fares.

The process outlives the service: a run is not lost because the API is restarted.
"""

from __future__ import annotations

import datetime as dt
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from quant50lib.api.replies import Started, State
from quant50lib.errors import SettingsError
from quant50lib.pipeline import archive
from quant50lib.utils.config import Home

LAST_WORDS = 12


class Busy(SettingsError):
    """Another run is at work; only one may be."""


@dataclass(frozen=True)
class Launched:
    """A run that this service started."""

    run_id: str
    process: subprocess.Popen[bytes]
    log: Path

    @property
    def run_date(self) -> str:
        """A run's id begins with its session."""
        return self.run_id[:10]

    @property
    def at_work(self) -> bool:
        return self.process.poll() is None

    def last_words(self, home: Home) -> str:
        """The end of what the job printed, without paths of this machine."""
        lines = self.log.read_text("utf-8", errors="replace").splitlines()
        return archive.scrub("\n".join(lines[-LAST_WORDS:]), home)


def daily_command(run_date: str) -> list[str]:
    """The scheduled job itself."""
    return [sys.executable, "-m", "quant50lib.jobs.daily_run", "--date", run_date]


class Launcher:
    """Starts runs of one desk.

    Parameters
    ----------
    home : Home
    session : callable
        From a date, or None for the last closed session, to a session that has closed.
    plan : callable
        From a session to the id that its run will have.
    command : callable
        From a session to the command that runs it.
    """

    def __init__(
        self,
        home: Home,
        session: Callable[[str | None], str],
        plan: Callable[[str], str],
        command: Callable[[str], list[str]] = daily_command,
    ) -> None:
        self._home = home
        self._session = session
        self._plan = plan
        self._command = command
        self._turn = threading.Lock()
        self._launched: dict[str, Launched] = {}

    @property
    def busy(self) -> bool:
        """Whether a run of the desk is at work, whoever started it."""
        ours = any(run.at_work for run in self._launched.values())
        return ours or archive.is_locked(self._home.lock)

    def find(self, run_id: str) -> Launched | None:
        """A run started here, by id."""
        return self._launched.get(run_id)

    def start(self, date: str | None) -> Started:
        """Start the run of a session; one that is sealed already is named and left alone.

        Raises
        ------
        Busy
            A run is at work already.
        SettingsError
            The date is no session, or has not closed.
        """
        with self._turn:
            session = self._session(date)
            if self.busy:
                raise Busy("a run is at work: wait until it ends (GET /api/v1/runs shows it)")
            sealed = archive.newest(self._home, "daily", "sealed", session)
            if sealed:
                return _started(sealed.id, "sealed")
            run_id = self._plan(session)
            self._launched[run_id] = self._spawn(run_id)
            return _started(run_id, "starting")

    def _spawn(self, run_id: str) -> Launched:
        log = self._home.data / "api" / f"{run_id}.log"
        log.parent.mkdir(parents=True, exist_ok=True)
        inherited = {k: v for k, v in os.environ.items() if k != "QUANT50_API_TOKEN"}
        with log.open("wb") as out:
            process = subprocess.Popen(
                self._command(run_id[:10]),
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                env={**inherited, "QUANT50_HOME": str(self._home.root)},
                start_new_session=True,
            )
        return Launched(run_id, process, log)


def _started(run_id: str, state: State) -> Started:
    return Started(
        run_id=run_id,
        run_date=dt.date.fromisoformat(run_id[:10]),
        state=state,
        url=f"/api/v1/runs/{run_id}",
    )
