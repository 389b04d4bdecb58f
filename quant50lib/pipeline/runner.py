"""Run the stages of a session, notebook by notebook, and seal what they did.

1. `begin`     find the open run of the session to go on with, or make its folder and plan;
2. `execute`   for each stage not yet finished: papermill runs its notebook in a fresh kernel into a
               private file, which takes its place in the run only when the stage has succeeded and
               written every table it promised; a failed stage leaves the notebook that shows where;
3. `publish`   export the report as HTML and PDF;
4. `seal`      write digests and the chain (`pipeline.archive`).

A stage has happened or has not: the run can be killed anywhere and begun again.
"""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nbformat
import pandas as pd
import papermill
from nbclient.exceptions import CellTimeoutError, DeadKernelError
from papermill.exceptions import PapermillExecutionError

from quant50lib.contracts import REPORT, Schedule, Stage, stages_of
from quant50lib.errors import (
    ArchiveError,
    BrowserMissing,
    ContractError,
    Quant50Error,
    SettingsError,
    StageFailed,
    by_name,
)
from quant50lib.pipeline import archive, carry, provenance, scraps
from quant50lib.pipeline.archive import OPEN, RunInfo
from quant50lib.pipeline.kernels import Kernels
from quant50lib.settings import Secrets, Settings
from quant50lib.utils import config
from quant50lib.utils import logging as own_logging
from quant50lib.utils.config import Home
from quant50lib.utils.logging import facts, log

LOG = log(__name__)


@dataclass(frozen=True)
class Event:
    """What a run is doing, for whoever watches."""

    stage: str
    state: str  # running | done | kept | failed | exporting | sealed
    doing: str = ""
    seconds: float = 0.0


Watcher = Callable[[Event], None]


@dataclass(frozen=True)
class Order:
    """What is to be run, complete: a run is a function of it and of the world's answers."""

    schedule: Schedule
    run_date: pd.Timestamp
    known_at: pd.Timestamp
    endpoints: dict[str, str]
    source: str
    simulated: str
    shadow: str = ""
    experimental: str = ""
    store: str = "data/market.duckdb"
    from_stage: str | None = None
    folder: Path | None = None  # of a scratch run


def begin(home: Home, settings: Settings, order: Order) -> RunInfo:
    """The open run of that session and schedule, taken up again, or a new one."""
    date = str(order.run_date.date())
    old = [r for r in archive.runs(home) if r.run_date == date and r.schedule == order.schedule]
    sealed = sum(r.sealed for r in old)
    run_id = f"{date}-scratch" if order.folder else plan_id(home, settings, order.schedule, date)
    path = order.folder or home.runs / run_id
    with archive.disk_guard("making the run's folder"):
        (path / "notebooks").mkdir(parents=True, exist_ok=True)
    archive.write_atomically(
        path / "settings.json", (settings.model_dump_json(indent=1) + "\n").encode()
    )
    known = archive.read_json(path / OPEN) if (path / OPEN).is_file() else {}
    plan = {
        **known,
        "id": run_id,
        "run_date": date,
        "schedule": order.schedule,
        "state": "running",
        "started": known.get("started", str(order.known_at)),
        "known_at": str(order.known_at),
        "endpoints": order.endpoints,
        "source": order.source,
        "simulated": order.simulated,
        "shadow": order.shadow,
        "experimental": order.experimental,
        "store": order.store,
        "settings": config.digest(settings),
        "stages": known.get("stages", {}),
        "corrects": [r.id for r in old if r.sealed] if sealed else [],
    }
    if order.from_stage:
        _take_over(plan, path, order, order.from_stage, [r for r in old if r.id != run_id])
    archive.write_json(path / OPEN, plan)
    return _opened(path)


def _opened(path: Path) -> RunInfo:
    found = archive.info(path)
    if found is None:
        raise ArchiveError(f"run {path.name} has vanished while it was at work")
    return found


def plan_id(home: Home, settings: Settings, schedule: Schedule, date: str) -> str:
    """The id that a run of that session would have now."""
    before = sum(
        r.sealed and r.run_date == date and r.schedule == schedule for r in archive.runs(home)
    )
    return archive.run_id(
        date, schedule, config.digest(settings), provenance.code_digest(), str(before)
    )


