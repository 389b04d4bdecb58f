"""The store for quants: read only, on a snapshot that nobody has to wait for."""

from __future__ import annotations

import subprocess
import sys
import time

import numpy as np
import pandas as pd
import pyarrow
import pytest

import quant50lib
from quant50lib.adapters import snapshots
from quant50lib.adapters.reading import Market
from quant50lib.adapters.store import Store
from quant50lib.errors import ContractError, SettingsError
from quant50lib.services.adjust import to_panel
from quant50lib.utils import dates
from tests.adapters.market_frames import actions, bars, instant

SESSIONS = dates.sessions_between("2024-01-02", "2024-01-31")
LAST = SESSIONS[-1]
EARLY, LATE = instant("2024-02-01"), instant("2024-02-05")


@pytest.fixture
def store(tmp_path) -> Store:
    """Three names; AAA splits, BBB pays, and one close of CCC is revised later."""
    made = Store(tmp_path / "data" / "market.duckdb", 2.0)
    rng = np.random.default_rng(3)
    rows = [
        (symbol, session, float(close))
        for symbol in ("AAA", "BBB", "CCC")
        for session, close in zip(SESSIONS, rng.uniform(20, 30, len(SESSIONS)), strict=True)
    ]
    made.append_bars(bars(rows), EARLY)
    told = [
        ("AAA", "forward_split", SESSIONS[9], 4, 1, np.nan),
        ("BBB", "cash_dividend", SESSIONS[5], np.nan, np.nan, 0.5),
    ]
    made.append_actions(actions(told), EARLY)
    made.append_bars(bars([("CCC", LAST, 99.0)]), LATE)
    return made


def test_panels_are_those_of_the_long_way_as_of_any_moment(store):
    with Market(store.path) as market:
        for known_at in (None, EARLY):
            raw, told = store.bars_asof(LAST, known_at), store.actions_asof(LAST, known_at)
            slow, quick = to_panel(raw, told, LAST), market.panel(LAST, known_at)
            for name in ("open", "close", "volume", "traded_close", "dollar_volume"):
                pd.testing.assert_frame_equal(getattr(quick, name), getattr(slow, name))
            pd.testing.assert_frame_equal(market.closes(LAST, known_at), slow.close)
        assert market.closes("2024-01-31", "2024-02-01T00:00Z")["CCC"].iloc[-1] != 99.0
        raw = market.panel(LAST, adjusted=False, sessions=3, symbols=["BBB"])
        assert raw.close.shape == (3, 1) and raw.close.equals(raw.traded_close)
        assert len(market.bars(LAST)) == 3 * len(SESSIONS) and len(market.actions(LAST)) == 2


def test_a_name_that_changed_its_ticker_has_its_past_under_the_present_one(store):
    change = actions([("CCC", "name_change", SESSIONS[12], np.nan, np.nan, np.nan)])
    old = [("DDD", s, 7.0) for s in SESSIONS[:12]]
    new = [("EEE", s, 8.0) for s in SESSIONS[12:]]
    store.append_bars(bars(old + new), LATE)
    store.append_actions(change.assign(id="x", symbol="DDD", other_symbol="EEE"), LATE)
    with Market(store.path) as market:
        found = market.closes(LAST, symbols=["AAA", "EEE"])
    assert found["EEE"].tolist() == [7.0] * 12 + [8.0] * (len(SESSIONS) - 12)


def test_queries_give_frames_of_pandas_and_arrow_and_say_what_polars_needs(store, monkeypatch):
    with Market(store.path) as market:
        frame = market.sql("SELECT symbol, session, close FROM bars_in_force WHERE close = 99")
        assert frame["symbol"].tolist() == ["CCC"] and frame["session"].iloc[0] == LAST
        assert frame["session"].dtype == "datetime64[us]" and frame["symbol"].dtype == "str"
        table = market.sql("SELECT count(*) AS n FROM bars", "arrow")
        assert isinstance(table, pyarrow.Table) and table["n"].to_pylist() == [64]
        monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
        with pytest.raises(SettingsError, match="pip install polars"):
            market.sql("SELECT 1", "polars")


def test_queries_give_frames_of_polars(store):
    polars = pytest.importorskip("polars")
    with Market(store.path) as market:
        assert isinstance(market.sql("SELECT * FROM bars", "polars"), polars.DataFrame)


@pytest.mark.parametrize(
    "query",
    [
        "DELETE FROM bars",
        "DROP TABLE meta",
        "CREATE TABLE mine (x INT)",
        "COPY bars TO '{folder}/out.csv'",
        "ATTACH '{folder}/other.duckdb'",
        "SELECT * FROM read_text('{folder}/data/market.duckdb')",
        "SET enable_external_access = true",
        "SELECT nothing FROM bars",
        "SELECT FROM WHERE",
        "SELECT 1; DELETE FROM bars",
        "",
    ],
)
def test_nothing_can_be_written_or_reached_and_a_wrong_query_is_explained(store, tmp_path, query):
    with Market(store.path) as market:
        with pytest.raises(SettingsError):
            market.sql(query.format(folder=tmp_path))
        assert len(market.bars(LAST)) == 3 * len(SESSIONS)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["data"]
    assert len(store.bars_asof(LAST)) == 3 * len(SESSIONS)


