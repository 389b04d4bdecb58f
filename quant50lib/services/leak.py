"""The leak canary: whether anything at or before a session depends on what came after it.

1. a world is cut at a session t; the pipeline's panel, features, labels, training set and forecast
   of t are what is true (`leak_world`);
2. after t any number of futures are made up (`poisoned`); with each of them behind it, the pipeline
   of t must say the same, late revisions of the past included, and so must a later run about all
   sessions up to t: every feature, every label known by t, every row learnt from, and the scores of
   t by what is learnt from the rows known at t;
3. equal means equal to the last bit (`leak_tables`): made-up splits and dividends scale prices by
   powers of two, so that rounding is no excuse.

The pipeline under test is a record of functions: a planted leak is another function in it
(`leak_planted`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import pandas as pd

from quant50lib.contracts import Label
from quant50lib.errors import LeakFound
from quant50lib.services import (
    calibration,
    features,
    forecast,
    label,
    leak_world,
    learners,
    model,
    training,
)
from quant50lib.services.features import Described
from quant50lib.services.label import KnownLabels
from quant50lib.services.leak_tables import Leak, Tables, differences, merged, rows, wide
from quant50lib.services.leak_world import World
from quant50lib.services.panel import Panel
from quant50lib.services.scaler import Scaler
from quant50lib.services.training import TrainingSet
from quant50lib.settings import ModelSettings, Settings
from quant50lib.utils import dates

__all__ = ["Leak", "Pipeline", "World", "check", "check_training", "library", "require_none"]

#: sessions between two cuts: not a week, not a month, so that no rhythm hides a leak
STRIDE = 17
FUTURE_SESSIONS = 45
#: columns of one table that are told in full
SAID = 3
NOW, LATER = "as of that session", "in a later run"
#: of the desk's learner when it is fitted here: what it is given is tested, not what it finds
SMALL: dict[str, Any] = {
    "trees": 8,
    "leaves": 7,
    "min_rows_per_leaf": 20,
    "seeds": 1,
    "search": "off",
}

#: standardised features (n_symbols, n_features) to a score of each name
Scorer = Callable[[pd.DataFrame], pd.Series]


@dataclass(frozen=True)
class Pipeline:
    """From a world to a forecast: what is under test."""

    read: Callable[[World, pd.Timestamp], Panel]
    features: Callable[[Panel], Described]
    labels: Callable[[Panel, pd.Timestamp], pd.DataFrame]  # table Label
    training_set: Callable[[Panel, pd.DataFrame, pd.Timestamp], TrainingSet]
    learn: Callable[[TrainingSet, pd.Timestamp], Scorer]  # from the rows known at a session
    forecast: Callable[[Panel, TrainingSet, pd.Timestamp], pd.DataFrame]  # table Forecast


def library(settings: Settings, sectors: pd.Series) -> Pipeline:
    """The desk's own pipeline, as the notebooks call it."""
    benchmark, horizon = settings.universe.benchmark, settings.label.horizon_sessions

    def described(panel: Panel) -> Described:
        return features.describe(panel, sectors, settings.features, benchmark)

    def forecasts(panel: Panel, learnt: TrainingSet, run_date: pd.Timestamp) -> pd.DataFrame:
        today = described(panel)
        matrix = features.as_matrix(features.to_table(today.raw, today.standardised, run_date))
        volatility = forecast.horizon_volatility(panel, horizon)
        ic, error, score = _line(learnt, matrix)
        return forecast.forecast(run_date, volatility, score, ic, error, settings.forecast, horizon)

    small = settings.model.model_copy(update=SMALL)

    return Pipeline(
        read=lambda world, at: leak_world.read(world, at, settings.data.min_history_sessions),
        features=described,
        labels=lambda panel, at: label.to_table(
            label.excess_return(panel, benchmark, horizon), horizon, at
        ),
        training_set=lambda panel, table, at: training.training_set(
            panel, KnownLabels(table, at, horizon), sectors, settings.features, benchmark
        ),
        learn=lambda rows, until: fitted(training.known_until(rows, until), small),
        forecast=forecasts,
    )


def fitted(rows: TrainingSet, settings: ModelSettings) -> Scorer:
    """The desk's own scaler, learner and calibrator, learnt from these rows; no score from too few."""
    if rows.positive.nunique() < 2:
        return lambda matrix: pd.Series(np.nan, matrix.index)
    scaler = Scaler.fit(rows.X)
    prepared = learners.prepare(scaler.transform(rows.X), rows, settings.learner, settings)
    learnt = learners.fit(prepared, np.arange(len(rows.X)), settings)
    truth = rows.positive.to_numpy(dtype=float)
    probable = calibration.fit(learnt.raw(prepared.matrix), truth, settings.calibration)
    return lambda matrix: model.predict(learnt.calibrated(probable), scaler, matrix)


