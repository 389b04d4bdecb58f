"""From the run archive to replies. Reads what runs have published; opens no database."""

from __future__ import annotations

import datetime as dt
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from quant50lib.api.launch import Launched, Launcher
from quant50lib.api.replies import OrderList, RunDetail, RunView, StageView, rows
from quant50lib.contracts import REPORT, Equity, Kpi, Limit, Order, Table, stages_of
from quant50lib.errors import ArchiveError
from quant50lib.pipeline import archive, reports
from quant50lib.pipeline.archive import RunInfo
from quant50lib.settings import Settings
from quant50lib.utils import dates
from quant50lib.utils.config import Home

HISTORY = 252
NO_RUN = "there is no run of that id; GET /api/v1/runs lists them"
_PRINTING = threading.Lock()


class Missing(ArchiveError):
    """What was asked for is not there (yet)."""


@dataclass(frozen=True)
class Document:
    """A report as a file, PDF or HTML."""

    path: Path
    run_date: str

    @property
    def is_html(self) -> bool:
        return self.path.suffix == ".html"

    @property
    def name(self) -> str:
        """As a browser would save it."""
        return f"diario_{self.run_date.replace('-', '')}{self.path.suffix}"


def summarise(run: RunInfo) -> dict[str, Any]:
    """The fields of a RunView."""
    stages = [
        StageView(name=name, state=stage["state"], seconds=stage.get("seconds"))
        for name, stage in ((s.name, run.stages.get(s.name)) for s in stages_of(run.schedule))
        if stage
    ]
    return {
        "run_id": run.id,
        "run_date": run.run_date,
        "schedule": run.schedule,
        "state": run.state,
        "started": run.facts.get("started"),
        "simulated": run.facts.get("simulated", ""),
        "shadow": run.facts.get("shadow", ""),
        "stages": stages,
        "report": f"/api/v1/runs/{run.id}/report" if _has_report(run) else None,
    }


def _has_report(run: RunInfo) -> bool:
    return bool(run.pdf or run.html or _executed(run).is_file())


def _executed(run: RunInfo) -> Path:
    return run.path / "notebooks" / REPORT.notebook


def views(home: Home, limit: int) -> list[RunView]:
    """The newest runs, newest first."""
    return [RunView(**summarise(run)) for run in archive.runs(home)[:limit]]


def find(home: Home, run_id: str) -> RunInfo | None:
    """A run by id. Ids are compared with those on disk, never made into a path."""
    return next((run for run in archive.runs(home) if run.id == run_id), None)


def named(home: Home, run_id: str) -> RunInfo:
    """A run by id.

    Raises
    ------
    Missing
        There is no such run.
    """
    run = find(home, run_id)
    if run is None:
        raise Missing(NO_RUN)
    return run


def detail(home: Home, launcher: Launcher, run_id: str) -> RunDetail:
    """A run with its figures; also one that was only just accepted."""
    launched = launcher.find(run_id)
    run = find(home, run_id) or _done_before(home, launched)
    if run is None:
        return _without_folder(home, launched)
    said = summarise(run)
    message = ""
    if launched and run.state in ("failed", "half"):
        if launched.at_work:  # it has not said its last word
            said["state"] = "running"
        else:
            message = launched.last_words(home)
    equity = _table(run, Equity)
    return RunDetail(
        **said,
        message=message,
        equity=rows(equity.tail(HISTORY)),
        kpis=rows(_table(run, Kpi)),
        limits=rows(_table(run, Limit)),
    )


def _done_before(home: Home, launched: Launched | None) -> RunInfo | None:
    """What a job that ended well without a folder of its own found already done."""
    if launched is None or launched.process.poll() != 0:
        return None
    return archive.newest(home, "daily", "sealed", launched.run_date)


def _without_folder(home: Home, launched: Launched | None) -> RunDetail:
    if launched is None:
        raise Missing(NO_RUN)
    return RunDetail(
        run_id=launched.run_id,
        run_date=dt.date.fromisoformat(launched.run_date),
        schedule="daily",
        state="starting" if launched.at_work else "failed",
        message="" if launched.at_work else launched.last_words(home),
    )


def _table(run: RunInfo, table: type[Table]) -> pd.DataFrame:
    """A table of a run, or an empty one where no stage has written it yet."""
    written = (run.path / "tables" / table.file_name()).is_file()
    return archive.read_table(run.path, table) if written else table.empty()


def orders(home: Home, date: str | None, limit: int) -> OrderList:
    """Orders of the newest daily run that has planned any, largest first.

    Raises
    ------
    Missing
        No such run.
    """
    wanted = _iso(date)
    for run in archive.runs(home):
        written = (run.path / "tables" / Order.file_name()).is_file()
        if written and run.schedule == "daily" and wanted in (None, run.run_date):
            frame = archive.read_table(run.path, Order).sort_values(
                "notional", ascending=False, kind="stable"
            )
            return OrderList(
                run_id=run.id,
                run_date=dt.date.fromisoformat(run.run_date),
                simulated=run.facts.get("simulated", ""),
                total=len(frame),
                orders=rows(frame.head(limit)),
            )
    raise Missing(f"no run {_of(wanted)}has reached its orders yet: {_start(wanted)}")


def newest_report(home: Home, settings: Settings, date: str | None) -> Document:
    """The report of the newest sealed daily run, or of the one of a session.

    Raises
    ------
    Missing
        No such run.
    """
    wanted = _iso(date)
    run = archive.newest(home, "daily", "sealed", wanted)
    if run is None:
        raise Missing(f"there is no finished run {_of(wanted)}yet: {_start(wanted)}")
    return report_of(home, settings, run)


def report_of(home: Home, settings: Settings, run: RunInfo) -> Document:
    """A run's PDF; printed now where it is missing, and the HTML where there is no browser.

    Raises
    ------
    Missing
        The run has not come to its report.
    """
    if run.pdf:
        return Document(run.pdf, run.run_date)
    newest = archive.newest(home, "daily", None, run.run_date)
    if newest is None or newest.id != run.id or not _executed(run).is_file():
        return _html_of(run)
    with _PRINTING:
        return Document(reports.ensure(home, settings, run).paths[0], run.run_date)


def _html_of(run: RunInfo) -> Document:
    if run.html is None:
        raise Missing(f"run {run.id} has no report: it has not come to that stage")
    return Document(run.html, run.run_date)


def _iso(date: str | None) -> str | None:
    return None if date is None else str(dates.as_session(date).date())


def _of(date: str | None) -> str:
    return f"of {date} " if date else ""


def _start(date: str | None) -> str:
    return f"POST /api/v1/run, or `quant50 run{f' --date {date}' if date else ''}`"
