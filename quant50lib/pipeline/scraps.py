"""Headline values of a stage, glued into its notebook by scrapbook and read back by all others."""

from __future__ import annotations

import datetime as dt
import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import scrapbook


def clean(value: Any) -> Any:
    """The value as plain JSON: dates as text, numpy as Python, and no NaN or infinity.

    A single scalar NaN would make the whole notebook unreadable to scrapbook.
    """
    if isinstance(value, dict):
        return {str(key): clean(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set, np.ndarray, pd.Series)):
        return [clean(item) for item in value]
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, (dt.date, dt.datetime)):
        return value.isoformat()
    return value


def record(name: str, metrics: dict[str, Any]) -> pd.Series:
    """Glue the metrics as one scrap (a dict, so that a missing value is safe); returns them."""
    scrapbook.glue(name, clean(metrics))
    return pd.Series(metrics, name=name, dtype=object)


def read(notebook: Path) -> dict[str, Any]:
    """All scraps of an executed notebook, by name."""
    return dict(scrapbook.read_notebook(str(notebook)).scraps.data_dict)


def read_all(folder: Path) -> dict[str, dict[str, Any]]:
    """Scraps of the finished notebooks of a run, by stage."""
    found = sorted((folder / "notebooks").glob("[0-9]*_*.ipynb"))
    return {path.stem.split("_", 1)[1]: read(path) for path in found}
