"""The broker client against a real twin, well-behaved and not."""

from __future__ import annotations

import json
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pandas as pd
import pytest
import requests

from quant50lib.adapters import broker as module
from quant50lib.adapters.broker import Broker
from quant50lib.errors import BrokerError, OrderRefused, OutcomeUnknown, Unreachable
from quant50lib.simulator.process import Twin
from quant50lib.utils import dates
from tests import twins

D = Decimal
KEYS = dict(zip(("APCA-API-KEY-ID", "APCA-API-SECRET-KEY"), module.TWIN_KEYS))


# -- against a real twin ----------------------------------------------------------------------


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Twin]:
    with twins.running(tmp_path_factory.mktemp("twin"), p_partial=0.0) as twin:
        yield twin


@pytest.fixture
def twin(server: Twin) -> Twin:
    return twins.reset(server)


@pytest.fixture
def account(twin: Twin, monkeypatch: pytest.MonkeyPatch) -> Broker:
    monkeypatch.setattr(module, "PAUSES", (0.01, 0.01, 0.01))
    return twins.broker(twin)


@pytest.mark.slow
class TestAgainstTheTwin:
    def test_clock_account_and_an_empty_book(self, account: Broker) -> None:
        assert account.clock() == dates.scheduled(twins.SESSIONS[1])
        found = account.account()
        assert (found.cash, found.equity, found.status, found.blocked) == (
            100_000,
            100_000,
            "ACTIVE",
            (),
        )
        assert account.positions() == {} and account.orders() == [] and account.executions() == []
        assert account.activities() == [] and account.find("q50-x") is None

    def test_an_order_from_its_sending_to_its_fill(self, account: Broker, twin: Twin) -> None:
        qty = D("10.123456789")
        sent = account.submit("q50-a", "AAA", "buy", qty)
        assert (sent.state, sent.qty, sent.symbol, sent.side) == ("accepted", qty, "AAA", "buy")
        assert account.find("q50-a") == sent
        assert json.loads(twins.requests_of(twin, "POST")[-1]["body"])["qty"] == str(qty)
        twin.set_clock(dates.scheduled(twins.SESSIONS[2]))
        filled = account.find("q50-a")
        assert filled is not None and (filled.state, filled.filled_qty) == ("filled", qty)
        [fill] = account.executions()
        assert (fill.broker_id, fill.qty, fill.side) == (sent.broker_id, qty, "buy")
        assert fill.at == dates.open_of(twins.SESSIONS[2])
        assert account.positions()["AAA"].qty == qty
        assert account.account().cash == 100_000 - qty * fill.price
        assert account.executions(after=fill.at) == []

    def test_a_refusal_is_in_the_brokers_words(self, account: Broker) -> None:
        with pytest.raises(OrderRefused, match="403: .*insufficient buying power"):
            account.submit("q50-a", "AAA", "buy", D(100_000))
        with pytest.raises(OrderRefused, match="422: .*ZZZ.* not found"):
            account.submit("q50-b", "ZZZ", "buy", D(1))

    def test_a_second_order_of_one_name_is_not_a_refusal(self, account: Broker) -> None:
        account.submit("q50-a", "AAA", "buy", D(1))
        with pytest.raises(OutcomeUnknown, match="must be unique"):
            account.submit("q50-a", "AAA", "buy", D(1))

    def test_a_cancelled_order(self, account: Broker) -> None:
        sent = account.submit("q50-a", "AAA", "buy", D(1))
        account.cancel(sent.broker_id)
        found = account.find("q50-a")
        assert found is not None and found.state == "cancelled"
        with pytest.raises(OrderRefused, match="404"):
            account.cancel("00000000-0000-0000-0000-000000000000")

    def test_every_page_is_read(self, account: Broker, monkeypatch: pytest.MonkeyPatch) -> None:
        names = [f"q50-{i}" for i in range(7)]
        for name in names:
            account.submit(name, "AAA", "buy", D(1))
        monkeypatch.setattr(module, "PAGE_ORDERS", 3)
        assert [order.client_order_id for order in account.orders()] == names
        assert len(account.orders(status="open")) == 7
        assert account.orders(after=account.clock() + pd.Timedelta(seconds=1)) == []

    def test_every_page_of_fills_is_read(
        self, account: Broker, twin: Twin, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for i in range(5):
            account.submit(f"q50-{i}", "AAA", "buy", D(1 + i))
        twin.set_clock(dates.scheduled(twins.SESSIONS[2]))
        monkeypatch.setattr(module, "PAGE_ACTIVITIES", 2)
        assert sorted(fill.qty for fill in account.executions()) == [1, 2, 3, 4, 5]

    def test_a_split_is_an_activity(self, account: Broker, twin: Twin) -> None:
        account.submit("q50-a", "BBB", "buy", D(3))
        twin.set_clock(dates.scheduled(twins.SESSIONS[4]))
        [activity] = account.activities()
        assert (activity.kind, activity.symbol, activity.qty) == ("SPLIT", "BBB", D("1.5"))
        assert (activity.amount, activity.at.tz_convert(dates.NEW_YORK).hour) == (0, 4)

    @pytest.mark.parametrize(
        "action",
        [
            {"status": {"code": 504, "body": "<html>504</html>", "content_type": "text/html"}},
            {"status": {"code": 429, "body": {"code": 42910000, "message": "rate limit"}}},
            {"status": {"code": 403, "body": "<html>no</html>", "content_type": "text/html"}},
            {"status": {"code": 200, "body": ""}},
            {"status": {"code": 302, "headers": {"location": "/elsewhere"}}},
            {"after": {"code": 504, "body": "<html>504</html>"}},
            {"after": {"code": 500, "body": {"code": 50010000, "message": "internal"}}},
            {"html": {"code": 502}},
            {"drop_before": {}},
            {"drop_after": {}},
            {"truncate": {"bytes": 40}},
            {"hang": {}},
        ],
        ids=lambda action: "-".join(f"{k}{v.get('code', '')}" for k, v in action.items()),
    )
    def test_no_clear_answer_is_unknown_and_nothing_is_sent_twice(
        self, twin: Twin, action: dict[str, Any]
    ) -> None:
        account = twins.broker(twin, read_timeout_seconds=0.5)
        twins.fault(twin, action, method="POST")
        with pytest.raises(OutcomeUnknown, match="q50-a"):
            account.submit("q50-a", "AAA", "buy", D(1))
        posts = [line for line in twins.requests_of(twin, "POST") if "orders" in line["path"]]
        assert len(posts) <= 1
        arrived = {"after", "drop_after", "truncate"} & set(action)
        assert (account.find("q50-a") is not None) == bool(arrived)

    def test_a_cancellation_without_an_answer_is_unknown(self, account: Broker, twin: Twin) -> None:
        sent = account.submit("q50-a", "AAA", "buy", D(1))
        for action in ({"html": {"code": 502}}, {"drop_after": {}}):
            twins.fault(twin, action, method="DELETE")
            with pytest.raises(OutcomeUnknown, match="cancel"):
                account.cancel(sent.broker_id)

    @pytest.mark.parametrize(
        "action",
        [
            {"html": {"code": 503}},
            {"status": {"code": 429, "body": {"message": "slow down"}}},
            {"drop_after": {}},
            {"truncate": {"bytes": 10}},
            {"status": {"code": 200, "body": ""}},
            {"status": {"code": 200, "body": {"unexpected": True}}},
        ],
        ids=str,
    )
    def test_a_read_is_repeated_until_it_succeeds_or_patience_ends(
        self, account: Broker, twin: Twin, action: dict[str, Any]
    ) -> None:
        twins.fault(twin, action, times=3, path_regex="account$")
        assert account.account().cash == 100_000
        twins.no_faults(twin)
        twins.fault(twin, action, times=4, path_regex="account$")
        with pytest.raises(Unreachable, match="no usable answer to GET /account"):
            account.account()

    def test_refused_keys_are_said_to_be_the_keys(self, account: Broker, twin: Twin) -> None:
        said = {"status": {"code": 401, "body": {"message": "unauthorized."}}}
        twins.fault(twin, said, path_regex="account$")
        with pytest.raises(BrokerError, match="APCA_API_KEY_ID"):
            account.account()

    def test_a_read_that_is_wrong_is_not_repeated(self, account: Broker, twin: Twin) -> None:
        said = {"status": {"code": 400, "body": {"message": "bad request"}}}
        twins.fault(twin, said, path_regex="account$")
        with pytest.raises(BrokerError, match="HTTP 400 bad request"):
            account.account()

    def test_the_twin_says_nothing_that_we_do_not_know(self, account: Broker, twin: Twin) -> None:
        account.submit("q50-a", "BBB", "buy", D(3))
        twin.set_clock(dates.scheduled(twins.SESSIONS[4]))
        assert account.account() and account.positions() and account.orders()
        assert account.executions() and account.activities()
        assert account.unknown == ()

    def test_a_blocked_account_says_so(self, account: Broker, twin: Twin) -> None:
        raw = requests.get(f"{twin.url}/v2/account", headers=KEYS, timeout=10).json()
        body = {**raw, "trading_blocked": True, "never_seen": None}
        twins.fault(twin, {"status": {"code": 200, "body": body}}, path_regex="account$")
        assert account.account().blocked == ("trading_blocked",)