def _take_over(
    plan: dict[str, Any], path: Path, order: Order, from_stage: str, old: list[RunInfo]
) -> None:
    """Forget the stages from `from_stage` on; the ones before come from this or an older run."""
    names = [stage.name for stage in stages_of(order.schedule)]
    before = names[: names.index(from_stage)]
    done = {n for n, s in plan["stages"].items() if s["state"] == "done"}
    source = next((r for r in old if set(before) <= _done(r)), None)
    if not set(before) <= done and source is None:
        raise SettingsError(
            f"no run of {plan['run_date']} has finished {', '.join(before)}: run without --from"
        )
    if not set(before) <= done and source is not None:
        _copy(source, path, plan, before)
    plan["stages"] = {n: plan["stages"][n] for n in before}


def copy_stages(source: RunInfo, path: Path, names: list[str]) -> None:
    """Take finished stages over from another run of the session: notebooks, tables, facts."""
    plan = archive.read_json(path / OPEN)
    _copy(source, path, plan, names)
    archive.write_json(path / OPEN, plan)


def _copy(source: RunInfo, path: Path, plan: dict[str, Any], names: list[str]) -> None:
    (path / "tables").mkdir(parents=True, exist_ok=True)
    (path / "notebooks").mkdir(parents=True, exist_ok=True)
    for stage in stages_of(source.schedule):
        if stage.name not in names:
            continue
        shutil.copy2(source.path / "notebooks" / stage.notebook, path / "notebooks")
        for table in stage.writes:
            shutil.copy2(source.path / "tables" / table.file_name(), path / "tables")
        plan["stages"][stage.name] = {**source.stages[stage.name], "from": source.id}
    plan["known_at"] = source.facts["known_at"]


def _done(run: RunInfo) -> set[str]:
    return {name for name, stage in run.stages.items() if stage["state"] == "done"}


def run(
    home: Home,
    settings: Settings,
    secrets: Secrets,
    order: Order,
    kernels: Kernels,
    watch: Watcher = lambda event: None,
    until: str | None = None,
) -> RunInfo:
    """Do all that is left of a run and seal it; with `until`, stop before that stage, unsealed.

    Raises
    ------
    StageFailed
        A stage failed; its notebook is kept and the run can be taken up again.
    """
    info = begin(home, settings, order)
    with archive.locked(info.path / ".lock", f"run {info.id}"):
        handler = own_logging.to_file(info.path / "log.jsonl", secrets)
        try:
            execute(home, settings, info, kernels, watch, until)
            if until:
                return _opened(info.path)
            _publish(home, settings, info, watch)
        finally:
            own_logging.detach(handler)
        _complete(home, info)
    sealed = archive.seal(home, _opened(info.path))
    carry.prune(home)
    watch(Event("", "sealed", sealed.id))
    return sealed


def execute(
    home: Home,
    settings: Settings,
    info: RunInfo,
    kernels: Kernels,
    watch: Watcher,
    until: str | None = None,
) -> None:
    """Run every stage that is not yet done, in order."""
    stages = [s for s in stages_of(info.schedule)]
    if until:
        stages = stages[: [s.name for s in stages].index(until)]
    left = [s for s in stages if info.stages.get(s.name, {}).get("state") != "done"]
    for stage in stages:
        if stage not in left:
            watch(Event(stage.name, "kept"))
    for at, stage in enumerate(left):
        kernels.prepare()
        _run_stage(home, settings, info, stage, kernels, watch, last=at == len(left) - 1)


