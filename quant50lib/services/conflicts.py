"""Why the rules cannot all hold today: the fewest that contradict each other, and what would do.

An empty book keeps every rule but the turnover cap, so that every contradiction is one with it:

    least turnover of all books that keep the rules S  >  turnover cap.

Rules are taken out of S one by one, and stay out if the inequality still holds without them
(deletion filter): what is left is irreducible, any one of them less and a book exists. For each of
them the cheapest repair is the least it would have to allow while all other rules of the day hold.
"""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass, replace

import cvxpy as cp
import numpy as np

from quant50lib.services.covariance import SESSIONS_PER_YEAR
from quant50lib.services.day import MARGIN, Day
from quant50lib.services.limits import Breach, Limits

#: rules in the order in which they are tried for leaving, after those that are not breached
ORDER = ("max_weight", "volatility", "gross", "sector", "min_weight", "names", "no_forecast")
#: rules that count names
WHOLE = frozenset({"names", "min_weight"})
#: planes that the cone of the volatility is replaced by, at most, and how near they have to come
PLANES, TOUCHING = 40, 1e-7
#: what stands in a sentence for a rule without a number
BARE = {
    "no_forecast": "the sale of names without forecast",
    "min_weight": "the minimum position",
}


@dataclass(frozen=True)
class Repair:
    """A rule of the conflict: its limit, and what it would have to allow for all others to hold.

    `needed` is None where no change of this rule alone would do, or none can be named.
    """

    rule: str
    limit: float
    needed: float | None


@dataclass(frozen=True)
class Conflict:
    """Rules of which any but one can hold together today, the turnover cap among them."""

    repairs: tuple[Repair, ...]

    @property
    def rules(self) -> tuple[str, ...]:
        """Their names, as `limits.standing` has them."""
        return tuple(repair.rule for repair in self.repairs)

    @property
    def sentence(self) -> str:
        """For people: what collides, and what would do."""
        colliding = " + ".join(_words(r.rule, r.limit) for r in self.repairs)
        ways = [_allowed(r) for r in self.repairs if r.needed is not None]
        cure = f"; {' or '.join(ways)} would do" if ways else ""
        return f"{colliding} cannot hold together today{cure}"


