"""Put the service together, and serve it."""

from __future__ import annotations

import datetime as dt
import socket
from collections.abc import Callable

import pandas as pd
import uvicorn
from fastapi import Depends, FastAPI, Response

from quant50lib import __version__
from quant50lib.api import failures, routes, security, web
from quant50lib.api.failures import Clock
from quant50lib.api.launch import Launcher
from quant50lib.api.replies import Problem
from quant50lib.errors import SettingsError
from quant50lib.jobs import daily_run, desk
from quant50lib.settings import Secrets, Settings
from quant50lib.utils.config import Home

DESCRIPTION = """\
The desk's runs, orders and reports, and a way to start a run.

Every JSON reply, errors too, has `status` ("ok" or "error"), `timestamp`, `summary` and `data`.
To act, and to read where a token was configured, send `Authorization: Bearer <token>`.
"""


def utc_now() -> dt.datetime:
    """The service's clock, for the timestamps of its replies alone."""
    return dt.datetime.now(dt.UTC)


def create_app(
    home: Home,
    settings: Settings,
    token: str,
    *,
    clock: Clock = utc_now,
    launcher: Launcher | None = None,
    host: str = "127.0.0.1",
    guard_reads: bool = True,
) -> FastAPI:
    """The service of one desk.

    Parameters
    ----------
    home : Home
        Whose runs are shown and started.
    settings : Settings
    token : str
        Asked of whoever acts; empty: nobody may.
    clock : callable
        Gives the timestamp of a reply.
    launcher : Launcher, optional
        How runs are started; by default the daily job in a process of its own.
    host : str
        Address it is bound to; on loopback no other name is answered.
    guard_reads : bool
        Whether reading needs the token too.
    """
    app = FastAPI(
        title="Quant50",
        version=__version__,
        description=DESCRIPTION,
        openapi_url="/api/v1/openapi.json",
        docs_url=None,
        redoc_url=None,
    )
    to_act = [Depends(security.guard(token))]
    to_read = to_act if guard_reads else []
    launcher = launcher or launcher_of(home, settings, clock)
    app.include_router(routes.router(home, settings, launcher, clock, to_read, to_act))
    app.include_router(web.router())
    failures.install(app, clock)

    def refuse(text: str) -> Response:
        return failures.failure(clock, 421, text, Problem(error="HTTP 421"))

    app.middleware("http")(security.harden(security.names_of(host), refuse))
    return app


def launcher_of(home: Home, settings: Settings, clock: Clock) -> Launcher:
    """Runs as the scheduled job would; a date that has not closed is refused before it starts."""

    def session(date: str | None) -> str:
        return str(desk.session_of(date, pd.Timestamp(clock())).date())

    return Launcher(home, session, lambda date: daily_run.plan(home, settings, date))


def serve(
    home: Home,
    settings: Settings,
    secrets: Secrets,
    host: str,
    port: int,
    say: Callable[[str], None] = print,
) -> None:
    """Serve until interrupted. Without QUANT50_API_TOKEN a token is made up and said once.

    Raises
    ------
    SettingsError
        The host is reachable from outside and no token was chosen, or the port is taken.
    """
    chosen = secrets.api_token.get_secret_value()
    security.check_binding(host, chosen)
    token = chosen or security.new_token()
    with bind(host, port) as listening:
        app = create_app(home, settings, token, host=host, guard_reads=bool(chosen))
        say(greeting(host, listening.getsockname()[1], "" if chosen else token))
        config = uvicorn.Config(app, log_level="warning", access_log=False, server_header=False)
        uvicorn.Server(config).run(sockets=[listening])


def bind(host: str, port: int) -> socket.socket:
    """A listening socket; port 0 takes any free one.

    Raises
    ------
    SettingsError
        The port is taken or the address is not of this machine.
    """
    bare = host.strip("[]")
    try:
        family, kind, proto, _, address = socket.getaddrinfo(
            bare, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listening = socket.socket(family, kind, proto)
    except OSError as error:
        raise SettingsError(f"api.host = {host!r} is no address of this machine") from error
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(address)
        listening.listen(128)
    except OSError as error:
        listening.close()
        raise SettingsError(
            f"cannot listen on {host}:{port} ({error.strerror}): choose another with "
            "QUANT50_API__PORT, or end the program that uses it"
        ) from error
    return listening


def greeting(host: str, port: int, made_up: str) -> str:
    """What to tell who started the service. The part after # never leaves the browser."""
    page = f"http://{host}:{port}/"
    if not made_up:
        return f"Quant50 at {page} (every request needs the token of QUANT50_API_TOKEN)"
    return (
        f"Quant50 at {page}#token={made_up}\n"
        f"token for POST, valid until this service ends: {made_up}"
    )
