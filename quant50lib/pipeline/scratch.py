"""Scratch runs: what a notebook works on when a quant opens it by hand.

A scratch run lies under runs/scratch/<session>/, is never sealed, sends no order, and touches
neither ledger nor models. The stages before the opened one come from the sealed run of that session
where there is one; else they are run first, in a process of their own.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pandas as pd

from quant50lib.contracts import Schedule, Stage, stages_of
from quant50lib.errors import SettingsError, StageFailed
from quant50lib.pipeline import archive
from quant50lib.settings import Settings
from quant50lib.simulator import process
from quant50lib.simulator.process import Twin
from quant50lib.utils import dates
from quant50lib.utils.config import Home

SHADOW = "a scratch run sends no order"


def prepare(home: Home, stage: Stage, run_date: str) -> str:
    """A scratch run in which `stage` can begin; its folder relative to the desk's home.

    Raises
    ------
    SettingsError
        There is no session to work on yet.
    StageFailed
        A stage before this one failed.
    """
    date = run_date or _newest(home)
    dates.as_session(date)
    module = "quant50lib.jobs.scratch"
    words = [sys.executable, "-m", module, "--date", date, "--stage", stage.name]
    done = subprocess.run(words, capture_output=True, text=True, cwd=home.root)
    if done.returncode:
        said = (done.stderr.strip() or done.stdout.strip()).splitlines()
        raise StageFailed(
            said[-1] if said else "the scratch run could not be prepared",
            stage=stage.name,
            notebook=stage.notebook,
            exit_code=done.returncode,
        )
    return str(json.loads(done.stdout.splitlines()[-1])["run_dir"])


def own_twin(settings: Settings, session: pd.Timestamp, folder: Path) -> Twin:
    """A twin that belongs to a scratch run, its clock at 22:00 UTC of the session; it ends with
    the process that asks for it."""
    state, names = folder / "twin.sqlite", settings.universe.file
    now = dates.scheduled(session)
    return process.attach_or_start(state, settings.simulator, names, now, folder / "twin.log")


def schedule_of(stage: Stage) -> Schedule:
    """The schedule under which a stage opened by hand runs: daily if it ever does."""
    return "daily" if "daily" in stage.schedules else "weekly"


def source_run(home: Home, stage: Stage, date: str) -> archive.RunInfo | None:
    """The newest run of that session in which all stages before `stage` are done."""
    schedule = schedule_of(stage)
    names = [s.name for s in stages_of(schedule)]
    before = names[: names.index(stage.name)]
    for run in archive.runs(home):
        done = {n for n, s in run.stages.items() if s["state"] == "done"}
        if run.run_date == date and run.schedule == schedule and set(before) <= done:
            return run
    return None


def _newest(home: Home) -> str:
    run = archive.newest(home)
    if run is None:
        raise SettingsError(
            "the desk has no run yet to take the session from: run `make demo`, "
            "or give run_date a session"
        )
    return run.run_date
