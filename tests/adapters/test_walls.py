"""The walls between this desk and a real account: each is tried alone, with all others taken away.

An attack is a set-up that would trade with real money. With no wall left it reaches a (pretended)
live broker, which shows that the attack is one; with a single wall back in place no order does.
"""

from __future__ import annotations

import ast
import json
from decimal import Decimal
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pydantic
import pytest
import requests
from alpaca.trading.client import TradingClient

from quant50lib.adapters import broker, http, market_client
from quant50lib.adapters.broker import connect
from quant50lib.adapters.http import TimedSession
from quant50lib.errors import BrokerError, Quant50Error, SettingsError
from quant50lib.settings import AlpacaSettings, DataSettings, ExecuteSettings, Secrets, Settings

PAPER, LIVE = "https://paper-api.alpaca.markets", "https://api.alpaca.markets"
LOCAL = "http://127.0.0.1:1"
ROOT = Path(__file__).resolve().parents[2]


def desk(**own: Any) -> Settings:
    return Settings.model_construct(**{**dict(Settings()), **own})


def keys(key_id: str) -> Secrets:
    return Secrets(key_id=key_id, secret_key="secret")


class Network:
    """All of the internet: answers as Alpaca would, and remembers who was asked for what."""

    def __init__(self, live_hosts: tuple[str, ...], live_keys: bool) -> None:
        self._hosts, self._keys = live_hosts, live_keys
        self.orders: list[str] = []  # hosts of real accounts that took an order

    def send(self, request: requests.PreparedRequest) -> requests.Response:
        host = urlsplit(str(request.url)).hostname or ""
        live_key = str(request.headers["APCA-API-KEY-ID"]).startswith("AK")
        live = host in self._hosts or (self._keys and live_key)
        reply = requests.Response()
        reply.status_code, reply.request = 200, request
        reply._content = json.dumps(self._body(request, live, host)).encode()
        return reply

    def _body(self, request: requests.PreparedRequest, live: bool, host: str) -> dict[str, Any]:
        if request.method == "GET":
            amounts = dict.fromkeys(["cash", "equity", "buying_power"], "1000")
            return {"status": "ACTIVE", "account_number": "9" if live else "PA9", **amounts}
        if live:
            self.orders.append(host)
        asked = json.loads(request.body or "{}")
        return {"id": "b1", "status": "accepted", "filled_qty": "0", **asked}


#: what would trade with real money: settings, keys, and which hosts or keys are then real
ATTACKS: dict[str, tuple[str, str, tuple[str, ...], bool]] = {
    "live host": (LIVE, "PKTEST", ("api.alpaca.markets",), False),
    "live host and key": (LIVE, "AKTEST", ("api.alpaca.markets",), True),
    "live key": (PAPER, "AKTEST", (), True),
    "live account behind the paper host": (PAPER, "PKTEST", ("paper-api.alpaca.markets",), False),
}
#: which walls stop it, each alone
STOPPED_BY = {
    "live host": {"host of the settings", "paper client", "session", "account number"},
    "live host and key": {"host of the settings", "key", "session", "account number"},
    "live key": {"key", "account number"},
    "live account behind the paper host": {"account number"},
}
WALLS = ("host of the settings", "key", "paper client", "session", "account number")


def take_away(wall: str, url: str, patch: pytest.MonkeyPatch) -> None:
    """One wall becomes a gap."""
    gaps: dict[str, tuple[Any, str, Any]] = {
        "host of the settings": (http, "_require_host", lambda *_: None),
        "key": (http, "require_paper_key", lambda *_: None),
        "paper client": (
            broker,
            "TradingClient",
            lambda key, secret, **_: TradingClient(
                key, secret, paper=False, raw_data=True, url_override=url
            ),
        ),
        "session": (http, "_refuse_strangers", lambda request: urlsplit(request.url)),
        "account number": (broker, "require_paper_account", lambda *_: None),
    }
    patch.setattr(*gaps[wall])


def orders_after(attack: str, standing: set[str], patch: pytest.MonkeyPatch) -> list[str]:
    """Hosts of real accounts that took an order, with only these walls standing."""
    url, key, live_hosts, live_keys = ATTACKS[attack]
    network = Network(live_hosts, live_keys)

    def plugged(adapter: object, request: requests.PreparedRequest, **_: Any) -> requests.Response:
        return network.send(request)

    patch.setattr(requests.adapters.HTTPAdapter, "send", plugged)
    for wall in set(WALLS) - standing:
        take_away(wall, url, patch)
    try:
        account = connect(desk(broker="paper", alpaca=AlpacaSettings(trading_url=url)), keys(key))
        account.submit("q50-x", "AAA", "buy", Decimal(1))
    except Quant50Error as error:
        assert isinstance(error, SettingsError | BrokerError)
    return network.orders


