"""The rows that a model learns from: features beside labels that are known."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from quant50lib.errors import ContractError
from quant50lib.services import features
from quant50lib.services.label import KnownLabels
from quant50lib.services.panel import Panel
from quant50lib.settings import FeatureSettings

MOMENTUM = "mom_12_1"
#: a row that lacks more than this share of its features is neither learnt from nor scored
MISSING_MAX = 0.5


@dataclass(frozen=True)
class TrainingSet:
    """Rows to learn from, in order of session and symbol; every label is known at `run_date`.

    ContractError where one is not.
    """

    X: pd.DataFrame  # (n_rows, n_features) float32, standardised, may be missing
    session: pd.Series
    symbol: pd.Series
    known_at: pd.Series
    excess_return: pd.Series
    positive: pd.Series
    benchmark_return: pd.Series  # over the same opens
    momentum: pd.Series  # standardised 12-1 momentum, whether or not a feature
    run_date: pd.Timestamp  # the session whose close is the last thing known

    def __post_init__(self) -> None:
        early, late = self.known_at <= self.session, self.known_at > self.run_date
        if (early | late).any():
            raise ContractError(
                f"{int(early.sum())} rows are known before they are decided, {int(late.sum())} after "
                f"{self.run_date.date()}: take the labels from `KnownLabels`"
            )

    @property
    def windows(self) -> pd.DataFrame:
        """Session and known_at of each row: the groups of a splitter."""
        return pd.DataFrame({"session": self.session, "known_at": self.known_at})


def known_until(rows: TrainingSet, session: pd.Timestamp) -> TrainingSet:
    """The rows whose label was known at the close of a session, as a run of that session has them."""
    kept = (rows.known_at <= session).to_numpy()
    held = {
        name: value[kept].reset_index(drop=True)
        for name, value in vars(rows).items()
        if isinstance(value, pd.Series | pd.DataFrame)
    }
    return TrainingSet(**held, run_date=session)


def training_set(
    panel: Panel,
    labels: KnownLabels,
    sectors: pd.Series,
    settings: FeatureSettings,
    benchmark: str,
) -> TrainingSet:
    """Standardised features beside known labels, a row for each session and name.

    Sessions before the longest window is full are left out, as are the benchmark, rows that lack
    more than half of their features, and so all sessions at which a name was not `features.eligible`:
    no member yet, or any more, or too thin.

    Parameters
    ----------
    panel
        Bars up to the run's date.
    labels
        Those known at the run's date; no others can be learnt from.
    sectors
        Group of each name (index: symbol); only these names are used.
    """
    described = features.describe(panel, sectors, settings, benchmark).standardised
    momentum = features.describe(
        panel, sectors, settings.model_copy(update={"names": (MOMENTUM,)}), benchmark
    ).standardised[MOMENTUM]
    warm = panel.sessions[features.sessions_needed(settings) - 1 :]
    names = momentum.columns.drop(benchmark, errors="ignore")
    rows = labels.table
    rows = rows[rows.session.isin(warm) & rows.symbol.isin(names)]
    at = panel.sessions.get_indexer(rows.session), momentum.columns.get_indexer(rows.symbol)
    X = pd.DataFrame({n: v.to_numpy(dtype="float32")[at] for n, v in described.items()})
    usable = (X.isna().mean(axis=1) <= MISSING_MAX).to_numpy()
    rows = rows[usable].reset_index(drop=True)
    market = panel.open[benchmark]
    entry = rows.session.map(market.shift(-1))
    return TrainingSet(
        X[usable].reset_index(drop=True),
        rows.session,
        rows.symbol,
        rows.known_at,
        rows.excess_return,
        rows.positive,
        rows.known_at.map(market) / entry - 1.0,
        pd.Series(momentum.to_numpy()[at][usable]),
        labels.run_date,
    )
