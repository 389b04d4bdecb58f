"""The trading account, over HTTP, through alpaca-py: read it, send to it, ask what became of it.

Reads are repeated with growing pauses; a POST or DELETE never is, by nobody. What a POST did is
one of three: confirmed (the order is returned), refused (`OrderRefused`), unknown
(`OutcomeUnknown`), and the unknown is settled by asking for the client_order_id. Replies are taken
raw, because the client's closed enums let one unknown word spoil a whole list.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from decimal import Decimal
from typing import Any, TypeVar
from urllib.parse import urlsplit

import pandas as pd
import requests
from alpaca.common.exceptions import APIError
from alpaca.trading.client import TradingClient

from quant50lib.adapters import broker_errors as answers
from quant50lib.adapters import broker_records as records
from quant50lib.adapters.broker_records import (
    Account,
    Activity,
    BrokerOrder,
    Execution,
    Position,
)
from quant50lib.adapters.http import (
    TimedSession,
    is_loopback,
    require_paper,
    require_paper_account,
    seconds_asked,
)
from quant50lib.errors import BrokerError, OrderRefused, OutcomeUnknown, SettingsError, Unreachable
from quant50lib.settings import ExecuteSettings, Secrets, Settings
from quant50lib.utils import logging

#: what the twin takes when the environment has no keys
TWIN_KEYS = ("PKQUANT50TWIN", "twin")
#: seconds between the attempts of a read
PAUSES = (0.25, 0.5, 1.0)
#: ... and this many times longer after a 429 that does not say for how long
BUSY = 10
#: no connection, no answer in time, or a body that is not what it should be
UNREADABLE = (requests.RequestException, ValueError, TypeError, KeyError, AttributeError)
PAGE_ORDERS, PAGE_ACTIVITIES = 500, 100
T = TypeVar("T")
Record = TypeVar("Record", Account, Position, BrokerOrder, Execution, Activity)

log = logging.log(__name__)


def connect(settings: Settings, secrets: Secrets, url: str | None = None) -> Broker:
    """The broker of the settings: the twin on loopback, or Alpaca's paper account.

    Parameters
    ----------
    url : str or None
        Where it answers; needed for the twin, by default `alpaca.trading_url` for paper.

    Raises
    ------
    SettingsError
        Another kind of broker, another host, a key that looks live, or no key for paper.
    """
    kinds = {"sim": _twin_access, "paper": _paper_access}
    if settings.broker not in kinds:
        raise SettingsError(f'broker = "{settings.broker}" does not exist: write "sim" or "paper"')
    address, key, secret = kinds[settings.broker](settings, secrets, url)
    require_paper(address, key)
    override = address if settings.broker == "sim" else None  # paper: alpaca-py's own address
    client = TradingClient(key, secret, paper=True, raw_data=True, url_override=override)
    return Broker(client, settings.execute)


def access_keys(settings: Settings, secrets: Secrets) -> tuple[str, str]:
    """Key id and secret for the broker and its market data; the twin never sees the real ones.

    Raises
    ------
    SettingsError
        Paper needs keys that are not in the environment.
    """
    if settings.broker == "sim":
        return TWIN_KEYS
    key, secret = secrets.key_id.get_secret_value(), secrets.secret_key.get_secret_value()
    names = {"APCA_API_KEY_ID": key, "APCA_API_SECRET_KEY": secret}
    absent = [name for name, value in names.items() if not value]
    if absent:
        raise SettingsError(
            f'broker = "paper" needs {" and ".join(absent)} in the environment: create a paper '
            'key at Alpaca, or set broker = "sim"'
        )
    return key, secret


def _twin_access(settings: Settings, secrets: Secrets, url: str | None) -> tuple[str, str, str]:
    if not url:
        raise SettingsError("the twin has no address: start it with `quant50 simulate`")
    host = urlsplit(url).hostname or ""
    if not is_loopback(host):
        raise SettingsError(f'broker = "sim" talks to loopback only, not to {host or url!r}')
    return (url.rstrip("/"), *access_keys(settings, secrets))


def _paper_access(settings: Settings, secrets: Secrets, url: str | None) -> tuple[str, str, str]:
    keys = access_keys(settings, secrets)
    address = (url or settings.alpaca.trading_url).rstrip("/")
    if is_loopback(urlsplit(address).hostname or ""):
        raise SettingsError(f'broker = "paper" does not talk to {address}; set broker = "sim"')
    return (address, *keys)


class Broker:
    """An account, reached through an alpaca-py client that the walls have let pass."""

    def __init__(
        self,
        client: TradingClient,
        settings: ExecuteSettings,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._session = TimedSession(
            (settings.connect_timeout_seconds, settings.read_timeout_seconds),
            settings.requests_per_minute,
        )
        client._session = self._session
        client._retry = 0  # the client would repeat a POST on 429 and 504
        self._client = client
        self._prefix = settings.account_prefix
        self._is_paper = False  # until the account has said its number
        self._sleep = sleep
        self._unknown: dict[str, None] = {}

    @property
    def unknown(self) -> tuple[str, ...]:
        """Words and fields of the broker's replies that we do not know, as far as met: show them."""
        return tuple(self._unknown)

    # -- reads --------------------------------------------------------------------------------

    def clock(self) -> pd.Timestamp:
        """The broker's time, UTC."""
        return self._read("/clock", lambda raw: records.instant(raw["timestamp"]))

    def skew(self, wall: pd.Timestamp) -> pd.Timedelta:
        """By how much the broker's clock is ahead of the given time (with a time zone)."""
        return self.clock() - wall

    def account(self) -> Account:
        """Cash, equity and whether trading is allowed.

        Raises
        ------
        BrokerError
            It is not a paper account, by its number.
        """
        found = self._noted(self._read("/account", records.account))
        require_paper_account(found.number, self._prefix)
        self._is_paper = True
        return found

    def positions(self) -> dict[str, Position]:
        """Every position, by symbol."""
        found = self._read("/positions", lambda raw: [records.position(row) for row in raw])
        return {position.symbol: self._noted(position) for position in found}

    def find(self, client_order_id: str) -> BrokerOrder | None:
        """The order of that id, or None if the broker says that there is none (yet)."""
        query = {"client_order_id": client_order_id}
        found = self._read(
            "/orders:by_client_order_id", _order_named(client_order_id), query, answers.is_absent
        )
        return None if found is None else self._noted(found)

    def orders(self, after: pd.Timestamp | None = None, status: str = "all") -> list[BrokerOrder]:
        """Every order submitted after an instant, oldest first; `status` open, closed or all.

        Pages overlap by the time of submission and are merged by id, since orders of one moment
        may lie on both sides of a page's end; where one moment fills a whole page, the next begins
        after an order.

        Raises
        ------
        Unreachable
            A full page brings nothing new: the list would be incomplete.
        """
        found: dict[str, BrokerOrder] = {}
        query = {"status": status, "limit": PAGE_ORDERS, "direction": "asc"}
        bound = _after(after)
        while True:
            page = self._read("/orders", _order_page, {**query, **bound})
            known = len(found)
            found |= {order.broker_id: self._noted(order) for _, order in page}
            if len(page) < PAGE_ORDERS:
                return list(found.values())
            at, last = page[-1]
            if len(found) == known:
                raise Unreachable(
                    f"the broker's list of orders does not go on after {last.broker_id}: "
                    f"{known} orders are known; nothing was changed, run this again later"
                )
            one_moment = page[0][0] == at
            overlap = _after(at - pd.Timedelta(microseconds=1))
            bound = {"after_order_id": last.broker_id} if one_moment else overlap

    def executions(self, after: pd.Timestamp | None = None) -> list[Execution]:
        """Every fill after an instant, oldest first."""
        path, query = "/account/activities/FILL", _after(after)
        return list(map(self._noted, self._activity_pages(path, query, records.execution)))

    def activities(self, after: pd.Timestamp | None = None) -> list[Activity]:
        """Everything but fills that touched the account after an instant, oldest first."""
        query = {"category": "non_trade_activity", **_after(after)}
        pages = self._activity_pages("/account/activities", query, records.activity)
        return list(map(self._noted, pages))

    def _activity_pages(
        self, path: str, query: Mapping[str, Any], parse: Callable[[Any], T]
    ) -> Iterator[T]:
        """Rows of pages linked by the id of their last one, until a page is short or all known."""
        asked = {**query, "direction": "asc", "page_size": PAGE_ACTIVITIES}
        seen: dict[str, T] = {}
        while True:
            page = self._read(path, lambda raw: {row["id"]: parse(row) for row in raw}, asked)
            fresh = {key: row for key, row in page.items() if key not in seen}
            yield from fresh.values()
            if len(page) < PAGE_ACTIVITIES or not fresh:
                return
            seen |= fresh
            asked["page_token"] = list(page)[-1]

    # -- acts ---------------------------------------------------------------------------------

    def submit(self, client_order_id: str, symbol: str, side: str, qty: Decimal) -> BrokerOrder:
        """Send a DAY market order, once, to an account that is known to be a paper account.

        Raises
        ------
        OrderRefused
            The broker said no; the text is the broker's.
        OutcomeUnknown
            Anything else that is not a clear yes: ask `find` before doing anything.
        BrokerError
            The keys are not accepted, or the account is no paper account; nothing was done.
        """
        self._require_paper()
        body = {
            "symbol": symbol,
            "qty": f"{qty.normalize():f}",
            "side": side,
            "type": "market",
            "time_in_force": "day",
            "client_order_id": client_order_id,
        }
        named = _order_named(client_order_id)
        sent = self._act(client_order_id, lambda: named(self._client.post("/orders", body)))
        return self._noted(sent)

    def cancel(self, broker_id: str) -> None:
        """Ask for an order to be cancelled; whether it was is for `find` to say.

        Raises
        ------
        OrderRefused
            It can no longer be cancelled, or does not exist.
        OutcomeUnknown
            No clear answer came.
        BrokerError
            As `submit`.
        """
        self._require_paper()
        self._act(f"cancel {broker_id}", lambda: self._client.delete(f"/orders/{broker_id}"))

    def _require_paper(self) -> None:
        if not self._is_paper:
            self.account()

    def _act(self, what: str, call: Callable[[], T]) -> T:
        """A call that changes something, made once; its outcome is clear, or an error says so."""
        try:
            return call()
        except SettingsError:  # a wall of ours: nothing left this machine
            raise
        except APIError as error:
            said = f"{what}: {self._told(error)}"
            log.warning(said)
            if error.status_code == answers.UNAUTHORISED:
                raise _refused_keys(said) from error
            body = answers.body_of(error)
            kind = answers.refusal(error.status_code, body)
            if kind:  # the text goes into the books, which are the same when a day is repeated
                raise OrderRefused(f"{error.status_code}: {answers.words(body)}", kind) from error
            raise OutcomeUnknown(said) from error
        except Exception as error:  # a call without a clear answer may have been obeyed
            said = f"{what}: {self._told(error)}"
            log.warning(said)
            raise OutcomeUnknown(said) from error

    # -- the one way to read --------------------------------------------------------------------

    def _read(
        self,
        path: str,
        parse: Callable[[Any], T],
        query: Mapping[str, Any] | None = None,
        absent: Callable[[APIError], bool] = lambda error: False,
    ) -> Any:
        """A GET, parsed; repeated while the trouble may pass; None where the answer is `absent`."""
        trouble: Exception
        for pause in (*PAUSES, None):
            try:
                return parse(self._client.get(path, dict(query or {})))
            except APIError as error:
                if absent(error):
                    return None
                if not answers.may_pass(error):
                    raise self._unusable(path, error) from error
                trouble = error
            except UNREADABLE as error:
                trouble = error
            log.warning("GET %s: %s", path, self._told(trouble))
            if pause is not None:
                self._sleep(pause * _patience(trouble))
        raise Unreachable(
            f"the broker has no usable answer to GET {path} ({self._told(trouble)}); nothing was "
            "changed, run this again later"
        ) from trouble

    def _unusable(self, path: str, error: APIError) -> BrokerError:
        said = f"GET {path}: {self._told(error)}"
        return (
            _refused_keys(said) if error.status_code == answers.UNAUTHORISED else BrokerError(said)
        )

    def _told(self, error: Exception) -> str:
        return answers.summary(error, self._session.request_id)

    def _noted(self, record: Record) -> Record:
        """The record; what is unknown in it is remembered, and logged when it is new."""
        for word in record.unknown:
            if word not in self._unknown:
                self._unknown[word] = None
                log.warning("the broker says %s, which we do not know", word)
        return record


def _refused_keys(said: str) -> BrokerError:
    return BrokerError(
        f"the broker does not accept the keys ({said}): check APCA_API_KEY_ID and "
        "APCA_API_SECRET_KEY"
    )


def _patience(trouble: Exception) -> int:
    """How much longer than usual to wait: the session's pace waits where the server says when."""
    if not isinstance(trouble, APIError) or trouble.status_code != answers.TOO_MANY:
        return 1
    return 1 if seconds_asked(answers.TOO_MANY, trouble.response.headers, time.time()) else BUSY


def _order_named(client_order_id: str) -> Callable[[Any], BrokerOrder]:
    """Reads an order, which has to be the one of that name."""

    def parse(raw: Any) -> BrokerOrder:
        order = records.order(raw)
        if order.client_order_id != client_order_id:
            raise ValueError(f"the answer is about the order {order.client_order_id}")
        return order

    return parse


def _after(instant: pd.Timestamp | None) -> dict[str, str]:
    return {} if instant is None else {"after": instant.isoformat().replace("+00:00", "Z")}


def _order_page(raw: Any) -> list[tuple[pd.Timestamp, BrokerOrder]]:
    return [records.submitted(row) for row in raw]
