"""From forecasts to the weights to hold after the next open.

    maximise    mu'w - kappa ||diag(error) w|| - lambda w'Sigma w - cost |w - w0|
    subject to  every rule of `limits.Limits`, all over the horizon

The programme itself is stated in `services.programme`, the choice of at most 50 names of a minimum
size in `services.search`. Here they meet, and the answer says by how much it can be short of the
best one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from quant50lib.contracts import Target
from quant50lib.errors import OptimizationError
from quant50lib.services import conflicts
from quant50lib.services import limits as rules
from quant50lib.services import search
from quant50lib.services.conflicts import Conflict
from quant50lib.services.covariance import Risk
from quant50lib.services.day import DUST, Day
from quant50lib.services.exact import Proof
from quant50lib.services.limits import Breach, Limits
from quant50lib.settings import OptimizeSettings


@dataclass(frozen=True)
class Solution:
    """The weights of the day with their certificate. Series are by symbol, in alphabetical order,
    over all names held before or after; objective, bound and gap are in bps over the horizon;
    seconds are the solver's own, for the relaxation and the last solve."""

    weights: pd.Series
    held: pd.Series
    sectors: pd.Series
    expected_return: pd.Series  # 0 where there is no forecast
    risk_share: pd.Series  # of the book's variance
    exits: pd.Series  # why it must be sold: "forced", "no forecast", or empty
    objective: float
    upper_bound: float  # proven: no other choice of names is worth more, see `services.bound`
    breaches: tuple[Breach, ...]
    duals: dict[str, float]  # rule -> bps over the horizon per 1 % of limit
    limits: Limits
    standing: dict[str, float]
    forced_turnover: float
    seconds: float
    status: str
    proof: Proof | None  # of branch and bound, where `optimize.exact` asks for it
    day: Day = field(repr=False)  # what was solved
    places: int  # names that might be held beside those left without a forecast
    solver: str

    @property
    def turnover(self) -> float:
        """Sum of |w - w0| without the forced exits."""
        return self.standing["turnover"]

    @property
    def names(self) -> int:
        """Names held after the trade."""
        return int(self.standing["names"])

    @property
    def gap_bps(self) -> float:
        """By how much, at most, a better choice of names could beat this one."""
        return self.upper_bound - self.objective

    @cached_property
    def conflict(self) -> Conflict | None:
        """Why the rules in `breaches` could not be kept; worked out when it is first asked for."""
        orphans = next((b.detail for b in self.breaches if b.rule == "no_forecast"), "")
        n_orphans = len(orphans.split(", ")) if orphans else 0
        return conflicts.explain(
            self.day, self.limits, self.breaches, self.places, n_orphans, self.solver
        )


def target_weights(
    expected_return: pd.Series,
    error: pd.Series,
    risk: Risk,
    held: pd.Series,
    sectors: pd.Series,
    tradable: pd.Series,
    forced: Mapping[str, float] | pd.Series,
    budget: float,
    settings: OptimizeSettings,
    horizon: int,
) -> Solution:
    """Weights to hold after the next open, as fractions of equity; what is missing to 1 is cash.

    Parameters
    ----------
    expected_return, error : Series, (n_symbols,)
        Over the horizon, fractions. Only names with a forecast and a risk may be held.
    risk : Risk
        Of returns over the same horizon.
    held : Series
        Weights before the trade. A name without forecast or risk is sold, within the turnover cap:
        in full, or pro rata where the cap is too small (breach `no_forecast`).
    sectors : Series of str
        The group under one cap, for every name above.
    tradable : Series of bool
        A name that is not may be kept or sold, not bought; an absent one is not.
    forced : mapping or Series with symbols as keys
        Risk exits: sold in full, outside the turnover cap. Only the keys are read.
    budget : float
        Exposure budget B of the brake, 0 to 1: shrinks exposure and volatility.

    Returns
    -------
    Solution
        Every limit holds to 1e-8, or stands in `breaches`.

    Raises
    ------
    OptimizationError
        Unusable numbers, a solver that gave up, or limits that contradict each other although
        everything in `elastic_order` gave way.
    """
    if horizon != risk.horizon_sessions:
        raise OptimizationError(f"risk is over {risk.horizon_sessions} sessions, not {horizon}")
    limits = Limits.of(budget, settings)
    book = held[held > 0].sort_index()
    symbols = _common(expected_return.index, risk.symbols)
    _check(expected_return[symbols], error, held, sectors, symbols.union(book.index), budget)

    known = _sound(risk.only(symbols))
    exits = _exits(book, forced, symbols)
    left = _unsold(book[exits == "no forecast"], limits)
    day = Day(
        symbols=symbols,
        expected_return=expected_return[symbols].to_numpy(dtype=float),
        error=error.reindex(symbols).to_numpy(dtype=float),
        factors=known.factors,
        diagonal=known.diagonal,
        held=book[exits == ""].reindex(symbols, fill_value=0.0).to_numpy(dtype=float),
        upper=_ceilings(symbols, book[exits == ""], tradable, forced, limits),
        horizon=horizon,
        sold=float(book[exits == "no forecast"].sum() - left.sum()),
        idle=float(left.sum()),
        **_membership(symbols, left, sectors),
    )
    places = max(0, limits.names - len(left))
    found = search.search(day, limits, settings, places)
    return _solution(found, day, left, book, exits, sectors, risk, limits, places, settings.solver)


