"""The registry of features: name, group, unit, source, and what computes it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import pandas as pd

from quant50lib.services import features_programme
from quant50lib.services.features_formula import Formula
from quant50lib.services.panel import Panel

Wide: TypeAlias = pd.DataFrame
Compute = Callable[[Panel, str], Wide]


@dataclass(frozen=True)
class FeatureSpec:
    """One feature: `function(panel, benchmark)` gives values (n_sessions, n_symbols).

    A feature with a `formula` shares its computation with the others and can be brought forward by a
    day; one without, of a user's own file, is what its function says.
    """

    name: str
    window: int  # sessions needed, the one of the value included
    group: str
    function: Compute
    unit: str
    reference: str
    meaning: str
    formula: Formula | None = None


FEATURES: dict[str, FeatureSpec] = {}


def feature(
    name: str, group: str, unit: str, reference: str
) -> Callable[[Callable[[], Formula]], Callable[[], Formula]]:
    """Enter the formula that the decorated function returns into the core set."""

    def register(function: Callable[[], Formula]) -> Callable[[], Formula]:
        said = (function.__doc__ or "").strip().splitlines()[0]
        FEATURES[name] = of_formula(name, group, unit, reference, said, function())
        return function

    return register


def of_formula(
    name: str, group: str, unit: str, reference: str, meaning: str, formula: Formula
) -> FeatureSpec:
    """The entry of a feature that is a formula; its window follows from it."""

    def function(panel: Panel, benchmark: str) -> Wide:
        return together(panel, [formula], benchmark)[0]

    return FeatureSpec(name, formula.window, group, function, unit, reference, meaning, formula)


def together(
    panel: Panel, formulas: Sequence[Formula], benchmark: str, out: np.ndarray | None = None
) -> list[Wide]:
    """Formulas of a panel in one pass, each (n_sessions, n_symbols).

    With `out`, floats (n_formulas, n_symbols, n_sessions), the frames are views of it: whoever
    computes large panels again and again spares the system the zeroing of fresh memory.
    """
    inputs = {name: getattr(panel, name).to_numpy() for name in features_programme.INPUTS}
    place = panel.symbols.get_loc(benchmark) if benchmark in panel.symbols else -1
    plan = features_programme.programme(tuple(formulas))
    found = features_programme.run(plan, inputs, place, out)
    return [pd.DataFrame(v.T, panel.sessions, panel.symbols, copy=False) for v in found]


def own(
    name: str, formula: Formula, meaning: str, reference: str = "own", unit: str = "own"
) -> FeatureSpec:
    """A feature of a user's own file, from a formula (see `features_formula`)."""
    return of_formula(name, "own", unit, reference, meaning, formula)


def own_function(
    name: str,
    window: int,
    function: Compute,
    meaning: str,
    reference: str = "own",
    unit: str = "own",
) -> FeatureSpec:
    """A feature of a user's own file, from a function of panel and benchmark that gives a frame
    (n_sessions, n_symbols); `window` sessions, the one of the value included, must suffice."""
    return FeatureSpec(name, window, "own", function, unit, reference, meaning)