def test_a_reader_sees_what_was_there_when_it_came_and_the_next_one_sees_more(store):
    with Market(store.path) as before:
        store.append_bars(bars([("DDD", LAST, 5.0)]), LATE)
        with Market(store.path) as after:
            assert "DDD" not in before.closes(LAST) and "DDD" in after.closes(LAST)
            assert "DDD" not in set(before.sql("SELECT DISTINCT symbol FROM bars")["symbol"])
            folder = store.path.parent / "snapshots"
            assert len(list(folder.glob("*.duckdb"))) == 2
    with Market(store.path), Market(store.path):
        assert len(list(folder.glob("*.duckdb"))) == 1, "shared, and the old one is gone"


READ = """
import sys, time
from pathlib import Path
from quant50lib.adapters.reading import Market
with Market(Path(sys.argv[1])) as market:
    before = len(market.sql("SELECT * FROM bars"))
    print("reading", flush=True)
    sys.stdin.readline()
    assert len(market.sql("SELECT * FROM bars")) == before
    print("same", flush=True)
"""


@pytest.mark.slow
def test_a_reader_of_another_process_blocks_no_writer_for_however_long_it_reads(store):
    pipe = subprocess.PIPE
    command = [sys.executable, "-c", READ, str(store.path)]
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) as reader:
        assert reader.stdout.readline() == "reading\n"
        hasty = Store(store.path, wait_seconds=0.0)
        for hour in range(20):
            moment = LATE + pd.Timedelta(hour, "h")
            assert hasty.append_bars(bars([("AAA", LAST, 1.0 + hour)]), moment).rows == 1
        assert reader.communicate("go\n", timeout=30)[0] == "same\n"
    assert store.bars_asof(LAST, sessions=1, symbols=["AAA"])["close"].item() == 20.0


APPEND = """
import sys
import pandas as pd
from pathlib import Path
from quant50lib.adapters.store import Store
store = Store(Path(sys.argv[1]), 20.0)
day = pd.DatetimeIndex(["2024-01-31"] * 300).as_unit("us")
names = [f"S{k}" for k in range(300)]
for n in range(10**6):
    prices = {c: 1.0 + n for c in ("open", "high", "low", "close", "volume")}
    frame = pd.DataFrame({"symbol": names, "session": day, **prices})
    store.append_bars(frame, pd.Timestamp("2024-03-01", tz="UTC") + pd.Timedelta(n, "min"))
    print(n, flush=True)
"""


@pytest.mark.slow
def test_a_snapshot_taken_while_a_writer_works_is_whole_even_if_the_writer_is_killed(store):
    with subprocess.Popen(
        [sys.executable, "-c", APPEND, str(store.path)], stdout=subprocess.PIPE, text=True
    ) as writer:
        writer.stdout.readline()
        for _ in range(4):
            with Market(store.path, wait_seconds=20.0) as market:
                found = market.sql("SELECT known_at, count(*) AS n FROM bars GROUP BY known_at")
                assert set(found.loc[found["known_at"] >= "2024-03-01", "n"]) <= {300}
        writer.stdout.readline()
        writer.kill()
    with Market(store.path) as market:
        assert (
            market.closes(LAST)["S7"].iloc[-1]
            == store.bars_asof(LAST, symbols=["S7"])["close"].max()
        )


def test_a_store_that_is_missing_held_or_damaged_is_explained(store, tmp_path):
    with pytest.raises(SettingsError, match="quant50 ingest"):
        Market(tmp_path / "nothing.duckdb")
    store.path.write_bytes(b"this is no database " * 500)
    with pytest.raises(ContractError, match="damaged.*quant50 restore"):
        Market(store.path)


def test_a_store_of_which_only_the_file_may_be_read_is_copied_elsewhere(
    store, tmp_path, monkeypatch
):
    monkeypatch.setattr(snapshots.os, "access", lambda path, mode: False)
    monkeypatch.setattr(snapshots.tempfile, "gettempdir", lambda: str(tmp_path))
    with Market(store.path) as market:
        assert len(market.bars(LAST)) == 3 * len(SESSIONS)
    assert [p.name for p in tmp_path.glob("quant50-*/*.duckdb")]


def test_the_package_opens_the_store_of_the_home(store, monkeypatch):
    monkeypatch.setenv("QUANT50_HOME", str(store.path.parents[1]))
    with quant50lib.open_market() as market, quant50lib.open_market(str(store.path)) as same:
        begun = time.monotonic()
        assert market.closes(LAST).equals(same.closes(LAST)) and time.monotonic() - begun < 5
