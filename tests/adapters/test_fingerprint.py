"""Equal content has one digest; anything else another."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quant50lib.adapters.fingerprint import digest

FRAME = pd.DataFrame(
    {
        "symbol": pd.Series(["A", "A", "B", "B"], dtype="str"),
        "session": pd.to_datetime(["2024-01-02", "2024-01-03"] * 2).astype("datetime64[us]"),
        "close": [1.0, np.nan, 0.0, 4.0],
        "tradable": [True, False, True, True],
    }
)


@settings(max_examples=30, deadline=None)
@given(st.permutations(range(4)), st.booleans())
def test_neither_order_nor_index_nor_storage_matter(order, as_objects):
    frame = FRAME.iloc[list(order)]
    if as_objects:
        frame = frame.astype({"symbol": "object", "session": "datetime64[ns]"})
    assert digest(frame) == digest(FRAME)


@pytest.mark.parametrize(
    "other",
    [
        FRAME.iloc[:3],
        FRAME.assign(close=[1.0, np.nan, 0.0, 4.0000000001]),
        FRAME.assign(symbol=["A", "A", "B", "C"]),
        FRAME.assign(symbol=["A", "A", "B", None]),
        FRAME.assign(tradable=True),
        FRAME.rename(columns={"close": "open"}),
        FRAME[["session", "symbol", "close", "tradable"]],
        FRAME.assign(session=FRAME["session"] + pd.Timedelta("1D")),
        pd.concat([FRAME, FRAME.iloc[[3]]]),
        FRAME.iloc[:0],
    ],
)
def test_any_other_content_has_another_digest(other):
    assert digest(other) != digest(FRAME)


def test_zeros_and_missing_values_are_alike():
    assert digest(FRAME.assign(close=[1.0, np.nan, -0.0, 4.0])) == digest(FRAME)
    other_nan = np.array([0xFFF8000000000001], dtype=np.uint64).view(float)[0]
    assert digest(FRAME.assign(close=[1.0, other_nan, 0.0, 4.0])) == digest(FRAME)


def test_rows_equal_in_the_first_columns_are_ordered_by_the_next():
    twice = FRAME.assign(symbol="A", session=FRAME["session"].iloc[0])
    assert digest(twice) == digest(twice.iloc[::-1])


def test_the_digest_is_the_same_on_every_machine():
    assert digest(FRAME[["symbol", "tradable"]]) == (
        "b31340976e87f84a9f2e93fbcbedcec6d36af7e4616a9c3117079671113e97e8"
    )
