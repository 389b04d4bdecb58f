"""Formulas of features: what is computed from bars, written once, for a panel and for a single day.

A `Formula` is a node of a graph whose leaves are bars: `bars("close") / bars("close").ago(5)`. Equal
nodes are the same object, so what two features share is computed once. `features_programme` turns
formulas into a list of row operations; nothing here computes a number.

Sums and maxima of n sessions are composed of sums of fewer (`pieces`): the additions behind a value
are the same ones wherever the panel begins, so a value depends, to the last bit, on its window
alone. A running sum would drag the rounding of all earlier sessions along.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from itertools import combinations_with_replacement
from typing import Final

from quant50lib.errors import SettingsError

INPUTS: Final = ("open", "high", "low", "close", "volume", "dollar_volume")

# fmt: off
(LOAD, STORE, LAG, FIRST, ADD, SUB, MUL, DIV, RATIO, MAX2, MIN2, POS, ABS, LOG, ROOT, LINE, AXPY, DEVIATION,
 LARGER, RSI, SUM3, SUM4, WSUM, MAX4, MIN4, PRODUCT, SKEW,
 SPREAD, TREND, RSQUARE, RESIDUAL, CORRELATION, RANK, OLDEST_HIGHEST, OLDEST_LOWEST, QUANTILE) = range(36)
# fmt: on
#: lengths of which longer windows are made
POWERS: Final = (1, 4, 16, 64, 256)
#: operations that read more than one session of their operand, each by itself
SCANS: Final = tuple(range(SPREAD, QUANTILE + 1))


@dataclass(frozen=True, eq=False)
class Formula:
    """One operation on earlier results; `window` sessions are needed for a value."""

    op: int
    of: tuple[Formula, ...]
    numbers: tuple[float, ...]
    window: int

    def ago(self, sessions: int) -> Formula:
        """The value `sessions` earlier."""
        return self if sessions == 0 else node(LAG, (self,), (float(sessions),))

    def __add__(self, other: Formula) -> Formula:
        return node(ADD, (self, other))

    def __sub__(self, other: Formula) -> Formula:
        return node(SUB, (self, other))

    def __mul__(self, other: Formula) -> Formula:
        return node(MUL, (self, other))

    def __truediv__(self, other: Formula) -> Formula:
        return node(DIV, (self, other))

    def plus(self, other: Formula, times: float) -> Formula:
        """self + times · other."""
        return node(AXPY, (self, other), (times,))

    def root(self) -> Formula:
        """Square root."""
        return node(ROOT, (self,))


def _sessions(op: int, of: tuple[Formula, ...], numbers: tuple[float, ...]) -> int:
    longest = max((f.window for f in of), default=1)
    if op == LAG:
        return longest + int(numbers[0])
    if op in SCANS:
        return longest + int(numbers[0]) - 1
    return longest


@cache
def node(op: int, of: tuple[Formula, ...], numbers: tuple[float, ...] = ()) -> Formula:
    """The one node of this operation on these operands."""
    return Formula(op, of, numbers, _sessions(op, of, numbers))


def bars(name: str) -> Formula:
    """A field of the bars: one of `INPUTS`.

    Raises
    ------
    SettingsError
        The bars have no such field; `vwap` is one that they do not have.
    """
    if name not in INPUTS:
        hint = "; (high + low + close) / 3 stands in for it in alpha158" if name == "vwap" else ""
        raise SettingsError(f"the bars hold no {name!r}, but {', '.join(INPUTS)}{hint}")
    return node(LOAD, (), (float(INPUTS.index(name)),))


def ratio(a: Formula, b: Formula) -> Formula:
    """a / b - 1."""
    return node(RATIO, (a, b))


def change(x: Formula, sessions: int = 1) -> Formula:
    """Relative change over `sessions`."""
    return ratio(x, x.ago(sessions))


def line(x: Formula, slope: float, constant: float = 0.0) -> Formula:
    """slope · x + constant."""
    return node(LINE, (x,), (slope, constant))


def log(x: Formula, factor: float = 1.0) -> Formula:
    """Natural logarithm of factor · x; missing where that is not positive."""
    return node(LOG, (x,), (factor,))


def positive(x: Formula) -> Formula:
    """max(x, 0)."""
    return node(POS, (x,))


def absolute(x: Formula) -> Formula:
    """|x|."""
    return node(ABS, (x,))


def larger(a: Formula, b: Formula) -> Formula:
    """1 where a > b, else 0."""
    return node(LARGER, (a, b))


def of_benchmark(x: Formula) -> Formula:
    """The value of the benchmark, beside every name."""
    return node(FIRST, (x,))


Part = tuple[Formula, int]  # a formula and how many sessions ago


def _add(parts: tuple[Part, ...]) -> Formula:
    of = tuple(f.ago(lag) for f, lag in parts)
    return node({2: ADD, 3: SUM3, 4: SUM4}[len(of)], of)


def _weighted(parts: tuple[Part, ...], keep: float) -> Formula:
    of, weights = tuple(f.ago(lag) for f, lag in parts), tuple(keep**lag for _, lag in parts[1:])
    if len(of) == 2:
        return node(AXPY, of, weights)
    idle = 4 - len(of)  # an operand twice, the second time with the weight zero
    return node(WSUM, of + of[-1:] * idle, weights + (0.0,) * idle)


def _extreme(parts: tuple[Part, ...], two: int, four: int) -> Formula:
    of = tuple(f.ago(lag) for f, lag in parts)
    if len(of) == 4:
        return node(four, of)
    pair = node(two, of[:2])
    return pair if len(of) == 2 else node(two, (pair, of[2]))


@cache
def pieces(n: int) -> tuple[int, ...]:
    """Two to four lengths that make up n, such that few operations make all of them.

    Lengths 1, 4, 16 … are at hand (`POWERS`); beside them one further length, once or several times.
    """
    for fewer in range(2, n):  # in ascending order, or the recursion below goes deep
        pieces(fewer)
    found = [[n // k] * k for k in (2, 3, 4) if n % k == 0 and n // k in POWERS]
    for several in range(1, 5):
        for few in range(5 - several):
            for rest in combinations_with_replacement(POWERS, few):
                length, over = divmod(n - sum(rest), several)
                if not over and 0 < length < n:
                    found.append([length] * several + list(rest))
    best = min(found, key=lambda lengths: (_operations(lengths), len(lengths), sorted(lengths)))
    return tuple(sorted(best, reverse=True))


def _operations(lengths: list[int]) -> int:
    return sum(0 if k in POWERS else 1 + _operations(list(pieces(k))) for k in set(lengths))


def _composed(
    x: Formula, n: int, join: Callable[[tuple[Part, ...]], Formula], before: Formula | None = None
) -> Formula:
    """x of the last n sessions joined, piece by piece; `before` is what came before them."""
    if n == 1:
        return x if before is None else join(((x, 0), (before, 1)))
    parts, lag = [], 0
    for length in pieces(n):
        parts.append((_composed(x, length, join), lag))
        lag += length
    if before is not None and len(parts) == 4:
        return join(((join(tuple(parts)), 0), (before, n)))
    return join((*parts, *([] if before is None else [(before, n)])))


def total(x: Formula, n: int) -> Formula:
    """Sum of the last n sessions; missing where one of them is."""
    return _composed(x, n, _add)


def mean(x: Formula, n: int) -> Formula:
    """Mean of the last n sessions."""
    return line(total(x, n), 1.0 / n)


def highest(x: Formula, n: int) -> Formula:
    """Maximum of the last n sessions."""
    return _composed(x, n, lambda parts: _extreme(parts, MAX2, MAX4))


def lowest(x: Formula, n: int) -> Formula:
    """Minimum of the last n sessions."""
    return _composed(x, n, lambda parts: _extreme(parts, MIN2, MIN4))


def product_less(a: Formula, b: Formula, c: Formula, n: int) -> Formula:
    """a - b · c / n: a centred sum of products from plain sums."""
    return node(PRODUCT, (a, b, c), (-1.0 / n,))


def deviation(x: Formula, n: int, a_year: float = 1.0) -> Formula:
    """Sample standard deviation of the last n sessions, times the root of `a_year`."""
    return node(DEVIATION, (total(x * x, n), total(x, n)), (1.0 / n, a_year / (n - 1)))


def decayed(x: Formula, n: int, keep: float, before: Formula) -> Formula:
    """Σ keep^k · x_{t-k} over k < n, and keep^n times `before` of n sessions ago."""
    return _composed(x, n, lambda parts: _weighted(parts, keep), before)


def spread(x: Formula, n: int) -> Formula:
    """Sample standard deviation of n sessions, from deviations: exact for prices and volumes too."""
    return node(SPREAD, (x,), (float(n),))


def trend(x: Formula, n: int) -> Formula:
    """Slope of the least-squares line through n sessions, per session."""
    return node(TREND, (x,), (float(n),))


def rsquare(x: Formula, n: int) -> Formula:
    """Share of the variance that the least-squares line explains."""
    return node(RSQUARE, (x,), (float(n),))


def residual(x: Formula, n: int) -> Formula:
    """The newest value less the least-squares line there."""
    return node(RESIDUAL, (x,), (float(n),))


def correlation(x: Formula, y: Formula, n: int) -> Formula:
    """Correlation over n sessions."""
    return node(CORRELATION, (x, y), (float(n),))


def rank(x: Formula, n: int) -> Formula:
    """Rank of the newest among n sessions, over n."""
    return node(RANK, (x,), (float(n),))


def oldest_highest(x: Formula, n: int) -> Formula:
    """Where in the window the maximum stands, 1 … n, n the newest; the oldest of equals."""
    return node(OLDEST_HIGHEST, (x,), (float(n),))


def oldest_lowest(x: Formula, n: int) -> Formula:
    """Where in the window the minimum stands, 1 … n, n the newest; the oldest of equals."""
    return node(OLDEST_LOWEST, (x,), (float(n),))


def quantile(x: Formula, n: int, share: float) -> Formula:
    """Quantile of n sessions, linear between two of them."""
    return node(QUANTILE, (x,), (float(n), share))