def to_target(
    solution: Solution, session: pd.Timestamp, *, forced_intent: str = "stop"
) -> pd.DataFrame:
    """The `contracts.Target` frame: every name held before or after, and why it is traded.

    `forced_intent` is "stop" for stop-losses, "halt" where the whole book is sold.
    """
    s = solution
    traded = (s.weights - s.held).abs() > DUST
    intent = pd.Series(np.where(traded, "rebalance", "hold"), index=s.weights.index, dtype="str")
    intent = intent.mask(s.exits == "forced", forced_intent)
    intent = intent.mask((s.exits == "no forecast") & traded, "exit")
    rows = pd.DataFrame(
        {
            "sector": s.sectors,
            "held": s.held,
            "weight": s.weights,
            "expected_return": s.expected_return,
            "risk_share": s.risk_share,
            "intent": intent,
        }
    )
    rows = rows.rename_axis("symbol").reset_index().astype({"symbol": "str", "sector": "str"})
    rows["session"] = pd.Series(session, index=rows.index, dtype="datetime64[us]")
    return Target.check(rows)


def to_limits(solution: Solution, session: pd.Timestamp) -> pd.DataFrame:
    """The `contracts.Limit` frame: where the target stands on every rule, and what each costs."""
    s = solution
    details = {
        "gross": f"exposure budget {s.limits.budget:.1%}",
        "turnover": f"and {s.forced_turnover:.2%} by forced exits, outside the cap",
        "names": _certificate(s),
    }
    details |= {b.rule: _cure(b, s.conflict) for b in s.breaches}
    return rules.to_limits(session, s.standing, s.limits, s.duals, details)


def _certificate(solution: Solution) -> str:
    """What a better choice of names could bring, and whether that is proven to be all."""
    short, proof = max(solution.gap_bps, 0.0), solution.proof
    text = f"the limit costs at most {short:.2f} bps over the horizon"
    if proof is None:
        return text
    nodes = f"{proof.nodes} node{'' if proof.nodes == 1 else 's'}"
    return f"{text}; {'proven' if proof.complete else 'proof left open'} after {nodes}"


def _cure(breach: Breach, conflict: Conflict | None) -> str:
    """When a breach will be over, what is in it, and what it collides with."""
    sessions = breach.sessions_to_cure
    when = "not cured by trading" if sessions is None else f"cured in {sessions} session(s)"
    why = conflict.sentence if conflict and breach.rule in conflict.rules else ""
    return "; ".join(text for text in (when, breach.detail, why) if text)


def _common(forecast: pd.Index, judged: pd.Index) -> pd.Index:
    """The symbols of both, in alphabetical order; the same object where there is no difference,
    so that its hash table is built once."""
    if judged.is_monotonic_increasing and judged.is_unique and forecast.equals(judged):
        return judged
    return forecast.intersection(judged).sort_values()


def _check(
    expected_return: pd.Series,
    error: pd.Series,
    held: pd.Series,
    sectors: pd.Series,
    needed: pd.Index,
    budget: float,
) -> None:
    """Refuse what no solver should see."""
    symbols = expected_return.index
    if not len(symbols):
        raise OptimizationError("no name has both a forecast and a risk: see features and data")
    for name, series in {
        "expected_return": expected_return,
        "held": held,
        "sectors": sectors,
    }.items():
        if not series.index.is_unique:
            raise OptimizationError(f"{name}: a symbol is repeated")
    error = error.reindex(symbols)
    numbers = {"expected_return": expected_return, "error": error, "held": held}
    for name, series in numbers.items():
        finite = np.isfinite(series.to_numpy(dtype=float))
        if not finite.all():
            bad = series.index[~finite]
            raise OptimizationError(f"{name} is not a number for {', '.join(bad[:8])}")
    if (held < 0).any() or (error < 0).any():
        raise OptimizationError("held and error must not be negative")
    if not 0 <= budget <= 1:
        raise OptimizationError(f"the budget is {budget}; it must lie between 0 and 1")
    at, missing = sectors.index.get_indexer(needed), sectors.isna().to_numpy()
    without = needed[(at < 0) | missing[at]] if len(sectors) else needed
    if len(without):
        raise OptimizationError(f"no sector for {', '.join(without[:8])}: complete the universe")


def _sound(risk: Risk) -> Risk:
    """The risk itself if its covariance is positive definite, or the reason why it is not."""
    if not (np.isfinite(risk.factors).all() and np.isfinite(risk.diagonal).all()):
        raise OptimizationError("the covariance holds values that are not numbers")
    if (risk.diagonal > 0).all():
        return risk
    covariance = risk.matrix().to_numpy()
    try:
        np.linalg.cholesky(covariance)
    except np.linalg.LinAlgError as error:
        still = risk.symbols[np.diag(covariance) <= 0]
        raise OptimizationError(
            "the covariance is not positive definite"
            + "".join(f"; no variance: {s}" for s in still)
        ) from error
    return risk