def _line(learnt: TrainingSet, matrix: pd.DataFrame) -> tuple[float, float, pd.Series]:
    """A model that any row learnt from moves: the covariance of each feature with the label.

    Returns its IC, the error of that, and the score of each name. What is tested is what reaches a
    model; a straight line hides none of it, and takes no time.
    """
    X, y = learnt.X.fillna(0.0).astype(float), learnt.excess_return
    if X.empty:
        return 0.0, np.inf, pd.Series(np.nan, matrix.index)
    weights = X.mul(y, axis=0).mean()
    fitted = X.to_numpy() @ weights.to_numpy()
    ic = float(np.corrcoef(fitted, y)[0, 1])
    score = matrix.reindex(columns=X.columns).fillna(0.0).to_numpy() @ weights.to_numpy()
    return ic, 1 / np.sqrt(len(y)), pd.Series(score, matrix.index)


# ---- the check -----------------------------------------------------------------------------------


def check(
    world: World,
    pipeline: Pipeline,
    cuts: Sequence[pd.Timestamp],
    benchmark: str,
    n_futures: int = 2,
    seed: int = 50,
) -> tuple[Leak, ...]:
    """Every column that a future changes at or before one of the cuts, with the first such cell.

    Parameters
    ----------
    world
        What is known; rows after a cut are not looked at but replaced.
    cuts
        Sessions of the world; before each there must be history enough for rows to learn from.
    n_futures
        Made up for each cut, so that no leak is missed by luck.
    """
    return compare(sides(world, cuts, benchmark, n_futures, seed), pipeline)


@dataclass(frozen=True)
class Sides:
    """A world cut at a session, and futures behind it: each with late revisions, and without."""

    cut: pd.Timestamp
    past: World
    futures: tuple[tuple[World, World], ...]


def sides(
    world: World, cuts: Sequence[pd.Timestamp], benchmark: str, n_futures: int = 2, seed: int = 50
) -> list[Sides]:
    """The worlds of `check`, for more than one pipeline."""
    found = []
    for k, cut in enumerate(cuts):
        rng = np.random.default_rng([seed, k])
        past = leak_world.halted(leak_world.cut(world, cut), cut, benchmark, rng)
        futures = []
        for _ in range(n_futures):
            future = leak_world.poisoned(past, cut, benchmark, FUTURE_SESSIONS, rng)
            futures.append((leak_world.revised(future, cut, rng), future))
        found.append(Sides(cut, past, tuple(futures)))
    return found


def compare(given: Sequence[Sides], pipeline: Pipeline) -> tuple[Leak, ...]:
    """What `check` finds, in worlds that are there."""
    found: list[Leak] = []
    for side in given:
        cut = side.cut
        true = _made(pipeline, side.past, cut, cut)
        for revised, future in side.futures:
            found += differences(true, _made(pipeline, revised, cut, cut), cut, NOW)
            later = _made(pipeline, future, future.sessions[-1], cut)
            found += differences(_lasting(true, cut), _lasting(later, cut), cut, LATER)
    return merged(found)


def remembering(pipeline: Pipeline) -> Pipeline:
    """The same pipeline, which does nothing twice for the same objects.

    Pipelines that differ from it in one function (`leak_planted`) then share all that comes before
    that one. It holds whatever it was given and gave, which nobody may change.
    """
    held: dict[tuple[object, ...], tuple[Any, Any]] = {}

    def once(name: str) -> Callable[..., Any]:
        def function(*given: Any) -> Any:
            key = name, *(x if isinstance(x, pd.Timestamp) else id(x) for x in given)
            if key not in held:
                held[key] = given, getattr(pipeline, name)(*given)  # given, so that no id is reused
            return held[key][1]

        return function

    return Pipeline(**{f.name: once(f.name) for f in fields(Pipeline)})


def cuts_of(sessions: pd.DatetimeIndex, n: int) -> list[pd.Timestamp]:
    """The newest session and n - 1 before it, `STRIDE` sessions apart."""
    return [sessions[-1 - STRIDE * k] for k in range(n)]


