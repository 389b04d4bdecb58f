"""What a merger, a spin-off, a change of name or a removal makes of a position, by the table's terms."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal, localcontext
from typing import Any

import pandas as pd

from quant50lib.services.ledger import NOMINAL, ZERO, Conversion, Swap, decimal, effective

#: what the table of actions calls things that only count once the broker has made them
FATES = {
    "name_change": "rename",
    "cash_merger": "merger",
    "stock_merger": "merger",
    "stock_and_cash_merger": "merger",
    "spin_off": "spin_off",
    "worthless_removal": "worthless",
    "redemption": "worthless",
}


def fate_of(
    row: Mapping[str, Any], ex_date: pd.Timestamp, owned: Decimal, prices: Mapping[str, Decimal]
) -> Conversion | Swap | None:
    """The event of an action on shares that are owned; None where there are none, or no terms.

    Parameters
    ----------
    row : mapping
        symbol, type, new_rate, old_rate, cash, other_symbol; a rate that is missing is 1 for 1.
    prices : mapping
        What a share of another name is booked at, US dollars.
    """
    kind, other = FATES[row["type"]], row.get("other_symbol") or ""
    cash = owned * decimal(row["cash"]) if pd.notna(row["cash"]) else ZERO
    name = other if kind == "spin_off" else row["symbol"]
    event_id, when = f"{kind}-{name}-{ex_date:%Y%m%d}", effective(ex_date)
    if not owned:
        return None
    if kind == "worthless" or row["type"] == "cash_merger":
        return Conversion(event_id, kind, row["symbol"], -owned, cash, when, row["type"])
    if not other:
        return None
    gone = ZERO if kind == "spin_off" else owned
    come = owned * _ratio(row)
    price = prices.get(other, NOMINAL)
    return Swap(event_id, kind, row["symbol"], gone, other, come, when, cash, row["type"], price)


def _ratio(row: Mapping[str, Any]) -> Decimal:
    if pd.isna(row["new_rate"]) or pd.isna(row["old_rate"]):
        return Decimal(1)
    with localcontext(prec=50):
        return decimal(row["new_rate"]) / decimal(row["old_rate"])
