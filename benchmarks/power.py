"""Whether the pipeline finds a planted signal, and finds none where there is none.

``python benchmarks/power.py [--seeds N] [--null-seeds N]`` (`make power`) prints JSON. Markets are the
demo market's (`simulator.demo`), generated in process at strengths of `planted_ic` of 0, 0.03 and 0.06,
and go through the desk's own steps: adjusted panel, core features, known labels, `model.train` with the
published defaults; the rank IC is the one that the gate and the forecast are given.

- Recovery: 286 names, 1,250 sessions of decision, as the desk has. The market knows what is planted:
  `tests.planted.oracle_score`. Its rank IC with the label, averaged over sessions and 20 other seeds, is
  the true IC. A seed recovers it if its own IC lies within two of its own standard errors.
- Coverage: at zero, the share of seeds whose 95 % interval (± 1.96 errors: of `inference.session_mean`, folds
  that learn from each other allowed for) does; a smaller
  market, 55 names and 750 sessions, for time. The market is not without any order at zero: volatile
  names have a lower median (of rank IC about -0.005), which is part of what is measured.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from quant50lib.services import features, model  # noqa: E402
from quant50lib.settings import FeatureSettings, LabelSettings, ModelSettings  # noqa: E402
from tests.planted import oracle_ic, planted_panel, planted_rows  # noqa: E402

FEATURES, LABEL, MODEL = FeatureSettings(), LabelSettings(), ModelSettings(threads=1)
WARM = features.sessions_needed(FEATURES)
DESK = {"per_sector": 26, "first": "2012-01-03", "last": "2017-12-29"}
SMALL = {"per_sector": 5, "first": "2013-01-02", "last": "2016-12-30"}
STRENGTHS = (0.0, 0.03, 0.06)
ORACLE_SEEDS = range(1000, 1020)


def found(planted_ic: float, seed: int, market: dict) -> tuple[float, float]:
    """Rank IC out of fold and its standard error."""
    panel, sectors = planted_panel(planted_ic, seed, **market)
    rows = planted_rows(panel, sectors, LABEL.horizon_sessions, FEATURES)
    metrics = model.train(rows, MODEL, LABEL).metrics
    return float(metrics["rank_ic"]), float(metrics["rank_ic_error"])


def true_ic(planted_ic: float) -> float:
    """Of the planted variable, over sessions and seeds that no model sees."""
    daily = []
    for seed in ORACLE_SEEDS:
        panel, _ = planted_panel(planted_ic, seed, **DESK)
        daily.append(float(oracle_ic(panel, LABEL.horizon_sessions, WARM).mean()))
    return float(np.mean(daily))


def recovery(planted_ic: float, seeds: int) -> dict:
    """A row: mean IC found beside the true one, and how many seeds recover it."""
    true = true_ic(planted_ic) if planted_ic else 0.0
    seen = np.array([found(planted_ic, seed, DESK) for seed in range(1, seeds + 1)])
    within = np.abs(seen[:, 0] - true) <= 2 * seen[:, 1]
    mean = float(seen[:, 0].mean())
    return {
        "measure": f"rank IC found, planted_ic {planted_ic:g}, mean of {seeds} seeds",
        "ours": mean,
        "peer": "true IC, by the oracle",
        "theirs": true,
        "unit": "IC",
        "ratio": mean / true if true else None,
        "target": None,
        "error_of_a_seed": float(seen[:, 1].mean()),
        "seeds_within_two_errors": f"{int(within.sum())} of {seeds}",
        "each": np.round(seen, 4).tolist(),
    }


def coverage(seeds: int) -> dict:
    """A row: how many intervals cover zero where nothing is planted."""
    seen = np.array([found(0.0, seed, SMALL) for seed in range(1, seeds + 1)])
    t = seen[:, 0] / seen[:, 1]
    covers = int((np.abs(t) <= 1.96).sum())
    return {
        "measure": f"95 % intervals that cover zero, nothing planted, of {seeds} seeds",
        "ours": covers,
        "peer": "nominal",
        "theirs": 0.95 * seeds,
        "unit": "seeds",
        "ratio": covers / (0.95 * seeds),
        "target": round(0.90 / 0.95, 4),
        "mean_ic": float(seen[:, 0].mean()),
        "mean_t": float(t.mean()),
        "deviation_of_t": float(t.std()),
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=4, help="of the recovery, each strength")
    parser.add_argument("--null-seeds", type=int, default=100, help="of the coverage")
    options = parser.parse_args()
    rows = [recovery(strength, options.seeds) for strength in STRENGTHS if options.seeds]
    rows += [coverage(options.null_seeds)] if options.null_seeds else []
    print(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
