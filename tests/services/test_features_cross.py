"""Winsorising, neutral values, ranks: each against numpy or pandas, with missing values."""

from __future__ import annotations

import numpy as np
import pandas as pd
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from quant50lib.services import features_cross
from quant50lib.services.features_cross import standardise

NAMES = list("ABCDEFGHI")
GROUPS = pd.Series(["x", "x", "y", "y", "y", "x", "y"], NAMES[:7])  # the last two have none
ROWS = arrays(float, (3, 9), elements=st.integers(-20, 20).map(float) | st.just(np.nan))


def wide(values: np.ndarray) -> pd.DataFrame:
    return pd.DataFrame(values, columns=NAMES)


@settings(max_examples=60, deadline=None)
@given(values=ROWS)
def test_ranks_are_those_of_pandas(values):
    frame = wide(values)
    count = frame.notna().sum(axis=1).where(lambda n: n > 0)
    wanted = (frame.rank(axis=1) - 0.5).div(count, axis=0) - 0.5
    np.testing.assert_allclose(features_cross.ranked(values), wanted, atol=1e-12)


@settings(max_examples=60, deadline=None)
@given(values=ROWS, share=st.sampled_from([0.01, 0.1, 0.3]))
def test_winsorised_values_lie_within_the_quantiles_of_their_session(values, share):
    found = features_cross.winsorised(values, share)
    for got, given_ in zip(found, values):
        if np.isnan(given_).all():
            assert np.isnan(got).all()
            continue
        low, high = np.nanquantile(given_, [share, 1 - share])
        np.testing.assert_allclose(got, np.clip(given_, low, high), atol=1e-12)


@settings(max_examples=40, deadline=None)
@given(values=ROWS)
def test_neutral_values_are_less_the_mean_of_their_group(values):
    group = GROUPS.reindex(NAMES).fillna("")
    wanted = wide(values).T
    wanted = (wanted - wanted.groupby(group).transform("mean")).T
    members = features_cross._groups(pd.Index(NAMES), GROUPS)
    np.testing.assert_allclose(features_cross.neutral(values, members), wanted, atol=1e-9)


def test_an_outlier_is_brought_in_and_sectors_lose_their_mean():
    values = wide(np.array([[1.0, 2, 3, 4, 5, 6, 7, 8, 1e9]]))
    plain = standardise({"f": values}, GROUPS, None, "zscore")["f"]
    tamed = standardise({"f": values}, GROUPS, None, "zscore", winsorise=0.125)["f"]
    assert plain["H"].iloc[0] < plain["I"].iloc[0]
    assert tamed["H"].iloc[0] == tamed["I"].iloc[0] < 2
    one = standardise({"f": values}, GROUPS, None, "zscore", neutralise=True)["f"]
    moved = values + pd.Series(1000.0, NAMES).where(GROUPS.reindex(NAMES).eq("y"), 0.0)
    other = standardise({"f": moved}, GROUPS, None, "zscore", neutralise=True)["f"]
    np.testing.assert_allclose(one, other, atol=1e-6)
