"""What prices and volumes are multiplied with, so that corporate actions leave no jump."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from quant50lib.simulator.market import Action, Series

LEAST = 0.01  # a factor is never smaller: a dividend of more than the price is an error of the data


def factors(
    series: Series,
    known: list[Action],
    adjustment: frozenset[str],
    worth: Callable[[Action], float | None] = lambda action: None,
) -> tuple[np.ndarray, np.ndarray]:
    """What each row's prices are multiplied with, and the part of it that comes from splits.

    A dividend counts as 1 - amount / close before the ex-date, both on the ex-date's share basis;
    a spin-off likewise, the amount being what the new shares for one old share were `worth`.
    """
    price, share = np.ones(len(series.day)), np.ones(len(series.day))
    rows = np.searchsorted(series.day, np.array([a.ex_date for a in known], "datetime64[D]"))
    dated = list(zip(rows.tolist(), known))
    for row, action in dated:
        if row > 0 and action.is_split and adjustment & {"split", "all"}:
            price[:row] *= float(action.old / action.new)
            share[:row] *= float(action.old / action.new)
        elif row > 0 and not action.is_split and adjustment & {_name(action), "all"}:
            lost = float(action.cash) if action.kind == "cash_dividend" else worth(action)
            before = float(series.close[row - 1]) * _share_basis(dated, row, action)
            price[:row] *= max(1 - (lost or 0.0) / before, LEAST)
    return price, share


def _name(action: Action) -> str:
    return {"cash_dividend": "dividend", "spin_off": "spin-off"}.get(action.kind, "none")


def _share_basis(dated: list[tuple[int, Action]], row: int, action: Action) -> float:
    """The splits that lie between the close before the action and the action."""
    found = 1.0
    for at, split in dated:
        if at == row and split.is_split and split.ex_date <= action.ex_date:
            found *= float(split.old / split.new)
    return found
