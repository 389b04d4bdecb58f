"""Row operations, compiled: what `features_programme` plans, done.

An operation works on `size` neighbouring numbers. For a panel these are all sessions of one name; for
one more day they are all names of one session. Where an operand lies is the same expression for both:
`(first row + (clock - lag) % length) * width`. The panel's registers are a series with missing values
in front (width 1), the day's are rings of rows (width: the names).

There is no reassociation and no fused multiply-add: a value has the same bits wherever, and in
whatever company, it is computed.

Imported only when something is computed: numba costs half a second.
"""

# mypy: disable-error-code="untyped-decorator,no-untyped-def"
from __future__ import annotations

import zlib
from functools import cache
from pathlib import Path

import numba as nb
import numpy as np
from numba.core import cgutils
from numba.extending import intrinsic

from quant50lib.services import features_formula, features_scans
from quant50lib.services.features_formula import (
    ABS,
    ADD,
    AXPY,
    DEVIATION,
    DIV,
    FIRST,
    LARGER,
    LINE,
    LOAD,
    LOG,
    MAX2,
    MAX4,
    MIN2,
    MIN4,
    MUL,
    POS,
    PRODUCT,
    RATIO,
    ROOT,
    RSI,
    SKEW,
    SPREAD,
    STORE,
    SUB,
    SUM3,
    SUM4,
    WSUM,
)
from quant50lib.services.features_scans import scan

_ROOT_HALF = 0x3FE6A09E667F3BCD  # the bits of the root of one half
_LARGEST = np.finfo(np.float64).max
_SMALLEST = np.finfo(np.float64).tiny
_LN2_HIGH, _LN2_LOW = 6.93147180369123816490e-01, 1.90821492927058770002e-10

_matrix = nb.types.Array(nb.float64, 2, "A", readonly=True)
_inputs = nb.types.UniTuple(_matrix, 6)
_codes, _floats, _flat = nb.int64[:, ::1], nb.float64[:, ::1], nb.float64[::1]


@intrinsic
def _pointer(context, address):
    """An address as a pointer: views of it are not counted, which costs more than a short loop."""

    def generate(context, builder, signature, given):
        return builder.inttoptr(given[0], cgutils.voidptr_t)

    return nb.types.voidptr(nb.types.intp), generate


@nb.njit(error_model="numpy", nogil=True)
def _view(address, size):
    return nb.carray(_pointer(address), size, np.float64)  # type: ignore[call-arg]


@nb.njit(inline="always")
def _log(result, x, factor):
    """fdlibm's logarithm without branches, so that it vectorises; error below one unit."""
    for j in range(result.size):
        result[j] = x[j] * factor
    bits = result.view(np.int64)
    for j in range(result.size):
        given = result[j]
        exponent = (bits[j] - _ROOT_HALF) >> 52
        bits[j] = bits[j] - (exponent << 52)
        power, f = float(exponent), result[j] - 1.0
        s = f / (2.0 + f)
        z = s * s
        w = z * z
        even = w * (0.3999999999940941908 + w * (0.2222219843214978396 + w * 0.1531383769920937332))
        odd = z * (
            0.6666666666666735130
            + w * (0.2857142874366239149 + w * (0.1818357216161805012 + w * 0.1479819860511658591))
        )
        half = 0.5 * f * f
        found = power * _LN2_HIGH - ((half - (s * (half + (even + odd)) + power * _LN2_LOW)) - f)
        result[j] = found if (given >= _SMALLEST) & (given <= _LARGEST) else np.nan


@nb.njit(error_model="numpy", nogil=True)
def _places(code, rings, clock, width):
    """Where in memory each result begins (below zero: number of a formula), and each operand."""
    found = np.empty((code.shape[0], 5), np.int64)
    for i in range(code.shape[0]):
        for k in range(5):
            register, lag = code[i, 1 if k == 0 else 2 * k], 0 if k == 0 else code[i, 2 * k + 1]
            if register < 0 or (code[i, 0] == LOAD and k):
                found[i, k] = register
                continue
            found[i, k] = (rings[register, 0] + (clock - lag) % rings[register, 1]) * width
    return found


