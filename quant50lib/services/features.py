"""What a name looks like at the close: a registry of features and their standardisation.

1. `describe` does the whole: it computes the features of a panel (`compute`), decides which names
   are compared with each other (`eligible`), and makes the values comparable (`standardise`).
2. `to_table` cuts out the session of the day as a table; `as_matrix` gives it back to a model.

Every value at a session depends on exactly the `window` sessions that end there: not on later ones,
nor, to the last bit, on how much history was loaded before them (`features_formula` says why). Nothing is filled: where a bar that a feature uses is missing, so is the feature.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
import pandas as pd

from quant50lib.contracts import Feature
from quant50lib.errors import DataQualityError, SettingsError
from quant50lib.services import features_core  # noqa: F401  (enters the core set)
from quant50lib.services.features_alpha158 import ALPHA158
from quant50lib.services.features_cross import standardise
from quant50lib.services.features_registry import FEATURES, FeatureSpec, Wide, together
from quant50lib.services.panel import Panel
from quant50lib.settings import FeatureSettings
from quant50lib.utils import own_features

LIQUIDITY_SESSIONS = 21
SETS: Final = {"core": FEATURES, "alpha158": ALPHA158}


@dataclass(frozen=True)
class Described:
    """Features of a panel, by name: in their own units, and comparable across names."""

    raw: dict[str, Wide]
    standardised: dict[str, Wide]


# ---- the whole ----------------------------------------------------------------------------------


def registry(settings: FeatureSettings) -> dict[str, FeatureSpec]:
    """The set of the settings and the features of their file, by name.

    Raises
    ------
    SettingsError
        The file cannot be used.
    """
    return {**SETS[settings.set], **_own(settings)}


def _own(settings: FeatureSettings) -> dict[str, FeatureSpec]:
    found: dict[str, FeatureSpec] = {}
    for spec in own_features.load(settings.file) if settings.file else ():
        if not isinstance(spec, FeatureSpec) or spec.window < 1:
            raise SettingsError(
                f"features.file: {settings.file}: FEATURES holds {spec!r}; make features by own(...) "
                "or own_function(...) of quant50lib.services.features_registry"
            )
        if spec.name in found or any(spec.name in known for known in SETS.values()):
            raise SettingsError(f"features.file: the name {spec.name!r} is taken; choose another")
        found[spec.name] = spec
    return found


def chosen(settings: FeatureSettings) -> list[FeatureSpec]:
    """The features of the settings in the order of the registry: the named ones, of whatever set; the
    whole set and file where none is named.

    Raises
    ------
    SettingsError
        A name is not in the registry; says which is nearest.
    """
    if not settings.names:
        return list(registry(settings).values())
    known = {**registry(settings), **FEATURES, **ALPHA158}
    for name in settings.names:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1) or sorted(known)
            raise SettingsError(f"features.names: {name!r} is no feature; did you mean {near[0]}?")
    return [spec for name, spec in known.items() if name in settings.names]


def sessions_needed(settings: FeatureSettings) -> int:
    """How many sessions a panel must hold for a complete last row."""
    return max(LIQUIDITY_SESSIONS, *(spec.window for spec in chosen(settings)))


def compute(panel: Panel, settings: FeatureSettings, benchmark: str) -> dict[str, Wide]:
    """Every chosen feature of every name at every session, in its own unit.

    Raises
    ------
    DataQualityError
        The panel lacks the benchmark.
    """
    if benchmark not in panel.symbols:
        raise DataQualityError(f"no bars of the benchmark {benchmark}: fetch it, or name another")
    specs = chosen(settings)
    fused = {spec.name: spec.formula for spec in specs if spec.formula}
    found = dict(zip(fused, together(panel, list(fused.values()), benchmark) if fused else []))
    return {s.name: found[s.name] if s.formula else called(s, panel, benchmark) for s in specs}


def called(spec: FeatureSpec, panel: Panel, benchmark: str) -> Wide:
    """What a user's own function gives, if it has the panel's form."""
    values = spec.function(panel, benchmark)
    if not isinstance(values, pd.DataFrame) or not (
        values.index.equals(panel.sessions) and values.columns.equals(panel.symbols)
    ):
        raise SettingsError(
            f"features.file: the function of {spec.name!r} must give a frame with the sessions and "
            "symbols of the panel"
        )
    return values.astype(float).where(np.isfinite(values))


def eligible(panel: Panel, settings: FeatureSettings, last: int | None = None) -> Wide:
    """Which names the panel admits and had a bar, a price and a dollar volume (median of 21
    sessions) of at least `min_price` and `min_dollar_volume`; booleans, of the `last` sessions."""
    rows = slice(0 if last is None else max(0, len(panel.sessions) - last), None)
    enough = slice(max(0, rows.start - LIQUIDITY_SESSIONS + 1), None)
    liquid = _median_reaches(panel.dollar_volume.to_numpy()[enough], settings.min_dollar_volume)
    liquid = liquid[rows.start - enough.start :]
    liquid &= panel.traded_close.to_numpy()[rows] >= settings.min_price
    liquid &= ~np.isnan(panel.close.to_numpy()[rows])
    if panel.admitted is not None:
        liquid &= panel.admitted.to_numpy()[rows]
    return pd.DataFrame(liquid, panel.sessions[rows], panel.symbols)


def _median_reaches(told: np.ndarray, least: float) -> np.ndarray:
    """Whether the median of the last 21 sessions, none missing, is at least `least`.

    Of an odd number of values it is when more than half of them are; counts are exact.
    """
    n = LIQUIDITY_SESSIONS
    enough = np.zeros(told.shape, dtype=bool)
    if len(told) >= n:
        high = np.cumsum(np.pad(told >= least, ((1, 0), (0, 0))), axis=0, dtype=np.int32)
        known = np.cumsum(np.pad(told == told, ((1, 0), (0, 0))), axis=0, dtype=np.int32)
        enough[n - 1 :] = (high[n:] - high[:-n] > n // 2) & (known[n:] - known[:-n] == n)
    return enough


def describe(
    panel: Panel,
    sectors: pd.Series,
    settings: FeatureSettings,
    benchmark: str,
    last: int | None = None,
) -> Described:
    """Features of the names in `sectors` (symbol → group), raw and standardised.

    Training and the day both come through here, so that a model sees tomorrow what it has learnt
    from. Only liquid names are compared. The benchmark gets no standardised value: its excess
    return over itself is nothing to predict. With `last` only so many sessions are given, the newest.
    """
    values = compute(panel, settings, benchmark)
    if last is not None:
        values = {name: v.iloc[-last:] for name, v in values.items()}
    return compare(values, panel, sectors, settings, benchmark)


def compare(
    values: Mapping[str, Wide],
    panel: Panel,
    sectors: pd.Series,
    settings: FeatureSettings,
    benchmark: str,
) -> Described:
    """Features of all names, at all sessions of a panel or the last ones, made comparable."""
    same = panel.symbols.equals(sectors.index)
    names = panel.symbols if same else panel.symbols.intersection(sectors.index)
    raw, own = dict(values), panel
    if len(names) < len(panel.symbols):
        raw, own = {name: v[names] for name, v in values.items()}, panel.only(names)
    allowed = eligible(own, settings, len(next(iter(values.values()))) if values else None)
    if benchmark in names:
        allowed[benchmark] = False
    return Described(
        raw,
        standardise(
            raw, sectors, allowed, settings.standardise, settings.winsorise, settings.neutralise
        ),
    )


def to_table(
    raw: Mapping[str, Wide], standardised: Mapping[str, Wide], session: pd.Timestamp
) -> pd.DataFrame:
    """The cross-section of one session as a table `Feature`: a row per symbol and feature."""
    rows = pd.DataFrame(
        {
            "value": pd.DataFrame({n: v.loc[session] for n, v in raw.items()}).stack(),
            "standardised": pd.DataFrame(
                {n: v.loc[session] for n, v in standardised.items()}
            ).stack(),
        }
    )
    rows.index = rows.index.set_names(["symbol", "feature"])
    rows = rows.reset_index().astype({"symbol": "str", "feature": "str"})
    rows.insert(0, "session", pd.Series(session, index=rows.index).astype("datetime64[us]"))
    return Feature.check(rows)


def as_matrix(table: pd.DataFrame) -> pd.DataFrame:
    """Standardised values of a table `Feature` as (n_symbols, n_features)."""
    matrix = table.pivot(index="symbol", columns="feature", values="standardised")
    return matrix.rename_axis(index=None, columns=None)
