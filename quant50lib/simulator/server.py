"""Runs the twin: two servers on loopback in one process, one state file, one owner.

On start it prints one JSON line with its addresses and writes the same beside the state file, as
`<state>.endpoint.json`. It holds `<state>.lock` as long as it lives, however it ends.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import fcntl
import json
import os
import signal
import socket
import sys
import time
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from typing import IO, Any

import psutil
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from quant50lib.errors import Quant50Error, SettingsError
from quant50lib.simulator import scenario
from quant50lib.simulator.app import Twin
from quant50lib.simulator.control import control_app
from quant50lib.simulator.control_shapes import rule_given
from quant50lib.simulator.demo import DemoMarket
from quant50lib.simulator.exchange import Exchange
from quant50lib.simulator.faults import TRANSPORT, App, Receive, Scope, Send
from quant50lib.simulator.market import FileMarket, Listing, Market, NoMarket, read_universe
from quant50lib.simulator.refusals import Refusal
from quant50lib.simulator.rules import Rules
from quant50lib.simulator.state import StateFile
from quant50lib.simulator.timetable import parse_instant, utc_text

HOST = "127.0.0.1"
LOCK_SECONDS = 0.5  # others hold the lock for an instant to see whether it is held
PARENT_SECONDS = 0.5  # between two looks whether the parent still lives
KEEP_ALIVE_SECONDS = 75


def beside(state: Path, suffix: str) -> Path:
    """A companion of the state file."""
    return state.with_name(state.name + suffix)


def parser() -> argparse.ArgumentParser:
    """The command line."""
    found = argparse.ArgumentParser(
        prog="python -m quant50lib.simulator",
        description="A twin of Alpaca's paper account on loopback, for any Alpaca client.",
    )
    add = found.add_argument
    add("--state", type=Path, required=True, help="the file that remembers the account")
    add("--port", type=int, default=0, help="of Alpaca's interface; 0: any free one")
    add("--control-port", type=int, default=0, help="of the control plane; 0: any free one")
    add("--market", help='"demo" (the usual), "none", or a Parquet file of daily bars')
    add("--scenario", help="begin anew with this scenario: a name, or a TOML file")
    add("--actions", type=Path, help="corporate actions (CSV) for a Parquet market")
    add("--universe", type=Path, help="listings (CSV) in place of the packaged ones")
    add("--first-session", default="2012-01-03", help="of the demo market")
    add("--planted-ic", type=float, default=0.03, help="strength of the demo market's known edge")
    add("--now", help="the clock of a fresh state, RFC 3339; an existing state keeps its own")
    add("--cash", help="of a fresh state, US dollars (usual: 100000)")
    add("--seed", type=int, default=50, help="of the demo market and of partial fills")
    add("--multiplier", choices=("1", "2", "4"), help="of a fresh state; 1 (the usual): cash only")
    add("--p-partial", type=float, help="chance of a partial fill; given: for any state")
    add("--half-spread-bps", type=float, help="paid on each side of the price; as above")
    add("--rate-limit", type=int, help="requests a minute of the clock, 0: none; as above")
    add("--rule", action="append", default=[], help="NAME=VALUE of GET /sim/rules; as above")
    add("--parent", type=int, help="end when this process does")
    return found


def open_market(options: argparse.Namespace) -> Market:
    """The market of the command line."""
    packaged = Path(str(files("quant50lib") / "universe.csv"))
    listings = read_universe(options.universe or packaged)
    if options.market == "none":
        return NoMarket()
    if options.market == "demo":
        return DemoMarket(options.seed, options.first_session, listings, options.planted_ic)
    path = Path(options.market)
    if not path.is_file():
        raise SettingsError(
            f"the market {path} is no file; give a Parquet of daily bars, demo or none"
        )
    names: dict[str, Listing] = {listing.symbol: listing for listing in listings}
    return FileMarket(path, options.actions, names)


def open_twin(options: argparse.Namespace) -> Twin:
    """The twin of the command line; a scenario is read before anything else is touched.

    Raises
    ------
    SettingsError
        An option, a rule or the scenario is not what it should be.
    """
    try:
        script = scenario.load(options.scenario) if options.scenario else None
        if script is not None:
            _check_nothing_beside(options)
            options.market = options.market or script.market
            options.now = utc_text(script.now)
        options.market = options.market or "demo"
        twin = Twin(open_exchange(options))
        if script is not None:
            scenario.begin(twin, script)
    except Refusal as refusal:
        raise SettingsError(str(refusal)) from refusal
    return twin


def _check_nothing_beside(options: argparse.Namespace) -> None:
    given = [f"--{name}" for name in ("now", "cash", "multiplier") if getattr(options, name)]
    if given:
        raise SettingsError(
            f"{', '.join(given)} and --scenario: a scenario says itself how it begins"
        )


def open_exchange(options: argparse.Namespace) -> Exchange:
    """The account of the state file, or a fresh one, on the market of the command line."""
    try:
        now = parse_instant(options.now) if options.now else None
    except ValueError as error:
        raise SettingsError(f"--now: {error}") from error
    fresh = {"cash": options.cash, "multiplier": options.multiplier}
    rules = Rules(seed=options.seed, **{k: v for k, v in fresh.items() if v is not None})
    given = {
        "p_partial": options.p_partial,
        "half_spread_bps": options.half_spread_bps,
        "rate_limit": options.rate_limit,
    }
    changes = {name: value for name, value in given.items() if value is not None}
    changes |= {name: value for rule in options.rule for name, value in rule_given(rule).items()}
    return Exchange(open_market(options), StateFile(options.state), rules, now, **changes)


@contextlib.contextmanager
def owning(state: Path) -> Iterator[None]:
    """The sole right to the state file.

    Raises
    ------
    SettingsError
        Another twin has it; says where that one is.
    """
    state.parent.mkdir(parents=True, exist_ok=True)
    with beside(state, ".lock").open("a") as lock:
        deadline = time.monotonic() + LOCK_SECONDS
        while not _locked(lock):
            if time.monotonic() > deadline:
                raise SettingsError(f"{state} is in use by {_owner(state)}; use that one")
            time.sleep(LOCK_SECONDS / 20)
        yield


def _locked(lock: IO[str]) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _owner(state: Path) -> str:
    try:
        found = json.loads(beside(state, ".endpoint.json").read_text())
        return f"the twin at {found['url']} (process {found['pid']})"
    except (OSError, ValueError, KeyError):
        return "another twin, which is just starting"


def listen(port: int) -> socket.socket:
    """A socket on loopback."""
    # asyncio sends without delay only where the protocol is named
    found = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        found.bind((HOST, port))
    except OSError as error:
        found.close()
        raise SettingsError(
            f"port {port} on {HOST} cannot be used ({error.strerror}); choose another, or 0 for any"
        ) from error
    return found


class Protocol(H11Protocol):
    """HTTP/1.1 that hands each request its connection, so that a fault can cut it."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        inner = self.app

        async def with_transport(scope: Scope, receive: Receive, send: Send) -> None:
            scope.setdefault("extensions", {})[TRANSPORT] = transport
            await inner(scope, receive, send)

        self.app = with_transport


