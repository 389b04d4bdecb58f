"""From the market into the store: whole, incremental, and none the worse for a kill."""

from __future__ import annotations

import signal
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from quant50lib.adapters import market_client
from quant50lib.adapters.market import NOTHING, ingest
from quant50lib.adapters.store import Store
from quant50lib.errors import SettingsError, Unreachable
from quant50lib.services import data_plan
from quant50lib.services.data import to_panel
from quant50lib.settings import DataSettings, SimulatorSettings
from quant50lib.simulator import process
from quant50lib.utils import dates
from tests.adapters.stub_market import Stub, asset, running
from tests.proof import crash

SETTINGS = DataSettings(
    history_years=1, overlap_sessions=2, action_overlap_sessions=4, vendor_sample=0
)
EVERY = dates.sessions_between("2023-06-01", "2024-07-03")
RUN, NEXT = pd.Timestamp("2024-06-28"), pd.Timestamp("2024-07-01")
NAMES = ["AAPL", "BRK.B", "SPY"]


@pytest.fixture
def stub():
    with running(Stub(page=100)) as found:
        rng = np.random.default_rng(2)
        found.bars = {
            s: {str(d.date()): round(float(c), 2) for d, c in zip(EVERY, rng.uniform(9, 11, 999))}
            for s in NAMES
        }
        found.assets = [asset(s) for s in NAMES]
        found.groups = {
            "cash_dividends": [{"id": "d1", "symbol": "AAPL", "ex_date": "2024-06-26", "rate": 0.5}]
        }
        yield found


@pytest.fixture
def store(tmp_path) -> Store:
    return Store(tmp_path / "market.duckdb", 2.0)


def run(stub, store, session=RUN, symbols=NAMES, told=None, at=None, settings=SETTINGS, **more):
    stub.requests.clear()
    progress = (lambda doing, share: told.append((doing, share))) if told is not None else _deaf
    at = dates.scheduled(at or session)
    return ingest(stub.connect(), store, list(symbols), session, at, settings, progress, **more)


def _deaf(doing: str, share: float) -> None:
    pass


def stored(store, session=RUN) -> dict[str, dict[str, float]]:
    found: dict[str, dict[str, float]] = {}
    for row in store.bars_asof(session).itertuples():
        found.setdefault(row.symbol, {})[str(row.session.date())] = row.close
    return found


def expected(stub, session=RUN) -> dict[str, dict[str, float]]:
    first = str(dates.shift(session, -251).date())
    return {
        s: {d: c for d, c in bars.items() if first <= d <= str(session.date())}
        for s, bars in stub.bars.items()
    }


