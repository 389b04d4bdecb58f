"""What is known of every name before the trade, as arrays side by side.

Tables and series come in any order and of different names; `names_of` brings them together once,
and from here to the target all is arithmetic on arrays.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
import pandas as pd

from quant50lib.errors import OptimizationError
from quant50lib.services.covariance import Risk

#: symbols, (k,) of str, and what is said of each, (k,)
Said = tuple[np.ndarray, np.ndarray]


@dataclass(frozen=True)
class Names:
    """Every name that is held or may be; n names in alphabetical order, m sectors likewise."""

    symbols: np.ndarray  # (n,) of str
    judged: np.ndarray  # (n,) bool: there are a forecast and a risk
    expected_return: np.ndarray  # (n,) over the horizon
    error: np.ndarray  # (n,) standard error of it
    risk: Risk  # of returns over the horizon
    at: np.ndarray  # (n,) int, where each is in `risk`; -1: nowhere
    held: np.ndarray  # (n,) weights before
    sectors: np.ndarray  # (m,) of str
    group: np.ndarray  # (n,) int, where the sector of each is in `sectors`
    tradable: np.ndarray  # (n,) bool: may be bought
    forced: np.ndarray  # (n,) bool: is sold in full, outside the turnover cap


def said(series: pd.Series) -> Said:
    """A series as symbols and values."""
    return series.index.to_numpy(dtype=object), series.to_numpy()


def names_of(
    expected_return: Said,
    error: Said,
    risk: Risk,
    held: Said,
    sectors: Said,
    tradable: Said,
    forced: Collection[str],
) -> Names:
    """All names that are held, or have both a forecast and a risk; see `optimize.target_weights`.

    Raises
    ------
    OptimizationError
        A repeated symbol, a value that is no number, a holding below zero, or no sector.
    """
    for what, given in {
        "expected_return": expected_return,
        "held": held,
        "sectors": sectors,
    }.items():
        if len(set(given[0])) != len(given[0]):
            raise OptimizationError(f"{what}: a symbol is repeated")
    in_risk = {symbol: i for i, symbol in enumerate(risk.symbols.to_numpy(dtype=object))}
    judged = {symbol for symbol in expected_return[0] if symbol in in_risk}
    if not judged:
        raise OptimizationError("no name has both a forecast and a risk: see features and data")
    owned = np.asarray(held[1], dtype=float)
    _numbers("held", held[0], owned)
    symbols = sorted(judged.union(held[0][owned > 0]))
    place = {symbol: i for i, symbol in enumerate(symbols)}
    return _checked(
        Names(
            symbols=np.array(symbols, dtype=object),
            judged=np.fromiter((s in judged for s in symbols), bool, len(symbols)),
            expected_return=_placed(expected_return, place, np.nan),
            error=_placed(error, place, np.nan),
            risk=risk,
            at=np.fromiter((in_risk.get(s, -1) for s in symbols), int, len(symbols)),
            held=_placed((held[0], owned), place, 0.0),
            tradable=_placed(tradable, place, False),
            forced=np.fromiter((s in forced for s in symbols), bool, len(symbols)),
            **_grouped(sectors, place),
        )
    )


def _placed(given: Said, place: dict[str, int], absent: float | bool) -> np.ndarray:
    """Values by name, where they were said of it."""
    symbols, values = given
    if len(symbols) == len(place) and symbols.tolist() == list(place):
        return values.astype(type(absent))
    at = np.fromiter((place.get(s, -1) for s in symbols), int, len(symbols))
    found = np.full(len(place), absent)
    found[at[at >= 0]] = values[at >= 0]
    return found


def _grouped(sectors: Said, place: dict[str, int]) -> dict[str, np.ndarray]:
    of = dict(zip(*sectors, strict=True))
    group = [of.get(symbol) for symbol in place]
    without = [s for s, g in zip(place, group, strict=True) if not isinstance(g, str)]
    if without:
        raise OptimizationError(f"no sector for {', '.join(without[:8])}: complete the universe")
    known = sorted({g for g in group if g is not None})
    code = {name: i for i, name in enumerate(known)}
    return {
        "sectors": np.array(known, dtype=object),
        "group": np.fromiter((code[str(g)] for g in group), int, len(group)),
    }


def _checked(names: Names) -> Names:
    """Refuse what no solver should see."""
    judged = names.judged
    for what in ("expected_return", "error"):
        _numbers(what, names.symbols[judged], getattr(names, what)[judged])
    if (names.error[judged] < 0).any():
        raise OptimizationError("held and error must not be negative")
    return names


def _numbers(what: str, symbols: np.ndarray, values: np.ndarray) -> None:
    finite = np.isfinite(values)
    if not finite.all():
        raise OptimizationError(f"{what} is not a number for {', '.join(symbols[~finite][:8])}")
    if what == "held" and (values < 0).any():
        raise OptimizationError("held and error must not be negative")
