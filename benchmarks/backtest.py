"""Days per CPU second of the whole loop, and of its accounting alone, beside libraries.

``python benchmarks/backtest.py [--names 300] [--days 500] [--slow N]`` runs the loop over the last real days
with every limit, the cap on names included, 12-1 momentum as its signal; beside it the programme of
a day stated in cvxpy, PyPortfolioOpt and skfolio over a few of the same days, the optimiser alone
and fewer rules (no library states the cap on names and the minimum size). CPU time, one thread.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from decimal import Decimal
from pathlib import Path

import numpy as np
import pandas as pd

from quant50lib.contracts import TIME
from quant50lib.services import backtest, covariance, universe
from quant50lib.services.adjust import Raw
from quant50lib.services.backtest_account import Account, Costs, Sent
from quant50lib.services.backtest_market import Market, Window
from quant50lib.services.ledger import decimal
from quant50lib.settings import Settings
from quant50lib.utils import dates
from quant50lib.utils.frames import TEXT

sys.path.insert(0, str(Path(__file__).resolve().parent))
from study import real_market  # noqa: E402

TARGET_LOOP, TARGET_ACCOUNTING = 15, 10
#: names and days of which memory is told: linear in names, and the largest
MEMORY = ((750, 60), (1500, 60), (3000, 60), (3000, 1260))
#: sessions before the first day of made-up bars
HISTORY = 280
LETTERS = "ABCDEFGHIJKLMNO"


def cpu(work) -> tuple[float, object]:
    """CPU seconds of a call, and what it returned."""
    begun = time.process_time()
    done = work()
    return time.process_time() - begun, done


def ours(market: Market, settings: Settings, days: int) -> tuple[float, backtest.Result]:
    """Days per CPU second of the loop over the last days; a few days before warm it up."""
    sessions = market.sessions
    backtest.run(market, "zero", settings, sessions[-days - 4], sessions[-days - 2])
    work = lambda: backtest.run(  # noqa: E731
        market, "momentum", settings, sessions[-days], sessions[-1]
    )
    seconds, result = cpu(work)
    return days / seconds, result


def daily_problem(window: Window):
    """Returns of a year, expected returns and sectors of the names of a day, as arrays."""
    settings = window.settings
    panel = window.panel(settings.optimize.covariance_sessions + 2)
    names = covariance.eligible(panel, settings.optimize)
    returns = panel.close[names].pct_change(fill_method=None).iloc[1:].fillna(0.0)
    prices = panel.close[names].ffill().bfill()
    score = prices.iloc[-22] / prices.iloc[0] - 1
    expected = 0.001 + 6e-4 * ((score - score.mean()) / score.std()).clip(-3, 3)
    return returns, expected, window.market.sectors[names]


def by_cvxpy(returns, expected, sectors, held):
    """The convex rules of the day in cvxpy, Ledoit-Wolf by scikit-learn, Clarabel."""
    import cvxpy as cp
    from sklearn.covariance import LedoitWolf

    root = np.linalg.cholesky(LedoitWolf().fit(returns).covariance_ * 252)
    w = cp.Variable(len(expected), nonneg=True)
    rules = [cp.sum(w) <= 0.99, w <= 0.05, cp.norm(root.T @ w) <= 0.10]
    rules += [cp.norm1(w - held) <= 0.15]
    rules += [cp.sum(w[np.flatnonzero(sectors == s)]) <= 0.25 for s in sectors.unique()]
    cp.Problem(cp.Maximize(expected.to_numpy() @ w), rules).solve(solver="CLARABEL")
    return w.value


def by_pypfopt(returns, expected, sectors, held):
    """The same rules in PyPortfolioOpt, cash as a name of its own."""
    import cvxpy as cp
    from pypfopt import EfficientFrontier, risk_models

    shape = risk_models.CovarianceShrinkage(returns, returns_data=True).ledoit_wolf()
    shape.loc["CASH"] = 0.0
    shape["CASH"] = 0.0
    shape.loc["CASH", "CASH"] = 1e-8
    mean = pd.concat([expected, pd.Series({"CASH": 0.0})])
    found = EfficientFrontier(mean, shape, weight_bounds=[(0, 0.05)] * len(expected) + [(0, 1)])
    found.add_sector_constraints(sectors.to_dict(), {}, dict.fromkeys(sectors.unique(), 0.25))
    found.add_constraint(lambda w: cp.norm1(w[: len(held)] - held) <= 0.15)
    found.efficient_risk(0.10)
    return np.array(list(found.clean_weights().values()))[:-1]


def by_skfolio(returns, expected, sectors, held):
    """The same rules in skfolio."""
    from skfolio import RiskMeasure
    from skfolio.moments import LedoitWolf
    from skfolio.optimization import MeanRisk, ObjectiveFunction
    from skfolio.prior import EmpiricalPrior

    groups = [list(sectors)]
    made = MeanRisk(
        objective_function=ObjectiveFunction.MAXIMIZE_RETURN,
        risk_measure=RiskMeasure.STANDARD_DEVIATION,
        max_standard_deviation=0.10 / np.sqrt(252),
        budget=None,
        max_budget=0.99,
        max_weights=0.05,
        previous_weights=held,
        prior_estimator=EmpiricalPrior(covariance_estimator=LedoitWolf()),
        groups=groups,
        linear_constraints=[f"{s} <= 0.25" for s in sectors.unique()],
        solver="CLARABEL",
    )
    return made.fit(returns).weights_


PEERS = {"cvxpy": by_cvxpy, "PyPortfolioOpt": by_pypfopt, "skfolio": by_skfolio}


def peer(name: str, market: Market, settings: Settings, days: int) -> float:
    """Days per CPU second of a library's loop: data of the day and its optimiser, nothing else."""
    held, windows = None, [
        Window.at(market, len(market.sessions) - days - 1 + n, settings) for n in range(days)
    ]
    begun = 0.0
    for n, window in enumerate(windows):
        if n == 1:  # the first day imports and compiles
            begun = time.process_time()
        returns, expected, sectors = daily_problem(window)
        start = np.zeros(len(expected)) if held is None else held.reindex(expected.index).fillna(0)
        weights = PEERS[name](returns, expected, sectors, np.asarray(start))
        held = pd.Series(np.maximum(weights, 0), expected.index)
    return (days - 1) / (time.process_time() - begun)


