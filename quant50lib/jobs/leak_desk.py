"""A scratch desk for the leak canary: a run in which notebooks can begin, on a world that is cut.

It has a store of its own, from which the past, its late revisions and the future are read as on any
day, and a model that is said to be good: with a forecast of zero no leak would reach a weight.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd

from quant50lib.adapters import universe
from quant50lib.adapters.registry import Registry
from quant50lib.adapters.store import Store
from quant50lib.contracts import INGEST, Equity, Finding, Holding, Stage, Universe
from quant50lib.errors import DataQualityError
from quant50lib.pipeline import archive, runner, shadow
from quant50lib.pipeline.context import StageContext
from quant50lib.services import data, label, leak_world, model
from quant50lib.services.gate import Verdict
from quant50lib.services.leak_world import World
from quant50lib.settings import ModelSettings, Settings
from quant50lib.utils import dates
from quant50lib.utils.config import Home

#: a model of the shape of the desk's, small: what it is given is tested, not what it finds
SMALL: dict[str, Any] = {
    "n_splits": 2,
    "trees": 5,
    "min_rows_per_leaf": 50,
    "min_training_sessions": 20,
    "without_model": "zero",
}
CASH = 100_000.0
#: what the model is said to be worth
SAID = {"rank_ic": 0.05, "rank_ic_error": 0.01}


@dataclass(frozen=True)
class Side:
    """One run of the notebooks: on which world, as of which session."""

    name: str
    world: World
    cut: pd.Timestamp
    run_date: pd.Timestamp
    stages: tuple[Stage, ...]


def prepared(home: Home, settings: Settings, side: Side) -> Path:
    """A run in which notebook 02 can begin, with a store of its own."""
    place = home.runs / "scratch" / side.name
    place.mkdir(parents=True)
    store = place / "market.duckdb"
    fill(Store(store), side.world, side.cut)
    own = _settings(settings, side.world, place)
    order = runner.Order(
        schedule="daily",
        run_date=side.run_date,
        known_at=dates.scheduled(side.run_date),
        endpoints={},
        source="leak check",
        simulated="SIMULATED: a made-up future",
        shadow="a leak check sends no order",
        store=store.relative_to(home.root).as_posix(),
        folder=place,
    )
    runner.begin(home, own, order)
    stage = StageContext(home, INGEST, place)
    names = data.day_universe(
        stage.universe,
        stage.panel,
        Finding.empty(),
        stage.assets,
        side.run_date,
        own.data,
        own.features,
    )
    books = shadow.from_cash(side.run_date, CASH)
    for table, frame in ((Universe, names), (Holding, books.holding), (Equity, books.equity)):
        archive.write_table(place, table, frame)
    return place


def _settings(settings: Settings, world: World, place: Path) -> Settings:
    """The desk's settings, on this world's names, its whole history, and a small model."""
    told = universe.load(settings.universe.file, settings.universe.benchmark)
    names = told[told["symbol"].isin(world.sectors.index)]
    unborn = pd.DataFrame(
        [
            {"symbol": name, "name": name, "sector": world.sectors[name], "kind": "stock"}
            for name in leak_world.UNBORN
        ]
    )
    pd.concat([names, unborn]).to_csv(place / "names.csv", index=False)
    world.membership.to_csv(place / "membership.csv", index=False, date_format="%Y-%m-%d")
    years = len(world.sessions) // 252 + 1
    return settings.model_copy(
        update={
            "universe": settings.universe.model_copy(
                update={
                    "file": place / "names.csv",
                    "membership": place / "membership.csv",
                    "renames": None,
                }
            ),
            "data": settings.data.model_copy(update={"history_years": years}),
            "model": ModelSettings(**{**settings.model.model_dump(), **SMALL}),
        }
    )


def fill(store: Store, world: World, cut: pd.Timestamp) -> None:
    """The world in the store's form: what is known at the cut first, and then the rest."""
    symbols = world.sectors.index
    store.claim_source("leak check")
    assets = pd.DataFrame({"symbol": symbols, "name": symbols, "exchange": "NYSE"})
    assets = assets.assign(tradable=True, fractionable=True, status="active")
    store.append_assets(assets, dates.scheduled(world.sessions[0]))
    actions = world.actions.assign(
        id=[f"a{k}" for k in range(len(world.actions))], other_symbol=None
    )
    for frame, append in ((actions, store.append_actions), (world.bars, store.append_bars)):
        late = frame["known_at"] > cut
        for known, rows in ((cut, frame[~late]), (world.sessions[-1], frame[late])):
            append(rows.drop(columns="known_at"), dates.scheduled(known))


def give_model(home: Home, settings: Settings, place: Path, side: Side) -> str:
    """Train on what a side knows at its cut and put the model in use; returns its id.

    Empty where the world is too short to learn from.
    """
    own = _settings(settings, side.world, place)
    stage = StageContext(home, INGEST, place)
    horizon, sectors = own.label.horizon_sessions, stage.sectors
    excess = label.excess_return(stage.panel, stage.benchmark, horizon)
    known = label.KnownLabels(label.to_table(excess, horizon, side.cut), side.cut, horizon)
    rows = model.training_set(stage.panel, known, sectors, own.features, stage.benchmark)
    try:
        trained = model.train(rows, own.model, own.label)
    except DataQualityError:
        return ""
    praised = replace(trained, metrics={**trained.metrics, **SAID})
    registry = Registry(home.models)
    said = Verdict(True, "made for a leak check", True)
    model_id = registry.save(
        praised, said, run_id="leak check", trained_at=side.cut, data_digest="none"
    )
    registry.promote(model_id)
    return model_id