@nb.njit(error_model="numpy", nogil=True)
def _two(op, d, a, b, numbers):
    """Operations with up to two operands."""
    if op == ADD:
        for j in range(d.size):
            d[j] = a[j] + b[j]
    elif op == SUB:
        for j in range(d.size):
            d[j] = a[j] - b[j]
    elif op == MUL:
        for j in range(d.size):
            d[j] = a[j] * b[j]
    elif op == DIV:
        for j in range(d.size):
            d[j] = a[j] / b[j]
    elif op == RATIO:
        for j in range(d.size):
            d[j] = a[j] / b[j] - 1.0
    elif op == MAX2:
        for j in range(d.size):
            d[j] = a[j] if (a[j] > b[j]) | (a[j] != a[j]) else b[j]
    elif op == MIN2:
        for j in range(d.size):
            d[j] = a[j] if (a[j] < b[j]) | (a[j] != a[j]) else b[j]
    elif op == POS:
        for j in range(d.size):
            d[j] = 0.0 if a[j] < 0.0 else a[j]
    elif op == ABS:
        for j in range(d.size):
            d[j] = abs(a[j])
    elif op == LOG:
        _log(d, a, numbers[0])
    elif op == ROOT:
        for j in range(d.size):
            d[j] = np.sqrt(a[j])
    elif op == LINE:
        slope, constant = numbers[0], numbers[1]
        for j in range(d.size):
            d[j] = slope * a[j] + constant
    elif op == AXPY:
        slope = numbers[0]
        for j in range(d.size):
            d[j] = a[j] + slope * b[j]
    elif op == DEVIATION:
        share, scale = numbers[0], numbers[1]
        for j in range(d.size):
            left = a[j] - b[j] * b[j] * share
            d[j] = np.sqrt((0.0 if left < 0.0 else left) * scale)
    elif op == LARGER:
        for j in range(d.size):
            known = (a[j] - a[j]) + (b[j] - b[j])
            d[j] = (1.0 if a[j] > b[j] else 0.0) + known
    elif op == RSI:
        for j in range(d.size):
            d[j] = 50.0 if b[j] == 0.0 else 50.0 + 50.0 * a[j] / b[j]


@nb.njit(error_model="numpy", nogil=True)
def _four(op, d, a, b, c, e, numbers):
    """Operations with three or four operands."""
    if op == SUM3:
        for j in range(d.size):
            d[j] = (a[j] + b[j]) + c[j]
    elif op == SUM4:
        for j in range(d.size):
            d[j] = (a[j] + b[j]) + (c[j] + e[j])
    elif op == WSUM:
        first, second, third = numbers[0], numbers[1], numbers[2]
        for j in range(d.size):
            d[j] = (a[j] + first * b[j]) + (second * c[j] + third * e[j])
    elif op == MAX4:
        for j in range(d.size):
            x = a[j] if (a[j] > b[j]) | (a[j] != a[j]) else b[j]
            y = c[j] if (c[j] > e[j]) | (c[j] != c[j]) else e[j]
            d[j] = x if (x > y) | (x != x) else y
    elif op == MIN4:
        for j in range(d.size):
            x = a[j] if (a[j] < b[j]) | (a[j] != a[j]) else b[j]
            y = c[j] if (c[j] < e[j]) | (c[j] != c[j]) else e[j]
            d[j] = x if (x < y) | (x != x) else y
    elif op == PRODUCT:
        share = numbers[0]
        for j in range(d.size):
            d[j] = a[j] + share * b[j] * c[j]
    elif op == SKEW:
        share = 1.0 / numbers[0]
        for j in range(d.size):
            m, second, third = a[j] * share, b[j] * share, c[j] * share
            square = second - m * m
            cube = square * np.sqrt(square)
            moment = third - 3.0 * m * second + 2.0 * m * m * m
            d[j] = moment / cube if square >= 1e-12 else np.nan


