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

import numpy as np
import pandas as pd

from quant50lib.contracts import Feature
from quant50lib.errors import DataQualityError, SettingsError
from quant50lib.services import features_core  # noqa: F401  (enters the core set)
from quant50lib.services.features_registry import FEATURES, FeatureSpec, Wide, together
from quant50lib.services.panel import Panel
from quant50lib.settings import FeatureSettings

LIQUIDITY_SESSIONS = 21
OUTLIER = 3.0


@dataclass(frozen=True)
class Described:
    """Features of a panel, by name: in their own units, and comparable across names."""

    raw: dict[str, Wide]
    standardised: dict[str, Wide]


# ---- the whole ----------------------------------------------------------------------------------


def chosen(settings: FeatureSettings) -> list[FeatureSpec]:
    """The features of the settings, all where none is named, in the order of the registry.

    Raises
    ------
    SettingsError
        A name is not in the registry; says which is nearest.
    """
    for name in settings.names:
        if name not in FEATURES:
            near = difflib.get_close_matches(name, FEATURES, n=1) or sorted(FEATURES)
            raise SettingsError(f"features.names: {name!r} is no feature; did you mean {near[0]}?")
    return [spec for name, spec in FEATURES.items() if not settings.names or name in settings.names]


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
    return {s.name: found[s.name] if s.formula else s.function(panel, benchmark) for s in specs}


def eligible(panel: Panel, settings: FeatureSettings) -> Wide:
    """Which names the panel admits and had a bar, a price and a dollar volume (median of 21
    sessions) of at least `min_price` and `min_dollar_volume`; booleans."""
    median = panel.dollar_volume.rolling(LIQUIDITY_SESSIONS).median()
    liquid = (median >= settings.min_dollar_volume) & (panel.traded_close >= settings.min_price)
    liquid &= panel.close.notna()
    return liquid if panel.admitted is None else liquid & panel.admitted


def _ranked(values: Wide) -> Wide:
    """Rank across each row, (rank - 1/2) / count - 1/2: symmetric within ±1/2."""
    count = values.notna().sum(axis=1)
    return (values.rank(axis=1) - 0.5).div(count.where(count > 0), axis=0) - 0.5


def _normed(values: np.ndarray) -> np.ndarray:
    """Each row less its mean, over its standard deviation; zero where a row does not vary."""
    count = np.maximum(np.isfinite(values).sum(axis=1, keepdims=True), 1)
    centred = values - np.nansum(values, axis=1, keepdims=True) / count
    deviation = np.sqrt(np.nansum(centred**2, axis=1, keepdims=True) / count)
    size = np.max(np.abs(values), axis=1, keepdims=True, initial=0.0, where=np.isfinite(values))
    return np.where(deviation > 1e-9 * size, centred, centred * 0.0) / np.where(
        deviation > 1e-9 * size, deviation, 1.0
    )


def _scored(values: Wide) -> Wide:
    """Standard scores across each row, clipped at three and standardised once more."""
    clipped = np.clip(_normed(values.to_numpy()), -OUTLIER, OUTLIER)
    return pd.DataFrame(_normed(clipped), index=values.index, columns=values.columns)


def standardise(
    values: Mapping[str, Wide], sectors: pd.Series, allowed: Wide | None, method: str
) -> dict[str, Wide]:
    """Every feature made comparable, session by session, across the names that are compared.

    Parameters
    ----------
    values
        Features by name, each (n_sessions, n_symbols).
    sectors
        Group of each symbol (index); used by ``sector_rank``. Names without one form a group.
    allowed
        Booleans (n_sessions, n_symbols); other names get no value. None: all.
    method
        ``rank`` (uniform within ±1/2), ``zscore`` (clipped at ±3) or ``sector_rank`` (the rank
        within the name's own group). A missing value stays missing.
    """
    if method == "sector_rank":
        return {name: _by_group(_allowed(v, allowed), sectors) for name, v in values.items()}
    rule = {"rank": _ranked, "zscore": _scored}[method]
    return {name: rule(_allowed(v, allowed)) for name, v in values.items()}


def _allowed(values: Wide, allowed: Wide | None) -> Wide:
    return values if allowed is None else values.where(allowed)


def _by_group(values: Wide, sectors: pd.Series) -> Wide:
    group = sectors.reindex(values.columns).fillna("").to_numpy()
    parts = [_ranked(values.loc[:, group == name]) for name in sorted(set(group))]
    return pd.concat(parts, axis=1)[values.columns]


def describe(
    panel: Panel, sectors: pd.Series, settings: FeatureSettings, benchmark: str
) -> Described:
    """Features of the names in `sectors` (symbol → group), raw and standardised.

    Training and the day both come through here, so that a model sees tomorrow what it has learnt
    from. Only liquid names are compared. The benchmark gets no standardised value: its excess
    return over itself is nothing to predict.
    """
    names = panel.symbols.intersection(sectors.index)
    raw = {name: v[names] for name, v in compute(panel, settings, benchmark).items()}
    allowed = eligible(panel.only(names), settings)
    if benchmark in names:
        allowed[benchmark] = False
    return Described(raw, standardise(raw, sectors, allowed, settings.standardise))


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


def markdown() -> str:
    """The registry as a Markdown table."""
    head = ["| feature | group | sessions | unit | meaning | source |", "|---|---|--:|---|---|---|"]
    return "\n".join(
        head
        + [
            f"| `{s.name}` | {s.group} | {s.window} | {s.unit} | {s.meaning} | {s.reference} |"
            for s in FEATURES.values()
        ]
    )
