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
from quant50lib.services.covariance import SESSIONS_PER_YEAR, Risk
from quant50lib.services.day import DUST, Day
from quant50lib.services.exact import Proof
from quant50lib.services.limits import Breach, Limits
from quant50lib.services.names import Names, names_of, said
from quant50lib.settings import OptimizeSettings


@dataclass(frozen=True)
class Rows:
    """All names held before or after the trade, in alphabetical order; (n_rows,) each."""

    symbols: np.ndarray  # of str
    weights: np.ndarray
    held: np.ndarray
    sectors: np.ndarray  # of str
    expected_return: np.ndarray  # 0 where there is no forecast
    risk_share: np.ndarray  # of the book's variance
    exits: np.ndarray  # why it must be sold: "forced", "no forecast", or empty


@dataclass(frozen=True)
class Solution:
    """The weights of the day with their certificate. Series are by symbol, of the rows; objective,
    bound and gap are in bps over the horizon; seconds are the solver's own, for the relaxation and
    the last solve."""

    rows: Rows
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

    @cached_property
    def weights(self) -> pd.Series:
        """After the trade."""
        return self._series(self.rows.weights)

    @cached_property
    def held(self) -> pd.Series:
        """Weights before the trade."""
        return self._series(self.rows.held)

    @cached_property
    def exits(self) -> pd.Series:
        """Why a name must be sold: "forced", "no forecast", or empty."""
        return self._series(self.rows.exits)

    def _series(self, values: np.ndarray) -> pd.Series:
        return pd.Series(values, index=pd.Index(self.rows.symbols, dtype="str"))

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
    names = names_of(
        said(expected_return),
        said(error),
        risk,
        said(held),
        said(sectors),
        said(tradable),
        set(forced.keys()),
    )
    return weigh(names, budget, settings, horizon)


def weigh(names: Names, budget: float, settings: OptimizeSettings, horizon: int) -> Solution:
    """`target_weights` of names whose numbers stand side by side already."""
    if horizon != names.risk.horizon_sessions:
        raise OptimizationError(
            f"risk is over {names.risk.horizon_sessions} sessions, not {horizon}"
        )
    if not 0 <= budget <= 1:
        raise OptimizationError(f"the budget is {budget}; it must lie between 0 and 1")
    limits = Limits.of(budget, settings)
    left = _unsold(names, limits)
    day = _day(names, left, limits)
    places = max(0, limits.names - int((left > 0).sum()))
    found = search.search(day, limits, settings, places)
    return _solution(found, day, names, left, limits, places, settings.solver)


def to_target(
    solution: Solution, session: pd.Timestamp, *, forced_intent: str = "stop"
) -> pd.DataFrame:
    """The `contracts.Target` frame: every name held before or after, and why it is traded.

    `forced_intent` is "stop" for stop-losses, "halt" where the whole book is sold.
    """
    columns = target_columns(solution, forced_intent)
    text = {name: pd.array(columns[name], dtype="str") for name in ("symbol", "sector", "intent")}
    when = np.full(len(columns["symbol"]), np.datetime64(session, "us"))
    return Target.check(pd.DataFrame({"session": when, **columns, **text}))


def target_columns(solution: Solution, forced_intent: str = "stop") -> dict[str, np.ndarray]:
    """`to_target` as arrays by column, in alphabetical order of symbols; the session left out."""
    rows = solution.rows
    traded = np.abs(rows.weights - rows.held) > DUST
    intent = np.where(traded, "rebalance", "hold").astype(object)
    intent[rows.exits == "forced"] = forced_intent
    intent[(rows.exits == "no forecast") & traded] = "exit"
    return {
        "symbol": rows.symbols,
        "sector": rows.sectors,
        "held": rows.held,
        "weight": rows.weights,
        "expected_return": rows.expected_return,
        "risk_share": rows.risk_share,
        "intent": intent,
    }


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


def _unsold(names: Names, limits: Limits) -> np.ndarray:
    """What the turnover cap leaves of holdings that nobody can judge any more, (n,), pro rata."""
    orphans = np.where(names.judged | names.forced, 0.0, names.held)
    total = orphans.sum()
    return orphans * (1 - limits.turnover / total if total > limits.turnover else 0.0)


