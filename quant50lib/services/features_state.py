"""The features of one more session from what is kept of the sessions before it.

1. `begin` takes a panel in, session by session; `advance` takes in the one session that a later panel
   has more, whatever its length: one row of operations, linear in the names.
2. The same programme runs as for a panel, on the same numbers in the same order: values are equal, to
   the last bit where no price was rescaled in between, to rounding where one was.
3. `as_arrays` and `from_arrays` let a state be kept in a file; `why_stale` says why one cannot be used
   (other features, a gap, revised bars), and then it is begun anew: a state is never trusted blindly.

A dividend or split rescales all earlier prices of a name: what is kept is rescaled by the power of its
unit, which is exact but for rounding. Names that are new to the state are taken in with their history.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from quant50lib.errors import ContractError
from quant50lib.services.features_formula import INPUTS, LOAD, Formula
from quant50lib.services.features_programme import Programme, programme
from quant50lib.services.panel import Panel

#: bars may differ by so much, relatively, and still be the same bar on another unit
SAME = 1e-12


@dataclass
class State:
    """What is kept after a session; `advance` moves it on in place.

    `memory` (n_rows, 1 + n_symbols) holds rings of earlier results, the benchmark in column 0;
    `bars` (6, 1 + n_symbols) the bars of the session, `INPUTS` by name.
    """

    digest: str
    benchmark: str
    session: pd.Timestamp
    symbols: pd.Index
    clock: int
    memory: np.ndarray
    bars: np.ndarray


def digest(plan: Programme) -> str:
    """What a state is bound to: operations, their numbers and where their results are kept."""
    whole = hashlib.sha256()
    for part in (plan.code, plan.numbers, plan.rings):
        whole.update(repr(part.shape).encode() + part.tobytes())
    return whole.hexdigest()


def begin(formulas: Sequence[Formula], panel: Panel, benchmark: str) -> State:
    """The state after the last session of a panel."""
    plan = programme(tuple(formulas))
    state = _empty(plan, panel, benchmark, 0)
    for t in range(max(0, len(panel.sessions) - plan.window), len(panel.sessions)):
        push(plan, state, _bars(panel, benchmark, t))
    state.session = panel.sessions[-1]
    return state


def _empty(plan: Programme, panel: Panel, benchmark: str, clock: int) -> State:
    columns = 1 + len(panel.symbols)
    memory = np.full((int(plan.rings[:, 1].sum()), columns), np.nan)
    bars = np.full((len(INPUTS), columns), np.nan)
    first = panel.sessions[0]
    return State(digest(plan), benchmark, first, panel.symbols, clock, memory, bars)


def _bars(panel: Panel, benchmark: str, t: int) -> np.ndarray:
    """Bars of one session as (6, 1 + n_symbols), the benchmark in front."""
    rows = np.array([getattr(panel, name).to_numpy()[t] for name in INPUTS], dtype=float)
    place = panel.symbols.get_loc(benchmark) if benchmark in panel.symbols else None
    front = np.full(len(INPUTS), np.nan) if place is None else rows[:, place]
    return np.column_stack([front, rows])


def push(plan: Programme, state: State, bars: np.ndarray) -> np.ndarray:
    """Take in the bars of the next session (6, 1 + n_symbols), on the unit of the state.

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
    state.bars = bars
    return out[:, 1:]


def rescale(plan: Programme, state: State, prices: np.ndarray, shares: np.ndarray) -> None:
    """Bring what is kept onto another unit: factors (1 + n_symbols) on prices and share counts.

    Raises
    ------
    ContractError
        A kept result does not follow a power of a factor that is not one.
    """
    read_back = plan.rings[:, 1] > 1  # the others are made anew every session
    for factors, power in ((prices, plan.powers[:, 0]), (shares, plan.powers[:, 1])):
        changed = np.flatnonzero(factors != 1.0)
        if not len(changed):
            continue
        if np.isnan(power[read_back]).any():
            raise ContractError("the features' state cannot be rescaled: begin it anew")
        scale = factors[changed] ** np.repeat(power, plan.rings[:, 1])[:, None]
        state.memory[:, changed] *= scale


