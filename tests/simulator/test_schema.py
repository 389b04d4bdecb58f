"""Replies have the published fields; and no request that the OpenAPI describes ends in a 5xx."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from fastapi.openapi.utils import get_openapi
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from quant50lib.simulator import data_schemas, schemas
from quant50lib.simulator.app import Twin, broker_api
from quant50lib.simulator.control import control_api
from quant50lib.simulator.interface import OPERATIONS, document
from tests.proof.wire import URL
from tests.simulator.markets import TableMarket, flat
from tests.simulator.ports import SESSION, Ports, ports

SPAN = {"start": "2024-06-03", "end": "2024-06-07"}
QUIET = settings(
    max_examples=3,
    deadline=None,
    derandomize=True,
    database=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)


def test_the_table_knows_every_route(tmp_path: Path) -> None:
    routes = get_openapi(
        title="", version="", routes=broker_api(ports(tmp_path / "s.db").twin).routes
    )
    served = {(m.upper(), path) for path, methods in routes["paths"].items() for m in methods}
    assert served == set(OPERATIONS)


# ---- published fields (`ports` judges every reply on its way)


@pytest.fixture
def lived(tmp_path: Path) -> Ports:
    """An account in which much has happened, and a market with everything."""
    twin = ports(tmp_path / "s.db", SESSION, p_partial=0.5, no_shorting=False, multiplier="2")
    cash = {"type": "cash_dividend", "symbol": "BBB", "rate": 0.5, "ex_date": "2024-06-05"}
    split = {"type": "forward_split", "symbol": "AAA", "old_rate": 1.0, "new_rate": 2.0}
    twin.do("corporate_actions", [split | {"ex_date": "2024-06-06"}, cash])
    assert twin.order("bought", qty="7").status_code == 200
    assert twin.order("short", symbol="BBB", side="sell").status_code == 200
    twin.order("dollars", symbol="AAA", qty=None, notional="100")
    twin.order("far", type="limit", limit_price="1.5")
    assert twin.order("wash", side="sell", qty="1").status_code == 403
    legs = {"take_profit": {"limit_price": "500"}, "stop_loss": {"stop_price": "10"}}
    twin.order("legs", type="limit", limit_price="90", order_class="bracket", **legs)
    twin.order("poor", qty="1e6")
    twin.do("clock", {"set": "2024-06-06T14:00:00Z"})
    twin.order("fresh", type="limit", limit_price="1.5")
    return twin


def test_every_reply_has_the_published_fields(lived: Ports) -> None:
    orders = lived.get("/v2/orders", status="all", nested=True, limit=500).json()
    assert {o["client_order_id"]: o["status"] for o in orders} == {
        "bought": "filled",
        "short": "filled",
        "dollars": "filled",
        "far": "expired",
        "legs": "expired",
        "fresh": "new",
    }
    for status in ("open", "closed"):
        lived.get("/v2/orders", status=status)
    for path in ("", "/configurations", "/activities", "/activities/SPLIT"):
        assert lived.get("/v2/account" + path).status_code == 200
    assert lived.get("/v2/account/activities/SPLIT").json()
    for timeframe, period in (("1D", "1W"), ("15Min", "2D")):
        query = {"period": period, "timeframe": timeframe}
        assert lived.get("/v2/account/portfolio/history", **query).json()["equity"]
    for path in ("/v2/clock", "/v2/assets", "/v2/assets/AAA", "/v2/positions", "/v3/clock"):
        assert lived.get(path).status_code == 200
    for path in ("/v2/calendar", "/v3/calendar/NYSE"):
        assert lived.get(path, **SPAN).status_code == 200
    assert {p["side"] for p in lived.get("/v2/positions").json()} == {"long", "short"}
    assert lived.get("/v2/positions/BBB").json()["qty"] == "-2"


def test_every_page_of_the_data_has_the_published_fields(lived: Ports) -> None:
    for kind in ("bars", "quotes", "trades", "auctions"):
        query = SPAN | ({"timeframe": "1Day", "adjustment": "all"} if kind == "bars" else {})
        page = lived.get(f"/v2/stocks/{kind}", symbols="AAA,BBB", limit=3, **query).json()
        assert page[kind] and page["next_page_token"]
        assert lived.get(f"/v2/stocks/AAA/{kind}", **query).json()[kind]
        assert lived.get(f"/v2/stocks/ZZZ/{kind}", **query).json()[kind] is None
    for kind in ("bars", "quotes", "trades"):
        assert lived.get(f"/v2/stocks/{kind}/latest", symbols="AAA,ZZZ").json()[kind]
        assert lived.get(f"/v2/stocks/AAA/{kind}/latest").json()[kind[:-1]]
    assert lived.get("/v2/stocks/snapshots", symbols="AAA").json()["AAA"]
    assert lived.get("/v2/stocks/AAA/snapshot").json()["dailyBar"]
    assert lived.get("/v2/stocks/meta/exchanges").json()
    assert lived.get("/v2/stocks/meta/conditions/trade", tape="A").json()
    assert lived.get("/v1/corporate-actions", **SPAN).json()["corporate_actions"]
    query = {"ca_types": "dividend,split", "since": SPAN["start"], "until": SPAN["end"]}
    first, *_ = lived.get("/v2/corporate_actions/announcements", **query).json()
    assert lived.get(f"/v2/corporate_actions/announcements/{first['id']}").json() == first


def test_every_reply_to_a_change_has_the_published_fields(lived: Ports) -> None:
    fresh = lived.named("fresh").json()["id"]
    patched = lived.broker.patch(f"{URL}/v2/orders/{fresh}", json={"qty": "3"})
    assert patched.json()["replaces"] == fresh
    assert lived.broker.delete(f"{URL}/v2/orders/{fresh}").status_code == 422
    closed = lived.broker.delete(URL + "/v2/positions/BBB?qty=1")
    assert closed.json()["position_intent"] == "buy_to_close"
    assert {row["status"] for row in lived.broker.delete(URL + "/v2/orders").json()} == {200}
    assert lived.broker.delete(URL + "/v2/positions?cancel_orders=True").status_code == 207
    change = lived.broker.patch(URL + "/v2/account/configurations", json={"suspend_trade": True})
    assert change.json()["suspend_trade"]
    assert lived.order("late").json()["code"] == 40310000


def test_old_fields_are_known_where_the_rules_ask_for_them(tmp_path: Path) -> None:
    twin = ports(tmp_path / "s.db", legacy_pdt_fields=True)
    assert twin.get("/v2/account").json()["daytrade_count"] == 0
    assert "pdt_check" in twin.get("/v2/account/configurations").json()


def test_a_reply_of_another_form_is_noticed() -> None:
    clock = {"timestamp": "2024-06-03T18:00:00-04:00", "is_open": False}
    whole = clock | {"next_open": clock["timestamp"], "next_close": clock["timestamp"]}
    TypeAdapter(schemas.Clock).validate_python(whole)
    for wrong in (
        clock,
        whole | {"more": 1},
        whole | {"is_open": "no"},
        whole | {"next_open": "2024-06-03T22:00:00Z"},
    ):
        with pytest.raises(ValidationError):
            TypeAdapter(schemas.Clock).validate_python(wrong)
    for wrong in ("1.50", "01", "1e3", "+1", "", 1.5):
        with pytest.raises(ValidationError):
            TypeAdapter(schemas.Number).validate_python(wrong, strict=True)
    with pytest.raises(ValidationError):
        TypeAdapter(data_schemas.Quote).validate_python({"as_": 1.0})


# ---- no 5xx


def operations(doc: dict[str, Any]) -> list[str]:
    return [f"{m.upper()} {path}" for path, methods in doc["paths"].items() for m in methods]


def control_document() -> dict[str, Any]:
    api: Any = control_api(Twin.__new__(Twin))
    return api.openapi()


@pytest.mark.slow
@pytest.mark.parametrize("port", ["broker", "control"])
def test_no_request_ends_in_a_server_error(port: str, tmp_path: Path) -> None:
    """Whatever schemathesis makes of a document, valid or not, is answered or refused."""
    schemathesis = pytest.importorskip("schemathesis")
    modes = list(schemathesis.GenerationMode)
    doc = document() if port == "broker" else control_document()
    market = TableMarket({"SPY": flat(400.0), "XOM": flat(100.0)})
    served = ports(tmp_path / "s.db", market=market)
    schema, seen = schemathesis.openapi.from_dict(doc), set()
    session = served.broker if port == "broker" else served.control
    session.max_redirects = 0
    for found in schema.get_all_operations():
        operation = found.ok()
        cases = st.one_of(*(operation.as_strategy(generation_mode=mode) for mode in modes))

        @QUIET
        @given(cases)
        def answered(case: Any) -> None:
            wanted = case.as_transport_kwargs(base_url=URL)
            reply = session.request(**wanted)
            assert reply.status_code < 500, (operation.label, wanted, reply.text)
            seen.add(operation.label)

        answered()
    assert len(seen) > 0.9 * len(operations(doc))
