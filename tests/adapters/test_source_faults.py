"""What a source of market data can do wrong, done by the twin over real HTTP.

Every fault ends in the very data of an undisturbed ingest, or in a stop that says why; and once the
fault is gone, the next ingest comes to the undisturbed data in either case.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pandas as pd
import pytest
import requests

from quant50lib.adapters import market_client, universe
from quant50lib.adapters.market import IngestSummary, MarketData, connect, ingest
from quant50lib.adapters.store import Store
from quant50lib.errors import BrokerError, DataQualityError, Unreachable
from quant50lib.services import universe as names_of
from quant50lib.services.data import day_universe, findings, require_sound_day, to_panel
from quant50lib.services.panel import Panel
from quant50lib.settings import DataSettings, FeatureSettings, SimulatorSettings
from quant50lib.simulator.process import Twin, attach_or_start
from quant50lib.utils import dates
from tests import twins

pytestmark = pytest.mark.slow

SETTINGS = DataSettings(history_years=1, vendor_sample=0, request_timeout_seconds=0.4)
EVE, RUN = twins.SESSIONS[10], twins.SESSIONS[11]
NAMES = list(twins.SYMBOLS)
FOR_EVER = 999


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Twin]:
    with twins.running(tmp_path_factory.mktemp("source"), RUN) as twin:
        yield twin


@pytest.fixture(scope="module")
def undisturbed(source: Twin, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    store = Store(tmp_path_factory.mktemp("undisturbed") / "market.duckdb")
    fetch(source, store)
    return digests(store)


@pytest.fixture
def twin(source: Twin, monkeypatch: pytest.MonkeyPatch) -> Iterator[Twin]:
    """The twin, asked for small pages; without faults before and after."""
    monkeypatch.setattr(market_client, "BARS_PER_PAGE", 20)
    twins.no_faults(source)
    yield source
    twins.no_faults(source)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "market.duckdb", 2.0)


def client(twin: Twin) -> MarketData:
    """The real client, which makes its pauses short."""
    market = connect(twin.url, twin.url, "PKTEST", "secret", SETTINGS)
    market._sleep = lambda seconds: None
    return market


def fetch(twin: Twin, store: Store, session: pd.Timestamp = RUN) -> IngestSummary:
    at = dates.scheduled(session)
    return ingest(client(twin), store, NAMES, session, at, SETTINGS, lambda doing, share: None)


def digests(store: Store) -> tuple[str, str]:
    """Of everything known up to the session: bars, and corporate actions."""
    return store.digest(store.bars_asof(RUN)), store.digest(store.actions_asof(RUN))


def break_bars(twin: Twin, fault: str, times: int = 1, nth: int = 1, **arguments: object) -> None:
    twins.fault(twin, {fault: arguments}, times, path_regex="/stocks/bars", nth=nth)


def found(store: Store) -> pd.DataFrame:
    """What the gates find."""
    listed = pd.DataFrame({"symbol": NAMES})
    bars, actions = store.bars_asof(RUN), store.actions_asof(RUN)
    return findings(bars, actions, listed, RUN, SETTINGS, "SPY")


def judge(store: Store) -> None:
    """Stop where the gates say so."""
    require_sound_day(found(store))


# ---- what ends in the right data at once ---------------------------------------------------------

BUSY = {"code": 429, "body": {"message": "too many requests."}}
#: (fault, from which request on, how many times, arguments); a page takes up to five attempts
PASSING = {
    "pages": (
        ("empty_page_with_token", 1, 2, {}),
        ("short_page", 1, FOR_EVER, {"rows": 13}),
        ("token_empty_string", 1, FOR_EVER, {}),
    ),
    "rows": (
        ("duplicate_rows", 1, FOR_EVER, {}),
        ("shuffle_pages", 1, FOR_EVER, {}),
        ("null_field", 1, FOR_EVER, {"name": "vw"}),
    ),
    "nulls": (("null_bars", 2, 2, {}), ("null_symbol", 5, 2, {})),
    "connection": (
        ("status", 1, 2, BUSY),
        ("status", 3, 1, {"code": 500}),
        ("html", 4, 1, {"code": 504}),
        ("truncate", 6, 1, {}),
        ("empty_200", 7, 1, {}),
        ("drop_before", 8, 1, {}),
        ("drop_after", 9, 1, {}),
        ("reset", 11, 1, {}),
        ("redirect", 12, 1, {}),
        ("hang", 13, 1, {}),
    ),
    "holes": (
        ("nan_volume", 1, 1, {}),
        ("null_field", 2, 1, {"name": "c"}),
        ("drop_rows", 3, 1, {}),
    ),
    "page": (("drop_rows", 1, 1, {"rows": 20}),),
    "stale": (("stale", 1, 4, {"days": 1}),),
}


@pytest.mark.parametrize("faults", PASSING.values(), ids=list(PASSING))
def test_a_fault_that_passes_leaves_no_trace(twin, store, undisturbed, faults):
    for fault, nth, times, arguments in faults:
        break_bars(twin, fault, times, nth, **arguments)
    fetch(twin, store)
    assert digests(store) == undisturbed
    assert all(rule["seen"] >= rule["match"]["nth"] for rule in faults_of(twin))


def faults_of(twin: Twin) -> list[dict]:
    return requests.get(f"{twin.control_url}/sim/faults", timeout=10).json()


def test_so_it_is_with_actions_and_assets(twin, store, undisturbed):
    for path in ("/corporate-actions", "/assets"):
        storm = ({"truncate": {}}, {"status": BUSY}, {"html": {"code": 502}}, {"drop_after": {}})
        for nth, action in enumerate(storm, start=1):
            twins.fault(twin, action, path_regex=path, nth=nth)
    fetch(twin, store)
    assert digests(store) == undisturbed
    assert store.assets_asof()["tradable"].all()


# ---- what stops, and why -------------------------------------------------------------------------

AGAIN = b64encode(b"AAA|D|1970-01-01T00:00:00Z").decode()


#: (fault, from which request on, arguments, the error, its words), in order: pages pile up
STAYING = (
    ("drop_rows", 1, {"rows": 99}, Unreachable, "no bars of 6 of 6 names.*AAA, BBB, CCC"),
    ("null_field", 1, {"name": "o"}, Unreachable, "no bars of 6 of 6 names"),
    ("null_bars", 1, {}, Unreachable, "/stocks/bars.*page 1 answered.*'bars': None"),
    ("null_symbol", 3, {}, Unreachable, "page 3 answered null for DDD"),
    (
        "after",
        2,
        {"code": 200, "body": {"bars": {}, "next_page_token": AGAIN}},
        Unreachable,
        f"the page '{AGAIN}' twice",
    ),
    ("status", 1, BUSY, Unreachable, "5 attempts.*HTTP 429"),
    ("status", 1, {"code": 403}, BrokerError, "our keys or our subscription"),
    ("truncate", 1, {}, Unreachable, "/stocks/bars: no usable answer after 5 attempts"),
    ("hang", 1, {}, Unreachable, "5 attempts.*[Tt]imed out"),
)


def test_a_fault_that_stays_stops_the_ingest_and_nothing_is_lost(twin, store, undisturbed):
    for fault, nth, arguments, error, said in STAYING:
        break_bars(twin, fault, FOR_EVER, nth, **arguments)
        with pytest.raises(error, match=said) as caught:
            fetch(twin, store)
        assert "secret" not in str(caught.value)
        twins.no_faults(twin)
    fetch(twin, store)
    judge(store)
    assert digests(store) == undisturbed


@pytest.mark.parametrize(
    ("name", "arguments", "said"),
    [
        ("stale", {"days": 1}, "coverage: 0.0% of 6 live names.*AAA, BBB"),
        ("nan_volume", {}, "SPY has no sound bar"),
    ],
)
def test_data_with_holes_pass_no_gate_and_are_asked_for_until_they_come(
    twin, store, undisturbed, name, arguments, said
):
    break_bars(twin, name, FOR_EVER, **arguments)
    fetch(twin, store)
    with pytest.raises(DataQualityError, match=said):
        judge(store)
    assert digests(store) != undisturbed
    twins.no_faults(twin)
    fetch(twin, store)
    judge(store)
    assert digests(store) == undisturbed


def test_a_hole_keeps_its_name_out_until_it_is_filled(twin, store, undisturbed, monkeypatch):
    monkeypatch.setattr(market_client, "BARS_PER_PAGE", 10_000)
    break_bars(twin, "drop_rows", FOR_EVER)  # of each name's rows the one in the middle
    fetch(twin, store)
    held = found(store).query("severity == 'quarantine' and gate == 'gap'")
    assert set(held["symbol"]) == set(NAMES)
    twins.no_faults(twin)
    fetch(twin, store)
    assert digests(store) == undisturbed
    assert fetch(twin, store).pages == 0, "and then everything is there"


def test_half_a_universe_is_no_universe(twin, store, undisturbed, monkeypatch):
    """Three of six names are withheld, also when they are asked for again."""
    monkeypatch.setattr(market_client, "BARS_PER_PAGE", 36)
    for nth in (1, 3):
        break_bars(twin, "drop_rows", nth=nth, rows=99)
    with pytest.raises(Unreachable, match="no bars of 3 of 6 names.*AAA, BBB, CCC"):
        fetch(twin, store)
    fetch(twin, store)
    assert digests(store) == undisturbed


def test_half_a_day_is_no_day(twin, store, undisturbed, monkeypatch):
    fetch(twin, store, EVE)
    monkeypatch.setattr(market_client, "BARS_PER_PAGE", 18)
    for nth in (1, 3):
        break_bars(twin, "drop_rows", nth=nth, rows=99)
    fetch(twin, store)
    with pytest.raises(DataQualityError, match="50.0% of 6 live names.*AAA, BBB, CCC"):
        judge(store)
    fetch(twin, store)
    judge(store)
    assert digests(store) == undisturbed


# ---- names that go -------------------------------------------------------------------------------

LAST, RENAMED = twins.SESSIONS[6], twins.SESSIONS[7]


@contextmanager
def going(folder: Path) -> Iterator[Twin]:
    """The twin of a market in which BBB becomes BETA, and EEE vanishes after `LAST`."""
    twins.write_market(folder)
    file = folder / "bars.parquet"
    bars = pd.read_parquet(file)
    gone = (bars["symbol"] == "EEE") & (pd.to_datetime(bars["date"]) > LAST)
    bars[~gone].to_parquet(file, index=False)
    market = SimulatorSettings(market=str(file), actions=folder / "actions.csv")
    now = dates.scheduled(LAST)
    with attach_or_start(folder / "twin.db", market, folder / "names.csv", now) as twin:
        yield twin


def tell(twin: Twin, path: str, said: dict[str, object]) -> None:
    reply = requests.post(f"{twin.control_url}/sim/{path}", json=[said], timeout=10)
    reply.raise_for_status()


def test_names_that_are_renamed_or_vanish_in_the_middle(tmp_path, store):
    """One is a single name all along, splits included; the other is kept out and keeps its past."""
    with going(tmp_path) as twin:
        fetch(twin, store, LAST)
        past = store.bars_asof(LAST, symbols=["EEE"])
        change = {"type": "name_change", "old_symbol": "BBB", "new_symbol": "BETA"}
        tell(twin, "corporate_actions", change | {"process_date": str(RENAMED.date())})
        tell(twin, "assets", {"symbol": "EEE", "status": "inactive", "tradable": False})
        for session in (RENAMED, RUN):
            twin.set_clock(dates.scheduled(session))
            fetch(twin, store, session)
            assert day_of(store, session)[0].close["BETA"].loc[twins.SESSIONS[0] :].notna().all()
        fresh = Store(tmp_path / "fresh.duckdb")
        fetch(twin, fresh)
    closes = twins.closes().loc[:RUN, "BBB"]
    split = twins.SESSIONS[4]  # three for two
    expected = closes.where(closes.index >= split, closes * 2 / 3)
    for each in (store, fresh):
        panel, table = day_of(each, RUN)
        adjusted = panel.close["BETA"].loc[twins.SESSIONS[0] :]
        assert adjusted.to_numpy() == pytest.approx(expected.to_numpy(), rel=1e-12)
        assert "BBB" not in panel.symbols and table.loc["BETA", "reason"] == ""
        assert table.loc["EEE", "reason"] == "not listed"
        assert each.bars_asof(RUN, symbols=["EEE"]).equals(past)
    known = dates.scheduled(LAST)
    assert universe.tickers(store, NAMES, LAST, known) == NAMES, "the past has the old ticker"


def day_of(store: Store, session: pd.Timestamp) -> tuple[Panel, pd.DataFrame]:
    """The panel of a session and its names, as a stage sees them."""
    renamed = universe.changes_of_name(store, session, None)
    bars = names_of.unified(store.bars_asof(session), renamed, ["session"])
    actions = names_of.unified_actions(store.actions_asof(session), renamed)
    listed = pd.DataFrame({"symbol": NAMES, "name": "N", "sector": "X", "kind": "stock"})
    listed = names_of.under_present_names(listed, renamed)
    panel = to_panel(bars, actions, session)
    seen = findings(bars, actions, listed, session, SETTINGS).query("gate != 'stale'")
    liquid = FeatureSettings(min_dollar_volume=0)
    data = SETTINGS.model_copy(update={"min_history_sessions": 1})
    table = day_universe(listed, panel, seen, store.assets_asof(), session, data, liquid)
    return panel, table.set_index("symbol")