@pytest.mark.parametrize("attack", ATTACKS)
def test_without_any_wall_the_attack_is_one(attack: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert len(orders_after(attack, set(), monkeypatch)) == 1


@pytest.mark.parametrize("wall", WALLS)
@pytest.mark.parametrize("attack", ATTACKS)
def test_a_wall_alone_stops_what_it_is_for(
    attack: str, wall: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    stopped = not orders_after(attack, {wall}, monkeypatch)
    assert stopped == (wall in STOPPED_BY[attack])


def test_no_wall_stands_for_show() -> None:
    assert set(WALLS) == set().union(*STOPPED_BY.values())


# -- the words of the settings -------------------------------------------------------------------


@pytest.mark.parametrize("word", ["live", "PAPER", "", "alpaca"])
def test_settings_know_no_third_broker(word: str) -> None:
    with pytest.raises(pydantic.ValidationError, match="'sim' or 'paper'"):
        Settings.model_validate({"broker": word})


def test_nor_does_the_client_where_settings_let_one_pass() -> None:
    with pytest.raises(SettingsError, match='broker = "live" does not exist'):
        connect(desk(broker="live"), keys("PKTEST"), LOCAL)


# -- the twin and the paper account are never mistaken for each other -----------------------------


def test_the_twin_needs_an_address() -> None:
    with pytest.raises(SettingsError, match="no address"):
        connect(Settings(), Secrets())


@pytest.mark.parametrize("url", [PAPER, LIVE, "http://10.0.0.1:80", "what"])
def test_the_twin_is_on_loopback_only(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for wall in WALLS[:-1]:
        take_away(wall, url, monkeypatch)
    with pytest.raises(SettingsError, match="loopback"):
        connect(Settings(), Secrets(), url)


def test_the_twin_never_sees_the_real_keys() -> None:
    client = connect(Settings(), keys("PKREAL"), LOCAL)._client
    assert (client._api_key, client._secret_key) == broker.TWIN_KEYS


@pytest.mark.parametrize("own", [{"url": LOCAL}, {"setting": LOCAL}])
def test_paper_is_never_the_twin(own: dict[str, str]) -> None:
    settings = desk(broker="paper")
    if "setting" in own:
        settings = desk(broker="paper", alpaca=AlpacaSettings(trading_url=own["setting"]))
    with pytest.raises(SettingsError, match='set broker = "sim"'):
        connect(settings, keys("PKTEST"), own.get("url"))


@pytest.mark.parametrize(
    ("secrets", "named", "not_named"),
    [
        (Secrets(), "APCA_API_KEY_ID and APCA_API_SECRET_KEY", "none"),
        (Secrets(key_id="PKTEST"), "APCA_API_SECRET_KEY", "APCA_API_KEY_ID"),
    ],
)
def test_paper_needs_keys_and_says_which(secrets: Secrets, named: str, not_named: str) -> None:
    with pytest.raises(SettingsError, match=named) as caught:
        connect(desk(broker="paper"), secrets)
    assert not_named not in str(caught.value)


def test_the_client_repeats_nothing_and_never_waits_for_ever() -> None:
    client = connect(desk(broker="paper"), keys("PKTEST"))._client
    assert client._sandbox and client._retry == 0
    assert client._base_url == PAPER
    assert isinstance(client._session, TimedSession) and client._session._timeout == (3.05, 15.0)


# -- the account's number -------------------------------------------------------------------------


@pytest.mark.parametrize("number", ["", "9", "9PA", "pa9"])
def test_an_account_that_is_no_paper_account_is_not_traded_on(number: str) -> None:
    with pytest.raises(BrokerError, match="numbers of paper accounts begin with PA"):
        http.require_paper_account(number, ExecuteSettings().account_prefix)


def test_its_number_is_never_shown_whole_and_may_be_of_another_kind_by_setting() -> None:
    with pytest.raises(BrokerError) as caught:
        http.require_paper_account("123456789", "PA")
    assert "123456789" not in str(caught.value)
    http.require_paper_account("123456789", "")
    http.require_paper_account("123456789", "12")


# -- market data, which are read with the same keys -------------------------------------------------


@pytest.mark.parametrize(
    ("data", "trading", "key"),
    [
        ("https://data.alpaca.markets", LIVE, "PK"),
        (LIVE, PAPER, "PK"),
        ("https://data.alpaca.markets", PAPER, "AK"),
    ],
)
def test_market_data_have_the_same_walls(data: str, trading: str, key: str) -> None:
    with pytest.raises(SettingsError):
        market_client.connect(data, trading, key, "secret", DataSettings())


def test_and_their_session_is_a_wall_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("require_paper", "require_data_host"):
        monkeypatch.setattr(market_client, name, lambda *_: None)
    market = market_client.connect(LIVE, LIVE, "AK", "secret", DataSettings())
    with pytest.raises(SettingsError, match="was stopped"):
        market.clock()


# -- the code -----------------------------------------------------------------------------------------


def test_no_text_of_the_package_names_a_live_host() -> None:
    texts = [
        (path.name, node.value)
        for path in [*ROOT.glob("quant50lib/**/*.py"), *ROOT.glob("benchmarks/*.py")]
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    ]
    hosts = [(name, text) for name, text in texts if "alpaca.markets" in text]
    assert {text for _, text in hosts} == {"paper-api.alpaca.markets", "data.alpaca.markets"}
