"""Why a name may not be bought at a close: the rules behind `data.day_universe`, on arrays."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from quant50lib.settings import DataSettings, FeatureSettings

LIQUIDITY_SESSIONS = 21


class Facts(NamedTuple):
    """What the rules ask of each name, arrays (n_symbols,)."""

    listed: np.ndarray  # bool: active at the broker, with a bar within `quarantine_sessions`
    tradable: np.ndarray  # bool: at the broker
    bars: np.ndarray  # number of sessions with one
    admitted: np.ndarray  # bool: a member
    price: np.ndarray  # last close known, as traded, US dollars
    dollars: np.ndarray  # median dollar volume of 21 sessions


def reasons(
    facts: Facts, gates: np.ndarray, data: DataSettings, features: FeatureSettings
) -> np.ndarray:
    """The first reason that applies to each name, (n_symbols,) of str; empty where none does.

    Parameters
    ----------
    gates : array of str, (n_symbols,)
        The quality gate that keeps the name out; empty: none.
    """
    with np.errstate(invalid="ignore"):
        rules = {
            "not listed": ~facts.listed,
            "not tradable at the broker": ~facts.tradable,
            "too short a history": facts.bars < data.min_history_sessions,
            "not a member": ~facts.admitted,
            "too cheap": facts.price < features.min_price,
            "too thin": ~(facts.dollars >= features.min_dollar_volume),
        }
    found = np.full(len(gates), "", dtype=object)
    for text, applies in reversed(rules.items()):
        found[applies] = text
    held = (gates != "") & facts.listed
    found[held] = "quarantined: " + gates[held]
    return found


def newest_gates(cols: np.ndarray, rows: np.ndarray, gates: np.ndarray, n: int) -> np.ndarray:
    """The gate of each of `n` names, "" where none holds it.

    Of several the one of the newest session counts, and of those the last in the alphabet.

    Parameters
    ----------
    cols, rows, gates : arrays, (n_findings,)
        Column of the name, session or its row, and name of the gate.
    """
    found = np.full(n, "", dtype=object)
    for at in sorted(range(len(cols)), key=lambda k: (rows[k], gates[k])):
        found[cols[at]] = gates[at]
    return found


def median_known(values: np.ndarray) -> np.ndarray:
    """The median of what is known in each column, (n_sessions, n_symbols) to (n_symbols,)."""
    ordered = np.sort(values, axis=0)  # missing values sort behind
    count = (values == values).sum(axis=0)
    both = np.maximum(np.stack([(count - 1) // 2, count // 2]), 0)
    low, high = np.take_along_axis(ordered, both, axis=0)
    return np.where(count > 0, (low + high) / 2, np.nan)
