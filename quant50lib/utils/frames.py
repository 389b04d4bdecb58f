"""From rows to a frame of a contract's dtypes."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any

import pandas as pd

from quant50lib.contracts import Table

#: text as Python's own strings: equal to "str", and the faster of the two to look names up in
TEXT = pd.StringDtype("python", na_value=math.nan)


def typed(table: type[Table], rows: Iterable[Mapping[str, Any]]) -> pd.DataFrame:
    """Rows as a frame with the table's columns and dtypes; right also where there is no row."""
    records = list(rows)
    if not records:
        return _empty(table).copy()
    wanted = dtypes(table)
    return pd.DataFrame(records, columns=list(wanted)).astype(wanted)


@lru_cache(maxsize=None)
def _empty(table: type[Table]) -> pd.DataFrame:
    return pd.DataFrame([], columns=list(dtypes(table))).astype(dtypes(table))


@lru_cache(maxsize=None)
def dtypes(table: type[Table]) -> dict[str, str]:
    """The dtype of every column of a table."""
    return {str(name): str(dtype) for name, dtype in table.empty().dtypes.items()}
