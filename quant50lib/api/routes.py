"""The endpoints of /api/v1."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, TypeVar

from fastapi import APIRouter, Body, Query, status
from fastapi.responses import FileResponse

from quant50lib import __version__
from quant50lib.api import examples, reading
from quant50lib.api.failures import Clock
from quant50lib.api.launch import Launcher
from quant50lib.api.replies import (
    Health,
    OrderList,
    Problem,
    Reply,
    RunDetail,
    RunRequest,
    RunView,
    Started,
)
from quant50lib.api.security import PDF_POLICY, REPORT_POLICY
from quant50lib.settings import Settings
from quant50lib.utils.config import Home

T = TypeVar("T")

Date = Annotated[
    str | None,
    Query(description="session, YYYY-MM-DD", examples=["2026-11-20"], max_length=10),
]
Limit = Annotated[int, Query(ge=1, le=1000, description="at most so many")]


def problems(*codes: int) -> dict[int | str, dict[str, Any]]:
    """Error replies for the OpenAPI document."""
    shown = {code: examples.PROBLEMS[code] for code in codes}
    return {
        code: {
            "model": Reply[Problem],
            "description": example["summary"],
            "content": {"application/json": {"example": example}},
        }
        for code, example in shown.items()
    }


def shown(example: dict[str, Any], *codes: int) -> dict[int | str, dict[str, Any]]:
    """A successful reply's example, and the errors."""
    return {200: {"content": {"application/json": {"example": example}}}, **problems(*codes)}


def router(
    home: Home,
    settings: Settings,
    launcher: Launcher,
    clock: Clock,
    to_read: Sequence[Any],
    to_act: Sequence[Any],
) -> APIRouter:
    """All endpoints of one desk.

    Parameters
    ----------
    to_read, to_act : sequences of dependencies
        What a request has to satisfy.
    """
    api = APIRouter(prefix="/api/v1")

    def reply(summary: str, data: T) -> Reply[T]:
        return Reply(timestamp=clock(), summary=summary, data=data)

    @api.get("/health", tags=["service"], responses=shown(examples.HEALTH))
    def health() -> Reply[Health]:
        """Whether the service is up. Needs no token."""
        busy = launcher.busy
        state = Health(
            version=__version__,
            broker=settings.broker,
            busy=busy,
            token_to_read=bool(to_read),
        )
        return reply("up, and a run is at work" if busy else "up", state)

    @api.post(
        "/run",
        tags=["runs"],
        status_code=status.HTTP_202_ACCEPTED,
        dependencies=to_act,
        responses={
            202: {"content": {"application/json": {"example": examples.STARTED}}},
            **problems(400, 401, 409, 422),
        },
    )
    def run(body: Annotated[RunRequest | None, Body()] = None) -> Reply[Started]:
        """Start the daily pipeline of a session in the background.

        The run goes on by itself, even if the service stops. One run at a time: while one is at
        work the answer is 409. The same session twice sends no order twice.
        """
        started = launcher.start(body.date if body else None)
        said = "has started" if started.state == "starting" else "was sealed before: nothing to do"
        return reply(f"run {started.run_id} {said}", started)

    @api.get("/runs", tags=["runs"], dependencies=to_read, responses=shown(examples.RUNS, 401, 422))
    def runs(limit: Limit = 50) -> Reply[list[RunView]]:
        """The runs of the desk, newest session first."""
        found = reading.views(home, limit)
        newest = f", the newest of {found[0].run_date} ({found[0].state})" if found else ""
        return reply(f"{len(found)} run{'s' * (len(found) != 1)}{newest}", found)

    @api.get(
        "/runs/{run_id}",
        tags=["runs"],
        dependencies=to_read,
        responses=shown(examples.RUN, 401, 404),
    )
    def one_run(run_id: str) -> Reply[RunDetail]:
        """One run: its stages, equity, figures and limits."""
        found = reading.detail(home, launcher, run_id)
        return reply(f"run of {found.run_date}: {found.state}", found)

    @api.get(
        "/orders",
        tags=["orders"],
        dependencies=to_read,
        responses=shown(examples.ORDERS, 400, 401, 404, 422),
    )
    def orders(date: Date = None, limit: Limit = 200) -> Reply[OrderList]:
        """The newest paper orders, largest first: those of the newest run, or of a session."""
        found = reading.orders(home, date, limit)
        return reply(f"{found.total} orders decided on {found.run_date}", found)

    document: dict[str, Any] = {
        "tags": ["report"],
        "dependencies": to_read,
        "response_class": FileResponse,
        "responses": {
            200: {
                "description": "the report; HTML where this machine has no browser to print with",
                "content": {"application/pdf": {}, "text/html": {}},
            },
            **problems(400, 401, 404),
        },
    }

    @api.get("/report", **document)
    def report(date: Date = None) -> FileResponse:
        """The newest report as PDF, or that of a session; printed now where it is missing."""
        return as_file(reading.newest_report(home, settings, date))

    @api.get("/runs/{run_id}/report", **document)
    def report_of_run(run_id: str) -> FileResponse:
        """The report of one run."""
        return as_file(reading.report_of(home, settings, reading.named(home, run_id)))

    return api


def as_file(document: reading.Document) -> FileResponse:
    """A report to look at, under the name of its session."""
    return FileResponse(
        document.path,
        media_type="text/html; charset=utf-8" if document.is_html else "application/pdf",
        filename=document.name,
        content_disposition_type="inline",
        headers={"Content-Security-Policy": REPORT_POLICY if document.is_html else PDF_POLICY},
    )
