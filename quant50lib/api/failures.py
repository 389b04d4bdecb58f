"""Every error as the same envelope: the one place of the API that catches `Quant50Error`."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from quant50lib import errors
from quant50lib.api.launch import Busy
from quant50lib.api.reading import Missing
from quant50lib.api.replies import Problem, Reply
from quant50lib.api.security import HEADERS
from quant50lib.utils.logging import log

LOG = log(__name__)
Clock = Callable[[], dt.datetime]

#: the first class that fits decides; whatever is not listed is the server's own fault
STATUS: tuple[tuple[type[errors.Quant50Error], int], ...] = (
    (Busy, 409),
    (Missing, 404),
    (errors.SettingsError, 400),
    (errors.RiskHalt, 409),
    (errors.ReconciliationError, 409),
    (errors.OrderRefused, 409),
    (errors.Unreachable, 503),
    (errors.BrokerError, 502),
)


def status_of(error: errors.Quant50Error) -> int:
    """The HTTP status of an error of ours."""
    return next((status for kind, status in STATUS if isinstance(error, kind)), 500)


def failure(
    clock: Clock,
    status: int,
    summary: str,
    problem: Problem,
    headers: dict[str, str] | None = None,
) -> JSONResponse:
    """An error reply."""
    reply: Reply[Problem] = Reply(status="error", timestamp=clock(), summary=summary, data=problem)
    return JSONResponse(reply.model_dump(mode="json"), status, {**HEADERS, **(headers or {})})


def install(app: FastAPI, clock: Clock) -> None:
    """Make every error of the app an envelope."""

    def ours(_: Request, error: Any) -> JSONResponse:
        problem = Problem(error=type(error).__name__, exit_code=error.exit_code)
        return failure(clock, status_of(error), str(error), problem)

    def http(_: Request, error: Any) -> JSONResponse:
        problem = Problem(error=f"HTTP {error.status_code}")
        return failure(clock, error.status_code, str(error.detail), problem, error.headers)

    def invalid(_: Request, error: Any) -> JSONResponse:
        found = [f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors()]
        problem = Problem(error="RequestValidationError", exit_code=2, detail=found)
        return failure(clock, 422, "the request is not understood: " + "; ".join(found), problem)

    def bug(_: Request, error: Exception) -> JSONResponse:
        LOG.error("a bug in the API", exc_info=error)
        problem = Problem(error="InternalServerError", exit_code=1)
        return failure(clock, 500, "a bug: the service's log shows where", problem)

    app.add_exception_handler(errors.Quant50Error, ours)
    app.add_exception_handler(HTTPException, http)
    app.add_exception_handler(RequestValidationError, invalid)
    app.add_exception_handler(Exception, bug)