def _run_stage(
    home: Home,
    settings: Settings,
    info: RunInfo,
    stage: Stage,
    kernels: Kernels,
    watch: Watcher,
    last: bool,
) -> None:
    begun = time.perf_counter()
    watch(Event(stage.name, "running", stage.purpose))
    _note(info, stage, state="running")
    kernel = kernels.take()
    if not last:
        kernels.prepare()
    private = info.path / "notebooks" / f".{stage.notebook}"
    try:
        _papermill(home, settings, info, stage, kernel, private, watch)
        _promised(info, stage)
    except BaseException as error:
        kernels.stop(kernel)
        seconds = time.perf_counter() - begun
        _keep_failed(home, info, stage, private)
        _note(info, stage, state="failed", seconds=round(seconds, 3), error=type(error).__name__)
        watch(Event(stage.name, "failed", seconds=seconds))
        LOG.error("stage %s failed", stage.name, extra=facts(error=archive.scrub(str(error), home)))
        raise
    else:
        kernels.dismiss(kernel)
    cells = _tidy(home, private)
    os.replace(private, info.path / "notebooks" / stage.notebook)
    seconds = time.perf_counter() - begun
    recorded = scraps.read(info.path / "notebooks" / stage.notebook)
    _note(
        info,
        stage,
        state="done",
        seconds=round(seconds, 3),
        cell_seconds=round(cells, 3),
        scraps=recorded,
    )
    watch(Event(stage.name, "done", seconds=seconds))
    LOG.info("stage %s done", stage.name, extra=facts(seconds=round(seconds, 3)))


def _papermill(
    home: Home,
    settings: Settings,
    info: RunInfo,
    stage: Stage,
    kernel: Any,
    private: Path,
    watch: Watcher,
) -> None:
    source = config.notebooks() / stage.notebook
    headings = _headings(source)
    begun = time.perf_counter()

    def tell(cell: Any, cell_index: int) -> None:
        doing = headings.get(cell.get("id", ""))
        if doing:
            watch(Event(stage.name, "running", doing, time.perf_counter() - begun))

    parameters = {"run_date": info.run_date, "run_dir": info.path.relative_to(home.root).as_posix()}
    try:
        with archive.disk_guard(f"running {stage.notebook}"):
            papermill.execute_notebook(
                str(source),
                str(private),
                parameters=parameters,
                km=kernel,
                kernel_name="python3",
                language="python",
                progress_bar=False,
                execution_timeout=settings.runner.cell_timeout_seconds,
                on_cell_start=tell,
            )
    except PapermillExecutionError as error:
        raise _failure(info, stage, error.ename, error.evalue) from error
    except CellTimeoutError as error:
        limit = settings.runner.cell_timeout_seconds
        raise _failure(info, stage, "CellTimeoutError", f"a cell took over {limit} s") from error
    except DeadKernelError as error:
        raise _failure(info, stage, "DeadKernelError", "the kernel died (memory?)") from error


def _failure(info: RunInfo, stage: Stage, name: str, text: str) -> StageFailed:
    """The failure of a kernel, which reports no more than a name and a text, as our own class."""
    cause = by_name(name)
    where = f"runs/{info.id}/notebooks/{stage.notebook}"
    return StageFailed(
        f"{stage.name}: {name}: {text} (see {where}; `quant50 run` goes on from this stage)",
        stage=stage.name,
        notebook=where,
        exit_code=cause.exit_code if cause else Quant50Error.exit_code,
    )


def _promised(info: RunInfo, stage: Stage) -> None:
    missing = [
        t.__name__ for t in stage.writes if not (info.path / "tables" / t.file_name()).is_file()
    ]
    if missing:
        raise ContractError(f"stage {stage.name} ended without writing {', '.join(missing)}")


def _headings(notebook: Path) -> dict[str, str]:
    """For each code cell, by id, the heading above it."""
    heading, found = "", {}
    for cell in nbformat.read(str(notebook), as_version=4).cells:
        if cell.cell_type == "markdown" and cell.source.startswith("#"):
            heading = cell.source.splitlines()[0].lstrip("# ")
        elif cell.cell_type == "code":
            found[cell.id] = heading
    return found


def _tidy(home: Home, path: Path) -> float:
    """Take this machine's paths out of an executed notebook; returns the sum of its cell times."""
    text = archive.scrub(path.read_text("utf-8"), home)
    notebook = nbformat.reads(text, as_version=4)
    for name in ("input_path", "output_path"):
        recorded = notebook.metadata.get("papermill", {})
        if recorded.get(name):
            recorded[name] = Path(recorded[name]).name.lstrip(".")
    archive.write_atomically(path, nbformat.writes(notebook).encode())
    cells = (c.metadata.get("papermill", {}).get("duration") or 0.0 for c in notebook.cells)
    return float(sum(cells))


