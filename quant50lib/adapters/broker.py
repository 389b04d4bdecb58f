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

from quant50lib.adapters import broker_records as records
from quant50lib.adapters.broker_records import (
    Account,
    Activity,
    BrokerOrder,
    Execution,
    Position,
)
from quant50lib.adapters.http import TimedSession, is_loopback, require_paper
from quant50lib.errors import BrokerError, OrderRefused, OutcomeUnknown, SettingsError, Unreachable
from quant50lib.settings import ExecuteSettings, Secrets, Settings

#: what the twin takes when the environment has no keys
TWIN_KEYS = ("PKQUANT50TWIN", "twin")
#: pauses between the attempts of a read
PAUSES = (0.25, 0.5, 1.0)
#: answers to a read that may be better a moment later
PASSING = (408, 429, 500, 502, 503, 504)
#: no connection, no answer in time, or a body that is not what it should be
UNREADABLE = (requests.RequestException, ValueError, TypeError, KeyError, AttributeError)
#: answers to a POST that say, in so many words, that nothing was done
REFUSALS = (400, 401, 403, 404, 405, 422)
#: "client_order_id must be unique": the order exists
DUPLICATE = 40010001
PAGE_ORDERS, PAGE_ACTIVITIES = 500, 100
T = TypeVar("T")


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
    client = TradingClient(key, secret, paper=True, raw_data=True, url_override=address)
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
        client._retry = 0  # the client would repeat a POST on 429 and 504
        client._session = TimedSession(
            (settings.connect_timeout_seconds, settings.read_timeout_seconds),
            settings.requests_per_minute,
        )
        self._client = client
        self._sleep = sleep

    # -- reads --------------------------------------------------------------------------------

    def clock(self) -> pd.Timestamp:
        """The broker's time, UTC."""
        return self._read("/clock", lambda raw: records.instant(raw["timestamp"]))

    def account(self) -> Account:
        """Cash, equity and whether trading is allowed."""
        return self._read("/account", records.account)

    def positions(self) -> dict[str, Position]:
        """Every position, by symbol."""
        found = self._read("/positions", lambda raw: [records.position(row) for row in raw])
        return {position.symbol: position for position in found}

    def find(self, client_order_id: str) -> BrokerOrder | None:
        """The order of that id, or None if the broker says that there is none (yet)."""
        query = {"client_order_id": client_order_id}
        return self._read("/orders:by_client_order_id", records.order, query, absent=404)

    def orders(self, after: pd.Timestamp | None = None, status: str = "all") -> list[BrokerOrder]:
        """Every order submitted after an instant, oldest first; `status` open, closed or all.

        Pages overlap by the time of submission and are merged by id, since orders of one moment
        may lie on both sides of a page's end.
        """
        found: dict[str, BrokerOrder] = {}
        query = {"status": status, "limit": PAGE_ORDERS, "direction": "asc"}
        while True:
            page = self._read("/orders", _order_page, {**query, **_after(after)})
            fresh = {order.broker_id: order for _, order in page if order.broker_id not in found}
            found |= fresh
            if len(page) < PAGE_ORDERS or not fresh:
                return list(found.values())
            after = page[-1][0] - pd.Timedelta(microseconds=1)

    def executions(self, after: pd.Timestamp | None = None) -> list[Execution]:
        """Every fill after an instant, oldest first."""
        pages = self._activity_pages("/account/activities/FILL", {}, after)
        return [records.execution(raw) for page in pages for raw in page]

    def activities(self, after: pd.Timestamp | None = None) -> list[Activity]:
        """Everything but fills that touched the account after an instant, oldest first."""
        query = {"category": "non_trade_activity"}
        pages = self._activity_pages("/account/activities", query, after)
        return [records.activity(raw) for page in pages for raw in page]

    def _activity_pages(
        self, path: str, query: Mapping[str, Any], after: pd.Timestamp | None
    ) -> Iterator[list[dict[str, Any]]]:
        """Pages linked by the id of their last row, until one is short or brings nothing new."""
        asked = {**query, "direction": "asc", "page_size": PAGE_ACTIVITIES, **_after(after)}
        seen: set[str] = set()
        while True:
            page = self._read(path, _rows_with_id, asked)
            fresh = [raw for raw in page if raw["id"] not in seen]
            yield fresh
            if len(page) < PAGE_ACTIVITIES or not fresh:
                return
            seen |= {raw["id"] for raw in fresh}
            asked["page_token"] = page[-1]["id"]

    # -- acts ---------------------------------------------------------------------------------

    def submit(self, client_order_id: str, symbol: str, side: str, qty: Decimal) -> BrokerOrder:
        """Send a DAY market order, once.

        Raises
        ------
        OrderRefused
            The broker said no; the text is the broker's.
        OutcomeUnknown
            Anything else that is not a clear yes: ask `find` before doing anything.
        """
        body = {
            "symbol": symbol,
            "qty": f"{qty.normalize():f}",
            "side": side,
            "type": "market",
            "time_in_force": "day",
            "client_order_id": client_order_id,
        }
        try:
            return records.order(self._client.post("/orders", body))  # type: ignore[arg-type]
        except SettingsError:  # a wall of ours: nothing left this machine
            raise
        except APIError as error:
            said = _error_body(error)
            if error.status_code in REFUSALS and said and not _is_duplicate(said):
                raise OrderRefused(f"{error.status_code}: {_words(said)}") from error
            raise OutcomeUnknown(f"{client_order_id}: {_summary(error)}") from error
        except Exception as error:  # a POST that did not return an order may still have made one
            raise OutcomeUnknown(f"{client_order_id}: {_summary(error)}") from error

    def cancel(self, broker_id: str) -> None:
        """Ask for an order to be cancelled; whether it was is for `find` to say.

        Raises
        ------
        OrderRefused
            It can no longer be cancelled, or does not exist.
        OutcomeUnknown
            No clear answer came.
        """
        try:
            self._client.delete(f"/orders/{broker_id}")
        except APIError as error:
            if error.status_code in REFUSALS:
                raise OrderRefused(f"cancel {broker_id}: {_summary(error)}") from error
            raise OutcomeUnknown(f"cancel {broker_id}: {_summary(error)}") from error
        except Exception as error:  # as with submit
            raise OutcomeUnknown(f"cancel {broker_id}: {_summary(error)}") from error

    # -- the one way to read --------------------------------------------------------------------

    def _read(
        self,
        path: str,
        parse: Callable[[Any], T],
        query: Mapping[str, Any] | None = None,
        absent: int = 0,
    ) -> Any:
        """A GET, parsed; repeated while the trouble may pass; None where the answer is `absent`."""
        trouble: Exception | None = None
        for pause in (*PAUSES, None):
            try:
                return parse(self._client.get(path, dict(query or {})))
            except APIError as error:
                if absent and error.status_code == absent:
                    return None
                if error.status_code not in PASSING:
                    raise _unusable(path, error) from error
                trouble = error
            except UNREADABLE as error:
                trouble = error
            if pause is not None:
                self._sleep(pause)
        raise Unreachable(
            f"the broker has no usable answer to GET {path} ({_summary(trouble)}); nothing was "
            "changed, run this again later"
        ) from trouble


