"""The market store: what goes in comes out as it was known, and a bad file is explained."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import duckdb
import numpy as np
import pandas as pd
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from quant50lib.adapters import database
from quant50lib.adapters.store import Store, Stored
from quant50lib.errors import ContractError, SettingsError
from quant50lib.services.adjust import arrange
from tests.adapters.market_frames import actions, bars, instant

D1, D2, D3 = "2024-01-02", "2024-01-03", "2024-01-04"
LAST = pd.Timestamp(D3)
EARLY, LATE, LATER = instant("2024-01-05"), instant("2024-02-05"), instant("2024-03-05")
HOUR = pd.Timedelta(hours=1)


@pytest.fixture
def store(tmp_path) -> Store:
    return Store(tmp_path / "data" / "market.duckdb", wait_seconds=0.3)


def closes(store: Store, known_at: pd.Timestamp | None = None) -> list[tuple]:
    found = store.bars_asof(LAST, known_at)
    return list(zip(found["symbol"], found["session"].dt.day, found["close"], strict=True))


def test_an_empty_store_reads_empty_with_the_right_types(store):
    found = store.bars_asof(LAST)
    assert found.empty and list(found.columns) == [
        "symbol",
        "session",
        "open",
        "high",
        "low",
        "close",
        "volume",
    ]
    assert found["session"].dtype == "datetime64[us]" and found["symbol"].dtype == "str"
    assert store.newest_sessions().empty and store.ingests().empty
    assert store.actions_asof(LAST).empty and store.assets_asof().empty


def test_bars_come_back_as_they_went_in(store):
    frame = bars([("B", D1, 2.5), ("A", D2, 1.25), ("A", D1, 1.5)], vwap=np.nan)
    assert store.append_bars(frame, EARLY) == Stored(3, 0)
    found = store.bars_asof(LAST)
    wanted = frame.drop(columns="vwap").sort_values(["symbol", "session"], ignore_index=True)
    pd.testing.assert_frame_equal(found, wanted)
    newest = store.newest_sessions()
    assert newest.to_dict() == {"A": pd.Timestamp(D2), "B": pd.Timestamp(D1)}
    assert store.newest_sessions(pd.Timestamp(D1))["A"] == pd.Timestamp(D1)


def test_the_same_again_is_not_stored_and_a_revision_is_a_new_row(store):
    first = bars([("A", D1, 1.0), ("A", D2, 2.0)])
    store.append_bars(first, EARLY)
    assert store.append_bars(first, LATE) == Stored(0, 0)
    assert store.append_bars(bars([("A", D2, 2.5)]), LATE) == Stored(1, 1)
    assert closes(store, EARLY) == [("A", 2, 1.0), ("A", 3, 2.0)]
    assert closes(store, LATE) == closes(store) == [("A", 2, 1.0), ("A", 3, 2.5)]
    assert closes(store, EARLY - pd.Timedelta(microseconds=1)) == []


def test_a_value_that_returns_after_a_revision_is_stored_again(store):
    for value, moment in ((1.0, EARLY), (2.0, LATE), (1.0, LATER)):
        assert store.append_bars(bars([("A", D1, value)]), moment).rows == 1
    assert [closes(store, m)[0][2] for m in (EARLY, LATE, LATER)] == [1.0, 2.0, 1.0]


def test_older_knowledge_may_arrive_later(store):
    store.append_bars(bars([("A", D1, 3.0)]), LATER)
    assert store.append_bars(bars([("A", D1, 1.0)]), EARLY).rows == 1
    assert store.append_bars(bars([("A", D1, 1.0)]), LATE).rows == 0
    assert [closes(store, m)[0][2] for m in (EARLY, LATE, LATER)] == [1.0, 1.0, 3.0]


def test_a_late_arrival_changes_no_moment_that_was_seen_after_it(store):
    store.append_bars(bars([("A", D1, 2.0)]), EARLY)
    assert store.append_bars(bars([("A", D1, 2.0)]), LATER).rows == 0
    assert store.append_bars(bars([("A", D1, 1.0)]), LATE) == Stored(1, 1)
    assert [closes(store, m)[0][2] for m in (EARLY, LATE, LATER)] == [2.0, 1.0, 2.0]


def test_two_values_of_one_moment_are_both_kept_until_one_is_confirmed(store):
    both = bars([("A", D1, 1.0), ("A", D1, 2.0)])
    assert store.append_bars(both, EARLY) == Stored(2, 0)
    assert store.append_bars(both, EARLY) == store.append_bars(both, LATE) == Stored(0, 0)
    assert store.append_bars(bars([("A", D1, 2.0)]), EARLY) == Stored(0, 0)
    assert closes(store) == [("A", 2, 1.0), ("A", 2, 2.0)]
    assert store.append_bars(bars([("A", D1, 2.0)]), LATE) == Stored(1, 1)
    assert closes(store) == [("A", 2, 2.0)]


def test_sessions_and_symbols_narrow_the_read(store):
    store.append_bars(bars([(s, d, 1.0) for s in "ABC" for d in (D1, D2, D3)]), EARLY)
    found = store.bars_asof(pd.Timestamp(D2), sessions=1, symbols=["A", "C", "Z"])
    assert list(found["symbol"]) == ["A", "C"] and set(found["session"]) == {pd.Timestamp(D2)}
    assert store.bars_asof(LAST, symbols=[]).empty
    assert len(store.bars_asof(LAST, sessions=400)) == 9
    with pytest.raises(SettingsError, match="not a session"):
        store.bars_asof(pd.Timestamp("2024-01-06"), sessions=2)


def test_actions_are_revised_and_taken_back(store):
    split = actions([("A", "forward_split", D2, 2, 1, np.nan)])
    assert store.append_actions(split, EARLY) == Stored(1, 0)
    assert store.append_actions(split, LATE) == Stored(0, 0)
    assert store.append_actions(split.assign(new_rate=3.0), LATE) == Stored(1, 1)
    assert store.append_actions(split.assign(type="withdrawn"), LATER) == Stored(1, 1)
    assert store.actions_asof(LAST, EARLY)["new_rate"].tolist() == [2.0]
    assert store.actions_asof(LAST, LATE)["new_rate"].tolist() == [3.0]
    assert store.actions_asof(LAST, LATER).empty
    assert store.actions_asof(pd.Timestamp(D1), LATE).empty, "the ex-date is after the session"


def test_of_an_asset_the_last_word_of_a_moment_counts(store):
    asset = pd.DataFrame(
        {"symbol": ["A"], "name": ["A Inc"], "exchange": ["NYSE"], "tradable": [True]}
    ).assign(fractionable=True, status="active")
    store.append_assets(asset, EARLY)
    assert store.append_assets(asset, EARLY) == Stored(0, 0)
    assert store.append_assets(asset.assign(tradable=False), EARLY) == Stored(1, 1)
    found = store.assets_asof(EARLY)
    assert found["tradable"].tolist() == [False] and found["tradable"].dtype == bool


def test_the_log_of_ingests_keeps_spans_and_symbols(store):
    span = pd.Timestamp(D1), pd.Timestamp(D3)
    store.log_ingest(LAST, EARLY, span, ("A", "BRK.B"), complete=False)
    store.log_ingest(LAST, EARLY, span, ["A"], complete=True, rows_stored=7)
    log = store.ingests()
    assert log["complete"].tolist() == [False, True] and log["rows_stored"].tolist() == [0, 7]
    assert list(log["symbols"][0]) == ["A", "BRK.B"] and log["first"][0] == span[0]
    assert log["known_at"][0] == EARLY.tz_localize(None)


def test_a_store_takes_data_of_one_source_only(store):
    store.claim_source("demo seed=50")
    store.claim_source("demo seed=50")
    with pytest.raises(SettingsError, match="'demo seed=50'.*'alpaca'.*QUANT50_HOME"):
        store.claim_source("alpaca")
    store.append_bars(bars([("A", D1, 1.0)]), EARLY)
    with duckdb.connect(str(store.path), read_only=True) as connection:
        assert connection.sql("SELECT source FROM bars").fetchall() == [("demo seed=50",)]


def test_frames_that_are_no_bars_are_refused_and_nothing_is_stored(store):
    with pytest.raises(ContractError, match=r"missing columns \['close'\]"):
        store.append_bars(bars([("A", D1, 1.0)]).drop(columns="close"), EARLY)
    with pytest.raises(ContractError, match="volume"):
        store.append_bars(bars([("A", D1, 1.0)]).astype({"volume": str}).assign(volume="x"), EARLY)
    with pytest.raises(ValueError, match="timezone"):
        store.append_bars(bars([("A", D1, 1.0)]), pd.Timestamp("2024-01-05"))
    assert closes(store) == [] and store.append_bars(bars([]), EARLY) == Stored(0, 0)


@settings(max_examples=8, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.integers(0, 6),  # when it is learnt
            st.lists(
                st.tuples(st.sampled_from("AB"), st.sampled_from([D1, D2]), st.integers(1, 3)),
                min_size=1,
                max_size=4,
                unique_by=lambda row: row[:2],
            ),
        ),
        min_size=1,
        max_size=4,
        unique_by=lambda batch: batch[0],
    )
)
@example([(hour, [("A", D1, close)]) for hour, close in ((0, 1), (3, 1), (1, 2), (2, 1))])
def test_every_moment_is_remembered_as_it_was_seen(tmp_path_factory, batches):
    """Against plain dictionaries, one per moment, whatever the order in which knowledge arrives."""
    store = Store(tmp_path_factory.mktemp("s") / "m.duckdb")
    seen: dict[int, dict[tuple, float]] = {}
    for hour, rows in batches:
        store.append_bars(bars([(s, d, float(c)) for s, d, c in rows]), EARLY + HOUR * hour)
        said = {(s, int(d[-2:])): float(c) for s, d, c in rows}
        before = max((h for h in seen if h < hour), default=None)
        for later in (h for h in seen if h > hour):
            seen[later] = said | seen[later]
        seen[hour] = (seen[before] if before is not None else {}) | said
    for hour, known in seen.items():
        assert closes(store, EARLY + HOUR * hour) == [(*key, known[key]) for key in sorted(known)]


ROWS = st.lists(
    st.tuples(st.integers(0, 3), st.sampled_from("ABC"), st.integers(0, 2), st.integers(1, 4)),
    max_size=12,
)


@settings(max_examples=15, deadline=None)
@given(ROWS, st.integers(0, 3), st.sampled_from([None, ["A", "Z"]]), st.sampled_from([None, 2]))
def test_matrices_hold_what_the_long_rows_say(tmp_path_factory, rows, hour, symbols, sessions):
    """The short cut beside the long way, whatever was revised, doubled or left out."""
    store = Store(tmp_path_factory.mktemp("s") / "m.duckdb")
    for moment in range(4):
        said = [(s, (D1, D2, D3)[d], float(c)) for m, s, d, c in rows if m == moment]
        store.append_bars(bars(said), EARLY + HOUR * moment)
    at = EARLY + HOUR * hour
    long = store.bars_asof(LAST, at, sessions, symbols)
    slow, quick = arrange(long, LAST, symbols), store.raw_asof(LAST, at, sessions, symbols)
    pd.testing.assert_index_equal(quick.symbols, slow.symbols)
    pd.testing.assert_index_equal(quick.sessions, slow.sessions)
    for name, values in slow.fields.items():
        np.testing.assert_array_equal(quick.fields[name], values)
    np.testing.assert_array_equal(quick.present, slow.present)


def test_revisions_stand_beside_what_was_said_before(store):
    store.append_bars(bars([("A", D1, 1.0), ("A", D2, 2.0), ("B", D1, 5.0)]), EARLY)
    store.append_bars(bars([("A", D2, 2.5), ("B", D1, 5.0), ("B", D2, 6.0)]), LATE)
    store.append_bars(bars([("A", D2, 2.0, 70.0)]), LATER)
    found = store.revisions(EARLY)
    assert list(zip(found["symbol"], found["was_close"], found["close"])) == [
        ("A", 2.0, 2.5),
        ("A", 2.5, 2.0),
    ]
    assert found["known_at"].tolist() == [m.tz_localize(None) for m in (LATE, LATER)]
    assert found["was_volume"].tolist() == [100.0, 100.0] and found["volume"].iloc[1] == 70.0
    assert len(store.revisions(LATE)) == 1 and store.revisions(LATER).empty


def test_what_was_only_said_again_for_a_late_arrival_is_no_revision(store):
    store.append_bars(bars([("A", D1, 2.0)]), LATER)
    store.append_bars(bars([("A", D1, 1.0)]), EARLY)
    store.append_bars(bars([("A", D1, 1.0)]), LATE)
    found = store.revisions(EARLY - HOUR)
    assert found[["was_close", "close"]].to_numpy().tolist() == [[1.0, 2.0]]


def test_a_store_of_the_layout_before_is_brought_up_and_keeps_its_rows(store):
    store.append_bars(bars([("A", D1, 1.0)]), EARLY)
    with duckdb.connect(str(store.path)) as connection:
        connection.execute("DROP TABLE checks; UPDATE meta SET value = '1' WHERE key = 'layout'")
    newer = Store(store.path)
    assert closes(newer) == [("A", 2, 1.0)] and newer.checks_asof(LAST).empty
    with duckdb.connect(str(store.path), read_only=True) as connection:
        assert connection.sql("SELECT value FROM meta WHERE key = 'layout'").fetchall() == [("2",)]


HOLD = """
import duckdb, sys, time
connection = duckdb.connect(sys.argv[1])
print("held", flush=True)
time.sleep(float(sys.argv[2]))
"""


def held_by(path: Path, seconds: float) -> subprocess.Popen:
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(path), str(seconds)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "held\n"
    return process


@pytest.mark.slow
def test_a_lock_of_another_process_is_waited_for_and_then_named(store):
    store.append_bars(bars([("A", D1, 1.0)]), EARLY)
    process = held_by(store.path, 60)
    try:
        for work in (lambda: closes(store), lambda: closes(Store(store.path, 0.1))):
            started = time.monotonic()
            with pytest.raises(SettingsError) as caught:
                work()
            assert time.monotonic() - started < 3
            assert str(store.path) in str(caught.value)
            assert f"process {process.pid}" in str(caught.value)
            assert Path(sys.executable).name in str(caught.value)
    finally:
        process.kill()
        process.wait()
    process = held_by(store.path, 0.5)
    assert closes(Store(store.path, 20.0)) == [("A", 2, 1.0)]
    process.wait()


@pytest.mark.slow
def test_threads_of_one_process_read_and_write_side_by_side(store):
    store.append_bars(bars([("A", D1, 1.0)]), EARLY)
    patient, failures = Store(store.path, 20.0), []

    def work(n: int) -> None:
        try:
            for k in range(4):
                patient.append_bars(bars([(f"T{n}", D1, 1.0 + k)]), EARLY + pd.Timedelta(k, "h"))
                patient.bars_asof(LAST)
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == [] and closes(store) == [
        ("A", 2, 1.0),
        ("T0", 2, 4.0),
        ("T1", 2, 4.0),
        ("T2", 2, 4.0),
    ]


APPEND = """
import sys
import pandas as pd
from pathlib import Path
from quant50lib.adapters.store import Store
store = Store(Path(sys.argv[1]), 20.0)
for n in range(10**6):
    day = pd.DatetimeIndex(["2024-01-02"] * 500).as_unit("us")
    prices = {c: 1.0 + n for c in ("open", "high", "low", "close", "volume")}
    frame = pd.DataFrame({"symbol": [f"S{n}X{k}" for k in range(500)], "session": day, **prices})
    store.append_bars(frame, pd.Timestamp("2024-01-05", tz="UTC"))
    print(n, flush=True)
