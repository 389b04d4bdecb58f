"""A day's optimisation by `optimize.solver = "fast"` beside what else solves the same programme.

Prints JSON rows (see `peers.py`). CPU time, one thread, medians over different days; 300 names from
real bars where they lie beside the checkout, else and above that from a factor model. Every peer's
weights are checked: within the limits, and worth what ours are.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import optimize_conic as conic
import pandas as pd
from sklearn.covariance import LedoitWolf

from quant50lib.services import covariance, fast, optimize, programme, search
from quant50lib.services.covariance import Risk
from quant50lib.services.day import Day, Slack, value_bps
from quant50lib.services.limits import Limits
from quant50lib.settings import OptimizeSettings

BARS = Path(__file__).resolve().parents[2] / "shared" / "data" / "us_daily_2013_2018.parquet"
SETTINGS = OptimizeSettings(solver="fast")
LIMITS = Limits.of(1.0, SETTINGS)
HORIZON, WINDOW, DAYS = 5, 252, 5
#: what a peer's objective may be off, of ours, and its weights over the limits
CLOSE, OVER = 1e-4, 2e-5


def synthetic_returns(n: int, seed: int) -> np.ndarray:
    """A market, eleven sectors and own moves with fat tails, (252, n)."""
    rng = np.random.default_rng(seed)
    beta, own = rng.normal(1.0, 0.3, n).clip(0.2, 2.2), rng.lognormal(np.log(0.013), 0.35, n)
    sector = 0.005 * rng.normal(size=(WINDOW, 11))[:, rng.integers(0, 11, n)]
    market = 0.009 * rng.standard_t(5, (WINDOW, 1))
    return market * beta + sector + own * rng.standard_t(5, (WINDOW, n)) / np.sqrt(5 / 3)


def real_returns(n: int) -> np.ndarray:
    """The last 252 sessions of the names with complete history and most volume, (252, n)."""
    bars = pd.read_parquet(BARS)
    close = bars.pivot(index="date", columns="symbol", values="close").iloc[-WINDOW - 1 :]
    volume = (bars.close * bars.volume).groupby(bars.symbol).median()
    names = volume[close.columns[close.notna().all()]].nlargest(n).index
    return close[names].pct_change().iloc[1:].to_numpy()


def a_day(returns: np.ndarray, seed: int) -> Day:
    """A signal with six per cent of a name's risk, and yesterday's book of 45 names."""
    rng, n = np.random.default_rng(seed), returns.shape[1]
    _, factors, diagonal = covariance.ledoit_wolf(returns)
    sd = np.sqrt(HORIZON * ((factors**2).sum(axis=0) + diagonal))
    score = rng.normal(size=n)
    held, liked = np.zeros(n), np.argsort(-(score + rng.normal(size=n)))[:45]
    held[liked] = np.exp(0.25 * rng.normal(size=45)) / sd[liked]
    held *= 0.85 / held.sum()
    variance = HORIZON * (np.sum((factors @ held) ** 2) + diagonal * held @ held)
    held *= min(1.0, 0.095 / np.sqrt(variance * 252 / HORIZON))
    groups = np.random.default_rng(0).integers(0, 11, n)
    return Day(
        symbols=np.array([f"S{i:05d}" for i in range(n)], dtype=object),
        expected_return=0.001 + 0.03 * sd * score,
        error=sd / 8,
        factors=np.sqrt(HORIZON) * factors,
        diagonal=np.full(n, HORIZON * diagonal),
        held=held,
        upper=np.ones(n),
        sectors=np.array([f"G{i}" for i in range(11)], dtype=object),
        member=(np.arange(11)[:, None] == groups).astype(float),
        horizon=HORIZON,
        idle_sector=np.zeros(11),
    )


def median_ms(run: Callable[[Any], Any], over: list) -> tuple[float, list]:
    """Median CPU milliseconds of a call over inputs, and what it returned; the first is a warm-up
    besides."""
    run(over[0])
    spent, found = [], []
    for one in over:
        start = time.process_time()
        found.append(run(one))
        spent.append(1e3 * (time.process_time() - start))
    return statistics.median(spent), found


def ours(day: Day) -> np.ndarray:
    """The fast method; its certificate is in the answer, or this is no answer."""
    answer = fast.solve(day, LIMITS, SETTINGS, np.zeros_like(day.held), day.upper, Slack()).answer
    assert answer is not None and answer.certificate is not None
    return answer.weights


def by_cvxpy(day: Day) -> np.ndarray:
    """The statement in cvxpy, by Clarabel."""
    settings = SETTINGS.model_copy(update={"solver": "CLARABEL"})
    answer = programme.solve(day, LIMITS, settings, np.zeros_like(day.held), day.upper)
    assert answer is not None
    return answer.weights


PEERS: dict[str, Callable[[Day], np.ndarray]] = {
    "Clarabel direct": lambda day: conic.clarabel(day, LIMITS, SETTINGS),
    "ECOS direct": lambda day: conic.ecos(day, LIMITS, SETTINGS),
    "SCS direct": lambda day: conic.scs(day, LIMITS, SETTINGS),
    "cvxpy": by_cvxpy,
}


def check(peer: str, days: list[Day], theirs: list[np.ndarray], mine: list[np.ndarray]) -> None:
    """Stop where a peer solved another programme, or not to the end."""
    for day, weights, w in zip(days, theirs, mine, strict=True):
        value, best = value_bps(day, weights, SETTINGS), value_bps(day, w, SETTINGS)
        over = conic.excess(day, LIMITS, weights)
        if abs(value - best) > CLOSE * max(1.0, abs(best)) or over > OVER:
            raise SystemExit(f"{peer}: {value:.6f} bps, {over:.1e} over; ours {best:.6f} bps")


def row(
    measure: str, mine: float, peer: str, theirs: float, unit: str, target: float | None
) -> dict:
    """One row of `peers.py`."""
    return {
        "measure": measure,
        "ours": mine,
        "peer": peer,
        "theirs": theirs,
        "unit": unit,
        "ratio": theirs / mine,
        "target": target,
    }


def solver_rows(n: int, peers: dict[str, float | None], returns: np.ndarray) -> list[dict]:
    """A day of n names, by us and by peers with the ratio to reach."""
    days = [a_day(returns, seed) for seed in range(DAYS)]
    spent, mine = median_ms(ours, days)
    rows = []
    for peer, target in peers.items():
        few = days if n <= 300 else days[:3]
        theirs, weights = median_ms(PEERS[peer], few)
        check(peer, few, weights, mine[: len(few)])
        rows.append(row(f"one day, n = {n:,}", spent, peer, theirs, "ms", target))
    return rows


def certificate_rows(returns: np.ndarray) -> list[dict]:
    """At most 50 names with a minimum weight: relaxation, choice and improvement of the names."""
    days = [a_day(returns, seed) for seed in range(20)]
    spent, found = median_ms(lambda d: search.search(d, LIMITS, SETTINGS, LIMITS.names), days)
    gaps = [(f.upper_bound - f.objective) / max(1.0, abs(f.upper_bound)) for f in found]
    worst = max(1e-4, 100 * max(gaps))
    return [
        row("50 names with certificate, n = 300", spent, "limit", 50.0, "ms", 1.0),
        row("its gap, worst of 20 days", worst, "limit", 0.1, "%", 1.0),
    ]


def end_to_end_rows(returns: np.ndarray) -> list[dict]:
    """Frames in, frames out: `optimize.target_weights`, by both solvers."""
    plain = SETTINGS.model_copy(update={"solver": "CLARABEL"})

    def whole(settings: OptimizeSettings) -> Callable[[Day], object]:
        return lambda day: optimize.target_weights(*frames(day), 1.0, settings, HORIZON)

    days = [a_day(returns, seed) for seed in range(DAYS)]
    mine, found = median_ms(whole(SETTINGS), days)
    theirs, others = median_ms(whole(plain), days)
    for one, other in zip(found, others, strict=True):
        if abs(one.objective - other.objective) > 1e-5 * max(1.0, abs(other.objective)):
            raise SystemExit(f"end to end: {one.objective} bps, by cvxpy {other.objective}")
    return [row("target_weights, n = 300", mine, "solver = CLARABEL", theirs, "ms", None)]


def frames(day: Day) -> tuple:
    """The first arguments of `optimize.target_weights`."""
    names = pd.Index(day.symbols, dtype="str")
    held = pd.Series(day.held, names)
    return (
        pd.Series(day.expected_return, names),
        pd.Series(day.error, names),
        Risk(names, day.factors, day.diagonal, HORIZON),
        held[held > 0],
        pd.Series(day.sectors[np.argmax(day.member, axis=0)], names, dtype="str"),
        pd.Series(True, names),
        {},
    )


def ledoit_wolf_rows() -> list[dict]:
    """Shrinkage in factor form beside scikit-learn's."""
    rows = []
    for n, target in ((300, 12), (3000, 300)):
        windows = [synthetic_returns(n, seed) for seed in range(3 if n > 300 else 15)]
        mine, found = median_ms(covariance.ledoit_wolf, windows)
        theirs, fits = median_ms(lambda x: LedoitWolf().fit(x), windows[: 1 if n > 300 else 15])
        assert abs(found[0][0] - fits[0].shrinkage_) < 1e-12
        rows.append(row(f"Ledoit-Wolf, 252 x {n:,}", mine, "scikit-learn", theirs, "ms", target))
    return rows