def accounting(days: int = 250, names: int = 50) -> tuple[float, float]:
    """Sessions per CPU second of our account, exact in decimals, and of vectorbt, on one table of
    targets; ours gets orders, vectorbt the weights."""
    import vectorbt as vbt

    rng = np.random.default_rng(0)
    sessions = pd.bdate_range("2020-01-01", periods=days)
    symbols = [f"S{n:03d}" for n in range(names)]
    closes = pd.DataFrame(
        np.round(50 * np.exp(rng.normal(0, 0.01, (days, names)).cumsum(0)), 2), sessions, symbols
    )
    weights = pd.DataFrame(0.9 * rng.dirichlet(np.ones(names) * 50, days), sessions, symbols)
    build = lambda: vbt.Portfolio.from_orders(  # noqa: E731
        closes, size=weights, size_type="targetpercent", group_by=True, cash_sharing=True,
        fees=1e-4, call_seq="auto", freq="1D",
    ).value()  # fmt: skip
    build()
    theirs, _ = cpu(build)
    mine, _ = cpu(lambda: _booked(closes, weights))
    return days / mine, days / theirs


def _booked(closes: pd.DataFrame, weights: pd.DataFrame) -> Account:
    """Targets turned into quantities by plain arithmetic, booked by the account."""
    account = Account(Decimal(1_000_000), Costs(1.0))
    days = dates.sessions_between("2020-01-02", "2022-01-01")[: len(closes)]
    held, equity, symbols = np.zeros(closes.shape[1]), 1e6, list(closes.columns)
    for n, session in enumerate(days):
        prices = closes.iloc[n].to_numpy()
        moved = np.floor(weights.iloc[n].to_numpy() * equity / prices * 1e6) / 1e6 - held
        sent = [
            Sent(f"{n}-{symbol}", symbol, "buy" if qty > 0 else "sell", decimal(abs(qty)), price)
            for symbol, qty, price in zip(symbols, np.round(moved, 6).tolist(), prices.tolist())
            if qty
        ]
        known = dict(zip(symbols, prices.tolist()))
        account.open(session, [], sent, known)
        owned = account.close(session, known)
        held = np.zeros(len(symbols))
        held[closes.columns.get_indexer(owned.symbols)] = owned.qty
        equity = account.lines[-1]["equity"]
    return account


