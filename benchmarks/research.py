"""What a model is worth on real bars: models × validation schemes, with intervals.

``python benchmarks/research.py [--data FOLDER]`` (`make research`) reads ``us_daily_2013_2018.parquet``
and ``sectors.csv`` and writes its table into README.md, exactly as it comes out.

Protocol, fixed before anything was run:

- names: of those with a bar at every session, no fund, and no move of more than 45 % in a session
  (splits and spin-offs that the bars do not adjust for), the 300 with the largest median dollar volume
  of the first 252 sessions. The list of names is of 2018: its survivors. No dividends;
- features: the core set, ranked within each session; label: `label.excess_return` over SPY, 5 sessions
  from the next open; settings: the published defaults of `[model]`;
- purged K-fold: 5 blocks; combinatorial: 6 blocks, 2 tested, 5 paths, whose IC is averaged a session and
  whose AUC is averaged; walk-forward: expanding, 5 blocks over the last two thirds; embargo 5 sessions;
  shuffled: 5 folds drawn by row, as a textbook would, and wrong, since neighbouring sessions share
  four fifths of their label: what it finds is the leak;
- interval: ± 1.96 standard errors over sessions (`inference.session_mean`); of what learns in folds
  that learn from each other, of twice the variance (`inference.shared_learning`).

Nothing was tuned on these bars and nothing that was run is left out.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path

import lightgbm as lgb
import numpy as np
import pandas as pd
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import KFold

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks import readme  # noqa: E402
from quant50lib.services import label, learners, model  # noqa: E402
from quant50lib.services.inference import Estimate, auc, rank_ic, session_mean  # noqa: E402
from quant50lib.services.panel import Panel  # noqa: E402
from quant50lib.services.splitters import (  # noqa: E402
    CombinatorialPurgedKFold,
    PurgedKFold,
    WalkForward,
)
from quant50lib.services.training import TrainingSet, training_set  # noqa: E402
from quant50lib.settings import FeatureSettings, LabelSettings, ModelSettings  # noqa: E402
from quant50lib.utils import dates  # noqa: E402

HERE = Path(__file__).resolve().parent
DATA = HERE.parents[1] / "shared" / "data"
BENCHMARK, NAMES, JUMP = "SPY", 300, 0.45
SETTINGS, HORIZON = ModelSettings(threads=1), LabelSettings().horizon_sessions
Z95 = 1.96

Splits = list[tuple[np.ndarray, np.ndarray]]
#: learns from rows at some positions and scores those at others
Learner = Callable[[TrainingSet, np.ndarray, np.ndarray], np.ndarray]


# ---- rows ----------------------------------------------------------------------------------------


def real_panel(folder: Path) -> tuple[Panel, pd.Series]:
    """The panel of the protocol, and the sector of each name (index: symbol)."""
    bars = pd.read_parquet(folder / "us_daily_2013_2018.parquet")
    bars["date"] = pd.to_datetime(bars["date"]).astype("datetime64[us]")
    index = dates.sessions_between(bars.date.min(), bars.date.max())
    wide = {
        name: bars.pivot(index="date", columns="symbol", values=name).reindex(index).astype(float)
        for name in ("open", "high", "low", "close", "volume")
    }
    dollars = wide["close"] * wide["volume"]
    every = Panel(**wide, traded_close=wide["close"], dollar_volume=dollars)
    listed = pd.read_csv(folder / "sectors.csv").set_index("symbol")
    stocks = listed[listed["type"] == "stock"]["gics_sector"]
    whole = wide["close"].notna().all()
    calm = wide["close"].pct_change(fill_method=None).abs().max() <= JUMP
    allowed = [s for s in every.symbols[whole & calm] if s in stocks.index]
    names = dollars[allowed].iloc[:252].median().nlargest(NAMES).index
    return every.only(sorted([*names, BENCHMARK])), stocks[names]


def real_rows(folder: Path) -> TrainingSet:
    """The rows of the protocol."""
    panel, sectors = real_panel(folder)
    last = panel.sessions[-1]
    table = label.to_table(label.excess_return(panel, BENCHMARK, HORIZON), HORIZON, last)
    known = label.KnownLabels(table, last, HORIZON)
    return training_set(panel, known, sectors, FeatureSettings(), BENCHMARK)


# ---- models --------------------------------------------------------------------------------------


def _complete(rows: TrainingSet, train: np.ndarray, test: np.ndarray) -> list[pd.DataFrame]:
    scaler = model.Scaler.fit(rows.X.iloc[train])
    return [scaler.transform(rows.X.iloc[at]) for at in (train, test)]


def by_classifier(rows: TrainingSet, train: np.ndarray, test: np.ndarray) -> np.ndarray:
    learnt, unseen = _complete(rows, train, test)
    data = lgb.Dataset(learnt, rows.positive.iloc[train].astype("int8"))
    booster = lgb.train(learners.parameters(SETTINGS), data, SETTINGS.trees)
    return np.asarray(booster.predict(unseen, num_threads=1))


def _rank(rows: TrainingSet) -> pd.Series:
    return label.as_target(rows.session, rows.excess_return, "rank")


def by_regression(rows: TrainingSet, train: np.ndarray, test: np.ndarray) -> np.ndarray:
    learnt, unseen = _complete(rows, train, test)
    options = learners.parameters(SETTINGS) | {"objective": "regression"}
    data = lgb.Dataset(learnt, _rank(rows).iloc[train])
    return np.asarray(lgb.train(options, data, SETTINGS.trees).predict(unseen, num_threads=1))


def by_logistic(rows: TrainingSet, train: np.ndarray, test: np.ndarray) -> np.ndarray:
    learnt, unseen = _complete(rows, train, test)
    fitted = LogisticRegression(max_iter=200).fit(learnt, rows.positive.iloc[train])
    return np.asarray(fitted.decision_function(unseen))


def by_ridge(rows: TrainingSet, train: np.ndarray, test: np.ndarray) -> np.ndarray:
    learnt, unseen = _complete(rows, train, test)
    return np.asarray(Ridge(alpha=1e3).fit(learnt, _rank(rows).iloc[train]).predict(unseen))


def by_momentum(rows: TrainingSet, train: np.ndarray, test: np.ndarray) -> np.ndarray:
    return rows.momentum.fillna(0.0).to_numpy()[test]


def by_chance(rows: TrainingSet, train: np.ndarray, test: np.ndarray) -> np.ndarray:
    return np.random.default_rng([SETTINGS.seed, len(train), test[0]]).normal(size=len(test))


MODELS: dict[str, Learner] = {
    "LightGBM classifier": by_classifier,
    "LightGBM regression on rank": by_regression,
    "logistic": by_logistic,
    "ridge on rank": by_ridge,
    "12-1 momentum": by_momentum,
    "random": by_chance,
}
#: shuffling is shown for what learns
UNLEARNT = ("12-1 momentum", "random")
#: its blocks do not learn from each other; the variance of all others is twice as large
ONE_WAY, MUTUAL = "walk-forward", 2.0


# ---- schemes -------------------------------------------------------------------------------------


def paths(rows: TrainingSet, learner: Learner, splits: Splits, which: np.ndarray) -> np.ndarray:
    """Scores (n_paths, n_rows), missing where never tested; `which` names each row's split."""
    scores = np.full((len(splits), len(rows.X)), np.nan)
    for i, (train, test) in enumerate(splits):
        scores[i, test] = learner(rows, train, test)
    found = np.take_along_axis(scores, np.maximum(which, 0), axis=0)
    return np.where(which >= 0, found, np.nan)