def _day(names: Names, left: np.ndarray, limits: Limits) -> Day:
    """The numbers of the programme: of the names that can be judged."""
    judged = np.flatnonzero(names.judged)
    known = _sound(_of_risk(names.risk, names.at[judged]))
    held, forced = names.held[judged], names.forced[judged]
    free = np.where(forced, 0.0, held)
    wanted = names.tradable[judged] & ~forced & (limits.gross >= limits.min_weight)
    orphans = np.where(names.judged | names.forced, 0.0, names.held)
    sectors = np.arange(len(names.sectors))
    return Day(
        symbols=names.symbols[judged],
        expected_return=names.expected_return[judged],
        error=names.error[judged],
        factors=known.factors,
        diagonal=known.diagonal,
        held=free,
        upper=np.where(wanted, 1.0, free),
        sectors=names.sectors,
        member=(sectors[:, None] == names.group[judged]).astype(float),
        horizon=known.horizon_sessions,
        sold=float((orphans - left).sum()),
        idle=float(left.sum()),
        idle_sector=np.bincount(names.group, left, len(sectors)),
    )


def _of_risk(risk: Risk, at: np.ndarray) -> Risk:
    """The risk of some names; itself where that is all of them in order."""
    if len(at) == len(risk.diagonal) and (at == np.arange(len(at))).all():
        return risk
    return replace(
        risk,
        symbols=risk.symbols[at],
        factors=risk.factors[:, at],
        diagonal=risk.diagonal[at],
    )


def _solution(
    found: search.Found,
    day: Day,
    names: Names,
    left: np.ndarray,
    limits: Limits,
    places: int,
    solver: str,
) -> Solution:
    weights = left.copy()
    weights[names.judged] += found.weights
    shown = np.flatnonzero((weights > 0) | (names.held > 0))
    volatility, share = _volatility(names, weights, left)
    trades = np.abs(weights - names.held)
    forced = names.forced & (names.held > 0)
    rows = Rows(
        symbols=names.symbols[shown],
        weights=weights[shown],
        held=names.held[shown],
        sectors=names.sectors[names.group[shown]],
        expected_return=np.where(names.judged, names.expected_return, 0.0)[shown],
        risk_share=share[shown],
        exits=_exits(names)[shown],
    )
    turnover = float(trades[~forced].sum())
    standing = rules.standing_of(rows.weights, rows.sectors, volatility, turnover)
    return Solution(
        rows=rows,
        objective=found.objective,
        upper_bound=found.upper_bound,
        breaches=_breaches(rows, names.symbols[left > 0], left, standing, limits),
        duals=_prices(found.duals, day),
        limits=limits,
        standing=standing,
        forced_turnover=float(names.held[forced].sum()),
        seconds=found.seconds,
        status=found.status,
        proof=found.proof,
        day=day,
        places=places,
        solver=solver,
    )


def _exits(names: Names) -> np.ndarray:
    """Why each holding must be sold; empty where it need not."""
    why = np.full(len(names.held), "", dtype=object)
    why[~names.judged] = "no forecast"
    why[names.forced] = "forced"
    why[names.held <= 0] = ""
    return why


def _volatility(names: Names, weights: np.ndarray, left: np.ndarray) -> tuple[float, np.ndarray]:
    """Annual volatility of all that has a risk, and each name's share of the variance of what was
    chosen, (n,)."""
    held = np.flatnonzero((weights > 0) & (names.at >= 0))
    at, w = names.at[held], weights[held]
    factors, diagonal = names.risk.factors[:, at], names.risk.diagonal[at]
    scale = SESSIONS_PER_YEAR / names.risk.horizon_sessions
    variance = np.sum((factors @ w) ** 2) + diagonal @ w**2
    chosen, share = w - left[held], np.zeros(len(weights))
    parts = chosen * (factors.T @ (factors @ chosen) + diagonal * chosen)
    share[held] = parts / parts.sum() if parts.sum() > 0 else 0.0
    return float(np.sqrt(variance * scale)), share


def _breaches(
    rows: Rows,
    orphans: np.ndarray,
    left: np.ndarray,
    standing: dict[str, float],
    limits: Limits,
) -> tuple[Breach, ...]:
    """Those of the rules, naming what is over them, and holdings that cannot be judged."""
    over = {
        "max_weight": rows.weights > limits.max_weight + rules.TOLERANCE,
        "min_weight": (rows.weights > 0) & (rows.weights < limits.min_weight),
    }
    found = [
        replace(b, detail=", ".join(rows.symbols[over[b.rule]])) if b.rule in over else b
        for b in rules.breaches(standing, limits, rows.weights)
    ]
    if len(orphans):
        found.append(rules.unjudged(orphans, float(left.sum()), limits))
    return tuple(found)


def _prices(duals: dict[str, np.ndarray], day: Day) -> dict[str, float]:
    """Duals as bps over the horizon per 1 % of limit; the cap on names is one rule for all."""
    prices = {rule: float(np.sum(dual)) / 100 for rule, dual in duals.items() if rule != "sector"}
    by_sector = zip(day.sectors, duals.get("sector", []), strict=False)
    return prices | {f"sector:{name}": float(dual) / 100 for name, dual in by_sector}