@nb.njit(error_model="numpy", nogil=True)
def _finite(d):
    """What is not finite is missing."""
    for j in range(d.size):
        d[j] = d[j] if abs(d[j]) <= _LARGEST else np.nan


@nb.njit(error_model="numpy", nogil=True)
def _step(
    bars, first, results, start, code, numbers, places, rings, memory, clock, width, size, scans
):
    """All instructions on `size` numbers: from the bars (6 arrays) to results, arrays given by their
    addresses, from their number `start` on.

    `first`: 1 takes the benchmark's value from the first number, 2 keeps what the registers hold,
    3 copies the whole operand (the numbers are the benchmark's). `scans` None: there are none among
    the instructions, and the compiler leaves them out.
    """
    for i in range(code.shape[0]):
        op, to = code[i, 0], places[i, 0]
        if to < 0:
            d = _view(results[-1 - to] + 8 * start, size)
        else:
            d = memory[to : to + size]
        if op == LOAD:
            source = bars[places[i, 1]]
            for j in range(size):
                d[j] = source[j]
            continue
        a = memory[places[i, 1] : places[i, 1] + size]
        if op == STORE:
            d[:] = a
        elif op == FIRST:
            if first == 1:
                d[:] = a[0]
            elif first == 3:
                d[:] = a
        elif op >= SPREAD:
            if scans is not None:
                ring, other = rings[code[i, 2]], rings[code[i, 4]]
                lag, also = code[i, 3], code[i, 5]
                scan(d, op, memory, ring, lag, other, also, clock, width, numbers[i])
        else:
            b = memory[places[i, 2] : places[i, 2] + size]
            if code[i, 10] <= 2:
                _two(op, d, a, b, numbers[i])
            else:
                c = memory[places[i, 3] : places[i, 3] + size]
                e = memory[places[i, 4] : places[i, 4] + size]
                _four(op, d, a, b, c, e, numbers[i])
        if places[i, 0] < 0:
            _finite(d)


def _sources() -> int:
    """A number that changes with the sources: numba's cache looks at one file only."""
    code = b"".join(Path(m.__file__ or "").read_bytes() for m in (features_formula, features_scans))
    return zlib.crc32(code) | 1


def _made(sources: int):
    """The pass over all columns, bound to its sources."""

    def _run(inputs, benchmark, results, code, numbers, rings, memory, clock, width, scans):
        """Every column of the inputs through all operations.

        A panel (width 1): a column is a name, its numbers are sessions; the benchmark's column comes
        first. One more session (width: names): there is one column, its numbers are the names, the
        benchmark in front (benchmark: -1).

        results: addresses of one array for each formula, column after column.
        """
        size, columns = inputs[0].shape
        if not sources:
            return
        places = _places(code, rings, clock, width)
        space = _view(memory.ctypes.data, memory.size)
        for k in range(-1, columns):
            column = benchmark if k < 0 else k
            if column < 0 or k == benchmark:
                continue
            bars = (
                inputs[0][:, column],
                inputs[1][:, column],
                inputs[2][:, column],
                inputs[3][:, column],
                inputs[4][:, column],
                inputs[5][:, column],
            )
            first = 3 if k < 0 else 2
            if width > 1:
                first = 1
            start = column * size
            _step(
                bars,
                first,
                results,
                start,
                code,
                numbers,
                places,
                rings,
                space,
                clock,
                width,
                size,
                scans,
            )

    return _run


@cache
def compiled(scans: bool):
    """The compiled pass: without scans it compiles and loads in a third of the time."""
    given = (_inputs, nb.int64, nb.int64[::1], _codes, _floats, _codes, _flat, nb.int64, nb.int64)
    signature = nb.void(*given, nb.int64 if scans else nb.none)
    return nb.njit(signature, error_model="numpy", cache=True, nogil=True)(_made(_sources()))


def run(*given):
    """The pass, with scans where the instructions (the fourth argument) contain one."""
    scans = bool((given[3][:, 0] >= SPREAD).any())
    compiled(scans)(*given, 1 if scans else None)
