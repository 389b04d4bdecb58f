"""The features of one session: carried on from the session before where that is sound, else anew.

1. `of_day` takes the state that was kept after the session before (`features_state`), if there is one
   and it is not stale, one session further; else it begins a new one with the history of a window;
2. asked to check, it holds what was carried on against the panel computed anew (`verify`);
3. the values are compared across names as always (`features.compare`), for the one session.

Both ways give the same values to the last bit: which of them was gone is told, and matters to nobody.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np
import pandas as pd

from quant50lib.errors import ContractError, DataQualityError
from quant50lib.services import features, features_state
from quant50lib.services.features import LIQUIDITY_SESSIONS, Described
from quant50lib.services.features_formula import Formula
from quant50lib.services.features_registry import FeatureSpec, together
from quant50lib.services.features_state import State
from quant50lib.services.panel import Panel
from quant50lib.settings import FeatureSettings

#: relative to the value, or to the spread of the feature across names where the value is near zero
TOLERANCE: Final = 1e-9
TOLD = 5


class Day(NamedTuple):
    """Features of the last session of a panel, each (1, n_symbols); what to keep for the next one
    (None: no feature is a formula); and how they were computed, in words."""

    described: Described
    state: State | None
    how: str


def of_day(
    panel: Panel,
    sectors: pd.Series,
    settings: FeatureSettings,
    benchmark: str,
    kept: State | None = None,
    why: str = "no state is kept",
    version: str = "",
    check: bool = False,
) -> Day:
    """What `features.describe` says of the last session of a panel, one session being computed.

    Parameters
    ----------
    kept
        The state after the session before; it is changed. None: there is none, for the reason `why`.
    version
        Of the code at work.
    check
        Whether what is carried on is held against the panel computed anew.

    Raises
    ------
    ContractError
        It differs by more than `TOLERANCE`.
    DataQualityError
        The panel lacks the benchmark.
    """
    if benchmark not in panel.symbols:
        raise DataQualityError(f"no bars of the benchmark {benchmark}: fetch it, or name another")
    specs = features.chosen(settings)
    formulas = [spec.formula for spec in specs if spec.formula]
    values, state, how = pd.DataFrame(index=panel.symbols), None, "anew: no feature is a formula"
    if formulas:
        values, state, how = _values(formulas, panel, benchmark, kept, why, version)
    carried = kept is not None and how.startswith("carried")
    if carried and check:
        verify(values, specs, panel, benchmark)
        how += "; equal to the panel computed anew"
    rows = _rows(values, specs, panel, benchmark)
    recent = panel.each(lambda v: v.iloc[-LIQUIDITY_SESSIONS:])
    return Day(features.compare(rows, recent, sectors, settings, benchmark), state, how)


def _values(
    formulas: Sequence[Formula],
    panel: Panel,
    benchmark: str,
    kept: State | None,
    why: str,
    version: str,
) -> tuple[pd.DataFrame, State, str]:
    """Values (n_symbols, n_formulas) at the last session, the state after it, and how."""
    if kept is not None:
        why = features_state.why_stale(formulas, kept, panel, benchmark, version)
    if kept is None or why:
        state, values = features_state.begin(formulas, panel, benchmark, version)
        return values, state, f"anew: {why}"
    before = kept.session.date()
    moved = features_state.advance(formulas, kept, panel, benchmark, version)
    how = f"carried on from {before}"
    if len(moved.anew):
        names = ", ".join(moved.anew[:TOLD]) + (" …" if len(moved.anew) > TOLD else "")
        how += f"; {len(moved.anew)} new, restated or rescaled names anew: {names}"
    return moved.values, moved.state, how


def _rows(
    values: pd.DataFrame, specs: Sequence[FeatureSpec], panel: Panel, benchmark: str
) -> dict[str, pd.DataFrame]:
    """Each feature at the last session as (1, n_symbols), a user's own functions called."""
    columns = iter(values.to_numpy().T)
    last = panel.sessions[-1:]
    return {
        spec.name: (
            pd.DataFrame(next(columns)[None, :], last, panel.symbols)
            if spec.formula
            else features.called(spec, panel, benchmark).iloc[-1:]
        )
        for spec in specs
    }


def verify(
    values: pd.DataFrame, specs: Sequence[FeatureSpec], panel: Panel, benchmark: str
) -> None:
    """Hold values (n_symbols, n_formulas) of the last session against the panel computed anew.

    Raises
    ------
    ContractError
        They differ; names the first feature and symbol.
    """
    named = [spec for spec in specs if spec.formula]
    window = max(spec.window for spec in named)
    recent = panel.each(lambda v: v.iloc[-window:])
    wanted = together(recent, [spec.formula for spec in named if spec.formula], benchmark)
    for k, spec in enumerate(named):
        mine, anew = values[k].to_numpy(), wanted[k].to_numpy()[-1]
        known = np.abs(anew[np.isfinite(anew)])
        near = TOLERANCE * (np.median(known) if len(known) else 0.0)
        wrong = ~np.isclose(mine, anew, rtol=TOLERANCE, atol=near, equal_nan=True)
        if wrong.any():
            at = int(np.flatnonzero(wrong)[0])
            raise ContractError(
                f"features: {spec.name} of {panel.symbols[at]}, carried on from the session before, is "
                f"{mine[at]!r}, and {anew[at]!r} computed anew ({wrong.sum()} names differ): set "
                'runner.carry_features = "off" to go on without the state, and report this as a bug'
            )