def nav_of_the_exact_path(market: Market, settings: Settings, days: int) -> float:
    """Largest relative difference of equity between the fast solver and cvxpy with Clarabel."""
    sessions = market.sessions
    exact = settings.model_copy(
        update={"optimize": settings.optimize.model_copy(update={"solver": "CLARABEL"})}
    )
    one, other = (
        backtest.run(market, "momentum", own, sessions[-days], sessions[-1]).daily["equity"]
        for own in (settings, exact)
    )
    return float((one / other - 1).abs().max())


def memory(names: int, days: int) -> float:
    """Peak memory of a process that back-tests made-up bars with every limit, MB."""
    done = subprocess.run(
        [sys.executable, __file__, "--memory", str(names), str(days)],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    return float(done.stdout.split()[-1])


def _peak_of(names: int, days: int) -> float:
    sessions = dates.sessions_between("2014-01-02", "2022-12-30")[: days + HISTORY]
    rng, sectors = np.random.default_rng(0), [f"sector {n}" for n in range(11)]
    symbols = [f"N{a}{b}{c}" for a in LETTERS for b in LETTERS for c in LETTERS][:names]
    symbols[-1] = "SPY"
    moves = 0.008 * rng.standard_normal((len(sessions), 1)) + 0.015 * rng.standard_normal(
        (len(sessions), names)
    )
    close = np.round(50 * np.exp(moves.cumsum(axis=0)), 2)
    opening = np.vstack([close[:1], close[:-1]])
    most, least = np.maximum(opening, close), np.minimum(opening, close)
    fields = {"open": opening, "high": most * 1.002, "low": least * 0.998, "close": close}
    fields["volume"] = np.round(1e6 * rng.lognormal(0, 0.3, close.shape))
    table = {"symbol": sorted(symbols), "sector": (sectors * names)[:names], "kind": "stock"}
    listed = pd.DataFrame(table | {"name": sorted(symbols)})
    raw = Raw(sessions, pd.Index(sorted(symbols), dtype=TEXT), fields, np.ones(close.shape, bool))
    columns = ["symbol", "type", "ex_date", "new_rate", "old_rate", "cash", "other_symbol"]
    acts = pd.DataFrame(columns=columns).astype({"symbol": "str", "ex_date": TIME, "type": "str"})
    always = universe.intervals((s, pd.NaT, pd.NaT) for s in symbols)
    market = Market(listed, raw, acts, always, "made up")
    settings = Settings.model_validate({"optimize": {"solver": "fast"}})
    result = backtest.run(market, "zero", settings, sessions[HISTORY], sessions[-1])
    assert len(result.fills) and len(result.daily) == days
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def row(measure, own, name, theirs, unit, ratio, target) -> dict:
    """A line of the table of `peers.py`."""
    return {
        "measure": measure,
        "ours": own,
        "peer": name,
        "theirs": theirs,
        "unit": unit,
        "ratio": ratio,
        "target": target,
    }


def main() -> None:
    """Measure and print."""
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("--names", type=int, default=300)
    asked.add_argument("--days", type=int, default=500)
    asked.add_argument("--slow", type=int, default=8, help="days of a library's loop")
    asked.add_argument("--exact", type=int, default=20, help="days of the exact path")
    asked.add_argument("--memory", nargs=2, type=int, metavar=("NAMES", "DAYS"), help="this alone")
    asked.add_argument("--no-memory", action="store_true", help="leave the rows on memory out")
    given = asked.parse_args()
    if given.memory:
        print(_peak_of(*given.memory))
        return
    settings, market = real_market(given.names)
    speed, _ = ours(market, settings, given.days)
    said = f"back-test, {given.names} names, last {given.days} days, all limits"
    found = []
    for name in PEERS:
        theirs = peer(name, market, settings, given.slow)
        found.append(row(said, speed, name, theirs, "days/s", speed / theirs, TARGET_LOOP))
    gap = nav_of_the_exact_path(market, settings, given.exact)
    found.append(
        row("equity beside the exact path", gap, "target", 1e-5, "", 1e-5 / gap if gap else 1e9, 1)
    )
    one, other = accounting()
    found.append(
        row(
            "accounting alone, 50 names",
            one,
            "vectorbt",
            other,
            "days/s",
            one / other,
            TARGET_ACCOUNTING,
        )
    )
    for names, days in () if given.no_memory else MEMORY:
        peak = memory(names, days)
        measure = f"peak memory, {names} names, {days} days"
        found.append(row(measure, peak, "target", 2048, "MB", 2048 / peak, 1))
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