def _one_path(rows: TrainingSet, splits: Splits) -> np.ndarray:
    which = np.full((1, len(rows.X)), -1)
    for i, (_, test) in enumerate(splits):
        which[0, test] = i
    return which


def schemes(rows: TrainingSet) -> dict[str, tuple[Splits, np.ndarray]]:
    """Splits, and which of them scores each row along each path."""
    embargo, n = SETTINGS.embargo_sessions, rows.session.nunique()
    combined = CombinatorialPurgedKFold(6, 2, embargo)
    made = {
        "purged K-fold": PurgedKFold(5, embargo),
        "combinatorial": combined,
        ONE_WAY: WalkForward(-(-2 * n // 15), n // 3, reduce_test=True),
    }
    splits = {name: list(s.split(rows.X, groups=rows.windows)) for name, s in made.items()}
    splits["shuffled (leaks)"] = list(KFold(5, shuffle=True, random_state=0).split(rows.X))
    which = {name: _one_path(rows, each) for name, each in splits.items()}
    which["combinatorial"] = combined.paths(rows.windows)
    return {name: (splits[name], which[name]) for name in splits}


# ---- judging -------------------------------------------------------------------------------------


def judge(
    rows: TrainingSet, scores: np.ndarray, which: np.ndarray, shared: float
) -> tuple[Estimate, Estimate]:
    """AUC and mean rank IC over the paths; `shared` as in `inference.shared_learning`."""
    areas, daily = [], []
    for score, fold in zip(scores, which):
        at = np.flatnonzero(np.isfinite(score))
        session, truth = rows.session.iloc[at], rows.excess_return.iloc[at]
        positive = (truth > 0).to_numpy()
        areas.append(auc(score[at], positive, session.to_numpy(), fold[at], HORIZON, shared))
        daily.append(rank_ic(session, pd.Series(score[at], session.index), truth))
    area = Estimate(*(float(np.mean([getattr(a, k) for a in areas])) for k in ("value", "error")))
    return area, session_mean(pd.concat(daily, axis=1).mean(axis=1), HORIZON, shared)


def _interval(found: Estimate, sign: str = "") -> str:
    return f"{found.value:{sign}.4f} ± {Z95 * found.error:.4f}".replace("-", "−")


def table(rows: TrainingSet) -> str:
    """Markdown: a row for each model and scheme."""
    lines = ["| model | validation | sessions | AUC | rank IC | t |", "|---|---|--:|--:|--:|--:|"]
    made = schemes(rows)
    for name, learner in MODELS.items():
        for scheme, (splits, which) in made.items():
            if name in UNLEARNT and scheme not in ("purged K-fold", ONE_WAY):
                continue
            shared = 1.0 if name in UNLEARNT or scheme == ONE_WAY else MUTUAL
            area, ic = judge(rows, paths(rows, learner, splits, which), which, shared)
            tested = rows.session[which[0] >= 0].nunique()
            t = f"{ic.t:+.1f}".replace("-", "−")
            lines.append(
                f"| {name} | {scheme} | {tested:,} | {_interval(area)} | {_interval(ic, '+')} | {t} |"
            )
            print(lines[-1], flush=True)
    return "\n".join(lines)


def _described(rows: TrainingSet, began: float) -> str:
    first, last = rows.session.min().date(), rows.session.max().date()
    return (
        f"{rows.symbol.nunique()} names, {rows.session.nunique():,} sessions of decision from {first} "
        f"to {last}, {len(rows.X):,} rows × {rows.X.shape[1]} features, {rows.positive.mean():.1%} of "
        f"labels positive. Intervals: 95 %, folds that learn from each other allowed for. "
        f"{(time.process_time() - began) / 60:.0f} CPU minutes, one thread."
    )


def main() -> None:
    """Run the protocol and replace the table in the README."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=DATA)
    options = parser.parse_args()
    if not (options.data / "us_daily_2013_2018.parquet").is_file():
        raise SystemExit(f"no real bars in {options.data}: name their folder by --data")
    began = time.process_time()
    rows = real_rows(options.data)
    made = table(rows)
    said = _described(rows, began)
    readme.write("research", f"{made}\n\n{said}")
    print(said)


if __name__ == "__main__":
    main()
