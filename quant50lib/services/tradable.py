"""Where the book stands once its orders are what can be traded: whole shares, no dust, no refusals.

The optimiser keeps every limit to 1e-8 with weights that are real numbers. Orders are rounded
towards no trade, those too small are not sent, others are refused by a check or have to wait: a sale
that is not made can leave a limit broken. This says which.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from quant50lib.services import limits as rules
from quant50lib.services.covariance import Risk
from quant50lib.services.day import Day
from quant50lib.services.limits import Breach, Limits
from quant50lib.settings import OptimizeSettings

#: orders that are meant to fill at the next open
MEANT = ("planned", "shadow")
#: why a name is sold outside the turnover cap
OUTSIDE = ("stop", "halt")
#: the risk of nobody knows what: volatility is then not judged
NO_RISK = Risk(pd.Index([], dtype="str"), np.zeros((0, 0)), np.zeros(0), 1)


def weights_after(target: pd.DataFrame, orders: pd.DataFrame, equity: float) -> pd.Series:
    """Weights by symbol after the orders, all filled at the closes that they were planned on.

    Parameters
    ----------
    target : Target
    orders : Order
        Of the same session; refused and deferred ones do not trade.
    equity : float
        US dollars.
    """
    meant = orders[orders["state"].isin(MEANT)]
    signed = meant["notional"].where(meant["side"] == "buy", -meant["notional"])
    traded = signed.groupby(meant["symbol"]).sum() / equity
    held = target.set_index("symbol")["held"]
    after = held.add(traded, fill_value=0.0)
    return after.where(after.abs() > rules.TOLERANCE, 0.0)


def breaches(
    target: pd.DataFrame,
    orders: pd.DataFrame,
    equity: float,
    limits: Limits,
    risk: Risk = NO_RISK,
) -> tuple[Breach, ...]:
    """The rules that the book breaks after its orders; without a risk, all but volatility.

    The sessions to cure say when trading what is missing cures it.
    """
    after = weights_after(target, orders, equity)
    rows = target.set_index("symbol").reindex(after.index)
    free = ~rows["intent"].isin(OUTSIDE)
    turnover = float((after - rows["held"].fillna(0.0))[free].abs().sum())
    sectors = rows["sector"].fillna("unknown")
    standing = rules.standing(after, sectors, risk, turnover)
    return rules.breaches(standing, limits, after.to_numpy(dtype=float))


def headline(
    target: pd.DataFrame,
    orders: pd.DataFrame,
    equity: float,
    budget: float,
    settings: OptimizeSettings,
) -> dict[str, Any]:
    """What the orders leave of the target: weight not traded, and the limits broken after them.

    Parameters
    ----------
    budget : float
        Exposure budget B of the brake, 0 to 1; the volatility is not judged.
    """
    wanted = target.set_index("symbol")["weight"]
    left = weights_after(target, orders, equity).sub(wanted, fill_value=0.0)
    broken = breaches(target, orders, equity, Limits.of(budget, settings))
    return {
        "weight_not_traded": float(left.abs().sum()),
        "broken_after": [f"{b.rule} {b.value:.4g} (limit {b.limit:.4g})" for b in broken],
    }


def risk_of(day: Day) -> Risk:
    """The risk that a day was solved with."""
    return Risk(pd.Index(day.symbols, dtype="str"), day.factors, day.diagonal, day.horizon)
