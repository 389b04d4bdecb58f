"""The leak canary through the notebooks themselves, as somebody has edited them.

A scratch desk gets three stores: one that ends with a session, the same with a future and late
revisions behind it, and the future alone. Notebooks 02 to 05 run on the first two as of the session
and must leave the same in every variable; 02 to 04 run on the third as of its last session, and
what they say of sessions up to the first must be what was said then. The desk itself is of
`leak_desk`.
"""

from __future__ import annotations

import pickle
import tempfile
from pathlib import Path

import nbformat
import numpy as np
import pandas as pd
import papermill
from papermill.exceptions import PapermillExecutionError

from quant50lib.contracts import FEATURES, LABELS, OPTIMIZE, TRAIN, Stage
from quant50lib.errors import SettingsError, StageFailed, by_name
from quant50lib.jobs.leak_check import Tell
from quant50lib.jobs.leak_desk import Side, give_model, prepared
from quant50lib.pipeline.kernels import Kernels
from quant50lib.pipeline.namespace import Kept, kept_file
from quant50lib.services import leak, leak_world
from quant50lib.services.leak import Leak
from quant50lib.services.leak_tables import Columns, differences, merged
from quant50lib.services.leak_world import World
from quant50lib.settings import Settings
from quant50lib.utils import config, dates
from quant50lib.utils.config import Home

#: nobody looks at the figures of this run
UNSEEN = """from quant50lib.services.report_style import Chart as _Chart

get_ipython().ast_node_interactivity = "none"
_Chart._repr_svg_ = lambda chart: \"\""""
STAGES = (FEATURES, LABELS, TRAIN, OPTIMIZE)
KEEP = """from quant50lib.contracts import Universe as _Universe
from quant50lib.pipeline import namespace as _namespace
from quant50lib.utils import config as _config
from quant50lib.pipeline import archive as _archive

_names = _archive.read_table(_config.home().root / run_dir, _Universe)["symbol"]
_namespace.keep(dict(globals()), run_dir, "{stage}", _names)"""


def run(
    settings: Settings,
    known: World,
    folder: Path,
    seed: int = 50,
    tell: Tell = lambda words: None,
) -> tuple[Leak, ...]:
    """Every leak of the notebooks of a folder; where it lacks one, the desk's own is run.

    Parameters
    ----------
    known
        The world; its last session is the cut.

    Raises
    ------
    StageFailed
        A notebook does not run to its end.
    SettingsError
        There is no stage notebook in the folder.
    """
    if not any((folder / stage.notebook).is_file() for stage in STAGES):
        wanted = ", ".join(stage.notebook for stage in STAGES)
        raise SettingsError(f"{folder} holds no stage notebook ({wanted}): give their folder")
    cut, benchmark = known.sessions[-1], settings.universe.benchmark
    rng = np.random.default_rng(seed)
    past = leak_world.halted(known, cut, benchmark, rng)
    future = leak_world.poisoned(past, cut, benchmark, leak.FUTURE_SESSIONS, rng)
    sides = (
        Side("past", past, cut, cut, STAGES),
        Side("revised", leak_world.revised(future, cut, rng), cut, cut, STAGES),
        Side("later", future, cut, future.sessions[-1], STAGES[:-1]),
    )
    with tempfile.TemporaryDirectory(prefix="leak-") as name:
        home = Home(Path(name).resolve())
        with Kernels({"QUANT50_HOME": str(home.root)}, home.root, settings.runner) as kernels:
            made = [_executed(home, settings, side, folder, kernels, tell) for side in sides]
    true, again, later = made
    now = _differences(true, again, cut, leak.NOW)
    horizon = settings.label.horizon_sessions
    true, later = _lasting(true, cut, horizon), _lasting(later, cut, horizon)
    since = _differences(true, _in_units_of(later, true, cut), cut, leak.LATER)
    return merged([*now, *since])


Made = dict[str, Kept]


def _differences(a: Made, b: Made, cut: pd.Timestamp, how: str) -> list[Leak]:
    ours, theirs = ({name: kept.columns for name, kept in side.items()} for side in (a, b))
    return differences(ours, theirs, cut, how)


