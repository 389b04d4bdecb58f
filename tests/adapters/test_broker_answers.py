"""What the broker's answers mean: records, refusals, new words, and lists of many pages."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pandas as pd
import pytest
import requests
from alpaca.common.exceptions import APIError

from quant50lib.adapters import broker as module
from quant50lib.adapters import broker_errors as answers
from quant50lib.adapters import broker_records as records
from quant50lib.adapters.broker import Broker
from quant50lib.errors import BrokerError, OrderRefused, OutcomeUnknown, Unreachable
from quant50lib.settings import ExecuteSettings

D = Decimal
ORDER = {
    "id": "b1",
    "client_order_id": "c1",
    "symbol": "AAA",
    "side": "buy",
    "qty": "1.5",
    "status": "accepted",
    "submitted_at": "2024-06-03T20:00:00.123456789Z",
    "filled_qty": "0",
    "filled_avg_price": None,
}
ACCOUNT = {
    "account_number": "PA1",
    "status": "ACTIVE",
    "cash": "10",
    "equity": "10",
    "buying_power": "10",
}
POSITION = {"symbol": "AAA", "qty": "2", "qty_available": "1", "avg_entry_price": "3.5"}
FILL = {
    "id": "f1",
    "order_id": "b1",
    "symbol": "AAA",
    "side": "buy",
    "qty": "1",
    "price": "2",
    "transaction_time": "2024-06-03T13:30:00Z",
}


# -- records ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "filled", "state"),
    [
        ("new", "0", "accepted"),
        ("pending_cancel", "0", "accepted"),
        ("pending_cancel", "0.5", "partially_filled"),
        ("partially_filled", "0.5", "partially_filled"),
        ("filled", "1.5", "filled"),
        ("canceled", "0.5", "cancelled"),
        ("done_for_day", "0", "expired"),
        ("rejected", "0", "refused"),
    ],
)
def test_the_brokers_words_in_ours(status: str, filled: str, state: str) -> None:
    assert records.order({**ORDER, "status": status, "filled_qty": filled}).state == state


def test_an_unknown_word_is_a_live_order_and_is_shown() -> None:
    order = records.order({**ORDER, "status": "quantum", "new_field": {"a": 1}})
    assert order.state == "accepted" and "'quantum'" in order.remark and order.status == "quantum"
    assert order.unknown == ("order.status = 'quantum'", "order.new_field")
    known = records.order(ORDER)
    assert known.remark == "" and known.unknown == ()
    assert "rejected" in records.order({**ORDER, "status": "rejected"}).remark


def test_numbers_are_exact_in_either_form() -> None:
    assert records.decimal("0.1") + records.decimal(0.2) == D("0.3")
    assert records.decimal(None) == records.decimal("") == 0


@pytest.mark.parametrize("value", ["NaN", "Infinity", "1,000", {}, True, None, ""])
@pytest.mark.parametrize(
    ("parse", "good", "name"),
    [
        (records.account, ACCOUNT, "cash"),
        (records.account, ACCOUNT, "buying_power"),
        (records.position, POSITION, "qty"),
        (records.execution, FILL, "price"),
    ],
)
def test_an_amount_that_is_none_is_an_error_that_names_it(
    parse: Callable[[Any], Any], good: dict[str, Any], name: str, value: object
) -> None:
    assert parse(good)
    with pytest.raises(ValueError, match=f"{name} is .* where a number belongs"):
        parse({**good, name: value})


@pytest.mark.parametrize("name", ["id", "client_order_id", "symbol", "side", "status"])
def test_an_order_without_its_words_is_none(name: str) -> None:
    with pytest.raises(ValueError, match=f"{name} is None where a word belongs"):
        records.order({**ORDER, name: None})


def test_an_activity_without_a_time_counts_from_its_day() -> None:
    raw = {"id": "a", "activity_type": "DIV", "date": "2024-06-03", "net_amount": "1.5"}
    activity = records.activity(raw)
    assert activity.at == pd.Timestamp("2024-06-03 04:00", tz="UTC")
    assert (activity.amount, activity.symbol, activity.qty) == (D("1.5"), "", 0)


# -- refusals -----------------------------------------------------------------------------------

NOT_ACTIVE = 'asset "AAA" is not active'
TEXTS = [
    (40310000, "insufficient buying power", "insufficient_buying_power"),
    (40310000, "insufficient qty available for order (requested: 2, available: 1)", "insufficient_qty"),
    (40310000, "account is not allowed to short", "insufficient_qty"),
    (42210000, 'asset "AAA" cannot be sold short', "insufficient_qty"),
    (40310000, "potential wash trade detected. use complex orders", "wash"),
    (42210000, "requested asset is not fractionable", "not_fractionable"),
    (40310000, "fractional trading is disabled for this account", "not_fractionable"),
    (42210000, 'asset "AAA" not found', "untradable"),
    (42210000, NOT_ACTIVE, "untradable"),
    (40010001, NOT_ACTIVE, "untradable"),
    (42210000, 'asset "AAA" is not tradable', "untradable"),
    (40310000, "account is restricted to liquidation only", "account_blocked"),
    (40310000, "account not authorized to trade", "account_blocked"),
    (40310000, "new orders are rejected by user request", "account_blocked"),
    (40310000, "cost basis must be >= minimal amount of order 1", "validation"),
    (40010001, "qty must be > 0", "validation"),
    (40010001, "only one of qty or notional is accepted", "validation"),
    (40010001, "client_order_id must be no more than 128 characters", "validation"),
    (42210000, "fractional orders must be DAY orders", "validation"),
    (42210000, "no words that we have seen before", "other"),
]  # fmt: skip


@pytest.mark.parametrize("status", [403, 422])
@pytest.mark.parametrize(("code", "text", "kind"), TEXTS)
def test_a_refusal_is_sorted_whichever_status_it_comes_with(
    status: int, code: int, text: str, kind: str
) -> None:
    assert answers.refusal(status, {"code": code, "message": text}) == kind
    assert answers.refusal(status, {"message": text.upper()}) == kind


@pytest.mark.parametrize(
    ("field", "kind"),
    [
        ("buying_power", "insufficient_buying_power"),
        ("held_for_orders", "insufficient_qty"),
        ("existing_order_id", "wash"),
    ],
)
def test_a_refusal_in_new_words_is_sorted_by_its_fields(field: str, kind: str) -> None:
    body = {"code": 40310000, "message": "we thought of better words", field: "1"}
    assert answers.refusal(403, body) == kind


@pytest.mark.parametrize("status", [200, 202, 302, 402, 408, 409, 425, 429, 500, 502, 503, 504])
def test_no_other_status_is_a_refusal_whatever_it_says(status: int) -> None:
    body = {"code": 40310000, "message": "insufficient buying power"}
    assert answers.refusal(status, body) is None


@pytest.mark.parametrize("status", [400, 403, 404, 405, 422])
def test_a_gateways_page_is_never_a_refusal(status: int) -> None:
    assert answers.refusal(status, {}) is None


def test_a_missing_route_is_a_refusal_only_in_the_services_own_words() -> None:
    assert answers.refusal(404, {"message": "not found"}) is None
    assert answers.refusal(404, {"code": 40410000, "message": "endpoint not found."}) == "other"


@pytest.mark.parametrize("code", [40010001, 40310000, 42210000])
@pytest.mark.parametrize(
    "text", ["client_order_id must be unique", "client order id already exists", "Client_Order_ID?"]
)
def test_a_name_that_is_taken_is_no_refusal_because_then_the_order_exists(
    code: int, text: str
) -> None:
    assert answers.refusal(422, {"code": code, "message": text}) is None


# -- a broker that answers what a test says -------------------------------------------------------


def failure(status: int, body: Any, **headers: str) -> APIError:
    """What alpaca-py raises for an answer."""
    reply = requests.Response()
    reply.status_code = status
    reply._content = (body if isinstance(body, str) else json.dumps(body)).encode()
    reply.headers.update({name.replace("_", "-"): value for name, value in headers.items()})
    return APIError(reply.text, requests.HTTPError(response=reply))


class Client:
    """In place of alpaca-py: answers each call from a list, or by a function of the query."""

    def __init__(self, *said: Any, by: Callable[[str, dict[str, Any]], Any] | None = None) -> None:
        self._said, self._by = list(said), by
        self.calls: list[str] = []

    def _answer(self, path: str, query: dict[str, Any]) -> Any:
        self.calls.append(path)
        found = self._by(path, query) if self._by else self._said.pop(0)
        if isinstance(found, Exception):
            raise found
        return found

    get = post = _answer

    def delete(self, path: str) -> Any:
        return self._answer(path, {})


def broker(client: Client, slept: list[float] | None = None) -> Broker:
    sleep = (lambda seconds: None) if slept is None else slept.append
    return Broker(client, ExecuteSettings(), sleep)  # type: ignore[arg-type]


def test_a_refusal_carries_its_kind_and_the_brokers_words() -> None:
    no = failure(403, {"code": 40310000, "message": "insufficient buying power"})
    with pytest.raises(OrderRefused, match="^403: insufficient buying power$") as caught:
        broker(Client(ACCOUNT, no)).submit("c1", "AAA", "buy", D(1))
    assert caught.value.kind == "insufficient_buying_power"


def test_refused_keys_stop_the_desk() -> None:
    for body in ("<html>401</html>", {"message": "unauthorized."}):
        with pytest.raises(BrokerError, match="does not accept the keys") as caught:
            broker(Client(ACCOUNT, failure(401, body))).submit("c1", "AAA", "buy", D(1))
        assert not isinstance(caught.value, OrderRefused | OutcomeUnknown)


@pytest.mark.parametrize(
    "said",
    [None, {}, [], "ok", {"id": "b1"}, {**ORDER, "client_order_id": "c2"}, {**ORDER, "qty": "x"}],
    ids=str,
)
def test_a_success_that_is_not_the_order_is_unknown(said: Any) -> None:
    with pytest.raises(OutcomeUnknown, match="c1"):
        broker(Client(ACCOUNT, said)).submit("c1", "AAA", "buy", D(1))


def test_no_order_goes_to_an_account_that_is_not_paper() -> None:
    client = Client({**ACCOUNT, "account_number": "123"})
    with pytest.raises(BrokerError, match="nothing was sent"):
        broker(client).submit("c1", "AAA", "buy", D(1))
    with pytest.raises(BrokerError, match="nothing was sent"):
        broker(Client({**ACCOUNT, "account_number": None})).cancel("b1")
    assert client.calls == ["/account"]


def test_an_order_is_absent_only_if_the_service_itself_says_so() -> None:
    gone = failure(404, {"code": 40410000, "message": "order not found for c1"})
    assert broker(Client(gone)).find("c1") is None
    page = failure(404, "<html>404</html>", X_Request_ID="r7")
    with pytest.raises(Unreachable, match="HTTP 404 without a usable body"):
        broker(Client(page, page, page, page)).find("c1")
    other = {**ORDER, "client_order_id": "c2"}
    with pytest.raises(Unreachable, match="about the order c2"):
        broker(Client(other, other, other, other)).find("c1")
    assert broker(Client(page, gone)).find("c1") is None


@pytest.mark.parametrize(
    ("raw", "named"),
    [
        ({**ACCOUNT, "cash": "NaN"}, "cash is 'NaN'"),
        ({**ACCOUNT, "equity": None}, "equity is None"),
    ],
)
def test_an_amount_that_stays_wrong_is_one_clear_error(raw: dict[str, Any], named: str) -> None:
    with pytest.raises(BrokerError, match=f"GET /account .*{named} where a number belongs"):
        broker(Client(raw, raw, raw, raw)).account()
    assert broker(Client(raw, ACCOUNT)).account().cash == 10


@pytest.mark.parametrize("row", [{**FILL, "qty": "NaN"}, {"id": "x"}, "row", None, 7])
def test_a_fill_that_is_none_is_one_clear_error(row: Any) -> None:
    with pytest.raises(BrokerError, match="GET /account/activities/FILL"):
        broker(Client(*[[row]] * 4)).executions()


def test_what_is_new_is_said_once_and_remembered(caplog: pytest.LogCaptureFixture) -> None:
    strange = {**ORDER, "status": "quantum", "hue": "red"}
    desk = broker(Client([strange, {**strange, "id": "b2"}], [strange], {**ACCOUNT, "mood": 1}))
    with caplog.at_level(logging.WARNING):
        desk.orders(), desk.orders(), desk.account()
    news = ("order.status = 'quantum'", "order.hue", "account.mood")
    assert desk.unknown == news
    assert [r.getMessage() for r in caplog.records] == [
        f"the broker says {word}, which we do not know" for word in news
    ]


def test_the_brokers_clock_beside_ours() -> None:
    desk = broker(Client({"timestamp": "2024-06-03T16:00:30.5-04:00"}))
    assert desk.skew(pd.Timestamp("2024-06-03 20:00:00", tz="UTC")) == pd.Timedelta("30.5s")


# -- patience -----------------------------------------------------------------------------------


def test_a_busy_service_that_does_not_say_for_how_long_is_left_alone_for_longer() -> None:
    busy, down = failure(429, {"message": "slow down"}), failure(503, "<html>503</html>")
    slept: list[float] = []
    assert broker(Client(down, busy, down, ACCOUNT), slept).account()
    assert slept == [module.PAUSES[0], module.PAUSES[1] * module.BUSY, module.PAUSES[2]]


def test_where_it_says_so_the_pace_waits_and_not_we() -> None:
    slept: list[float] = []
    said = failure(429, {"message": "slow down"}, Retry_After="20")
    assert broker(Client(said, ACCOUNT), slept).account()
    assert slept == [module.PAUSES[0]]


@pytest.mark.parametrize("status", [400, 403, 404, 422])
def test_a_question_that_is_refused_is_not_asked_again(status: int) -> None:
    client = Client(failure(status, {"message": "no"}))
    with pytest.raises(BrokerError, match=f"GET /positions: HTTP {status} no"):
        broker(client).positions()
    assert len(client.calls) == 1


# -- lists of many pages --------------------------------------------------------------------------


def order_at(n: int, at: pd.Timestamp) -> dict[str, Any]:
    return {**ORDER, "id": f"b{n}", "client_order_id": f"c{n}", "submitted_at": at.isoformat()}


def served(rows: list[dict[str, Any]]) -> Client:
    """GET /v2/orders by its published rules: bounds exclusive, oldest first, at most 500."""

    def reply(path: str, query: dict[str, Any]) -> list[dict[str, Any]]:
        first = 0
        if "after" in query:
            after = pd.Timestamp(query["after"])
            first = sum(pd.Timestamp(row["submitted_at"]) <= after for row in rows)
        if "after_order_id" in query:
            assert "after" not in query
            first = 1 + [row["id"] for row in rows].index(query["after_order_id"])
        return rows[first : first + query["limit"]]

    return Client(by=reply)


START = pd.Timestamp("2024-06-03 20:00", tz="UTC")


@pytest.mark.parametrize(
    "per_moment",
    [1, 2, 3, 499, 500, 501, 1700],
)
def test_no_order_is_lost_where_many_have_one_moment(per_moment: int) -> None:
    moments = [START + pd.Timedelta(microseconds=n // per_moment) for n in range(1700)]
    rows = [order_at(n, at) for n, at in enumerate(moments)]
    client = served(rows)
    found = broker(client).orders()
    assert [order.broker_id for order in found] == [row["id"] for row in rows]
    assert len(client.calls) <= 10


def test_ten_thousand_orders_are_read_in_about_twenty_pages() -> None:
    rows = [order_at(n, START + pd.Timedelta(microseconds=n)) for n in range(10_000)]
    client = served(rows)
    assert len(broker(client).orders()) == 10_000
    assert len(client.calls) == 21


def test_an_order_seen_twice_counts_as_it_was_seen_last(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PAGE_ORDERS", 2)
    early, late = order_at(1, START), order_at(2, START + pd.Timedelta(seconds=1))
    client = Client([early, late], [{**late, "status": "filled", "filled_qty": "1.5"}])
    assert [order.status for order in broker(client).orders()] == ["accepted", "filled"]


def test_a_list_that_does_not_go_on_is_no_list(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PAGE_ORDERS", 2)
    page = [order_at(1, START), order_at(2, START)]
    with pytest.raises(Unreachable, match="does not go on after b2"):
        broker(Client(by=lambda path, query: page)).orders()