def _exits(book: pd.Series, forced: Mapping[str, float] | pd.Series, known: pd.Index) -> pd.Series:
    """Why each holding must be sold; empty where it need not."""
    why = np.full(len(book), "", dtype=object)
    why[known.get_indexer(book.index) < 0] = "no forecast"
    why[[symbol in forced for symbol in book.index]] = "forced"
    return pd.Series(why, index=book.index, dtype="str")


def _unsold(orphans: pd.Series, limits: Limits) -> pd.Series:
    """What the turnover cap leaves of holdings that nobody can judge any more, pro rata."""
    total = orphans.sum()
    return orphans * (1 - limits.turnover / total) if total > limits.turnover else orphans[:0]


def _ceilings(
    symbols: pd.Index,
    free: pd.Series,
    tradable: pd.Series,
    forced: Mapping[str, float] | pd.Series,
    limits: Limits,
) -> np.ndarray:
    """The most of each name that may be held after the trade, apart from the cap on all."""
    held = free.reindex(symbols, fill_value=0.0).to_numpy(dtype=float)
    may_buy = tradable.reindex(symbols, fill_value=False).to_numpy(dtype=bool)
    wanted = ~symbols.isin(list(forced.keys()))
    return np.where(may_buy & wanted & (limits.gross >= limits.min_weight), 1.0, held)


def _membership(symbols: pd.Index, left: pd.Series, sectors: pd.Series) -> dict[str, Any]:
    group = sectors.to_numpy(dtype=object)
    of = group[sectors.index.get_indexer(symbols)]
    of_left = group[sectors.index.get_indexer(left.index)]
    names = np.array(sorted({*of, *of_left}), dtype=object)
    return {
        "sectors": pd.Index(names, dtype="str"),
        "member": (names[:, None] == of[None, :]).astype(float),
        "idle_sector": (names[:, None] == of_left[None, :]).astype(float) @ left.to_numpy(float),
    }


def _solution(
    found: search.Found,
    day: Day,
    left: pd.Series,
    book: pd.Series,
    exits: pd.Series,
    sectors: pd.Series,
    risk: Risk,
    limits: Limits,
    places: int,
    solver: str,
) -> Solution:
    chosen = pd.Series(found.weights, index=day.symbols)
    index = day.symbols[found.weights > 0].union(book.index)
    at = day.symbols.get_indexer(index)

    def of(values: np.ndarray) -> pd.Series:
        """Values by symbol of the day, 0 where it does not know a name."""
        return pd.Series(np.where(at >= 0, values[at], 0.0), index=index)

    weights = of(found.weights)
    if len(left):
        weights = weights.add(left, fill_value=0.0)
    before = book.reindex(index, fill_value=0.0)
    why = exits.reindex(index, fill_value="")
    free = why.to_numpy(dtype=object) != "forced"
    turnover = float((weights - before)[free].abs().sum())
    groups = sectors.loc[index].astype("str")
    standing = rules.standing(weights, groups, risk, turnover)
    return Solution(
        weights=weights,
        held=before,
        sectors=groups,
        expected_return=of(day.expected_return),
        risk_share=risk.shares(chosen).reindex(index, fill_value=0.0),
        exits=why,
        objective=found.objective,
        upper_bound=found.upper_bound,
        breaches=_breaches(weights, left, groups, standing, limits),
        duals=_prices(found.duals, day),
        limits=limits,
        standing=standing,
        forced_turnover=float(before[~free].sum()),
        seconds=found.seconds,
        status=found.status,
        proof=found.proof,
        day=day,
        places=places,
        solver=solver,
    )


def _breaches(
    weights: pd.Series,
    left: pd.Series,
    groups: pd.Series,
    standing: dict[str, float],
    limits: Limits,
) -> tuple[Breach, ...]:
    """Those of the rules, naming what is over them, and holdings that cannot be judged."""
    over = {
        "max_weight": weights > limits.max_weight + rules.TOLERANCE,
        "min_weight": (weights > 0) & (weights < limits.min_weight),
    }
    found = [
        replace(b, detail=", ".join(weights.index[over[b.rule]])) if b.rule in over else b
        for b in rules.breaches(standing, limits, weights)
    ]
    if len(left):
        found.append(rules.unjudged(left, limits))
    return tuple(found)


def _prices(duals: dict[str, np.ndarray], day: Day) -> dict[str, float]:
    """Duals as bps over the horizon per 1 % of limit; the cap on names is one rule for all."""
    prices = {rule: float(np.sum(dual)) / 100 for rule, dual in duals.items() if rule != "sector"}
    by_sector = zip(day.sectors, duals.get("sector", []), strict=False)
    return prices | {f"sector:{name}": float(dual) / 100 for name, dual in by_sector}
