"""Leaks on purpose: each the library's pipeline with one function that knows too much.

They are mistakes that people make. The canary must catch each of them; `quant50 leak-check
--self-test` shows where it did.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import pandas as pd

from quant50lib.services import label, leak_world
from quant50lib.services.features import Described
from quant50lib.services.leak import Pipeline, Scorer
from quant50lib.services.leak_world import World
from quant50lib.services.panel import Panel
from quant50lib.services.training import TrainingSet
from quant50lib.settings import Settings

Plant = Callable[[Pipeline, Settings], Pipeline]


@dataclass(frozen=True)
class Planted:
    """One leak: how it is done, and in which table it must be caught."""

    name: str
    mistake: str
    table: str
    plant: Plant


PLANTED: dict[str, Planted] = {}


def planted(name: str, table: str) -> Callable[[Plant], Plant]:
    """Enter the decorated leak into the list; its docstring says what the mistake is."""

    def register(plant: Plant) -> Plant:
        PLANTED[name] = Planted(name, (plant.__doc__ or "").strip(), table, plant)
        return plant

    return register


def _featured(p: Pipeline, change: Callable[[Described, Panel], Described]) -> Pipeline:
    return replace(p, features=lambda panel: change(p.features(panel), panel))


def _learning(p: Pipeline, change: Callable[[TrainingSet, Panel], TrainingSet]) -> Pipeline:
    return replace(
        p, training_set=lambda panel, known, at: change(p.training_set(panel, known, at), panel)
    )


# ---- features ------------------------------------------------------------------------------------


@planted("full_sample_scaling", "training_set")
def full_sample_scaling(p: Pipeline, settings: Settings) -> Pipeline:
    """Columns scaled by mean and deviation of the whole sample before it is split."""
    return _learning(
        p, lambda rows, panel: replace(rows, X=(rows.X - rows.X.mean()) / rows.X.std())
    )


@planted("normalised_over_dates", "standardised")
def normalised_over_dates(p: Pipeline, settings: Settings) -> Pipeline:
    """Each name's feature ranked among its own values of all dates."""
    return _featured(
        p,
        lambda found, panel: replace(
            found, standardised={n: v.rank(pct=True) for n, v in found.raw.items()}
        ),
    )


@planted("centred_window", "features")
def centred_window(p: Pipeline, settings: Settings) -> Pipeline:
    """A rolling volatility whose window is centred on the session."""

    def change(found: Described, panel: Panel) -> Described:
        smooth = panel.close.pct_change(fill_method=None).rolling(21, center=True).std()
        return replace(found, raw=found.raw | {"vol_centred_21": smooth})

    return _featured(p, change)


@planted("backward_fill", "features")
def backward_fill(p: Pipeline, settings: Settings) -> Pipeline:
    """Gaps of the bars filled with the next bar."""
    return replace(p, features=lambda panel: p.features(panel.each(lambda v: v.bfill())))


@planted("interpolated", "features")
def interpolated(p: Pipeline, settings: Settings) -> Pipeline:
    """Gaps of the bars bridged by a straight line to the next bar."""
    straight = lambda v: v if v.dtypes.eq(bool).all() else v.interpolate()  # noqa: E731
    return replace(p, features=lambda panel: p.features(panel.each(straight)))


@planted("adjusted_price_level", "features")
def adjusted_price_level(p: Pipeline, settings: Settings) -> Pipeline:
    """The adjusted price as a feature: low where splits and dividends were to come."""
    return _featured(p, lambda found, panel: replace(found, raw=found.raw | {"price": panel.close}))


# ---- labels and rows -----------------------------------------------------------------------------


@planted("label_shifted", "labels")
def label_shifted(p: Pipeline, settings: Settings) -> Pipeline:
    """The return of one session later, said to be known when the right one is."""
    benchmark, horizon = settings.universe.benchmark, settings.label.horizon_sessions

    def labels(panel: Panel, at: pd.Timestamp) -> pd.DataFrame:
        late = label.excess_return(panel, benchmark, horizon).shift(-1)
        return label.to_table(late, horizon, at)

    return replace(p, labels=labels)