def require_none(leaks: Sequence[Leak]) -> None:
    """Raise `LeakFound` where there is a leak, with the first cells of up to three columns a table."""
    if not leaks:
        return
    lines = []
    for table in dict.fromkeys(leak.table for leak in leaks):
        own = [leak for leak in leaks if leak.table == table]
        lines += [f"- {leak}" for leak in own[:SAID]]
        if len(own) > SAID:
            names = ", ".join(leak.column for leak in own[SAID:])
            lines.append(f"- {table}: and so {len(own) - SAID} columns more ({names})")
    raise LeakFound(f"{len(leaks)} columns know the future:\n" + "\n".join(lines))


def _made(pipeline: Pipeline, world: World, run_date: pd.Timestamp, cut: pd.Timestamp) -> Tables:
    """All that a pipeline makes of a world in a run of one session, and of what it knew at the cut."""
    panel = pipeline.read(world, run_date)
    described = pipeline.features(panel)
    table = pipeline.labels(panel, run_date)
    learnt = pipeline.training_set(panel, table, run_date)
    held = {f.name: getattr(panel, f.name) for f in fields(panel)}
    return {
        "panel": {name: values for name, values in held.items() if values is not None},
        "features": described.raw,
        "standardised": described.standardised,
        "labels": wide(table),
        "training_set": wide(rows(learnt)),
        "learnt": {"score": _scores(pipeline, described, learnt, cut)},
        "forecast": wide(pipeline.forecast(panel, learnt, run_date)),
    }


def _scores(
    pipeline: Pipeline, described: Described, learnt: TrainingSet, cut: pd.Timestamp
) -> pd.DataFrame:
    """Scores of the cut, (1, n_symbols), by what the pipeline learns from the rows known then."""
    matrix = pd.DataFrame({n: v.loc[cut] for n, v in described.standardised.items()})
    score = pipeline.learn(learnt, cut)(matrix.reindex(columns=learnt.X.columns))
    return pd.DataFrame([score], index=pd.DatetimeIndex([cut]))


def _lasting(made: Tables, cut: pd.Timestamp) -> Tables:
    """What a later run must still say: not prices, which it adjusts anew, nor its own forecast.

    Of labels, and rows to learn from, those known at the cut.
    """
    kept: dict[str, dict[str, pd.DataFrame]] = {
        "features": dict(made["features"]),
        "standardised": dict(made["standardised"]),
        "learnt": dict(made["learnt"]),
    }
    for name in ("labels", "training_set"):
        known = made[name]["known_at"]
        kept[name] = {column: v.where(known <= cut) for column, v in made[name].items()}
    return kept


# ---- before a model is offered -------------------------------------------------------------------


def check_training(
    learnt: TrainingSet,
    panel: Panel,
    sectors: pd.Series,
    settings: Settings,
    n_cuts: int = 2,
) -> tuple[str, ...]:
    """What in the rows at hand could not have been known, in words; empty where nothing.

    For some cuts within the rows' sessions, the newest rows known at the cut are made again by the
    library from a panel that ends there, and must be the ones at hand, to the last bit: rows scaled
    over the whole sample, or with a label of the future, are not. Cheap enough (a second for 300
    names) to stand between training and `stage.offer`.

    Parameters
    ----------
    learnt
        What the model has learnt from, whoever made it.
    panel
        The run's own, up to its session.
    sectors
        Group of each name, as given to `training_set`.
    """
    known = learnt.known_at.drop_duplicates().sort_values(ignore_index=True)
    if known.empty:
        return ()
    cuts = [pd.Timestamp(known[len(known) * (k + 1) // (n_cuts + 1)]) for k in range(n_cuts)]
    found = [leak for cut in cuts for leak in _unlike(learnt, panel, sectors, settings, cut)]
    return tuple(str(leak) for leak in merged(found))


def _unlike(
    learnt: TrainingSet, panel: Panel, sectors: pd.Series, settings: Settings, cut: pd.Timestamp
) -> list[Leak]:
    """How the rows of the sessions before a cut differ from those of a panel that ends with it."""
    horizon = settings.label.horizon_sessions
    needed = features.sessions_needed(settings.features) + horizon + STRIDE
    first = panel.sessions[max(panel.sessions.get_loc(cut) - needed, 0)]
    past = panel.each(lambda values: values.loc[first:cut])
    pipeline = library(settings, sectors)
    again = rows(pipeline.training_set(past, pipeline.labels(past, cut), cut))
    told = rows(learnt)
    told = told[(told["known_at"] <= cut) & (told["session"] >= again["session"].min())]
    return differences(
        {"training_set": wide(again)}, {"training_set": wide(told)}, cut, "rows at hand"
    )
