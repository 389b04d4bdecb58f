"""What a run keeps for the next session: the state of the features.

It lies under `state/` of the run and its digest stands in the manifest, apart from those of results
and evidence: it can be computed anew from the bars, so it may be deleted, and is after `KEPT` runs. A
state is used only when it has the digest that its run was sealed with.
"""

from __future__ import annotations

import io
import platform
from pathlib import Path

import numpy as np
import pandas as pd

from quant50lib.pipeline import archive, provenance
from quant50lib.pipeline.archive import STATE, RunInfo
from quant50lib.services import features_day, features_state
from quant50lib.services.features_day import Day
from quant50lib.services.features_state import State
from quant50lib.services.panel import Panel
from quant50lib.settings import Settings
from quant50lib.utils import dates
from quant50lib.utils.config import Home

FILE = "features.npz"
#: runs whose state is kept: the newest, one to look back at, and a training of the same session
KEPT = 3


def version() -> str:
    """What a value may depend on beside bars and settings: our code, and what compiles it."""
    packages = provenance.packages()
    own = (provenance.code_digest(), packages["numba"], packages["numpy"], platform.machine())
    return " ".join(own)


def before(home: Home, run_date: pd.Timestamp) -> tuple[State | None, str]:
    """The state after the session before, as a sealed run has left it; or None, and why."""
    session = dates.shift(run_date, -1).date()
    found = [run for path in home.runs.glob(f"{session}-*") if (run := archive.info(path))]
    held = [run for run in found if run.sealed and (run.path / STATE / FILE).is_file()]
    if not held:
        return None, f"no sealed run of {session} holds a state"
    return _load(max(held, key=lambda run: str(run.facts.get("started", ""))))


def _load(run: RunInfo) -> tuple[State | None, str]:
    content = (run.path / STATE / FILE).read_bytes()
    if archive.sha256(run.path / STATE / FILE) != run.facts.get("state_files", {}).get(FILE):
        return None, f"the state of {run.id} is not the one that was sealed"
    with np.load(io.BytesIO(content)) as arrays:
        return features_state.from_arrays(arrays), ""


def is_checked(run_date: pd.Timestamp, how: str) -> bool:
    """Whether what is carried on is held against the whole panel: daily, or in a week's first session."""
    week = dates.shift(run_date, -1).isocalendar()[:2]
    return how == "daily" or week != run_date.isocalendar()[:2]


def of_day(
    home: Home, panel: Panel, sectors: pd.Series, settings: Settings, run_date: pd.Timestamp
) -> tuple[Day, str]:
    """Features of the last session of a panel, from the state of the session before where it may
    be used; and how they were computed, in words.

    Raises
    ------
    ContractError
        What is carried on is not what the whole panel says (looked at on the first session of a week).
    """
    how = settings.runner.carry_features
    kept, why = (None, "runner.carry_features is off") if how == "off" else before(home, run_date)
    benchmark, check = settings.universe.benchmark, is_checked(run_date, how)
    day = features_day.of_day(
        panel, sectors, settings.features, benchmark, kept, why, version(), check
    )
    return day, day.how


def keep(folder: Path, state: State) -> None:
    """Store the state with a run that is not yet sealed."""
    (folder / STATE).mkdir(exist_ok=True)
    held = io.BytesIO()
    np.savez(held, allow_pickle=False, **features_state.as_arrays(state))
    archive.write_atomically(folder / STATE / FILE, held.getvalue())


def prune(home: Home) -> None:
    """Delete the states of all sealed runs but the newest sessions'."""
    held = sorted(home.runs.glob(f"*-*-*-*/{STATE}/{FILE}"))
    for path in held[:-KEPT]:
        if (path.parents[1] / archive.SEALED).is_file():
            path.unlink(missing_ok=True)