def test_an_empty_store_is_filled_up_to_the_session_and_not_beyond(stub, store):
    told: list = []
    summary = run(stub, store, told=told)
    assert stored(store) == stored(store, pd.Timestamp("2024-07-03")) == expected(stub)
    bars = sum(len(b) for b in expected(stub).values())
    assert (summary.fetched, summary.new, summary.revised) == (bars, bars, 0)
    assert summary.symbols == 3 and summary.actions == 1 and summary.dropped == 0
    assert (summary.first_session, summary.last_session) == (dates.shift(RUN, -251), RUN)
    assert summary.pages == len(stub.asked("/v2/stocks/bars")) == -(-bars // 100)
    shares = [share for _, share in told]
    assert shares == sorted(shares) and told[-1] == ("complete", 1.0)
    assert store.assets_asof()["tradable"].tolist() == [True] * 3


def test_a_second_run_asks_nothing_at_all(stub, store):
    run(stub, store)
    assert run(stub, store) == NOTHING and stub.requests == []


def test_a_run_of_the_past_asks_only_for_what_lies_before_the_store(stub, store):
    run(stub, store, NEXT)
    summary = run(stub, store, RUN, at=NEXT)
    (query,) = stub.asked("/v2/stocks/bars")
    first = str(dates.shift(RUN, -251).date())
    assert query["start"][:10] == query["end"][:10] == first
    assert summary.fetched == summary.new == 3 and stored(store) == expected(stub)


def test_the_next_session_costs_one_page_and_brings_revisions(stub, store):
    run(stub, store)
    stub.bars["AAPL"]["2024-06-28"] = 12.5
    stub.bars["SPY"]["2024-06-20"] = 99.0  # older than the overlap
    summary = run(stub, store, NEXT)
    assert (summary.pages, summary.fetched, summary.new, summary.revised) == (1, 9, 3, 1)
    assert len(stub.asked("/v2/stocks/bars")) == 1
    then = store.bars_asof(RUN, dates.scheduled(RUN), 1, ["AAPL"])["close"].item()
    now = store.bars_asof(RUN, dates.scheduled(NEXT), 1, ["AAPL"])["close"].item()
    assert then < 11 and now == 12.5
    assert stored(store, NEXT)["SPY"]["2024-06-20"] < 11


def test_a_new_name_is_fetched_whole_beside_the_others(stub, store):
    run(stub, store, symbols=["AAPL", "SPY"])
    summary = run(stub, store, NEXT)
    assert stored(store, NEXT).keys() == set(NAMES)
    assert len(stored(store, NEXT)["BRK.B"]) == len(expected(stub, NEXT)["BRK.B"])
    assert summary.fetched == len(expected(stub, NEXT)["BRK.B"]) + 2 * 3


def test_missed_sessions_are_caught_up(stub, store):
    run(stub, store, EVERY[-20])
    run(stub, store, EVERY[-1])
    for symbol, bars in expected(stub, EVERY[-1]).items():
        assert stored(store, EVERY[-1])[symbol].items() >= bars.items()


def test_actions_taken_back_or_changed_are_followed(stub, store):
    run(stub, store)
    stub.groups["cash_dividends"] = [
        {"id": "d2", "symbol": "AAPL", "ex_date": "2024-06-27", "rate": 0.5}
    ]
    summary = run(stub, store, NEXT)
    assert summary.actions == 2
    assert store.actions_asof(NEXT)["id"].tolist() == ["d2"]
    assert store.actions_asof(RUN, dates.scheduled(RUN))["id"].tolist() == ["d1"]


def test_an_ingest_that_broke_off_keeps_its_pages_and_goes_on(stub, store, monkeypatch):
    monkeypatch.setattr(market_client, "PAUSES", ())
    down = (503, {}, b"")
    market = stub.connect()
    pages = market._get
    calls: list[int] = []

    def breaks(client, path, query, *more):
        calls.append(1)
        if len(calls) == 6:  # the assets, four pages, and then
            stub.faults = [down]
        return pages(client, path, query, *more)

    market._get = breaks
    with pytest.raises(Unreachable):
        ingest(market, store, NAMES, RUN, dates.scheduled(RUN), SETTINGS, _deaf)
    kept = sum(len(b) for b in stored(store).values())
    assert kept == 400
    summary = run(stub, store)
    assert stored(store) == expected(stub)
    total = sum(len(b) for b in expected(stub).values())
    assert summary.new == total - kept
    assert summary.fetched <= total - kept + 1, "at most the last bar of the broken page again"
    assert run(stub, store) == NOTHING


def test_a_day_that_has_not_arrived_is_asked_for_again(stub, store):
    full = {s: dict(b) for s, b in stub.bars.items()}
    for bars in stub.bars.values():
        bars.pop("2024-06-28")
    run(stub, store)
    assert "2024-06-28" not in stored(store)["SPY"]
    stub.bars = full
    summary = run(stub, store)
    assert summary.new == 3 and stored(store) == expected(stub)
    assert run(stub, store) == NOTHING


def test_a_name_that_stopped_trading_is_not_asked_for_again_and_again(stub, store):
    stub.page = 10_000
    names = [*NAMES, *(f"X{n}" for n in range(30))]
    stub.bars |= {f"X{n}": stub.bars["SPY"] for n in range(30)}
    stub.bars["BRK.B"] = {d: c for d, c in stub.bars["BRK.B"].items() if d < "2024-01-01"}
    run(stub, store, symbols=names)
    assert run(stub, store, symbols=names) == NOTHING
    run(stub, store, NEXT, names)
    _, *again = stub.asked("/v2/stocks/bars")
    assert [query["symbols"] for query in again] in ([], ["BRK.B"])


def test_before_the_close_nothing_is_fetched(stub, store):
    early = dates.close_of(RUN) - pd.Timedelta(minutes=1)
    with pytest.raises(SettingsError, match="after the close"):
        ingest(stub.connect(), store, NAMES, RUN, early, SETTINGS, _deaf)
    assert stub.requests == []


def test_rows_that_are_no_bars_are_counted_and_named(stub, store):
    stub.bars["AAPL"]["2024-06-28"] = None
    summary = run(stub, store)
    assert summary.dropped == 1
    assert summary.dropped_rows == ("AAPL 2024-06-28: a price or the volume is missing",)


def test_what_was_learnt_later_than_the_run_is_fetched_for_it_again(stub, store):
    """A run taken up again reads as of its own beginning, whatever was ingested since."""
    run(stub, store, NEXT)
    before = store.bars_asof(NEXT, dates.scheduled(NEXT))
    run(stub, store, RUN)
    assert len(store.bars_asof(RUN, dates.scheduled(RUN), 1)) == 3
    pd.testing.assert_frame_equal(store.bars_asof(NEXT, dates.scheduled(NEXT), 252), before)


def test_history_reaches_as_far_back_as_wanted_and_is_cut_into_units(stub, store, monkeypatch):
    monkeypatch.setattr(data_plan, "BARS_PER_UNIT", 600)
    run(stub, store, first=pd.Timestamp("2023-06-03"))  # a Saturday
    days = [d for d in stub.bars["SPY"] if "2023-06-03" < d <= str(RUN.date())]
    assert {s: list(bars) for s, bars in stored(store).items()} == {s: days for s in NAMES}
    asked = {query["symbols"] for query in stub.asked("/v2/stocks/bars")}
    assert asked == {"AAPL,BRK.B", "SPY"}
    assert store.ingests()["complete"].tolist() == [False, True, False, True]


def test_adjusted_closes_of_a_sample_are_held_against_the_vendors(stub, store):
    settings = SETTINGS.model_copy(update={"vendor_sample": 2})
    told: list = []
    run(stub, store, settings=settings, told=told)
    asked = stub.asked("/v2/stocks/bars")
    (symbols,) = {query["symbols"] for query in asked if query["adjustment"] == "all"}
    names = symbols.split(",")
    assert len(names) == 2 and told[-1] == ("complete", 1.0)
    found = store.checks_asof(RUN, dates.scheduled(RUN)).set_index("symbol")
    assert set(found.index) == set(names)
    # this vendor does not adjust: it lacks the dividend of AAPL, and of the others nothing
    assert (found["differs"] == (found.index == "AAPL")).groupby(level=0).any().all()
    assert store.checks_asof(RUN, dates.scheduled(RUN) - pd.Timedelta("1s")).empty
    assert run(stub, store, settings=settings) == NOTHING and stub.requests == []


# -- killed anywhere ------------------------------------------------------------------------------


def _ingest_watched(url: str, path: Path, log: Path, fatal: int) -> None:
    """The real ingest in a process of its own, which dies at its `fatal`-th instant."""
    crash.watch(crash.Instants(log, fatal))
    settings = SETTINGS.model_copy(update={"vendor_sample": 2})
    market = market_client.connect(url, url, "PKTEST", "secret", settings)
    ingest(market, Store(path, 10.0), NAMES, RUN, dates.scheduled(RUN), settings, _deaf)


def _killed(stub, path: Path, log: Path, fatal: int) -> int | None:
    process_ = crash.CONTEXT.Process(target=_ingest_watched, args=(stub.url, path, log, fatal))
    process_.start()
    process_.join(60)
    return process_.exitcode


@pytest.mark.slow
def test_killed_anywhere_and_begun_again_nothing_is_lost_and_nothing_is_twice(stub, tmp_path):
    stub.page, log = 250, tmp_path / "instants"
    assert _killed(stub, tmp_path / "whole.duckdb", log, 0) == 0
    instants = log.read_text().splitlines()
    assert len(instants) > 30 and len(set(instants)) >= 5
    whole = Store(tmp_path / "whole.duckdb").contents()
    for fatal in range(3, len(instants) - 6, 5):  # pages stored together spare an instant or two
        path = tmp_path / f"{fatal}.duckdb"
        assert _killed(stub, path, tmp_path / f"{fatal}.log", fatal) == -signal.SIGKILL
        run(stub, Store(path), settings=SETTINGS.model_copy(update={"vendor_sample": 2}))
        assert Store(path).contents() == whole, instants[fatal - 1]


@pytest.mark.slow
def test_against_the_twin_bars_actions_and_adjustment_agree(tmp_path):
    """The twin adjusts by code of its own: both must come to the same total-return prices."""
    first, last = pd.Timestamp("2024-06-26"), pd.Timestamp("2024-06-27")
    settings = DataSettings(history_years=3)
    universe = tmp_path / "names.csv"
    rows = "".join(f"{s},{s},Information Technology,stock\n" for s in ("AAPL", "KO", "MSFT", "XOM"))
    universe.write_text(f"symbol,name,sector,kind\n{rows}SPY,Fund,Broad Equity,etf\n")
    names = ["AAPL", "KO", "MSFT", "SPY", "XOM"]
    store = Store(tmp_path / "market.duckdb")
    now = dates.scheduled(first)
    with process.attach_or_start(tmp_path / "twin.db", SimulatorSettings(), universe, now) as twin:
        market = market_client.connect(twin.url, twin.url, "PKTEST", "secret", settings)
        assert market.clock() >= now
        ingest(market, store, names, first, market.clock(), settings, _deaf)
        assert ingest(market, store, names, first, market.clock(), settings, _deaf) == NOTHING
        twin.set_clock(dates.scheduled(last))
        summary = ingest(market, store, names, last, market.clock(), settings, _deaf)
        assert summary.pages == 1 and summary.new == 5 and summary.revised == 0
        panel = to_panel(store.bars_asof(last), store.actions_asof(last), last)
        for symbol in names:
            theirs = _adjusted(market, symbol, panel.sessions[0], last)
            mine = panel.close[symbol].dropna()
            assert mine.index.equals(theirs.index)
            np.testing.assert_allclose(mine, theirs, rtol=2e-4)
    assert set(store.assets_asof()["status"]) == {"active"}
    assert (store.actions_asof(last)["type"] == "cash_dividend").sum() >= 10


def _adjusted(market, symbol: str, first: pd.Timestamp, last: pd.Timestamp) -> pd.Series:
    """Closes as the service itself adjusts them."""
    query = {
        "symbols": symbol,
        "timeframe": "1Day",
        "adjustment": "all",
        "start": str(first.date()),
        "end": f"{last.date()}T23:00:00Z",
        "limit": 10_000,
    }
    rows = market._stocks.get("/stocks/bars", query)["bars"][symbol]
    stamps = pd.DatetimeIndex([row["t"] for row in rows]).tz_convert("America/New_York")
    index = stamps.tz_localize(None).normalize().as_unit("us")
    return pd.Series([row["c"] for row in rows], index=index)
