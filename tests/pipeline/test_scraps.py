"""Scraps: whatever is recorded, the notebook stays readable and nothing is lost but NaN."""

import datetime as dt
import json
import math

import nbformat
import numpy as np
import pandas as pd
import papermill
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quant50lib.pipeline import scraps

PLAIN = st.one_of(
    st.none(), st.booleans(), st.integers(-(2**53), 2**53), st.floats(), st.text(max_size=5)
)
NESTED = st.recursive(
    PLAIN, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner)
)


@settings(max_examples=80, deadline=None)
@given(NESTED)
def test_what_is_cleaned_is_json_without_nan(value):
    text = json.dumps(scraps.clean(value), allow_nan=False)
    assert json.loads(text) == scraps.clean(value)


@pytest.mark.parametrize(
    ("value", "cleaned"),
    [
        (np.float64("nan"), None),
        (math.inf, None),
        (np.int64(3), 3),
        (np.array([1.0, np.nan]), [1.0, None]),
        (pd.Series([1, 2]), [1, 2]),
        (pd.Timestamp("2024-06-28"), "2024-06-28T00:00:00"),
        (dt.date(2024, 6, 28), "2024-06-28"),
        ({"a": {1, 1}}, {"a": [1]}),
    ],
)
def test_values_of_our_libraries_become_plain(value, cleaned):
    assert scraps.clean(value) == cleaned


@pytest.mark.slow
def test_a_recorded_scrap_is_read_back_and_shown(tmp_path):
    source, out = tmp_path / "01_x.ipynb", tmp_path / "notebooks" / "01_x.ipynb"
    out.parent.mkdir()
    code = (
        "from quant50lib.pipeline.scraps import record\n"
        "record('day', dict(equity=123456.789, missing=float('nan'), on=True, names=[]))"
    )
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(code)])
    nbformat.write(notebook, source)
    papermill.execute_notebook(
        str(source), str(out), kernel_name="python3", language="python", progress_bar=False
    )
    known = {"equity": 123456.789, "missing": None, "on": True, "names": []}
    assert scraps.read_all(tmp_path) == {"x": {"day": known}} == scraps.read_all(tmp_path, 2)
    assert scraps.read_all(tmp_path, 1) == {}
    shown = nbformat.read(out, 4).cells[0].outputs[-1]["data"]["text/html"]
    assert "123,456.79" in shown and "yes" in shown
