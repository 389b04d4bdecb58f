"""Headline values of a stage, glued into its notebook by scrapbook and read back by all others."""

from __future__ import annotations

import datetime as dt
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import scrapbook

if TYPE_CHECKING:
    from quant50lib.services.report_html import Html


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


def record(name: str, metrics: dict[str, Any]) -> Html:
    """Glue the metrics as one scrap (a dict, so that a missing value is safe) and show them."""
    from quant50lib.services.report_html import facts_table  # matplotlib: only a stage has it

    scrapbook.glue(name, clean(metrics))
    return facts_table({key.replace("_", " "): _words(value) for key, value in metrics.items()})


def _words(value: Any) -> str:
    """A value as a person reads it."""
    value = clean(value)
    if value is None or value == []:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:,.2f}" if abs(value) >= 1000 else f"{value:.4g}"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return str(value).removesuffix("T00:00:00")


def read(notebook: Path) -> dict[str, Any]:
    """All scraps of an executed notebook, by name."""
    return dict(scrapbook.read_notebook(str(notebook)).scraps.data_dict)


def read_all(folder: Path, before: int | None = None) -> dict[str, dict[str, Any]]:
    """Scraps of the finished notebooks of a run, by stage; only of those numbered lower."""
    found = sorted((folder / "notebooks").glob("[0-9]*_*.ipynb"))
    named = {path: path.stem.split("_", 1) for path in found}
    return {
        name: read(path)
        for path, (number, name) in named.items()
        if before is None or int(number) < before
    }