class Server(uvicorn.Server):
    """One of two servers of a process: signals are for the process to handle."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def _server(app: App | Any) -> Server:
    config = uvicorn.Config(
        app,
        http=Protocol,
        ws="none",
        lifespan="off",
        log_level="warning",
        access_log=False,
        proxy_headers=False,
        server_header=False,
        date_header=True,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=1,
    )
    return Server(config)


async def serve(twin: Twin, state: Path, sockets: tuple[socket.socket, socket.socket],
                parent: int | None) -> None:  # fmt: skip
    """Both servers, until a signal or the parent's end."""
    servers = [_server(twin.app), _server(control_app(twin))]

    def stop() -> None:
        for server in servers:
            server.should_exit = True

    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop)
    tasks = [asyncio.create_task(s.serve([sock])) for s, sock in zip(servers, sockets)]
    while not all(server.started for server in servers):
        await asyncio.sleep(0.005)
    _announce(state, sockets, parent)
    watch = asyncio.create_task(_watch(parent, stop))
    await asyncio.gather(*tasks)
    watch.cancel()


def _announce(
    state: Path, sockets: tuple[socket.socket, socket.socket], parent: int | None
) -> None:
    url, control = (f"http://{HOST}:{sock.getsockname()[1]}" for sock in sockets)
    found = {"url": url, "control_url": control, "pid": os.getpid(), "parent": parent}
    line = json.dumps(found)
    draft = beside(state, ".endpoint.json.tmp")
    draft.write_text(line + "\n")
    draft.replace(beside(state, ".endpoint.json"))
    print(line, flush=True)


async def _watch(parent: int | None, stop: Any) -> None:
    """Call `stop` once the parent has gone."""
    if parent is None:
        return
    with contextlib.suppress(psutil.NoSuchProcess):
        process = psutil.Process(parent)
        while process.is_running() and process.status() != psutil.STATUS_ZOMBIE:
            await asyncio.sleep(PARENT_SECONDS)
    stop()


def main(arguments: list[str] | None = None) -> int:
    """Run the twin; the exit code is that of the error which stopped it."""
    options = parser().parse_args(arguments)
    options.state = options.state.absolute()
    try:
        with owning(options.state), contextlib.ExitStack() as stack:
            sockets = (
                stack.enter_context(listen(options.port)),
                stack.enter_context(listen(options.control_port)),
            )
            twin = open_twin(options)
            asyncio.run(serve(twin, options.state, sockets, options.parent))
            beside(options.state, ".endpoint.json").unlink(missing_ok=True)
    except Quant50Error as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return error.exit_code
    return 0
