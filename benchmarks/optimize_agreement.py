"""Whether `solver = "fast"` says what cvxpy says: thousands of random days, and every real one.

    python benchmarks/optimize_agreement.py [--random 2000] [--real 1]

Prints JSON: days on which both gave an answer, both said that nothing keeps the limits, the fast
method left it to cvxpy, and the two differ (objective by more than 1e-6); and the worst difference.
`--real STEP` walks a book of 300 names through the real bars beside the checkout, every STEP
sessions (0: not at all).
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # for tests

from quant50lib.services import covariance, fast, programme  # noqa: E402
from quant50lib.services.day import Day, Slack  # noqa: E402
from quant50lib.services.limits import Limits  # noqa: E402
from quant50lib.settings import OptimizeSettings  # noqa: E402
from tests.real_bars import real_panel  # noqa: E402
from tests.services.fast_days import Question, question  # noqa: E402

HORIZON = 5


def random_days(count: int) -> Iterator[Question]:
    """Days of 2 to 70 names, half of them with minimum weights and names that may only shrink."""
    for seed in range(count):
        rng = np.random.default_rng(seed + 10**6)
        n = int(rng.integers(2, 70))
        yield question(seed, n, int(rng.integers(0, min(n, 30) + 1)), fit=bool(seed % 2))


def real_days(step: int) -> Iterator[Question]:
    """A book that follows the fast answer, with a noisy signal, over all sessions of the bars."""
    panel, sectors = real_panel("2018-02-07", 300)
    settings = OptimizeSettings()
    limits = Limits.of(1.0, settings)
    moves = panel.close.ffill().pct_change()
    book = pd.Series(0.0, index=panel.symbols)
    rng = np.random.default_rng(0)
    for session in panel.sessions[260::step]:
        known = panel.until(session)
        names = covariance.eligible(known, settings)
        risk = covariance.risk_model(known, names, settings, HORIZON)
        book = book * (1 + moves.loc[session].fillna(0.0))
        sd = np.sqrt((risk.factors**2).sum(axis=0) + risk.diagonal)
        group = sectors.reindex(names).fillna("ETF").to_numpy(dtype=str)
        groups = np.unique(group)
        day = Day(
            symbols=names.to_numpy(dtype=object),
            expected_return=0.001 + 0.02 * sd * rng.normal(size=len(names)),
            error=sd / 8,
            factors=risk.factors,
            diagonal=risk.diagonal,
            held=book[names].to_numpy(),
            upper=np.ones(len(names)),
            sectors=groups.astype(object),
            member=(groups[:, None] == group).astype(float),
            horizon=HORIZON,
        )
        asked = Question(day, limits, settings, np.zeros(len(names)), day.upper, Slack())
        yield asked
        answer = fast.solve(*asked.arguments).answer
        if answer is not None:
            book = pd.Series(answer.weights, names).reindex(panel.symbols, fill_value=0.0)


def compare(days: Iterator[Question]) -> dict:
    """How often the two agree."""
    found: Counter[str] = Counter()
    worst = 0.0
    for asked in days:
        attempt, theirs = fast.solve(*asked.arguments), programme.solve(*asked.arguments)
        if not attempt.settled:
            found["left to cvxpy"] += 1
        elif attempt.answer is None or theirs is None:
            found["both none" if attempt.answer is theirs else "differ"] += 1
        else:
            off = abs(attempt.answer.objective - theirs.objective)
            off /= max(1.0, abs(theirs.objective))
            found["agree" if off <= 1e-6 else "differ"] += 1
            worst = max(worst, off)
    return {**found, "worst": worst}


def main() -> None:
    """Compare and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--random", type=int, default=2000)
    parser.add_argument("--real", type=int, default=1)
    args = parser.parse_args()
    print(json.dumps({"random": compare(random_days(args.random))}), flush=True)
    if args.real:
        print(json.dumps({"real": compare(real_days(args.real))}))


if __name__ == "__main__":
    main()