@dataclass(frozen=True)
class Room:
    """The books there are: weights of the day's names, and of orphans (no forecast) by sector."""

    day: Day
    limits: Limits  # tightened by the margin that the programme keeps
    places: int
    orphans: np.ndarray  # (m,) held before
    n_orphans: int
    cone: str  # the solver for programmes with the volatility
    w: cp.Variable
    left: cp.Variable  # (m,)
    z: cp.Variable  # (n,) 1 where held

    @classmethod
    def of(cls, day: Day, limits: Limits, places: int, n_orphans: int, solver: str) -> Room:
        """`places` names may be held besides the orphans that the turnover cap leaves."""
        tight = replace(
            limits,
            **{
                rule: max(getattr(limits, rule) - MARGIN, 0.0)
                for rule in ("gross", "volatility", "turnover", "sector", "max_weight")
            },
        )
        idle = np.broadcast_to(day.idle_sector, (len(day.sectors),))
        orphans = idle * (1 + day.sold / day.idle) if day.idle > 0 else 0.0 * idle
        n, cone = len(day.symbols), "SCS" if solver == "SCS" else "CLARABEL"
        w, left, z = cp.Variable(n), cp.Variable(len(idle)), cp.Variable(n, boolean=True)
        return cls(day, tight, places, orphans, n_orphans, cone, w, left, z)

    def use(self, rule: str) -> cp.Expression:
        """What a book uses of a rule, in the units of its limit."""
        kind, _, sector = rule.partition(":")
        if kind == "turnover":
            fixed = 0.0 if self.orphans.any() else self.day.sold
            return cp.norm1(self.w - self.day.held) + cp.sum(self.orphans - self.left) + fixed
        if kind == "gross":
            return cp.sum(self.w) + cp.sum(self.left)
        if kind == "volatility":
            return cp.norm(self.root() @ self.w)
        if kind == "max_weight":
            return cp.max(self.w)
        at = list(self.day.sectors).index(sector)
        return self.day.member[at] @ self.w + self.left[at]

    def root(self) -> np.ndarray:
        """R, (r, n), with |R w| the annual volatility of a book."""
        years = self.day.horizon / SESSIONS_PER_YEAR
        return np.vstack([self.day.factors, np.diag(np.sqrt(self.day.diagonal))]) / np.sqrt(years)

    def keeps(self, rule: str) -> list[cp.Constraint]:
        """The rule as constraints."""
        if rule == "no_forecast":
            return [self.left == 0]
        if rule == "names":
            return [cp.sum(self.z) <= self.places, self.w <= self.z]
        if rule == "min_weight":
            able = np.minimum(self.limits.min_weight, self.day.upper)
            return [self.w >= cp.multiply(able, self.z), self.w <= self.z]
        return [self.use(rule) <= limit_of(rule, self.limits)]

    def least(self, rule: str, others: list[str]) -> float | None:
        """The least use of a rule among all books that keep the others; None if there is none."""
        if WHOLE.intersection(others) and "volatility" in (rule, *others):
            goal = None if rule == "volatility" else self.use(rule)
            return self.least_whole(goal, others)
        problem = cp.Problem(cp.Minimize(self.use(rule)), self.books(others))
        solver = self.cone if "volatility" in (rule, *others) else "HIGHS"
        return self.solved(problem, solver)

    def books(self, others: list[str]) -> list[cp.Constraint]:
        """All books that keep some rules."""
        books = [self.w >= 0, self.w <= self.day.upper, self.left >= 0, self.left <= self.orphans]
        return books + [constraint for other in others for constraint in self.keeps(other)]

    def least_whole(
        self, goal: cp.Expression | None, others: list[str], more: list[cp.Constraint] | None = None
    ) -> float | None:
        """`least` of a goal (None: the volatility) where names are counted: the cone of the
        volatility is replaced by planes that touch it, one more wherever a book lies outside.

        J. E. Kelley, "The cutting-plane method for solving convex programs" (1960). What is found
        is no more than the least there is, and equal to it within `TOUCHING` of the volatility.
        """
        sigma, root = cp.Variable(nonneg=True), self.root()
        rules = self.books([other for other in others if other != "volatility"]) + (more or [])
        if "volatility" in others:
            rules.append(sigma <= self.limits.volatility)
        value = None
        for _ in range(PLANES):
            value = self.solved(cp.Problem(cp.Minimize(sigma if goal is None else goal), rules))
            if value is None:
                return None
            book = np.asarray(self.w.value)
            volatility = float(np.linalg.norm(root @ book))
            if volatility <= float(np.asarray(sigma.value)) + TOUCHING:
                break
            rules.append((root.T @ (root @ book) / volatility) @ self.w <= sigma)
        return value

    @staticmethod
    def solved(problem: cp.Problem, solver: str = "HIGHS") -> float | None:
        """The value of a programme; None where it has none."""
        try:
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", "Solution may be inaccurate")
                problem.solve(solver=solver)
        except cp.SolverError:
            return None
        solved = problem.status in (cp.OPTIMAL, cp.OPTIMAL_INACCURATE)
        return float(problem.value) if solved else None


def explain(
    day: Day,
    limits: Limits,
    breaches: tuple[Breach, ...],
    places: int,
    n_orphans: int,
    solver: str,
) -> Conflict | None:
    """The conflict behind the breaches of a day; None where there are none.

    The limit on names takes part where it is breached or more are held before the trade, the
    minimum position where it is breached.

    Parameters
    ----------
    places, n_orphans : int
        Names that may be held, and holdings without forecast that must be left, besides.
    solver : str
        Of `optimize.solver`; used for what is no linear programme.
    """
    broken = [breach.rule for breach in breaches]
    if not broken:
        return None
    room = Room.of(day, limits, places, n_orphans, solver)
    rules = _rules(room, broken)
    core = _irreducible(room, rules, broken)
    if core is None:  # by a hair: what the day did is what would do
        return Conflict(tuple(_as_done(b, limits) for b in _with_turnover(breaches, limits)))
    return Conflict(tuple(_repair(room, rule, rules, limits) for rule in [*core, "turnover"]))


