"""Whether the pipeline finds a planted signal, and finds none where there is none.

``python benchmarks/power.py [--seeds N] [--null-seeds N] [--keep FOLDER]`` (`make power`) prints JSON and writes
the table between the `power` marks of the README.
Markets are the demo market's (`simulator.demo`), generated in process at strengths of `planted_ic` of
0, 0.03 and 0.06, and go through the desk's own steps: adjusted panel, core features, known labels,
`model.train` with the published defaults; the rank IC and its error are those that the gate and the
forecast are given.

- Coverage, nothing planted: how many 95 % intervals cover zero; 55 names and 750 sessions.
- Recovery, something planted: 110 names and 1,250 sessions of decision. Three figures a seed:
  the IC *found* out of fold; the *planted* one, of the component itself as an oracle sees it
  (`tests.planted.oracle_score`), over sessions and 20 other seeds; and what the final model then
  *earns* on the 4 first of these, which it has never seen. A learner that has to find one feature among
  eighteen in noise does not earn all that is planted: found against earned says whether the figure is
  true, found against planted how much of the component this learner gets. The logistic baseline, which
  stands in the same table of the training, is shown beside it.

With `--keep`, each seed's daily figures are kept as Parquet and not made again.
"""

from __future__ import annotations

import argparse
import json
import sys
from functools import lru_cache
from pathlib import Path

import numpy as np
import pandas as pd

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks import readme  # noqa: E402
from quant50lib.services import features, model  # noqa: E402
from quant50lib.services.inference import (  # noqa: E402
    Estimate,
    rank_ic,
    session_mean,
    shared_learning,
)
from quant50lib.services.training import TrainingSet  # noqa: E402
from quant50lib.settings import FeatureSettings, LabelSettings, ModelSettings  # noqa: E402
from tests.planted import oracle_ic, planted_panel, planted_rows  # noqa: E402

FEATURES, LABEL, MODEL = FeatureSettings(), LabelSettings(), ModelSettings(threads=1)
HORIZON, WARM = LABEL.horizon_sessions, features.sessions_needed(FEATURES)
DESK = {"per_sector": 10, "first": "2012-01-03", "last": "2017-12-29"}
SMALL = {"per_sector": 5, "first": "2013-01-02", "last": "2016-12-30"}
STRENGTHS = (0.03, 0.06)
ORACLE_SEEDS, FRESH = range(1000, 1020), 4


# ---- one seed ------------------------------------------------------------------------------------


def rows_of(strength: float, seed: int, market: dict) -> tuple[TrainingSet, pd.Series]:
    """Rows to learn from, and the daily rank IC of the planted variable."""
    panel, sectors = planted_panel(strength, seed, **market)
    return planted_rows(panel, sectors, HORIZON, FEATURES), oracle_ic(panel, HORIZON, WARM)


@lru_cache(maxsize=FRESH)
def fresh(strength: float, seed: int) -> TrainingSet:
    """A market that no model has learnt from."""
    return rows_of(strength, seed, DESK)[0]


def earned(trained: model.Trained, strength: float) -> float:
    """Mean rank IC of a final model on markets that it has never seen."""
    found = []
    for seed in ORACLE_SEEDS[:FRESH]:
        rows = fresh(strength, seed)
        score = model.predict(trained.learnt, trained.scaler, rows.X)
        found.append(rank_ic(rows.session, score, rows.excess_return).mean())
    return float(np.mean(found))


def trained_on(strength: float, seed: int, market: dict) -> pd.DataFrame:
    """By session: fold, and the rank IC of the learner, of `logistic`; and `earned`, if planted."""
    rows, _ = rows_of(strength, seed, market)
    trained = model.train(rows, MODEL, LABEL)
    scores = trained.scores
    logistic = rank_ic(scores.session, scores.logistic, scores.excess_return)
    daily = trained.ic_by_session.assign(logistic=logistic.to_numpy())
    return daily.assign(earned=earned(trained, strength) if strength else np.nan)


def seen(strength: float, seed: int, market: dict, keep: Path | None) -> pd.DataFrame:
    """`trained_on`, or what was kept of it."""
    name = f"{market['per_sector']}_{strength:g}_{seed}.parquet"
    if keep and (keep / name).is_file():
        return pd.read_parquet(keep / name)
    found = trained_on(strength, seed, market)
    if keep:
        keep.mkdir(parents=True, exist_ok=True)
        found.to_parquet(keep / name)
    print(name, file=sys.stderr, flush=True)
    return found


