"""What a back-tested book expects: nothing, momentum, the model of the day, or the same of all.

Each is a `Signal`: it learns at the close of some sessions from what is known then, and forecasts at
every close by the functions that the notebooks call. A signal remembers nothing; what it has learnt
is handed back to it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Protocol

import numpy as np
import pandas as pd

from quant50lib.services import features, forecast, gate, inference, label, model
from quant50lib.services.backtest_market import Window
from quant50lib.services.covariance import History
from quant50lib.services.features_cross import ranked
from quant50lib.services.forecast import Expected
from quant50lib.services.forecast import Scoring as Learnt
from quant50lib.services.model import LoadedModel
from quant50lib.services.panel import Panel
from quant50lib.services.training import MOMENTUM, TrainingSet

#: of a forecast that is as uncertain of one name as of another, in premiums
EVEN_ERROR = 5.0


class Signal(Protocol):
    """Where a book's expected returns come from; `learns`: whether it ever learns anything."""

    learns: ClassVar[bool]

    def learn(self, window: Window, before: Learnt | None) -> Learnt | None:
        """What is known after learning at the close, given what was known before."""

    def expect(
        self, window: Window, panel: Panel, past: History, learnt: Learnt | None
    ) -> Expected:
        """What is expected at the close of the window's session, the panel's last; `past` its returns."""


def matrix_of(window: Window, panel: Panel, names: tuple[str, ...]) -> pd.DataFrame:
    """Standardised features of the session, (n_symbols, n_features), as stage features hands on."""
    settings = window.settings.features.model_copy(update={"names": names})
    described = features.describe(panel, window.market.sectors, settings, window.benchmark, 1)
    newest = {name: v.to_numpy()[-1] for name, v in described.standardised.items()}
    return pd.DataFrame(newest, next(iter(described.standardised.values())).columns)


def of_day(
    window: Window, panel: Panel, past: History, matrix: pd.DataFrame, learnt: Learnt | None
) -> Expected:
    """What is expected of the names with history enough for a risk, as notebook 05 has it."""
    settings = window.settings
    symbols, closes = panel.symbols, panel.close.to_numpy()
    known = past.known
    if not known.all():
        symbols, closes = symbols[known], closes[:, known]
    horizon = settings.label.horizon_sessions
    return forecast.of_closes(symbols, closes, matrix, learnt, settings.forecast, horizon)


@dataclass(frozen=True)
class Zero:
    """The premium for every name, and no alpha: the lowest-risk book that stays invested."""

    learns: ClassVar[bool] = False

    def learn(self, window: Window, before: Learnt | None) -> Learnt | None:
        return None

    def expect(
        self, window: Window, panel: Panel, past: History, learnt: Learnt | None
    ) -> Expected:
        return of_day(window, panel, past, pd.DataFrame(), None)


@dataclass(frozen=True)
class Even(Zero):
    """No alpha, and every name as uncertain as another: the programme spreads the weights evenly."""

    def expect(
        self, window: Window, panel: Panel, past: History, learnt: Learnt | None
    ) -> Expected:
        found = super().expect(window, panel, past, learnt)
        return found._replace(error=EVEN_ERROR * np.abs(found.expected_return))


@dataclass(frozen=True)
class MeasuredMomentum:
    """Standardised 12-1 momentum with the rank IC that it has had up to `trained_at`."""

    trained_at: pd.Timestamp
    ic: float
    ic_error: float
    ics: pd.Series  # rank IC by session, as far as labels were known

    def score(self, matrix: pd.DataFrame) -> pd.Series:
        return matrix[MOMENTUM]


@dataclass(frozen=True)
class Momentum:
    """12-1 momentum; its IC is measured on all known labels and shrunk by its own error."""

    learns: ClassVar[bool] = True

    def learn(self, window: Window, before: Learnt | None) -> Learnt | None:
        ics = _known_ics(window, before.ics if isinstance(before, MeasuredMomentum) else None)
        if len(ics) < window.settings.model.min_training_sessions:
            return before
        found = inference.session_mean(ics, window.settings.label.horizon_sessions)
        return MeasuredMomentum(window.session, found.value, found.error, ics)

    def expect(
        self, window: Window, panel: Panel, past: History, learnt: Learnt | None
    ) -> Expected:
        matrix = matrix_of(window, panel, (MOMENTUM,))
        return of_day(window, panel, past, matrix, learnt)


