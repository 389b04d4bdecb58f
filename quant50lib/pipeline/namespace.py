"""What the cells of a notebook have left behind that has sessions, for the leak canary to compare.

`quant50 leak-check --notebooks` adds one cell to its own copy of each notebook, which calls `keep`.
"""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any, Literal, NamedTuple

import pandas as pd

from quant50lib.services.features import Described
from quant50lib.services.label import KnownLabels
from quant50lib.services.leak_tables import Columns, rows, wide
from quant50lib.services.panel import Panel
from quant50lib.services.training import TrainingSet
from quant50lib.utils import config

KEYS = ["session", "symbol"]
#: prices are adjusted as of each run; a bare matrix may be of them; a table never is
Kind = Literal["prices", "matrix", "table"]


class Kept(NamedTuple):
    """One variable of a notebook as matrices."""

    kind: Kind
    columns: Columns


def keep(variables: Mapping[str, Any], run_dir: str, stage: str, symbols: pd.Index) -> int:
    """Store the comparable ones of a notebook's variables with the run; returns how many.

    Scores out of fold, which may know later rows, are left out: tables with a column `fold`.
    """
    found = {}
    for name, value in variables.items():
        kept = None if name.startswith("_") else comparable(value, symbols)
        if kept is not None:
            found[name] = kept
    path = kept_file(config.home().root / run_dir, stage)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(pickle.dumps(found))
    return len(found)


def kept_file(folder: Path, stage: str) -> Path:
    """Where `keep` puts the variables of a stage."""
    return folder / "kept" / f"{stage}.pkl"


def comparable(value: Any, symbols: pd.Index) -> Kept | None:
    """The value as matrices, sessions x symbols; None for what is none."""
    if isinstance(value, Panel):
        held = {f.name: getattr(value, f.name) for f in fields(value)}
        return Kept("prices", {name: v for name, v in held.items() if v is not None})
    if isinstance(value, Described):
        named = {f"{name} (raw)": v for name, v in value.raw.items()}
        return Kept("table", named | dict(value.standardised))
    if isinstance(value, TrainingSet):
        return Kept("table", wide(rows(value)))
    if isinstance(value, KnownLabels):
        return Kept("table", wide(value.table))
    if isinstance(value, pd.Series):
        return comparable(value.to_frame(str(symbols[0])), symbols)
    if isinstance(value, pd.DataFrame):
        return _of_frame(value, symbols)
    if isinstance(value, Mapping):
        each = {str(k): v for k, v in value.items() if isinstance(v, pd.DataFrame)}
        matrices = {name: v for name, v in each.items() if _is_matrix(v, symbols)}
        return Kept("matrix", matrices) if matrices else None
    return None


def _of_frame(frame: pd.DataFrame, symbols: pd.Index) -> Kept | None:
    if _is_matrix(frame, symbols):
        return Kept("matrix", {"value": frame})
    if not {*KEYS} <= {*frame.columns} or "fold" in frame.columns or frame.empty:
        return None
    if "feature" in frame.columns:
        by_feature = frame.groupby("feature", sort=False)
        parts = {name: wide(part.drop(columns="feature")) for name, part in by_feature}
        return Kept("table", {f"{n} {c}": v for n, part in parts.items() for c, v in part.items()})
    return None if frame.duplicated(KEYS).any() else Kept("table", wide(frame))


def _is_matrix(frame: pd.DataFrame, symbols: pd.Index) -> bool:
    by_session = isinstance(frame.index, pd.DatetimeIndex) and frame.index.is_unique
    return bool(by_session and len(frame.columns) and frame.columns.isin(symbols).all())