def measured(daily: pd.DataFrame, column: str) -> Estimate:
    """The rank IC and its error, as `evaluation.evaluate` states them."""
    shared = shared_learning(daily.session, daily.fold)
    return session_mean(daily[column], HORIZON, shared)


def estimates(found: list[pd.DataFrame], column: str) -> np.ndarray:
    """(n_seeds, 2): the rank IC and its error."""
    each = [measured(daily, column) for daily in found]
    return np.array([(one.value, one.error) for one in each])


# ---- rows of the table ---------------------------------------------------------------------------


def planted(strength: float) -> float:
    """Rank IC of the planted variable, over sessions and seeds that no model sees."""
    daily = [planted_panel(strength, seed, **DESK)[0] for seed in ORACLE_SEEDS]
    return float(np.mean([oracle_ic(panel, HORIZON, WARM).mean() for panel in daily]))


def _within(each: np.ndarray, truth: np.ndarray | float) -> str:
    hits = np.abs(each[:, 0] - truth) <= 2 * each[:, 1]
    return f"{int(hits.sum())} of {len(each)}"


def recovery(strength: float, seeds: int, keep: Path | None) -> list[dict]:
    """A row for the learner and one for the logistic baseline."""
    found = [seen(strength, seed, DESK, keep) for seed in range(1, seeds + 1)]
    true, out = planted(strength), []
    then = np.array([daily.earned.iloc[0] for daily in found])
    for column, name in (("rank_ic", MODEL.learner), ("logistic", "logistic")):
        each = estimates(found, column)
        mean = float(each[:, 0].mean())
        row = {
            "measure": f"rank IC found by {name}, planted_ic {strength:g}, mean of {seeds} seeds",
            "ours": mean,
            "peer": "IC of the planted component",
            "theirs": true,
            "unit": "IC",
            "ratio": mean / true,
            "target": None,
            "error_of_a_seed": float(each[:, 1].mean()),
            "spread_of_seeds": float(each[:, 0].std(ddof=1)),
            "within_two_errors_of_planted": _within(each, true),
        }
        if name == MODEL.learner:
            row["earned_on_fresh_markets"] = float(then.mean())
            row["within_two_errors_of_earned"] = _within(each, then)
        out.append(row | {"each": np.round(each, 4).tolist()})
    return out


def coverage(seeds: int, keep: Path | None) -> list[dict]:
    """Rows: how many intervals cover zero where nothing is planted."""
    found = [seen(0.0, seed, SMALL, keep) for seed in range(1, seeds + 1)]
    out = []
    for column, name in (("rank_ic", MODEL.learner), ("logistic", "logistic")):
        each = estimates(found, column)
        t = each[:, 0] / each[:, 1]
        covers = int((np.abs(t) <= 1.96).sum())
        out.append(
            {
                "measure": f"95 % intervals of {name} over zero, nothing planted, {seeds} seeds",
                "ours": covers,
                "peer": "nominal",
                "theirs": 0.95 * seeds,
                "unit": "seeds",
                "ratio": covers / (0.95 * seeds),
                "target": round(0.90 / 0.95, 4),
                "mean_ic": float(each[:, 0].mean()),
                "mean_t": float(t.mean()),
                "deviation_of_t": float(t.std()),
                "within_two_errors_of_planted": _within(each, 0.0),
            }
        )
    return out


def table(rows: list[dict]) -> str:
    """The rows as Markdown."""
    lines = ["| measure | found | beside | within two errors |", "|---|--:|---|---|"]
    for row in rows:
        form = "{:.0f}" if row["unit"] == "seeds" else "{:.4f}"
        within = f"of planted: {row['within_two_errors_of_planted']}"
        beside = f"{row['peer']} {form.format(row['theirs'])}"
        if "earned_on_fresh_markets" in row:
            beside += f"; earned on fresh markets {row['earned_on_fresh_markets']:.4f}"
            within += f"; of earned: {row['within_two_errors_of_earned']}"
        lines.append(f"| {row['measure']} | {form.format(row['ours'])} | {beside} | {within} |")
    return "\n".join(lines)


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=20, help="of the recovery, each strength")
    parser.add_argument("--null-seeds", type=int, default=100, help="of the coverage")
    parser.add_argument("--keep", type=Path, help="folder of what each seed gave, to go on from")
    options = parser.parse_args()
    rows = coverage(options.null_seeds, options.keep) if options.null_seeds else []
    for strength in STRENGTHS if options.seeds else ():
        rows += recovery(strength, options.seeds, options.keep)
    print(json.dumps(rows, indent=1))
    readme.write("power", table(rows))


if __name__ == "__main__":
    main()