"""


@pytest.mark.slow
def test_a_kill_loses_nothing_that_was_stored_and_leaves_no_half(store):
    process = subprocess.Popen(
        [sys.executable, "-c", APPEND, str(store.path)], stdout=subprocess.PIPE, text=True
    )
    for _ in range(4):
        stored = int(process.stdout.readline())
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    counts = store.bars_asof(LAST)["symbol"].str.split("X").str[0].value_counts()
    assert set(counts) == {500}
    assert {f"S{n}" for n in range(stored + 1)} <= set(counts.index)


def test_a_file_that_is_no_database_or_was_cut_is_explained(tmp_path):
    garbage = tmp_path / "g.duckdb"
    garbage.write_bytes(b"this is no database " * 500)
    with pytest.raises(ContractError, match="damaged or no DuckDB file.*ingest again"):
        Store(garbage, 0.2).bars_asof(LAST)
    whole = Store(tmp_path / "w.duckdb")
    many = pd.DataFrame(
        {"symbol": [f"S{n}" for n in range(60_000)], "session": pd.Timestamp(D1).as_unit("us")}
    )
    rng = np.random.default_rng(0)
    whole.append_bars(
        many.assign(**{c: rng.random(60_000) for c in ("open", "high", "low", "close", "volume")}),
        EARLY,
    )
    content = whole.path.read_bytes()
    assert len(content) > 1_000_000
    for keep in (100, 5_000, len(content) // 2):
        cut = tmp_path / f"cut{keep}.duckdb"
        cut.write_bytes(content[:keep])
        with pytest.raises(ContractError, match="damaged or no DuckDB file"):
            Store(cut, 0.2).bars_asof(LAST)


def test_an_empty_file_or_a_foreign_database_becomes_a_store(tmp_path):
    """DuckDB takes an empty file for a new database; one without our tables gets them."""
    path = tmp_path / "other.duckdb"
    with duckdb.connect(str(path)) as connection:
        connection.execute("CREATE TABLE mine (x INT)")
    assert Store(path).bars_asof(LAST).empty


def test_a_store_of_another_layout_is_refused(store):
    store.claim_source("x")
    with duckdb.connect(str(store.path)) as connection:
        connection.execute("UPDATE meta SET value = '99' WHERE key = 'layout'")
    store.bars_asof(LAST)  # checked once
    with pytest.raises(ContractError, match="layout 99.*layout 2"):
        Store(store.path).bars_asof(LAST)


def test_a_full_disk_and_a_forbidden_folder_are_the_operators(store, monkeypatch):
    store.claim_source("x")

    def full(*_args, **_more):
        raise duckdb.IOException("IO Error: Could not write all bytes: No space left on device")

    monkeypatch.setattr(database, "transaction", full)
    with pytest.raises(SettingsError, match="disk is full"):
        store.append_bars(bars([("A", D1, 1.0)]), EARLY)
    monkeypatch.undo()
    folder = store.path.parent / "folder.duckdb"
    folder.mkdir()
    with pytest.raises(SettingsError, match="folder.duckdb"):
        Store(folder, 0.1).bars_asof(LAST)


def test_a_bug_of_ours_is_not_taken_for_a_bad_file(store):
    with pytest.raises(duckdb.BinderException):
        store._frame("SELECT nothing FROM bars")


@pytest.mark.slow
def test_five_years_of_three_hundred_names_are_read_in_a_moment(tmp_path):
    store = Store(tmp_path / "m.duckdb")
    days = pd.bdate_range("2019-01-01", periods=1260)
    index = pd.MultiIndex.from_product([[f"S{n:03d}" for n in range(300)], days])
    frame = index.to_frame(index=False, name=["symbol", "session"])
    rng = np.random.default_rng(1)
    for name in ("open", "high", "low", "close", "volume"):
        frame[name] = rng.random(len(frame))
    store.append_bars(frame.astype({"session": "datetime64[us]"}), EARLY)
    store.append_bars(frame.iloc[:50].assign(close=9.0), LATE)
    spent = []
    for _ in range(3):
        started = time.process_time()
        found = store.bars_asof(pd.Timestamp("2023-12-29"), LATER)
        spent.append(time.process_time() - started)
    assert len(found) == 378_000 * (found["session"].nunique() / 1260)
    assert min(spent) < 0.8  # about 0.15 s of processor time on a quiet machine
