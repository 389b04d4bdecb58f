"""What is missing of a call is asked for again, owed, or believed."""

from __future__ import annotations

import pandas as pd
from hypothesis import given, settings
from hypothesis import strategies as st

from quant50lib.services.gaps import Received
from quant50lib.utils import dates

SESSIONS = dates.sessions_between("2024-06-03", "2024-07-12")[:12]
NAMES = ("A", "B", "C")


def rows(*pairs: tuple[str, int]) -> pd.DataFrame:
    frame = pd.DataFrame([(s, SESSIONS[k]) for s, k in pairs], columns=["symbol", "session"])
    return frame.astype({"symbol": "str", "session": "datetime64[us]"})


def received(there: dict[str, list[int]], refused: dict[str, list[int]] | None = None) -> Received:
    found = Received(NAMES, SESSIONS)
    bars, bad = (
        rows(*((s, k) for s, ks in told.items() for k in ks)) for told in (there, refused or {})
    )
    found.add(bars, bad)
    return found


def covered(found: Received, recent: int = 3, without: frozenset[str] = frozenset()) -> dict:
    told: dict[str, set[int]] = {name: set() for name in NAMES}
    for first, last, names in found.runs(recent, set(without)):
        for name in names:
            told[name] |= {k for k, day in enumerate(SESSIONS) if first <= day <= last}
    return told


EVERY = list(range(12))


def test_what_is_whole_is_one_run_and_nothing_is_doubtful():
    found = received({name: EVERY for name in NAMES})
    assert found.doubtful() is None and found.silent == []
    assert list(found.runs(3, set())) == [(SESSIONS[0], SESSIONS[-1], NAMES)]


def test_gaps_late_beginnings_early_ends_and_silence_are_doubtful():
    found = received({"A": [0, 1, 2, 5, 6, 7, 8, 9, 10, 11], "B": EVERY[1:], "C": EVERY})
    assert found.doubtful() == (["A", "B"], SESSIONS[0], SESSIONS[4])
    assert received({"A": EVERY[:9], "C": EVERY}).doubtful() == (
        ["A", "B"],
        SESSIONS[0],
        SESSIONS[11],
    )
    assert received({"C": EVERY}).silent == ["A", "B"]
    assert received({}).doubtful() is None, "nobody has a bar: there is nothing to compare with"


def test_an_old_gap_is_believed_and_a_young_one_owed():
    found = received({"A": [0, 1, 3, 4, 5, 6, 7, 8, 9, 11], "B": EVERY[:9], "C": EVERY[:4]})
    told = covered(found, recent=3)
    assert told == {"A": set(EVERY) - {10}, "B": set(EVERY) - {9, 10, 11}, "C": set(EVERY)}
    assert covered(found, recent=2)["B"] == set(EVERY)


def test_what_came_and_could_not_be_used_is_owed_however_old():
    found = received({"A": EVERY[2:], "B": EVERY, "C": EVERY}, {"A": [0, 1], "B": [3]})
    assert found.doubtful() == (["A"], SESSIONS[0], SESSIONS[1])
    assert covered(found)["A"] == set(EVERY[2:]) and covered(found)["B"] == set(EVERY)
    found.add(rows(("A", 0), ("A", 1), ("D", 1)), rows())
    assert found.doubtful() is None and covered(found)["A"] == set(EVERY)


def test_names_to_be_left_out_are_covered_nowhere():
    found = received({name: EVERY for name in NAMES})
    assert covered(found, without=frozenset("B")) == {"A": set(EVERY), "B": set(), "C": set(EVERY)}


sessions = st.sets(st.integers(0, 11))


@settings(max_examples=60, deadline=None)
@given(
    st.dictionaries(st.sampled_from(NAMES), sessions),
    st.dictionaries(st.sampled_from(NAMES), sessions),
)
def test_every_session_is_either_there_believed_or_owed(there, refused):
    """The runs of a name never overlap, and what is owed was asked for again."""
    found = received(there, refused)
    runs = list(found.runs(3, set()))
    told = [
        (name, day) for a, b, names in runs for name in names for day in SESSIONS if a <= day <= b
    ]
    assert len(told) == len(set(told))
    doubt = found.doubtful()
    for name in NAMES:
        for k, day in enumerate(SESSIONS):
            if (name, day) not in told:
                assert k not in there.get(name, set())
                assert doubt is not None and name in doubt[0] and doubt[1] <= day <= doubt[2]
            if k in there.get(name, set()):
                assert (name, day) in told