def memory_row() -> dict:
    """The most memory of a process that solves days of 3,000 names, libraries included."""
    done = subprocess.run([sys.executable, __file__, "memory"], check=True, stdout=subprocess.PIPE)
    return row("memory, n = 3,000", float(done.stdout), "limit", 400.0, "MB", 1.0)


def memory() -> None:
    """What `memory_row` runs."""
    day = a_day(synthetic_returns(3000, 0), 0)
    for seed in range(3):
        noise = 1e-5 * np.random.default_rng(seed).normal(size=3000)
        ours(replace(day, expected_return=day.expected_return + noise))
    # of this process alone: ru_maxrss counts what the parent had at the fork
    high = Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]
    print(int(high) / 1024)


def main() -> None:
    """All rows."""
    real = real_returns(300) if BARS.exists() else synthetic_returns(300, 0)
    rows = [
        *solver_rows(
            300,
            {"Clarabel direct": 30, "ECOS direct": 15, "SCS direct": 15, "cvxpy": 50},
            real,
        ),
        *solver_rows(1000, {"Clarabel direct": 200}, synthetic_returns(1000, 0)),
        *solver_rows(3000, {"SCS direct": 80}, synthetic_returns(3000, 0)),
        *certificate_rows(real),
        *end_to_end_rows(real),
        *ledoit_wolf_rows(),
        memory_row(),
    ]
    print(json.dumps(rows, indent=1))


if __name__ == "__main__":
    memory() if sys.argv[1:] == ["memory"] else main()