def _rules(room: Room, broken: list[str]) -> list[str]:
    """The rules beside the turnover cap that may have a part in it."""
    many = "names" in broken or int((room.day.held > 0).sum()) > room.places
    whole = [*(["names"] if many else []), *(["min_weight"] if "min_weight" in broken else [])]
    smooth = ["gross", "max_weight", "volatility"]
    orphans = ["no_forecast"] if room.orphans.any() else []
    held = room.day.member @ room.day.held + room.orphans
    over = [f"sector:{s}" for s, h in zip(room.day.sectors, held, strict=True) if h > 0]
    return [*smooth, *over, *whole, *orphans]


def _irreducible(room: Room, rules: list[str], broken: list[str]) -> list[str] | None:
    """The rules without which the turnover cap can be kept; None if it can be kept with all."""

    def clash(kept: list[str]) -> bool:
        least = room.least("turnover", kept)
        return least is None or least > room.limits.turnover + MARGIN / 10

    if not clash(rules):
        return None
    kept = [rule for rule in rules if rule in broken]
    kept = kept if kept and clash(kept) else list(rules)
    place = {rule: at for at, rule in enumerate(ORDER)}
    for rule in sorted(kept, key=lambda r: (r in broken, place[r.partition(":")[0]], r)):
        without = [other for other in kept if other != rule]
        if clash(without):
            kept = without
    return kept


def _repair(room: Room, rule: str, rules: list[str], limits: Limits) -> Repair:
    """What the rule would have to allow, all others of the day in force."""
    others = [r for r in [*rules, "turnover"] if r != rule]
    if rule in BARE:
        return Repair(rule, limit_of(rule, limits), None)
    if rule == "names":
        return Repair(rule, limits.names, _fewest(room, [r for r in others if r != "min_weight"]))
    least = room.least(rule, others)
    return Repair(rule, limit_of(rule, limits), None if least is None else least + 2 * MARGIN)


def _fewest(room: Room, others: list[str]) -> float | None:
    """The fewest names of all books that keep the other rules, orphans included."""
    least = room.least_whole(cp.sum(room.z), others, [room.w <= room.z])
    return None if least is None else round(least) + room.n_orphans


def _with_turnover(breaches: tuple[Breach, ...], limits: Limits) -> list[Breach]:
    """The breaches, and the cap that stood in their way."""
    cap = Breach("turnover", math.nan, limits.turnover)
    return [*breaches, *([] if any(b.rule == "turnover" for b in breaches) else [cap])]


def _as_done(breach: Breach, limits: Limits) -> Repair:
    alone = not math.isnan(breach.value) and breach.rule not in BARE
    return Repair(breach.rule, breach.limit, breach.value if alone else None)


def limit_of(rule: str, limits: Limits) -> float:
    """The limit of a rule; 0 for holdings without a forecast."""
    return limits.by_rule().get(rule.partition(":")[0], 0.0)


def _words(rule: str, limit: float) -> str:
    """The rule with its limit: "sector Energy 25 %"."""
    if rule in BARE:
        return BARE[rule]
    return f"{_name(rule)} {_number(rule, limit)}"


def _allowed(repair: Repair) -> str:
    """A limit that is enough: rounded up."""
    assert repair.needed is not None
    return f"{_name(repair.rule)} of {_number(repair.rule, repair.needed)}"


def _name(rule: str) -> str:
    kind, _, sector = rule.partition(":")
    words = {"sector": f"sector {sector}", "gross": "exposure", "max_weight": "weight of a name"}
    return words.get(kind, kind)


def _number(rule: str, value: float) -> str:
    if rule == "names":
        return f"{value:.0f}"
    return f"{math.ceil(value * 1000 - 1e-6) / 10:g} %"
