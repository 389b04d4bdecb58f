"""From formulas to a programme of row operations, and its run over a panel.

The code of a programme is the same for a panel and for one more day; only where results are kept
differs: `Programme.series` for all sessions of one name, `Programme.rings` for all names of a session.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache

import numpy as np

from quant50lib.services.features_formula import FIRST, INPUTS, LAG, LOAD, SCANS, STORE, Formula

OPERANDS = 4
#: numbers in a line of the cache
WORDS = 8


@dataclass(frozen=True)
class Programme:
    """Instructions for the kernel.

    Parameters
    ----------
    code
        (n_instructions, 11): operation, result (k-th formula: -1 - k), four times operand and lag,
        number of operands.
    numbers
        (n_instructions, 4) floats.
    rings
        (n_results, 2): first row and number of rows of each result, as long as it is looked back at.
    series
        (n_results, 2): number and length one; results that are no longer needed share a number.
    """

    code: np.ndarray
    numbers: np.ndarray
    rings: np.ndarray
    series: np.ndarray
    n_formulas: int
    window: int


@dataclass
class _Plan:
    """Every formula behind what it needs, and how it is looked back at."""

    order: list[Formula] = field(default_factory=list)
    number: dict[Formula, int] = field(default_factory=dict)
    longest: list[int] = field(default_factory=list)
    last_use: list[int] = field(default_factory=list)

    def visit(self, formula: Formula) -> None:
        if formula in self.number:
            return
        for operand, _ in operands(formula):
            self.visit(operand)
        own = self.number[formula] = len(self.order)
        self.order.append(formula)
        self.longest.append(0)
        self.last_use.append(own)
        for operand, lag in operands(formula):
            self.used(operand, lag, own)

    def used(self, formula: Formula, lag: int, at: int) -> None:
        number = self.number[formula]
        self.longest[number] = max(self.longest[number], lag)
        self.last_use[number] = max(self.last_use[number], at)


def unlagged(formula: Formula) -> tuple[Formula, int]:
    """The formula itself, and how many sessions ago."""
    lag = 0
    while formula.op == LAG:
        lag += int(formula.numbers[0])
        formula = formula.of[0]
    return formula, lag


def operands(formula: Formula) -> list[tuple[Formula, int]]:
    """What an operation reads, and at which lag; what it scans, also where the window begins."""
    read = [unlagged(f) for f in formula.of]
    if formula.op in SCANS:
        read += [(f, lag + int(formula.numbers[0]) - 1) for f, lag in read]
    return read


@cache
def programme(formulas: tuple[Formula, ...]) -> Programme:
    """The programme of some formulas; what they share is computed once."""
    plan, code, numbers = _Plan(), [], []
    stored: dict[int, list[tuple[int, int]]] = {}
    for k, (formula, lag) in enumerate(map(unlagged, formulas)):
        plan.visit(formula)
        stored.setdefault(plan.number[formula], []).append((k, lag))
    for own, formula in enumerate(plan.order):
        for instruction in _instructions(plan, formula, stored.get(own, [])):
            code.append(_padded(instruction))
            numbers.append([*formula.numbers, *[0.0] * OPERANDS][:OPERANDS])
    return Programme(
        np.array(code, dtype=np.int64),
        np.array(numbers),
        _rings(plan),
        _series(plan),
        len(formulas),
        max(f.window for f in formulas),
    )


def _instructions(plan: _Plan, formula: Formula, stored: list[tuple[int, int]]) -> list[list[int]]:
    """The operation, and the storing of its result; in one where nobody else reads the result."""
    own = plan.number[formula]
    read = [(plan.number[f], lag) for f, lag in operands(formula)]
    if formula.op == LOAD:
        read = [(int(formula.numbers[0]), 0)]
    does = [formula.op, own, *(number for pair in read for number in pair)]
    if [lag for _, lag in stored] == [0] and plan.last_use[own] == own and formula.op != FIRST:
        does[1] = -1 - stored[0][0]
        return [does]
    for _, lag in stored:
        plan.longest[own] = max(plan.longest[own], lag)
    return [does, *([STORE, -1 - k, own, lag] for k, lag in stored)]


def _padded(instruction: list[int]) -> list[int]:
    filled = instruction + [0] * (2 + 2 * OPERANDS - len(instruction))
    return [*filled, (len(instruction) - 2) // 2]


def _rings(plan: _Plan) -> np.ndarray:
    lengths = np.array([lag + 1 for lag in plan.longest])
    return np.column_stack([np.cumsum(lengths) - lengths, lengths]).astype(np.int64)


def _series(plan: _Plan) -> np.ndarray:
    """A number for each result; what was read for the last time makes room. The benchmark's stay."""
    free: list[int] = []
    given: list[int] = []
    for own, formula in enumerate(plan.order):
        ended = (k for k in range(own) if plan.last_use[k] == own - 1)
        free += [given[k] for k in ended if plan.order[k].op != FIRST]
        given.append(free.pop() if free and formula.op != FIRST else max([-1, *given]) + 1)
    return np.column_stack([given, np.ones(len(given))]).astype(np.int64)


def run(
    plan: Programme,
    inputs: Mapping[str, np.ndarray],
    benchmark: int,
    out: np.ndarray | None = None,
) -> np.ndarray:
    """Every formula of every name at every session.

    Parameters
    ----------
    inputs
        Some or all of `INPUTS`, each (n_sessions, n_symbols).
    benchmark
        Its column; -1: none, and what needs it is missing.
    out
        Contiguous floats of the shape of the result, to be written over; None: fresh memory, which
        the system hands out zeroed, so that large results cost up to twice as much.

    Returns
    -------
    (n_formulas, n_symbols, n_sessions); what is not finite is missing.

    Raises
    ------
    ValueError
        `out` is of another shape or type.
    """
    from quant50lib.services import features_kernel

    given = as_inputs(inputs)
    sessions, symbols = given[0].shape
    out = _room((plan.n_formulas, symbols, sessions), out)
    before = _aligned(plan.window)
    length = before + _aligned(sessions)
    memory = np.full((plan.series[:, 0].max() + 1) * length + WORDS, np.nan)
    memory = memory[-(memory.ctypes.data // memory.itemsize) % WORDS :]
    rings = plan.series * length
    results = out.ctypes.data + out.strides[0] * np.arange(len(out))
    features_kernel.run(
        given, benchmark, results, plan.code, plan.numbers, rings, memory, before, 1
    )
    return out


def _room(shape: tuple[int, ...], given: np.ndarray | None) -> np.ndarray:
    """Memory of a shape, as one: it gets large pages; what was given, if it can be written through."""
    if given is None:
        return np.empty(shape)
    fits = given.shape == shape and given.dtype == np.float64
    if not (fits and given.flags.c_contiguous and given.flags.writeable):
        raise ValueError(f"out must be contiguous, writeable floats of the shape {shape}")
    return given


def _aligned(n: int) -> int:
    return -(-n // WORDS) * WORDS


def as_inputs(inputs: Mapping[str, np.ndarray]) -> tuple[np.ndarray, ...]:
    """All of `INPUTS` in order, those not given empty of values."""
    some = next(iter(inputs.values()))
    blank = np.lib.stride_tricks.as_strided(np.array([np.nan]), some.shape, (0, 0))
    return tuple(np.asarray(inputs.get(name, blank), dtype=float) for name in INPUTS)