def why_stale(formulas: Sequence[Formula], state: State, panel: Panel, benchmark: str) -> str:
    """Why `advance` must not be used; empty where it may.

    The bars that the state still holds are compared with the panel's, on the panel's unit: a bar
    that the vendor has revised since makes it stale.
    """
    plan = programme(tuple(formulas))
    if state.digest != digest(plan) or state.benchmark != benchmark:
        return "other features than those of the state"
    if len(panel.sessions) < 2 or panel.sessions[-2] != state.session:
        return f"the state is of {state.session.date()}, not of the session before the last"
    if len(panel.sessions) <= plan.window:
        return "the panel is shorter than the longest window"
    kept = state.symbols.intersection(panel.symbols)
    prices, shares = _factors(state, panel)
    for row in np.flatnonzero(plan.code[:, 0] == LOAD):
        register, source = plan.code[row, 1], INPUTS[plan.code[row, 2]]
        first, length = plan.rings[register]
        back = np.arange(length)[::-1]
        held = state.memory[first + (state.clock - 1 - back) % length][:, 1:]
        held = pd.DataFrame(held, columns=state.symbols)[kept].to_numpy()
        unit = prices ** plan.powers[register, 0] * shares ** plan.powers[register, 1]
        held = held * pd.Series(unit[1:], state.symbols)[kept].to_numpy()
        now = getattr(panel, source)[kept].to_numpy()[-1 - length : -1]
        if not np.allclose(held, now, rtol=SAME, atol=0.0, equal_nan=True):
            return f"bars have been revised since: {source}"
    return ""


def _factors(state: State, panel: Panel) -> tuple[np.ndarray, np.ndarray]:
    """By how much prices and share counts of the state's names are rescaled in the panel."""
    names = [state.benchmark, *state.symbols]
    found = []
    for field in ("close", "volume"):
        now = getattr(panel, field).iloc[-2].reindex(names).to_numpy()
        with np.errstate(divide="ignore", invalid="ignore"):
            factor = now / state.bars[INPUTS.index(field)]
        near = np.abs(factor - 1.0) < SAME
        found.append(np.where(np.isfinite(factor) & (factor > 0) & ~near, factor, 1.0))
    return found[0], found[1]


def advance(
    formulas: Sequence[Formula], state: State, panel: Panel, benchmark: str
) -> tuple[State, pd.DataFrame]:
    """Features at the last session of a panel, from the state of the session before.

    Returns
    -------
    The state after the session and the values (n_symbols, n_formulas) in the order of the formulas.

    Raises
    ------
    ContractError
        The state is stale (see `why_stale`): begin it anew.
    """
    reason = why_stale(formulas, state, panel, benchmark)
    if reason:
        raise ContractError(f"the features' state cannot be used ({reason}): begin it anew")
    plan = programme(tuple(formulas))
    rescale(plan, state, *_factors(state, panel))
    moved = _for_names(formulas, plan, state, panel)
    found = push(plan, moved, _bars(panel, benchmark, -1))
    moved.session = panel.sessions[-1]
    return moved, pd.DataFrame(found.T, index=panel.symbols)


def _for_names(formulas: Sequence[Formula], plan: Programme, state: State, panel: Panel) -> State:
    """The state with the panel's names in the panel's order; new ones with their history."""
    if state.symbols.equals(panel.symbols):
        return state
    new = panel.symbols.difference(state.symbols)
    moved = _empty(plan, panel, state.benchmark, state.clock)
    old = state.symbols.get_indexer(panel.symbols)
    moved.memory[:, 0] = state.memory[:, 0]
    moved.memory[:, 1:][:, old >= 0] = state.memory[:, 1:][:, old[old >= 0]]
    if len(new):
        names = sorted({*new, state.benchmark} & {*panel.symbols})
        before = panel.only(names).each(lambda f: f.iloc[-1 - plan.window : -1])
        late = _empty(plan, before, state.benchmark, state.clock - len(before.sessions))
        for t in range(len(before.sessions)):
            push(plan, late, _bars(before, state.benchmark, t))
        place = before.symbols.get_indexer(new)
        moved.memory[:, 1 + panel.symbols.get_indexer(new)] = late.memory[:, 1 + place]
    return moved


def as_arrays(state: State) -> dict[str, np.ndarray]:
    """The state for `numpy.savez`."""
    return {
        "memory": state.memory,
        "bars": state.bars,
        "symbols": np.array(list(state.symbols), dtype=str),
        "clock": np.array(state.clock),
        "told": np.array([state.digest, state.benchmark, state.session.isoformat()]),
    }


def from_arrays(held: Mapping[str, np.ndarray]) -> State:
    """A state as `as_arrays` gave it."""
    told = [str(x) for x in held["told"]]
    return State(
        told[0],
        told[1],
        pd.Timestamp(told[2]),
        pd.Index([str(s) for s in held["symbols"]]),
        int(held["clock"]),
        np.array(held["memory"]),
        np.array(held["bars"]),
    )
