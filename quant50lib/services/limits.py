"""The rules of the book as numbers: what each allows, where a book stands, when it is cured."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from quant50lib.contracts import Limit
from quant50lib.services.covariance import Risk
from quant50lib.settings import OptimizeSettings

#: a rule is kept when it is exceeded by no more than this
TOLERANCE = 1e-8
#: rules that share the turnover of a session in this order, by default; `gross` shares with all
SERVED = ("max_weight", "sector", "volatility", "names", "min_weight")
#: of these rules the value must not fall below the limit
FLOORS = ("min_weight", "cash")


@dataclass(frozen=True)
class Limits:
    """What a book may be on one day, in fractions of equity; the brake's budget B is in it."""

    budget: float
    gross: float
    volatility: float  # annual
    turnover: float
    sector: float
    max_weight: float
    min_weight: float
    names: int
    cash: float

    @classmethod
    def of(cls, budget: float, settings: OptimizeSettings) -> Limits:
        """The limits of a day on which the brake allows `budget`, 0 to 1."""
        return cls(
            budget=budget,
            gross=budget * (1 - settings.cash_buffer),
            volatility=budget * settings.max_volatility_annual,
            turnover=settings.max_turnover,
            sector=settings.max_sector,
            max_weight=settings.max_weight,
            min_weight=settings.min_weight,
            names=settings.max_names,
            cash=1 - budget * (1 - settings.cash_buffer),
        )

    def by_rule(self) -> dict[str, float]:
        """Limit of each rule; the sector cap stands once, as `sector`."""
        rules = ("names", "gross", "cash", "volatility", "turnover", "max_weight", "min_weight")
        return {rule: float(getattr(self, rule)) for rule in (*rules, "sector")}


@dataclass(frozen=True)
class Breach:
    """A rule that the day's weights do not keep, and why that could not be helped."""

    rule: str
    value: float
    limit: float
    sessions_to_cure: int | None = field(default=None)  # None: not by trading alone
    detail: str = ""


def standing(weights: pd.Series, sectors: pd.Series, risk: Risk, turnover: float) -> dict:
    """Where a book stands on every rule, in the units of `Limits`; sectors as `sector:<name>`.

    Symbols without a risk forecast are left out of the volatility.
    """
    held = weights[weights > 0]
    volatility = risk.volatility_annual(held[risk.symbols.get_indexer(held.index) >= 0])
    of = sectors.to_numpy(dtype=object)[sectors.index.get_indexer(held.index)]
    return standing_of(held.to_numpy(), of, volatility, turnover)


def standing_of(
    weights: np.ndarray, sectors: np.ndarray, volatility: float, turnover: float
) -> dict[str, float]:
    """`standing` of weights, (n,), in the sectors beside them, (n,) of str."""
    held, of = weights[weights > 0], sectors[weights > 0]
    gross = float(held.sum())
    values = {
        "names": float(len(held)),
        "gross": gross,
        "cash": 1 - gross,
        "volatility": volatility,
        "turnover": turnover,
        "max_weight": float(held.max(initial=0.0)),
    }
    if len(held):
        values["min_weight"] = float(held.min())
    return values | {f"sector:{name}": float(held[of == name].sum()) for name in sorted(set(of))}


def limit_of(rule: str, limits: Limits) -> float:
    """The limit of a rule as `standing` names it."""
    return limits.by_rule()[rule.partition(":")[0]]


def headroom(rule: str, value: float, limit: float) -> float:
    """What is left until the rule is broken; negative when it is."""
    return value - limit if rule in FLOORS else limit - value


def breaches(values: dict[str, float], limits: Limits, weights: np.ndarray) -> tuple[Breach, ...]:
    """The rules that a standing does not keep, each with the sessions until it is cured.

    `cash` is the other side of `gross` and not reported twice. The sessions are at full turnover
    and unchanged prices; None if turnover is not allowed.

    Parameters
    ----------
    values : dict
        The `standing` of `weights`, (n,).
    """
    each = limits.by_rule()
    limit = {rule: each[rule.partition(":")[0]] for rule in values if rule != "cash"}
    broken = [r for r in limit if headroom(r, values[r], limit[r]) < -TOLERANCE]
    needs = {rule: _to_trade(rule, values, limits, weights) for rule in broken}
    return tuple(
        Breach(rule, values[rule], limit[rule], _sessions_to_cure(rule, needs, limits))
        for rule in broken
    )


def unjudged(symbols: np.ndarray, left: float, limits: Limits) -> Breach:
    """Holdings without forecast or risk of which the turnover cap leaves so much."""
    sessions = math.ceil(left / limits.turnover) if limits.turnover > 0 else None
    return Breach("no_forecast", left, 0.0, sessions, ", ".join(symbols))


def _to_trade(rule: str, values: dict[str, float], limits: Limits, weights: np.ndarray) -> float:
    """Weight to be sold until the rule holds, were it alone.

    Volatility is counted as if the whole book shrank in proportion, which always works.
    """
    held, limit = np.sort(weights[weights > 0]), limit_of(rule, limits)
    if rule == "volatility":
        return values["gross"] * (1 - limit / values[rule])
    if rule == "max_weight":
        return float(np.maximum(held - limit, 0.0).sum())
    if rule == "names":
        return float(held[: len(held) - limits.names].sum())
    if rule == "min_weight":
        return float(held[held < limit].sum())
    return values[rule] - limit


def _sessions_to_cure(rule: str, needs: dict[str, float], limits: Limits) -> int | None:
    """Sessions until the rule and all that are served before it out of the same turnover hold.

    What is sold for the exposure serves the others at the same time.
    """
    if rule == "turnover":
        return 1
    if limits.turnover <= 0:
        return None
    kind = rule.partition(":")[0]
    served = ("gross",) if kind == "gross" else SERVED[: SERVED.index(kind) + 1]
    to_trade = sum(need for r, need in needs.items() if r.partition(":")[0] in served)
    return max(1, math.ceil(to_trade / limits.turnover - TOLERANCE))


def to_limits(
    session: pd.Timestamp,
    values: dict[str, float],
    limits: Limits,
    prices_bps: dict[str, float],
    details: dict[str, str],
) -> pd.DataFrame:
    """The `contracts.Limit` frame of a standing."""
    rules = list(values)
    left = [headroom(rule, values[rule], limit_of(rule, limits)) for rule in rules]
    rows = {
        "session": pd.Series(session, index=range(len(rules)), dtype="datetime64[us]"),
        "rule": pd.Series(rules, dtype="str"),
        "value": [float(values[r]) for r in rules],
        "limit": [limit_of(r, limits) for r in rules],
        "headroom": left,
        "breached": [room < -TOLERANCE for room in left],
        "price_bps": [float(prices_bps.get(r, math.nan)) for r in rules],
        "detail": pd.Series([details.get(r, "") for r in rules], dtype="str"),
    }
    return Limit.check(pd.DataFrame(rows))
