"""The features of one more session from what is kept of the sessions before it.

1. `begin` takes a panel in, session by session; `advance` takes in the one session that a later panel
   has more, whatever its length: one row of operations, linear in the names.
2. The same programme runs as for a panel, on the same numbers in the same order: values are equal to
   the last bit, with the state or without it.
3. A state is never trusted blindly. `why_stale` says why it cannot be used at all (other features,
   other code, a gap, other bars of the benchmark); a name whose bars of the window are not those that
   the state was made of (`sums`), because they were split, restated or filled, is taken in anew with
   its history, and so is a name that the state does not know.
4. `as_arrays` and `from_arrays` let a state be kept in a file.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pandas as pd

from quant50lib.errors import ContractError
from quant50lib.services.features_formula import INPUTS, Formula
from quant50lib.services.features_programme import Programme, programme
from quant50lib.services.panel import Panel

#: odd, so that a change of any one number changes the sum
_STEP, _FIELD = 0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F
#: with more of the names taken in anew it is quicker to begin with all
MOST_ANEW = 0.5


@dataclass
class State:
    """What is kept after a session; `push` moves it on in place.

    `memory` (n_rows, 1 + n_symbols) holds rings of earlier results, the benchmark in column 0; `sums`
    (1 + n_symbols) is one number for each name over the bars that `memory` was made of.
    """

    digest: str
    version: str
    benchmark: str
    session: pd.Timestamp
    symbols: pd.Index
    clock: int
    memory: np.ndarray
    sums: np.ndarray


class Advanced(NamedTuple):
    """The state after a session, its values (n_symbols, n_formulas), and the names taken in anew."""

    state: State
    values: pd.DataFrame
    anew: pd.Index


def digest(plan: Programme) -> str:
    """What a state is bound to: operations, their numbers and where their results are kept."""
    whole = hashlib.sha256()
    for part in (plan.code, plan.numbers, plan.rings):
        whole.update(repr(part.shape).encode() + part.tobytes())
    return whole.hexdigest()


def begin(
    formulas: Sequence[Formula], panel: Panel, benchmark: str, version: str = ""
) -> tuple[State, pd.DataFrame]:
    """The state after the last session of a panel, and the values there (n_symbols, n_formulas).

    Parameters
    ----------
    version
        Of the code that computes; a state of another version is stale.
    """
    plan = programme(tuple(formulas))
    state = _empty(plan, panel, benchmark, version, 0)
    found = np.empty((plan.n_formulas, len(panel.symbols)))
    for t in range(max(0, len(panel.sessions) - plan.window), len(panel.sessions)):
        found = push(plan, state, _bars(panel, benchmark, t))
    state.session = panel.sessions[-1]
    state.sums = sums(panel, benchmark, plan.window)
    return state, pd.DataFrame(found.T, index=panel.symbols)


def _empty(plan: Programme, panel: Panel, benchmark: str, version: str, clock: int) -> State:
    columns = 1 + len(panel.symbols)
    memory = np.full((int(plan.rings[:, 1].sum()), columns), np.nan)
    none = np.zeros(columns, dtype=np.uint64)
    first = panel.sessions[0]
    return State(digest(plan), version, benchmark, first, panel.symbols, clock, memory, none)


def _bars(panel: Panel, benchmark: str, t: int) -> np.ndarray:
    """Bars of one session as (6, 1 + n_symbols), the benchmark in front."""
    rows = np.array([getattr(panel, name).to_numpy()[t] for name in INPUTS], dtype=float)
    place = panel.symbols.get_loc(benchmark) if benchmark in panel.symbols else None
    front = np.full(len(INPUTS), np.nan) if place is None else rows[:, place]
    return np.column_stack([front, rows])


def sums(panel: Panel, benchmark: str, window: int, end: int | None = None) -> np.ndarray:
    """One number for each name (1 + n_symbols) over the bits of its bars in the `window` sessions
    before row `end` (None: the last ones); the benchmark in front, 0 without one.

    A polynomial in an odd number modulo 2^64: two histories that differ in one number never have the
    same, in several with a chance of 2^-64.
    """
    weight = np.full(window, 1, dtype=np.uint64)
    weight[1:] = _STEP
    weight = np.multiply.accumulate(weight)
    found, factor = np.zeros(len(panel.symbols), dtype=np.uint64), 1
    for name in INPUTS:
        rows = getattr(panel, name).to_numpy(dtype=float)[:end][-window:]
        bits = rows.view(np.uint64)
        found += np.uint64(factor) * np.einsum("t,tn->n", weight[: len(bits)], bits)
        factor = factor * _FIELD % 2**64
    place = panel.symbols.get_indexer([benchmark])[0]
    return np.insert(found, 0, found[place] if place >= 0 else 0)


def push(plan: Programme, state: State, bars: np.ndarray) -> np.ndarray:
    """Take in the bars of the next session (6, 1 + n_symbols).

    Returns
    -------
    (n_formulas, n_symbols); what is not finite is missing.
    """
    from quant50lib.services import features_kernel

    columns = bars.shape[1]  # two or more, with the benchmark in front
    out = np.empty((plan.n_formulas, columns))
    results = out.ctypes.data + out.strides[0] * np.arange(len(out))
    features_kernel.run(
        tuple(bars[:, :, None]),
        -1,
        results,
        plan.code,
        plan.numbers,
        plan.rings,
        state.memory.reshape(-1),
        state.clock,
        columns,
    )
    state.clock += 1
    return out[:, 1:]


def why_stale(
    formulas: Sequence[Formula], state: State, panel: Panel, benchmark: str, version: str = ""
) -> str:
    """Why `advance` must not be used; empty where it may."""
    plan = programme(tuple(formulas))
    if state.digest != digest(plan) or state.benchmark != benchmark:
        return "other features than those of the state"
    if state.version != version:
        return "the state was made by other code"
    if len(panel.sessions) < 2 or panel.sessions[-2] != state.session:
        return f"the state is of {state.session.date()}, not of the session before"
    if len(panel.sessions) <= plan.window:
        return "the panel is shorter than the longest window"
    now = sums(panel, benchmark, plan.window, -1)
    if now[0] != state.sums[0]:
        return f"the bars of {benchmark} have been restated or rescaled since"
    anew = _anew(state, panel, now)
    if len(anew) > MOST_ANEW * len(panel.symbols):
        return f"{len(anew)} of {len(panel.symbols)} names are new, restated or rescaled"
    return ""


def _anew(state: State, panel: Panel, now: np.ndarray) -> pd.Index:
    """Names of the panel that the state does not know, or knows by other bars."""
    if state.symbols.equals(panel.symbols):
        return panel.symbols[state.sums[1:] != now[1:]]
    old = state.symbols.get_indexer(panel.symbols)
    return panel.symbols[(old < 0) | (state.sums[1:][old] != now[1:])]


def advance(
    formulas: Sequence[Formula], state: State, panel: Panel, benchmark: str, version: str = ""
) -> Advanced:
    """Features at the last session of a panel, from the state of the session before.

    Returns
    -------
    Advanced
        With values (n_symbols, n_formulas) in the order of the formulas.

    Raises
    ------
    ContractError
        The state is stale (see `why_stale`): begin it anew.
    """
    reason = why_stale(formulas, state, panel, benchmark, version)
    if reason:
        raise ContractError(f"the features' state cannot be used ({reason}): begin it anew")
    plan = programme(tuple(formulas))
    anew = _anew(state, panel, sums(panel, benchmark, plan.window, -1))
    moved = _for_names(plan, state, panel, anew)
    found = push(plan, moved, _bars(panel, benchmark, -1))
    moved.session = panel.sessions[-1]
    moved.sums = sums(panel, benchmark, plan.window)
    return Advanced(moved, pd.DataFrame(found.T, index=panel.symbols), anew)


def _for_names(plan: Programme, state: State, panel: Panel, anew: pd.Index) -> State:
    """The state with the panel's names in the panel's order; some of them anew, by their history."""
    if state.symbols.equals(panel.symbols) and anew.empty:
        return state
    moved = _empty(plan, panel, state.benchmark, state.version, state.clock)
    old = state.symbols.get_indexer(panel.symbols)
    moved.memory[:, 0] = state.memory[:, 0]
    moved.memory[:, 1:][:, old >= 0] = state.memory[:, 1:][:, old[old >= 0]]
    if len(anew):
        names = sorted({*anew, state.benchmark} & {*panel.symbols})
        before = panel.only(names).each(lambda f: f.iloc[-1 - plan.window : -1])
        clock = state.clock - len(before.sessions)
        late = _empty(plan, before, state.benchmark, state.version, clock)
        for t in range(len(before.sessions)):
            push(plan, late, _bars(before, state.benchmark, t))
        place = before.symbols.get_indexer(anew)
        moved.memory[:, 1 + panel.symbols.get_indexer(anew)] = late.memory[:, 1 + place]
    return moved


def as_arrays(state: State) -> dict[str, np.ndarray]:
    """The state for `numpy.savez`."""
    told = [state.digest, state.version, state.benchmark, state.session.isoformat()]
    return {
        "memory": state.memory,
        "sums": state.sums,
        "symbols": np.array(list(state.symbols), dtype=str),
        "clock": np.array(state.clock),
        "told": np.array(told),
    }


def from_arrays(held: Mapping[str, np.ndarray]) -> State:
    """A state as `as_arrays` gave it."""
    told = [str(x) for x in held["told"]]
    return State(
        told[0],
        told[1],
        told[2],
        pd.Timestamp(told[3]),
        pd.Index([str(s) for s in held["symbols"]]),
        int(held["clock"]),
        np.array(held["memory"]),
        np.array(held["sums"]),
    )
