"""The best names, proven: our branch and bound beside SCIP, on days small enough for both.

Prints JSON rows as `peers.py` wants them. Both solve the same programme, with every rule of the day
and each name either not held or held with at least the minimum; SCIP gets it whole, through cvxpy,
with norms scaled so that its absolute tolerance of 1e-6 is small. `value` rows compare what was
found, in bps over the horizon: equal but for the margin inside our limits and SCIP's tolerance.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # for tests

from quant50lib.services import optimize  # noqa: E402
from quant50lib.services.covariance import Risk  # noqa: E402
from quant50lib.settings import OptimizeSettings  # noqa: E402
from tests.scip import by_scip  # noqa: E402

HORIZON = 5
DAYS = 5
#: names, and how many of them may be held
SIZES = ((12, 4), (20, 6), (30, 8))


def day(n: int, most: int, seed: int) -> dict:
    """A day on which the limit on names binds: one factor, spread forecasts, half the places held."""
    rng = np.random.default_rng(seed)
    index = pd.Index([f"S{i:03d}" for i in range(n)], dtype="str")
    risk = Risk(
        index, 0.02 * rng.uniform(0.4, 1.6, (1, n)), rng.uniform(0.01, 0.05, n) ** 2, HORIZON
    )
    held = pd.Series(rng.uniform(0.005, 0.04, most // 2), index=index[: most // 2])
    return {
        "expected_return": pd.Series(0.001 + 0.001 * rng.normal(size=n), index=index),
        "error": pd.Series(rng.uniform(0, 0.002, n), index=index),
        "risk": risk,
        "held": held,
        "sectors": pd.Series(rng.choice(list("VWXYZ"), n), index=index, dtype="str"),
        "tradable": pd.Series(True, index=index),
        "forced": {},
        "budget": 1.0,
        "settings": OptimizeSettings(
            max_names=most,
            min_weight=0.01,
            max_turnover=0.4,
            uncertainty_aversion=1.0,
            exact=True,
            solver="fast",
        ),
        "horizon": HORIZON,
    }


def main() -> None:
    """Median CPU time and value over the days of each size."""
    rows = []
    for n, most in SIZES:
        ours, theirs, found, value, complete = [], [], [], [], []
        optimize.target_weights(**day(n, most, DAYS))  # compiles what is compiled
        for seed in range(DAYS):
            given = day(n, most, seed)
            begin = time.process_time()
            solution = optimize.target_weights(**given)
            ours.append(time.process_time() - begin)
            begin = time.process_time()
            best, proven = by_scip(given)
            theirs.append(time.process_time() - begin)
            found.append(solution.objective)
            value.append(best)
            complete.append(solution.proof is not None and solution.proof.complete and proven)
        rows += _rows(n, most, ours, theirs, found, value, sum(complete))
    print(json.dumps(rows, indent=1))


def _rows(
    n: int, most: int, ours: list, theirs: list, found: list, value: list, complete: int
) -> list[dict]:
    title = f"best {most} of {n} names"
    mine, other = statistics.median(ours), statistics.median(theirs)
    worst = max(range(len(found)), key=lambda i: abs(value[i] - found[i]))
    return [
        {
            "measure": f"{title}, proven by both on {complete} of {len(found)} days",
            "ours": mine,
            "peer": "SCIP through cvxpy",
            "theirs": other,
            "unit": "s CPU",
            "ratio": other / mine,
            "target": None,
        },
        {
            "measure": f"{title}, value on the day of the largest difference",
            "ours": found[worst],
            "peer": "SCIP through cvxpy",
            "theirs": value[worst],
            "unit": "bps",
            "ratio": found[worst] / value[worst],
            "target": None,
        },
    ]


if __name__ == "__main__":
    main()
