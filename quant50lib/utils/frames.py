"""From rows to a frame of a contract's dtypes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any

import pandas as pd

from quant50lib.contracts import Table


def typed(table: type[Table], rows: Iterable[Mapping[str, Any]]) -> pd.DataFrame:
    """Rows as a frame with the table's columns and dtypes; right also where there is no row."""
    records = list(rows)
    if not records:
        return _empty(table).copy()
    dtypes = _dtypes(table)
    return pd.DataFrame(records, columns=list(dtypes)).astype(dtypes)


@lru_cache(maxsize=None)
def _empty(table: type[Table]) -> pd.DataFrame:
    return pd.DataFrame([], columns=list(_dtypes(table))).astype(_dtypes(table))


@lru_cache(maxsize=None)
def _dtypes(table: type[Table]) -> dict[str, str]:
    return {str(name): str(dtype) for name, dtype in table.empty().dtypes.items()}