def _unusable(path: str, error: APIError) -> BrokerError:
    if error.status_code == 401:
        return BrokerError(
            "the broker does not accept the keys (401): check APCA_API_KEY_ID and "
            "APCA_API_SECRET_KEY"
        )
    return BrokerError(f"GET {path}: {_summary(error)}")


# -- words of an error: never trust the body to be what it should be ----------------------------------


def _error_body(error: APIError) -> dict[str, Any]:
    """The JSON object of a refusal, or empty where the body is none (a gateway's page)."""
    try:
        body = error.response.json()
    except (ValueError, AttributeError):
        return {}
    return body if isinstance(body, dict) else {}


def _is_duplicate(said: Mapping[str, Any]) -> bool:
    """Whether the refusal means that the id was used before: then the order exists."""
    return said.get("code") == DUPLICATE and "client_order_id must be unique" in _words(said)


def _words(said: Mapping[str, Any]) -> str:
    return str(said.get("message") or said)


def _summary(error: Exception | None) -> str:
    if isinstance(error, APIError):
        said = _error_body(error)
        return f"HTTP {error.status_code} {_words(said) if said else 'without a usable body'}"
    return f"{type(error).__name__}: {str(error)[:200]}"


def _after(instant: pd.Timestamp | None) -> dict[str, str]:
    return {} if instant is None else {"after": instant.isoformat().replace("+00:00", "Z")}


def _order_page(raw: Any) -> list[tuple[pd.Timestamp, BrokerOrder]]:
    return [(records.instant(row["submitted_at"]), records.order(row)) for row in raw]


def _rows_with_id(raw: Any) -> list[dict[str, Any]]:
    return [{**row, "id": row["id"]} for row in raw]