def _keep_failed(home: Home, info: RunInfo, stage: Stage, private: Path) -> None:
    """A half-executed notebook is the evidence: keep it where the next try will replace it."""
    if private.is_file() and private.stat().st_size:
        try:
            _tidy(home, private)
        except (nbformat.reader.NotJSONError, SettingsError) as error:
            LOG.warning("the notebook of %s could not be kept: %s", stage.name, error)
            return
        os.replace(private, info.path / "notebooks" / stage.notebook)


def _note(info: RunInfo, stage: Stage, **values: Any) -> None:
    """Update the state of a stage in run.json, which the kernel may have written meanwhile."""
    known = archive.read_json(info.path / OPEN)
    known["stages"][stage.name] = values
    known["state"] = "failed" if values["state"] == "failed" else "running"
    archive.write_json(info.path / OPEN, known)


def _publish(home: Home, settings: Settings, info: RunInfo, watch: Watcher) -> None:
    """The report of a daily run as HTML and PDF, in the run and under data/reports."""
    if REPORT.name not in (s.name for s in stages_of(info.schedule)):
        return
    watch(Event("pdf", "exporting", "print the report"))
    begun = time.perf_counter()
    known = archive.read_json(info.path / OPEN)
    known["pdf"] = _publish_report(home, settings, info)
    known["pdf_seconds"] = round(time.perf_counter() - begun, 3)
    archive.write_json(info.path / OPEN, known)
    watch(Event("pdf", "done", known["pdf"], time.perf_counter() - begun))


def _publish_report(home: Home, settings: Settings, info: RunInfo) -> str:
    """Print into the run's folder, and lay copies under data/reports."""
    executed = info.path / "notebooks" / REPORT.notebook
    said = print_report(home, settings, executed, info.path / "report", title_of(settings, info))
    home.reports.mkdir(parents=True, exist_ok=True)
    stem = f"diario_{info.run_date.replace('-', '')}"
    for suffix in (".html", ".pdf"):
        printed = info.path / f"report{suffix}"
        if printed.is_file():
            archive.write_atomically(home.reports / (stem + suffix), printed.read_bytes())
    return said


def title_of(settings: Settings, info: RunInfo) -> str:
    """Title of a run's report, as it stands in the footer of every page."""
    from quant50lib.services import report  # brings matplotlib, which no other part of a run needs

    session = pd.Timestamp(info.run_date)
    return report.document_title(settings.report.title, session, info.facts["simulated"])


def print_report(home: Home, settings: Settings, executed: Path, stem: Path, title: str) -> str:
    """Print an executed report as `stem`.html and `stem`.pdf.

    Returns "ok", or why there is only HTML and what mends it: a day never fails for want of a
    browser.
    """
    from quant50lib.adapters import (  # brings nbconvert: loaded while the notebooks have the time
        pdf,
    )

    stem.parent.mkdir(parents=True, exist_ok=True)
    pdf.export_html(executed, stem.with_suffix(".html"), title)
    browser = pdf.find_browser(settings.report.chromium)
    limit = settings.report.timeout_seconds
    try:
        pdf.export_pdf(executed, stem.with_suffix(".pdf"), title, browser, limit)
    except BrowserMissing as error:
        LOG.warning("no PDF: %s", error)
        return archive.scrub(str(error), home)
    return "ok"


def _complete(home: Home, info: RunInfo) -> None:
    """Add to run.json what the manifest must hold beside digests."""
    known = archive.read_json(info.path / OPEN)
    known |= provenance.describe(config.checkout())
    for name in ("log.jsonl", "settings.json"):
        path = info.path / name
        archive.write_atomically(path, archive.scrub(path.read_text("utf-8"), home).encode())
    archive.write_json(info.path / OPEN, json.loads(archive.scrub(json.dumps(known), home)))
