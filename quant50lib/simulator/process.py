"""For callers: find the twin that holds a state file, or start one, and move its clock."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import pandas as pd
import psutil
import requests

from quant50lib.errors import SettingsError, Unreachable, by_name
from quant50lib.settings import SimulatorSettings

START_SECONDS = 60.0
STOP_SECONDS = 5.0
ANSWER_SECONDS = 30.0
MOVE_SECONDS = 300.0  # a clock that jumps years has much to do
PAUSE_SECONDS = 0.05


@dataclass(frozen=True)
class Twin:
    """A running twin; `owned` if this process started it. A context manager that stops it."""

    url: str
    control_url: str
    pid: int
    owned: bool

    def set_clock(self, instant: pd.Timestamp) -> None:
        """Move the clock forward; what falls due on the way happens.

        Raises
        ------
        SettingsError
            The clock already stands later; names both instants.
        """
        body = {"set": pd.Timestamp(instant).tz_convert("UTC").isoformat()}
        reply = self._call("POST", "/sim/clock", body, MOVE_SECONDS)
        if reply.status_code == 422:
            raise SettingsError(f"the twin's clock: {reply.json()['message']}")
        reply.raise_for_status()

    def info(self) -> dict[str, Any]:
        """Which market it is, whether its prices are made up, and its clock."""
        return self._get("/sim/info")

    def truth(self) -> dict[str, Any]:
        """Orders with their histories, executions, cash movements, positions and cash."""
        return self._get("/sim/truth")

    def stop(self) -> None:
        """End the process, if this one started it; everything it acknowledged is on disk."""
        if not self.owned or not _is_child(self.pid):
            return
        os.kill(self.pid, signal.SIGTERM)
        if not _reap(self.pid, STOP_SECONDS):
            os.kill(self.pid, signal.SIGKILL)
            _reap(self.pid, STOP_SECONDS)

    def __enter__(self) -> Twin:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def _get(self, path: str) -> dict[str, Any]:
        reply = self._call("GET", path, None, ANSWER_SECONDS)
        reply.raise_for_status()
        found: dict[str, Any] = reply.json()
        return found

    def _call(self, method: str, path: str, body: Any, patience: float) -> requests.Response:
        try:
            return requests.request(
                method, self.control_url + path, json=body, timeout=(3.05, patience)
            )
        except requests.RequestException as error:
            raise Unreachable(
                f"the twin at {self.control_url} (process {self.pid}) does not answer: {error}"
            ) from error


def _is_child(pid: int) -> bool:
    """Whether it is still a child of ours that has not been waited for."""
    try:
        return os.waitpid(pid, os.WNOHANG) == (0, 0)
    except ChildProcessError:
        return False


def _reap(pid: int, patience: float) -> bool:
    deadline = time.monotonic() + patience
    while time.monotonic() < deadline:
        if not _is_child(pid):
            return True
        time.sleep(PAUSE_SECONDS)
    return False


def attach_or_start(
    state: Path,
    settings: SimulatorSettings,
    universe: Path | None,
    now: pd.Timestamp | None,
    log: Path | None = None,
) -> Twin:
    """The twin that holds the state file, started if there is none.

    `now` sets the clock of a fresh state only. A started twin writes to `log` (by default
    `<state>.log`), lives in a session of its own, and ends with this process.

    Raises
    ------
    SettingsError, ContractError
        The settings ask for what cannot be, or the running twin has another market.
    Unreachable
        The twin did not come up in time; the text ends with what it wrote.
    """
    state = state.absolute()
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        found = find(state)
        if found is not None:
            _check_market(found, settings)
            return found
        if not _is_held(state):
            started = _start(state, settings, universe, now, log, deadline)
            if started is not None:
                return started
        time.sleep(PAUSE_SECONDS)
    raise Unreachable(f"{state} is held by a twin that does not answer; end it and try again")


def find(state: Path) -> Twin | None:
    """The live twin of a state file: its lock is held, it answers, and it is not about to end."""
    endpoint = state.with_name(state.name + ".endpoint.json")
    if not _is_held(state) or not endpoint.exists():
        return None
    try:
        told = json.loads(endpoint.read_text())
        parent = told.pop("parent")
        if parent is not None and not psutil.pid_exists(parent):
            return None  # its last seconds: it ends with the process that started it
        twin = Twin(**told, owned=False)
        twin.info()
    except (OSError, ValueError, TypeError, KeyError, Unreachable, requests.RequestException):
        return None  # it is starting or ending: the caller looks again
    return twin


def _is_held(state: Path) -> bool:
    try:
        with state.with_name(state.name + ".lock").open("r+") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except OSError:
        return True
    return False


def _check_market(twin: Twin, settings: SimulatorSettings) -> None:
    market = settings.market
    wanted = market if market == "demo" else str(Path(market).resolve())
    info = twin.info()
    other_seed = market == "demo" and not info["identity"].startswith(f"demo seed={settings.seed} ")
    if info["market"] != wanted or other_seed:
        raise SettingsError(
            f"the twin at {twin.url} serves {info['identity']!r}, the settings ask for market "
            f"{market!r} with seed {settings.seed}; stop it (process {twin.pid}) or use another home"
        )


def command(
    state: Path, settings: SimulatorSettings, universe: Path | None, now: pd.Timestamp | None
) -> list[str]:
    """The command line that starts a twin with these settings."""
    options: dict[str, Any] = {
        "--state": state,
        "--market": settings.market,
        "--seed": settings.seed,
        "--first-session": settings.first_session,
        "--planted-ic": settings.planted_ic,
        "--cash": settings.cash,
        "--port": settings.port,
        "--control-port": settings.control_port,
        "--p-partial": settings.p_partial,
        "--half-spread-bps": settings.half_spread_bps,
        "--rate-limit": settings.rate_limit_per_minute,
        "--parent": os.getpid(),
        "--actions": settings.actions,
        "--universe": universe,
        "--now": now.tz_convert("UTC").isoformat() if now is not None else None,
    }
    given = [(name, str(value)) for name, value in options.items() if value is not None]
    pairs = [word for pair in given for word in pair]
    return [sys.executable, "-m", "quant50lib.simulator", *pairs]


def _start(
    state: Path,
    settings: SimulatorSettings,
    universe: Path | None,
    now: pd.Timestamp | None,
    log: Path | None,
    deadline: float,
) -> Twin | None:
    """A twin of our own; None if another process was quicker."""
    state.parent.mkdir(parents=True, exist_ok=True)
    log = log or state.with_name(state.name + ".log")
    with log.open("ab") as file:
        begin = file.tell()
        child = subprocess.Popen(
            command(state, settings, universe, now),
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    while time.monotonic() < deadline:
        found = find(state)
        if found is not None:
            mine = found.pid == child.pid
            return Twin(found.url, found.control_url, found.pid, owned=mine) if mine else None
        if child.poll() is not None:
            _explain(child.returncode, _tail(log, begin))
            return None
        time.sleep(PAUSE_SECONDS)
    child.kill()
    child.wait()
    raise Unreachable(f"the twin did not start within {START_SECONDS:.0f} s:\n{_tail(log, begin)}")


def _tail(log: Path, begin: int) -> str:
    with log.open("rb") as file:
        file.seek(begin)
        return file.read()[-2000:].decode(errors="replace").strip()


def _explain(code: int, words: str) -> None:
    """Raise what stopped a starting twin, unless it only came second to another."""
    if "is in use by" in words:
        return
    last = words.splitlines()[-1] if words else f"exit code {code}"
    name, _, message = last.partition(": ")
    cls = by_name(name)
    if cls is not None:
        raise cls(f"the twin cannot start: {message}")
    raise Unreachable(f"the twin ended with exit code {code}:\n{words}")
