"""What the vendor has changed since, and what our past decisions would be today."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from quant50lib.adapters.market import SESSIONS_PER_YEAR
from quant50lib.adapters.store import Store
from quant50lib.contracts import (
    Equity,
    Feature,
    Holding,
    Order,
    Table,
    Target,
    Universe,
    stage_named,
)
from quant50lib.pipeline import archive
from quant50lib.pipeline.archive import OPEN, RunInfo
from quant50lib.pipeline.context import StageContext
from quant50lib.services import book, features, forecast, optimize, restatement
from quant50lib.services.restatement import PastRun
from quant50lib.settings import Settings
from quant50lib.utils import dates
from quant50lib.utils.config import Home

#: all that was ever learnt
ALWAYS = pd.Timestamp(0, tz="UTC")
#: after anything that is known
NOW = "2200-01-01T00:00:00+00:00"


@dataclass(frozen=True)
class Decided:
    """A past run decided again, on the bars of then and on those known now."""

    run: str
    exact: bool  # whether the bars of then are read as the run has sealed them
    weights: pd.DataFrame  # see services.restatement.decisions


@dataclass(frozen=True)
class Restated:
    """Bars changed since, the runs that used them, and what the newest of these would decide."""

    changes: pd.DataFrame
    used: pd.DataFrame
    decided: tuple[Decided, ...]


def report(
    home: Home,
    settings: Settings,
    since: str | None = None,
    n_decisions: int = 0,
    tell: Callable[[str], None] = lambda words: None,
) -> Restated:
    """What was learnt after the start of a day (None: ever) that contradicts what was known.

    Parameters
    ----------
    n_decisions : int
        So many of the newest daily runs that used an old value are decided again: features,
        forecast and optimiser, once on the bars as known to the run and once as known now, with
        the run's own settings, universe, holdings and model. Some seconds each.
    """
    store = Store(home.store, settings.data.store_wait_seconds)
    instant = ALWAYS if since is None else dates.as_date(since).tz_localize("UTC")
    revisions = store.revisions(instant)
    sealed = [run for run in archive.runs(home) if run.sealed]
    used = restatement.used(revisions, [_past(run) for run in sealed])
    touched = [run for run in sealed if run.schedule == "daily" and run.id in set(used["run"])]
    decided = []
    for run in touched[:n_decisions]:
        tell(f"deciding {run.id} again")
        decided.append(_decided(home, run))
    return Restated(restatement.changes(revisions), used, tuple(decided))


def _past(run: RunInfo) -> PastRun:
    own = Settings.model_validate_json((run.path / "settings.json").read_text("utf-8"))
    session = dates.as_session(run.run_date)
    first = dates.shift(session, 1 - SESSIONS_PER_YEAR * own.data.history_years)
    names = _symbols(run, Universe)[["symbol"]].copy()
    wanted = _symbols(run, Target).set_index("symbol").get("weight", pd.Series(dtype=float))
    names["held"] = names["symbol"].isin(_symbols(run, Holding)["symbol"])
    names["ordered"] = names["symbol"].isin(_symbols(run, Order)["symbol"])
    names["weight"] = names["symbol"].map(wanted).fillna(0.0).astype(float)
    return PastRun(run.id, session, pd.Timestamp(run.facts["known_at"]), first, names)


def _symbols(run: RunInfo, table: type[Table]) -> pd.DataFrame:
    """A table of a run; one without rows where its schedule does not write it."""
    if not (run.path / "tables" / table.file_name()).is_file():
        return pd.DataFrame({"symbol": pd.Series(dtype="str")})
    return archive.read_table(run.path, table)


def _decided(home: Home, run: RunInfo) -> Decided:
    then, exact = _weights(home, run, run.facts["known_at"])
    now, _ = _weights(home, run, NOW)
    return Decided(run.id, exact, restatement.decisions(then, now))


def _weights(home: Home, run: RunInfo, known_at: str) -> tuple[pd.Series, bool]:
    """Target weights of a run decided with what was known at an instant.

    Also whether the bars read are, to the last bit, those that the run has sealed.
    """
    with tempfile.TemporaryDirectory(dir=home.data, prefix="restated-") as name:
        folder = Path(name)
        for part in ("settings.json", "tables"):
            source = run.path / part
            (shutil.copytree if source.is_dir() else shutil.copy)(source, folder / part)
        archive.write_json(folder / OPEN, {**run.facts, "known_at": known_at, "queries": {}})
        weights = _decide(home, folder)
        queries = archive.read_json(folder / OPEN)["queries"]
    sealed = run.facts.get("queries", {}).get("optimize.bars")
    return weights, queries.get("optimize.bars") == sealed


def _decide(home: Home, folder: Path) -> pd.Series:
    """What the stages features and optimize do, without their notebooks; weights by symbol."""
    stage = StageContext(home, stage_named("optimize"), folder)
    settings, universe, holding = stage.settings, stage.read(Universe), stage.read(Holding)
    sectors = universe.set_index("symbol")["sector"]
    described = features.describe(stage.panel, sectors, settings.features, stage.benchmark)
    today = features.to_table(described.raw, described.standardised, stage.run_date)
    known = book.candidates(stage.panel, universe, settings)
    expected = forecast.of_day(
        stage.run_date,
        known,
        features.as_matrix(Feature.check(today)),
        stage.model,
        settings.forecast,
        settings.label.horizon_sessions,
    )
    equity, memory = stage.read(Equity), stage.memory
    state, events = book.rules(memory, equity, holding, stage.panel, stage.run_date, settings)
    solution = book.solve(expected, universe, holding, state, events, memory, stage.panel, settings)
    intent = book.forced_intent(state)
    target = optimize.to_target(solution, stage.run_date, forced_intent=intent)
    return target.set_index("symbol")["weight"]
