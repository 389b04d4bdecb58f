"""Each gate sees its own defect and no other; the day stops when it must."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from quant50lib.contracts import Finding
from quant50lib.errors import DataQualityError
from quant50lib.services import quality
from quant50lib.services.data import findings, require_sound_day
from quant50lib.settings import DataSettings
from quant50lib.utils import dates
from tests.adapters.market_frames import actions

SETTINGS = DataSettings()
SESSIONS = dates.sessions_between("2024-01-02", "2024-06-28")[-60:]
RUN = SESSIONS[-1]
NAMES = [f"N{n:02d}" for n in range(40)]
UNIVERSE = pd.DataFrame({"symbol": NAMES})
NONE = actions([])


@pytest.fixture
def clean() -> pd.DataFrame:
    """Sound bars of forty names over sixty sessions, indexed by symbol and session."""
    rng = np.random.default_rng(5)
    index = pd.MultiIndex.from_product([NAMES, SESSIONS], names=["symbol", "session"])
    close = rng.uniform(20, 21, len(index))
    opening = close * rng.uniform(0.99, 1.01, len(index))
    high, low = np.maximum(opening, close) * 1.01, np.minimum(opening, close) * 0.99
    volume = rng.integers(1_000, 9_000, len(index)).astype(float)
    columns = {"open": opening, "high": high, "low": low, "close": close, "volume": volume}
    return pd.DataFrame(columns, index=index)


def judge(frame, acts=NONE, run=RUN, settings=SETTINGS, benchmark=None) -> pd.DataFrame:
    bars = frame.reset_index().astype({"symbol": "str", "session": "datetime64[us]"})
    return findings(bars, acts, UNIVERSE, run, settings, benchmark)


def seen(found: pd.DataFrame) -> list[tuple]:
    return list(found[["gate", "symbol", "session", "severity"]].itertuples(index=False, name=None))


def test_sound_bars_raise_nothing(clean):
    found = judge(clean, benchmark="N00")
    assert found.empty and list(found.columns) == Finding.columns()
    require_sound_day(found)


AT = SESSIONS[-3]


@pytest.mark.parametrize(
    ("change", "gate", "says"),
    [
        ({"high": 1.0}, "ohlc", "high 1,"),
        ({"low": 99.0}, "ohlc", "low 99,"),
        ({"volume": 0.0}, "zero_volume", "no share"),
        ({"open": np.nan}, "not_positive", "open nan"),
        ({"volume": -5.0}, "not_positive", "volume -5"),
        ({"close": 0.0, "low": 0.0}, "not_positive", "close 0,"),
    ],
)
def test_a_bad_value_is_seen_by_its_gate(clean, change, gate, says):
    for name, value in change.items():
        clean.loc[("N07", AT), name] = value
    found = judge(clean)
    assert (gate, "N07", AT, "quarantine") in seen(found)
    assert set(found["symbol"]) == {"N07"}
    assert says in found.loc[found["gate"] == gate, "detail"].iloc[0]


def test_prices_that_differ_by_rounding_are_sound(clean):
    clean["high"] = clean[["open", "close"]].max(axis=1) * (1 - 1e-8)
    assert judge(clean).empty


def test_a_session_that_half_of_the_names_lack_stops_the_day_until_it_is_filled(clean):
    lost = clean.drop([(name, SESSIONS[-4]) for name in NAMES[:20]])
    found = judge(lost)
    assert ("missing_session", "", RUN, "stop") in seen(found)
    assert str(SESSIONS[-4].date()) in found.set_index("gate").loc["missing_session", "detail"]
    few = clean.drop([(name, SESSIONS[-4]) for name in NAMES[:2]])
    assert "stop" not in set(judge(few)["severity"])
    long_ago = clean.drop([(name, SESSIONS[-20]) for name in NAMES[:20]])
    assert "missing_session" not in set(judge(long_ago)["gate"])
    listed_later = clean.drop([(name, s) for name in NAMES[:20] for s in SESSIONS[:-4]])
    assert "missing_session" not in set(judge(listed_later)["gate"])


def test_a_missing_bar_of_the_day_is_stale_and_an_older_hole_is_a_gap(clean):
    frame = clean.drop([("N01", RUN), ("N02", SESSIONS[10]), ("N02", SESSIONS[11])])
    found = judge(frame)
    assert seen(found) == [
        ("gap", "N02", SESSIONS[11], "note"),
        ("stale", "N01", RUN, "quarantine"),
    ]
    assert found["detail"].tolist() == [
        "2 sessions without a bar",
        f"no bar since {SESSIONS[-2].date()}",
    ]


def test_a_late_listing_is_no_gap_and_a_name_long_gone_is_a_note(clean):
    young = [("N03", s) for s in SESSIONS[:30]]
    gone = [("N04", s) for s in SESSIONS[30:]]
    assert seen(judge(clean.drop(young + gone))) == [("stale", "N04", RUN, "note")]


def test_two_bars_of_a_session_that_differ_are_a_duplicate_and_equal_ones_are_not(clean):
    twin = clean.loc[[("N05", AT)]]
    assert judge(pd.concat([clean, twin])).empty
    assert seen(judge(pd.concat([clean, twin.assign(volume=1.0)]))) == [
        ("duplicate", "N05", AT, "quarantine")
    ]


def test_a_row_equal_to_the_next_is_reported_at_the_earlier(clean):
    clean.loc[("N06", AT)] = clean.loc[("N06", SESSIONS[-2])].to_numpy()
    assert seen(judge(clean)) == [("repeated_row", "N06", AT, "quarantine")]


PRICES = ["open", "high", "low", "close"]


def halve(frame: pd.DataFrame, symbol: str, first: pd.Timestamp) -> pd.DataFrame:
    later = (frame.index.get_level_values(0) == symbol) & (frame.index.get_level_values(1) >= first)
    frame.loc[later, PRICES] /= 2
    return frame


@pytest.mark.parametrize("kind", ["forward_split", "spin_off"])
def test_a_jump_is_seen_unless_an_action_explains_it(clean, kind):
    frame = halve(clean, "N08", AT)
    assert seen(judge(frame)) == [("jump", "N08", AT, "quarantine")]
    acts = actions([("N08", kind, AT, 2, 1, np.nan)])
    rest = [] if kind == "forward_split" else [("action", "N08", AT, "note")]
    assert seen(judge(frame, acts)) == rest
    of_another = actions([("N09", "spin_off", AT, 2, 1, np.nan)])
    assert ("jump", "N08", AT, "quarantine") in seen(judge(frame, of_another))


def test_a_split_that_prices_do_not_show_is_a_jump(clean):
    acts = actions([("N08", "forward_split", AT, 4, 1, np.nan)])
    assert seen(judge(clean, acts)) == [("jump", "N08", AT, "quarantine")]


def test_a_jump_across_a_gap_is_seen(clean):
    frame = halve(clean, "N08", AT).drop([("N08", SESSIONS[-4])])
    assert ("jump", "N08", AT, "quarantine") in seen(judge(frame))


def test_an_old_finding_is_a_note_from_the_first_session_outside_quarantine(clean):
    for back, severity in ((20, "quarantine"), (21, "note")):
        frame = clean.copy()
        frame.loc[("N07", SESSIONS[-1 - back]), "volume"] = 0.0
        assert judge(frame)["severity"].tolist() == [severity]


def test_too_few_sound_names_stop_the_day_and_are_named(clean):
    frame = clean.drop([(name, RUN) for name in NAMES[:2]])
    assert set(judge(frame)["severity"]) == {"quarantine"}, "38 of 40 are just enough"
    frame.loc[("N10", RUN), "high"] = 1.0
    found = judge(frame)
    stop = found[found["severity"] == "stop"]
    assert seen(stop) == [("coverage", "", RUN, "stop")]
    with pytest.raises(DataQualityError) as caught:
        require_sound_day(found)
    for part in (str(RUN.date()), "92.5% of 40", "N00, N01, N10", "N10 (ohlc)", "N00 (stale)"):
        assert part in str(caught.value)


def test_many_rows_copied_to_the_next_session_stop_the_day(clean):
    for name in NAMES[:6]:
        clean.loc[(name, SESSIONS[-2])] = clean.loc[(name, RUN)].to_numpy()
    assert ("coverage", "", RUN, "stop") in seen(judge(clean))
    later = judge(clean, run=SESSIONS[-2])
    assert later.empty, "nobody could know on the day itself"


def test_a_day_without_any_bar_stops_and_long_gone_names_do_not_count(clean):
    nothing = judge(clean.drop(clean.index))
    assert seen(nothing) == [("coverage", "", RUN, "stop")]
    gone = clean.drop([(name, s) for name in NAMES[:10] for s in SESSIONS[30:]])
    assert set(judge(gone)["severity"]) == {"note"}


@pytest.mark.parametrize("defect", ["missing", "bad", "never"])
def test_without_a_sound_benchmark_the_day_stops(clean, defect):
    if defect == "missing":
        clean = clean.drop([("N00", RUN)])
    elif defect == "bad":
        clean.loc[("N00", RUN), "high"] = 1.0
    else:
        clean = clean.drop("N00", level=0)
    assert ("benchmark", "", RUN, "stop") in seen(judge(clean, benchmark="N00"))
    assert "benchmark" not in set(judge(clean)["gate"])


def test_an_error_lists_no_more_names_than_can_be_read(clean):
    found = judge(clean.drop([(name, RUN) for name in NAMES[:30]]))
    with pytest.raises(DataQualityError, match="and 18 more"):
        require_sound_day(found)


def test_the_future_and_other_names_are_not_looked_at(clean):
    frame = clean.copy()
    frame.loc[(slice(None), RUN), "high"] = 0.01
    outside = clean.loc[["N00"]].rename(index={"N00": "ZZZ"}).assign(high=0.01)
    acts = actions([("N01", "spin_off", RUN, 1, 1, np.nan), ("ZZZ", "spin_off", AT, 1, 1, np.nan)])
    assert judge(pd.concat([frame, outside]), acts, run=SESSIONS[-2]).empty


def test_every_gate_is_documented_and_named_after_its_function():
    assert all(gate.meaning and gate.name == name for name, gate in quality.GATES.items())
    assert [name for name, gate in quality.GATES.items() if not gate.quarantines] == ["action"]