def _known_ics(window: Window, before: pd.Series | None) -> pd.Series:
    """Rank IC of momentum by session, of the history of the window and where labels are known.

    Those measured `before` are kept; a session is measured once, when its labels are new.
    """
    horizon = window.settings.label.horizon_sessions
    settings = window.settings.features.model_copy(update={"names": (MOMENTUM,)})
    needed = features.sessions_needed(settings)
    last = window.row - window.first - needed + 2  # sessions with momentum
    if before is not None and len(before):
        last = min(last, window.row - window.market.row(before.index[-1]))
    if last <= 1 + horizon:
        return pd.Series(dtype=float) if before is None else before
    panel = window.panel(last + needed - 1)
    described = features.describe(
        panel, window.market.sectors, settings, window.benchmark, last
    ).standardised[MOMENTUM]
    # who opens at the entry has a close there: no label looks further back than its session
    recent = panel.each(lambda values: values.iloc[-last:])
    excess = label.excess_return(recent, window.benchmark, horizon)
    found = rank_ic_by_session(described, excess[described.columns])
    found = found.iloc[: -1 - horizon].dropna()
    ics = found if before is None else pd.concat([before, found])
    return ics[ics.index >= window.market.sessions[window.first + needed - 1]]


def rank_ic_by_session(score: pd.DataFrame, outcome: pd.DataFrame) -> pd.Series:
    """Spearman's correlation across the names of each session; missing pairs are left out."""
    pair = score.to_numpy(dtype=float), outcome.to_numpy(dtype=float)
    both = ~(np.isnan(pair[0]) | np.isnan(pair[1]))
    # ranks within ±1/2 have the mean 0 in every session
    x, y = (np.nan_to_num(ranked(np.where(both, values, np.nan))) for values in pair)
    with np.errstate(divide="ignore", invalid="ignore"):
        return pd.Series((x * y).sum(1) / np.sqrt((x**2).sum(1) * (y**2).sum(1)), score.index)


@dataclass(frozen=True)
class Model:
    """The model of the desk: trained, judged by the gate, and used while it is young enough."""

    learns: ClassVar[bool] = True

    def learn(self, window: Window, before: Learnt | None) -> Learnt | None:
        rows = training_rows(window)
        settings, champion = window.settings, None
        if rows.session.nunique() < settings.model.min_training_sessions:
            return before
        trained = model.train(rows, settings.model, settings.label)
        if isinstance(before, LoadedModel):
            horizon = settings.label.horizon_sessions
            champion = gate.standing(before, trained, rows, window.session, horizon)
        if not gate.judge(trained.metrics, champion, settings.model).accepted:
            return before
        return trained.as_loaded(f"{window.session:%Y%m%d}", window.session)

    def expect(
        self, window: Window, panel: Panel, past: History, learnt: Learnt | None
    ) -> Expected:
        found = learnt if isinstance(learnt, LoadedModel) else None
        usable = model.usable(found, window.session, window.settings.model)
        names = window.settings.features.names
        matrix = matrix_of(window, panel, names) if usable else pd.DataFrame()
        return of_day(window, panel, past, matrix, usable)


def training_rows(window: Window) -> TrainingSet:
    """Features and known labels, as stages labels and train have them at the close of the session."""
    settings, panel = window.settings, window.panel()
    horizon = settings.label.horizon_sessions
    excess = label.excess_return(panel, window.benchmark, horizon)
    table = label.to_table(excess, horizon, window.session)
    labels = label.KnownLabels(table, window.session, horizon)
    sectors = window.market.sectors
    return model.training_set(panel, labels, sectors, settings.features, window.benchmark)


SIGNALS: dict[str, Signal] = {
    "zero": Zero(),
    "momentum": Momentum(),
    "model": Model(),
    "equal": Even(),
}
