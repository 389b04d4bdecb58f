"""The splitters against their definitions row by row, and beside skfolio's."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pandas as pd
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from skfolio import model_selection as peer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_predict, cross_val_score

from quant50lib.errors import DataQualityError
from quant50lib.services.splitters import CombinatorialPurgedKFold, PurgedKFold, WalkForward
from quant50lib.utils import dates

CALENDAR = dates.sessions_between("2020-01-02", "2020-12-31")


@st.composite
def rows(draw) -> pd.DataFrame:
    """Rows in any order, some sessions without rows, labels of differing length."""
    n = draw(st.integers(12, 40))
    at = draw(st.lists(st.integers(0, 30), min_size=n, max_size=n))
    length = draw(st.lists(st.integers(1, 9), min_size=n, max_size=n))
    return pd.DataFrame({"session": CALENDAR[at], "known_at": CALENDAR[np.add(at, length)]})


class Places:
    """The definition, in sets: of each row the places of its session and of its label's life."""

    def __init__(self, groups: pd.DataFrame) -> None:
        timeline = sorted({*groups.session, *groups.known_at})
        self.begin = [timeline.index(s) for s in groups.session]
        self.end = [timeline.index(s) for s in groups.known_at]
        self.rows = range(len(groups))

    def life(self, row: int, wider: int = 0) -> set[int]:
        return set(range(self.begin[row] + 1 - wider, self.end[row] + wider + 1))

    def blocks(self, k: int) -> list[set[int]]:
        decided = sorted(set(self.begin))
        sizes = [len(decided) // k + (i < len(decided) % k) for i in range(k)]
        starts = np.cumsum([0, *sizes])
        return [set(decided[a:b]) for a, b in zip(starts, starts[1:])]

    def learnt(self, tested: list[set[int]], purge: int, embargo: int) -> list[int]:
        """Rows of no tested block, with no session shared, and outside every embargo."""
        inside = [[j for j in self.rows if self.begin[j] in block] for block in tested]
        lived = set().union(*(self.life(j) for part in inside for j in part))
        known = [max(self.end[j] for j in part) for part in inside]
        barred = [set(range(max(b) + 1, k + embargo)) for b, k in zip(tested, known)]
        return [
            i
            for i in self.rows
            if self.begin[i] not in set().union(*tested)
            and not self.life(i, purge) & lived
            and self.begin[i] not in set().union(*(b if embargo else set() for b in barred))
        ]


def same(found: np.ndarray, wanted: list[int]) -> bool:
    return list(found) == sorted(wanted)


@settings(max_examples=80, deadline=None)
@given(rows(), st.integers(2, 5), st.integers(0, 4), st.integers(0, 3))
def test_purged_folds_are_their_definition(groups, k, embargo, purge):
    assume(groups.session.nunique() >= k)
    places, seen = Places(groups), []
    folds = PurgedKFold(k, embargo, purge).split(groups, groups=groups)
    for block, (train, test) in zip(places.blocks(k), folds, strict=True):
        assert same(test, [i for i in places.rows if places.begin[i] in block])
        assert same(train, places.learnt([block], purge, embargo))
        lived = set().union(*(places.life(j) for j in test))
        assert lived.isdisjoint(set().union(*(places.life(i) for i in train)))
        seen.extend(test)
    assert same(np.sort(seen), list(places.rows))


@settings(max_examples=50, deadline=None)
@given(rows(), st.integers(2, 5), st.data(), st.integers(0, 4), st.integers(0, 3))
def test_combinations_are_their_definition(groups, k, data, embargo, purge):
    assume(groups.session.nunique() >= k)
    p = data.draw(st.integers(1, k - 1))
    places, splitter = Places(groups), CombinatorialPurgedKFold(k, p, embargo, purge)
    splits = list(splitter.split(groups, groups=groups))
    chosen = list(combinations(places.blocks(k), p))
    assert len(splits) == splitter.get_n_splits() == len(chosen)
    for tested, (train, test) in zip(chosen, splits):
        assert same(test, [i for i in places.rows if places.begin[i] in set().union(*tested)])
        assert same(train, places.learnt(list(tested), purge, embargo))


@settings(max_examples=50, deadline=None)
@given(rows(), st.integers(2, 5), st.data())
def test_a_path_scores_every_row_once_by_a_model_that_did_not_see_it(groups, k, data):
    assume(groups.session.nunique() >= k)
    splitter = CombinatorialPurgedKFold(k, data.draw(st.integers(1, k - 1)))
    splits = list(splitter.split(groups, groups=groups))
    scores = np.full((len(splits), len(groups)), np.nan)
    for i, (_, test) in enumerate(splits):
        scores[i, test] = i
    found = splitter.assemble(scores, groups)
    assert found.shape == (splitter.n_paths, len(groups)) and np.isfinite(found).all()
    for row in range(len(groups)):  # each split that tests a row stands in exactly one path
        assert same(np.sort(found[:, row]), [i for i, (_, t) in enumerate(splits) if row in t])


@settings(max_examples=80, deadline=None)
@given(
    rows(),
    st.tuples(st.integers(1, 6), st.integers(1, 12)),
    st.tuples(st.booleans(), st.booleans()),
    st.integers(0, 3),
)
def test_a_walk_forward_is_its_definition(groups, sizes, flags, purge):
    (size, before), (expanding, reduced) = sizes, flags
    places = Places(groups)
    decided = sorted(set(places.begin))
    blocks = [
        (decided[:at], decided[at : at + size])
        for at in range(before, len(decided), size)
        if reduced or at + size <= len(decided)
    ]
    assume(blocks)
    splitter = WalkForward(size, before, expanding, purge, reduced)
    assert splitter.get_n_splits(groups=groups) == len(blocks)
    for (past, block), (train, test) in zip(blocks, splitter.split(groups, groups=groups)):
        allowed = set(past if expanding else past[-before:])
        assert same(test, [i for i in places.rows if places.begin[i] in block])
        wanted = [
            i
            for i in places.rows
            if places.begin[i] in allowed and places.end[i] + purge <= block[0]
        ]
        assert same(train, wanted)


# ---- beside skfolio's ------------------------------------------------------------------------------
# Its gaps are counts of observations; ours follow from the labels: one row a session and a horizon
# of h sessions after the next make a gap of h rows. Its folds put the remainder into the last one, ours
# one each into the first: the same where the folds divide the sessions.

HORIZON = 3


def one_a_session(n: int) -> pd.DataFrame:
    return pd.DataFrame(
        {"session": CALENDAR[:n], "known_at": CALENDAR[1 + HORIZON : 1 + HORIZON + n]}
    )


@pytest.mark.parametrize(("k", "p", "embargo"), [(6, 2, 0), (6, 2, 3), (5, 3, 2), (8, 7, 1)])
def test_combinations_and_paths_are_skfolios(k, p, embargo):
    groups = one_a_session(15 * k)
    ours = CombinatorialPurgedKFold(k, p, embargo)
    theirs = peer.CombinatorialPurgedCV(k, p, purged_size=HORIZON, embargo_size=embargo)
    splits = list(ours.split(groups, groups=groups))
    for (train, test), (their_train, their_tests) in zip(splits, theirs.split(groups), strict=True):
        np.testing.assert_array_equal(train, their_train)
        np.testing.assert_array_equal(test, np.concatenate(their_tests))
    assert ours.n_paths == theirs.n_test_paths
    by_fold = ours.paths(groups)[:, ::15].T  # 15 sessions a fold
    np.testing.assert_array_equal(by_fold, theirs.recombined_paths)


def test_where_folds_do_not_divide_the_sessions_ours_differ_by_one_row_at_most():
    groups = one_a_session(64)
    ours = [len(t) for _, t in PurgedKFold(6).split(groups, groups=groups)]
    theirs = peer.CombinatorialPurgedCV(6, 2).split(groups)
    assert ours == [11, 11, 11, 11, 10, 10]
    assert {len(part) for _, tests in theirs for part in tests} == {10, 14}


@pytest.mark.parametrize("expanding", [False, True])
@pytest.mark.parametrize("reduced", [False, True])
def test_walk_forward_is_skfolios(expanding, reduced):
    """Its training sessions end before the gap, ours count it: what a book learns from is known."""
    groups = one_a_session(63)
    ours = WalkForward(10, 20 + HORIZON, expanding, reduce_test=reduced)
    theirs = peer.WalkForward(
        10, 20, purged_size=HORIZON, expand_train=expanding, reduce_test=reduced
    )
    pairs = list(zip(ours.split(groups, groups=groups), theirs.split(groups), strict=True))
    assert len(pairs) == ours.get_n_splits(groups=groups) == theirs.get_n_splits(groups)
    for (train, test), (their_train, their_test) in pairs:
        np.testing.assert_array_equal(train, their_train)
        np.testing.assert_array_equal(test, their_test)


def test_a_fixed_gap_leaks_where_labels_are_longer_than_it_and_ours_does_not():
    """A halted name's label is known late: skfolio's count of rows cannot know."""
    groups = one_a_session(60)
    groups.loc[5, "known_at"] = CALENDAR[25]
    theirs = next(peer.WalkForward(10, 17, purged_size=HORIZON).split(groups))
    ours = next(WalkForward(10, 20).split(groups, groups=groups))
    np.testing.assert_array_equal(ours[1], theirs[1])
    assert set(theirs[0]) - set(ours[0]) == {5}


# ---- by hand, and in use ---------------------------------------------------------------------------


def test_a_day_by_hand():
    groups = pd.DataFrame({"session": CALENDAR[:20], "known_at": CALENDAR[3:23]})  # horizon 2
    train, test = list(PurgedKFold(4, 2).split(groups, groups=groups))[1]
    assert list(test) == [5, 6, 7, 8, 9]
    # 3 and 4 end after 5 begins; 10 and 11 begin before 9 ends (12); 12 and 13 are embargoed
    assert list(train) == [0, 1, 2, *range(14, 20)]
    train, _ = list(PurgedKFold(4, 0, 1).split(groups, groups=groups))[1]
    assert list(train) == [0, 1, *range(13, 20)]  # a session more on either side


def test_they_serve_scikit_learn():
    rng = np.random.default_rng(0)
    groups = pd.DataFrame({"session": CALENDAR[:60], "known_at": CALENDAR[6:66]})
    X, y = rng.normal(size=(60, 2)), rng.integers(0, 2, 60)
    learner = LogisticRegression()
    found = cross_val_predict(learner, X, y, cv=PurgedKFold(3, 1), groups=groups)
    assert found.shape == (60,) and PurgedKFold(3).get_n_splits() == 3
    for splitter, n in ((CombinatorialPurgedKFold(4, 2), 6), (WalkForward(10, 30), 3)):
        assert len(cross_val_score(learner, X, y, cv=splitter, groups=groups)) == n


@pytest.mark.parametrize(
    ("splitter", "found"),
    [
        (PurgedKFold(3), "2 sessions cannot make 3 folds"),
        (CombinatorialPurgedKFold(3, 2), "2 sessions cannot make 3 folds"),
        (WalkForward(1, 2), "leave nothing to test"),
    ],
)
def test_too_few_sessions_and_no_groups_are_errors(splitter, found):
    groups = pd.DataFrame({"session": CALENDAR[:2], "known_at": CALENDAR[6:8]})
    with pytest.raises(DataQualityError, match=found):
        next(splitter.split(groups, groups=groups))
    with pytest.raises(TypeError, match="groups"):
        next(splitter.split(groups))