@planted("label_over_all_sessions", "labels")
def label_over_all_sessions(p: Pipeline, settings: Settings) -> Pipeline:
    """Positive where above the name's median of all sessions, those to come included."""

    def labels(panel: Panel, at: pd.Timestamp) -> pd.DataFrame:
        table = p.labels(panel, at)
        median = table.groupby("symbol")["excess_return"].transform("median")
        return table.assign(positive=table["excess_return"] > median)

    return replace(p, labels=labels)


@planted("target_encoding", "training_set")
def target_encoding(p: Pipeline, settings: Settings) -> Pipeline:
    """A name's mean label over the sample as one of its features."""

    def change(rows: TrainingSet, panel: Panel) -> TrainingSet:
        mean = rows.excess_return.groupby(rows.symbol).transform("mean")
        return replace(rows, X=rows.X.assign(name=mean.astype("float32")))

    return _learning(p, change)


@planted("survivors_only", "training_set")
def survivors_only(p: Pipeline, settings: Settings) -> Pipeline:
    """Names without a bar at the end of the sample left out of all of it."""

    def change(rows: TrainingSet, panel: Panel) -> TrainingSet:
        alive = panel.close.columns[panel.close.iloc[-1].notna()]
        kept = rows.symbol.isin(alive)
        held = {
            name: value[kept].reset_index(drop=True)
            for name, value in vars(rows).items()
            if isinstance(value, pd.Series | pd.DataFrame)
        }
        return replace(rows, **held)

    return _learning(p, change)


# ---- what is learnt ------------------------------------------------------------------------------


@planted("learner_of_all_rows", "learnt")
def learner_of_all_rows(p: Pipeline, settings: Settings) -> Pipeline:
    """A back-test whose model of a session has learnt from all rows of the sample."""
    return replace(p, learn=lambda rows, until: p.learn(rows, rows.run_date))


@planted("calibrated_on_all_rows", "learnt")
def calibrated_on_all_rows(p: Pipeline, settings: Settings) -> Pipeline:
    """Scores brought to the share of positive labels of the whole sample."""

    def learn(rows: TrainingSet, until: pd.Timestamp) -> Scorer:
        score, base = p.learn(rows, until), float(rows.positive.mean())
        return lambda matrix: score(matrix) * base

    return replace(p, learn=learn)


# ---- what is read --------------------------------------------------------------------------------


@planted("future_universe", "standardised")
def future_universe(p: Pipeline, settings: Settings) -> Pipeline:
    """Today's members taken for the members of every session."""

    def described(panel: Panel) -> Described:
        if panel.admitted is None:
            return p.features(panel)
        now = panel.admitted & False | panel.admitted.iloc[-1]
        return p.features(replace(panel, admitted=now))

    return replace(p, features=described)


@planted("revised_bars", "panel")
def revised_bars(p: Pipeline, settings: Settings) -> Pipeline:
    """The newest word on every bar, whenever it was said."""
    known = settings.data.min_history_sessions

    def read(world: World, at: pd.Timestamp) -> Panel:
        told = replace(world, bars=world.bars.sort_values("known_at").assign(known_at=at))
        return leak_world.read(told, at, known)

    return replace(p, read=read)


@planted("whole_history", "panel")
def whole_history(p: Pipeline, settings: Settings) -> Pipeline:
    """Prices adjusted as of the newest session of the store instead of the run's."""

    def read(world: World, at: pd.Timestamp) -> Panel:
        return p.read(world, world.sessions[-1]).until(at)

    return replace(p, read=read)


@planted("forecast_of_tomorrow", "forecast")
def forecast_of_tomorrow(p: Pipeline, settings: Settings) -> Pipeline:
    """The score of a name is what it will return, read from a store that has it."""
    seen: list[World] = []

    def read(world: World, at: pd.Timestamp) -> Panel:
        seen[:] = [world]
        return p.read(world, at)

    def forecasts(panel: Panel, learnt: TrainingSet, at: pd.Timestamp) -> pd.DataFrame:
        made, (world,) = p.forecast(panel, learnt, at), seen
        closes = world.bars[world.bars["session"] > at].groupby("symbol")["close"].first()
        return made.assign(score=made["symbol"].map(closes))

    return replace(p, read=read, forecast=forecasts)