def _lasting(made: Made, cut: pd.Timestamp, horizon: int) -> Made:
    """What a later run must say again: no prices, and nothing of notebook 05.

    Of rows with `known_at` those known at the cut. A bare matrix may be of labels: it is held to
    the sessions whose label was known.
    """
    last = dates.shift(cut, -1 - horizon)
    kept: Made = {}
    for name, (kind, columns) in made.items():
        if kind == "prices" or name.startswith(OPTIMIZE.notebook):
            continue
        if "known_at" in columns:
            known = columns["known_at"] <= cut
            columns = {column: values.where(known) for column, values in columns.items()}
        if kind == "matrix":
            columns = {column: values.loc[:last] for column, values in columns.items()}
        kept[name] = Kept(kind, columns)
    return kept


def _in_units_of(later: Made, true: Made, cut: pd.Timestamp) -> Made:
    """The later run's variables, as far as they speak of the past, in the units of the earlier one.

    A bare matrix may be of adjusted prices: where it is the earlier one times a power of two for
    each name, it counts as the earlier one. A table of the run's own day says nothing of the past, nor
    does a column that has values of later sessions alone.
    """
    kept = {}
    for name, (kind, columns) in later.items():
        before = true[name].columns if name in true else {}
        if not any(len(values.loc[:cut].dropna(how="all")) for values in columns.values()):
            kept[name] = Kept(kind, before)
        elif kind == "matrix":
            unscaled = {c: _unscaled(v, before.get(c), cut) for c, v in columns.items()}
            kept[name] = Kept(kind, unscaled)
        else:
            told = {c: before.get(c, v) if _silent(v, cut) else v for c, v in columns.items()}
            kept[name] = Kept(kind, told)
    return kept


def _silent(values: pd.DataFrame, cut: pd.Timestamp) -> bool:
    """Whether there are values, and all of them after the cut."""
    known = values.dropna(how="all").index
    return len(known) > 0 and bool(known[0] > cut)


def _unscaled(values: pd.DataFrame, before: pd.DataFrame | None, cut: pd.Timestamp) -> pd.DataFrame:
    if before is None or not all(d.kind == "f" for d in [*values.dtypes, *before.dtypes]):
        return values
    ours, theirs = values.loc[:cut].align(before.loc[:cut])
    ratio = ours / theirs
    low, high = ratio.min(), ratio.max()
    power = (low == high) & (np.log2(low.where(low > 0)) % 1 == 0)
    same = ours.isna().eq(theirs.isna()).all()
    return ours / low.where(power & same, 1.0)


# ---- a side -----------------------------------------------------------------------------------------


def _executed(
    home: Home, settings: Settings, side: Side, folder: Path, kernels: Kernels, tell: Tell
) -> Made:
    """The variables that the notebooks of one side leave, by notebook and name."""
    place = prepared(home, settings, side)
    if not home.models.exists():
        tell("a model for notebook 05")
        give_model(home, settings, place, side)
    made: Made = {}
    for stage in side.stages:
        tell(f"{stage.notebook} as of {side.run_date.date()} ({side.name})")
        _execute(home, settings, place, stage, _source(folder, stage), side.run_date, kernels)
        kept: Made = pickle.loads(kept_file(place, stage.name).read_bytes())
        made |= {f"{stage.notebook}: {name}": value for name, value in kept.items()}
    return made


def _source(folder: Path, stage: Stage) -> Path:
    edited = folder / stage.notebook
    return edited if edited.is_file() else config.notebooks() / stage.notebook


def _execute(
    home: Home,
    settings: Settings,
    place: Path,
    stage: Stage,
    source: Path,
    run_date: pd.Timestamp,
    kernels: Kernels,
) -> None:
    """Run a copy of a notebook, drawing nothing, with one cell more, which keeps its variables."""
    notebook = nbformat.read(str(source), as_version=4)
    notebook.cells.insert(0, nbformat.v4.new_code_cell(UNSEEN))
    notebook.cells.append(nbformat.v4.new_code_cell(KEEP.format(stage=stage.name)))
    copy = place / "notebooks" / stage.notebook
    nbformat.write(notebook, str(copy))
    kernel = kernels.take()
    kernels.prepare()
    try:
        papermill.execute_notebook(
            str(copy),
            str(copy),
            parameters={
                "run_date": str(run_date.date()),
                "run_dir": place.relative_to(home.root).as_posix(),
            },
            km=kernel,
            kernel_name="python3",
            language="python",
            progress_bar=False,
            execution_timeout=settings.runner.cell_timeout_seconds,
        )
    except PapermillExecutionError as error:
        cause = by_name(error.ename)
        raise StageFailed(
            f"{source.name} does not run in the leak check: {error.ename}: {error.evalue}",
            stage=stage.name,
            notebook=source.name,
            exit_code=cause.exit_code if cause else 1,
        ) from error
    finally:
        kernels.stop(kernel)
