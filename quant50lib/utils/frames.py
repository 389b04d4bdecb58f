"""From rows to a frame of a contract's dtypes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import pandas as pd

from quant50lib.contracts import Table


def typed(table: type[Table], rows: Iterable[Mapping[str, Any]]) -> pd.DataFrame:
    """Rows as a frame with the table's columns and dtypes; right also where there is no row."""
    frame = pd.DataFrame(list(rows), columns=table.columns())
    dtypes = {name: str(dtype) for name, dtype in table.empty().dtypes.items()}
    return frame.astype({name: "str" if d == "string" else d for name, d in dtypes.items()})
