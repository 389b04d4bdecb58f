"""Market data of Alpaca (or of our twin), read through alpaca-py.

Every call has time limits, and only reads are made here: those are repeated, with growing pauses,
when the service is busy or silent. Pages are walked by our own loop, which cannot go round for ever
and takes a short page for what it is. Rows that are no bars are left out and reported.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, NamedTuple

import orjson
import pandas as pd
import requests
from alpaca.common.exceptions import APIError
from alpaca.common.rest import RESTClient
from alpaca.data.historical.corporate_actions import CorporateActionsClient
from alpaca.data.historical.stock import StockHistoricalDataClient
from alpaca.trading.client import TradingClient

from quant50lib.adapters import market_rows
from quant50lib.adapters.http import TimedSession, require_data_host, require_paper
from quant50lib.errors import BrokerError, Unreachable
from quant50lib.settings import DataSettings
from quant50lib.utils import dates
from quant50lib.utils.ahead import arriving

CONNECT_SECONDS = 3.05
#: below the 200 that Alpaca allows
REQUESTS_PER_MINUTE = 180
BARS_PER_PAGE, ACTIONS_PER_PAGE = 10_000, 1_000
#: a bound no honest answer reaches: 10 million bars
MAX_PAGES = 1_000
#: seconds before each repeat of a read
PAUSES = (0.5, 1.0, 2.0, 4.0)
#: ... where the service is busy and does not say for how long
BUSY_PAUSE = 15.0
TOO_MANY = 429
#: bytes read at once: requests reads a page in a hundred pieces, each a turn of the interpreter
PIECE = 1 << 20


class Page(NamedTuple):
    """One page of bars, the rows of it that were none, in words, and those that lack a value."""

    bars: pd.DataFrame
    dropped: list[str]
    refused: pd.DataFrame  # symbol, session


class MarketData:
    """Bars, corporate actions, assets and the clock of one service; see `connect`."""

    def __init__(
        self,
        stocks: StockHistoricalDataClient,
        corporate: CorporateActionsClient,
        trading: TradingClient,
        feed: str,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._stocks, self._corporate, self._trading = stocks, corporate, trading
        self._feed = feed
        self._sleep = sleep

    def bars(
        self, symbols: Sequence[str], first: pd.Timestamp, last: pd.Timestamp
    ) -> Iterator[Page]:
        """Raw daily bars, page by page as they arrive.

        Each page holds symbol, session, open, high, low, close, volume, trade_count and vwap.
        Absent bars are absent; nothing is filled. A symbol may go on over several pages.
        """
        return self._bars(symbols, first, last, "raw")

    def adjusted_closes(
        self, symbols: Sequence[str], first: pd.Timestamp, last: pd.Timestamp
    ) -> pd.DataFrame:
        """Closes as the vendor adjusts them for every corporate action that it knows today.

        Columns symbol, session, close.
        """
        pages = self._bars(symbols, first, last, "all")
        frame = pd.concat([page.bars for page in pages], ignore_index=True)
        return frame.drop_duplicates(["symbol", "session"], keep="last")[
            ["symbol", "session", "close"]
        ]

    def _bars(
        self, symbols: Sequence[str], first: pd.Timestamp, last: pd.Timestamp, adjustment: str
    ) -> Iterator[Page]:
        query = {
            "symbols": ",".join(symbols),
            "timeframe": "1Day",
            "start": _midnight(first),
            "end": _midnight(last),
            "adjustment": adjustment,
            "feed": self._feed,
            "limit": BARS_PER_PAGE,
            "sort": "asc",
        }
        expected = dates.sessions_between(first, last)
        # the next page is on its way while this one is read
        for batch in arriving(self._pages(self._stocks, "/stocks/bars", query, "bars"), ahead=2):
            for found in batch:
                yield Page(*market_rows.bars(found, symbols, expected))

    def actions(
        self, symbols: Sequence[str], first: pd.Timestamp, last: pd.Timestamp
    ) -> pd.DataFrame:
        """Corporate actions with ex-dates from `first` to `last`, one row each.

        Columns id, symbol, type, ex_date, new_rate, old_rate, cash, other_symbol.
        """
        query = {
            "symbols": ",".join(symbols),
            "start": str(first.date()),
            "end": str(last.date()),
            "limit": ACTIONS_PER_PAGE,
            "sort": "asc",
        }
        path = "/corporate-actions"
        groups = list(self._pages(self._corporate, path, query, "corporate_actions"))
        return market_rows.actions(groups, symbols)

    def assets(self, symbols: Sequence[str]) -> pd.DataFrame:
        """What the broker says of each symbol; one that it does not list is not tradable.

        Columns symbol, name, exchange, tradable, fractionable, status.
        """
        listed = self._get(self._trading, "/assets", {"asset_class": "us_equity"})
        if not isinstance(listed, list):
            raise Unreachable(f"the list of assets is {str(listed)[:80]!r}; try again later")
        return market_rows.assets(listed, symbols)

    def clock(self) -> pd.Timestamp:
        """The broker's present time, UTC."""
        reply = self._get(self._trading, "/clock", {})
        said = reply.get("timestamp") if isinstance(reply, dict) else None
        moment = pd.to_datetime(said, utc=True, errors="coerce") if said else pd.NaT
        if pd.isna(moment):
            raise Unreachable(f"the clock says {str(reply)[:80]!r}; try again later")
        return moment

    # -- calls -----------------------------------------------------------------------------------

    def _pages(
        self, client: RESTClient, path: str, query: dict[str, Any], name: str
    ) -> Iterator[dict]:
        """What stands under `name` on every page of an answer.

        A page may be short, or even empty, and not the last. One with null in place of rows has
        told nothing: taken for an end, it would lose what lies behind it for good.
        """
        token, seen = None, set()
        for page in range(1, MAX_PAGES + 1):
            asked = query | ({"page_token": token} if token else {})
            reply = self._get(client, path, asked, partial(_require_rows, name, page))
            yield reply[name]
            token = reply.get("next_page_token")
            if not token:
                return
            if token in seen:
                raise Unreachable(f"{path} gave the page {token!r} twice; try again later")
            seen.add(token)
        raise Unreachable(f"{path} did not end after {MAX_PAGES} pages")

    def _get(
        self,
        client: RESTClient,
        path: str,
        query: dict[str, Any],
        require: Callable[[Any], None] = lambda reply: None,
    ) -> Any:
        """One read, repeated while the service is busy or silent, or `require` raises ValueError.

        Raises
        ------
        BrokerError
            The service refuses: keys, subscription, or the question itself.
        Unreachable
            No usable answer after all repeats.
        """
        for pause in (*PAUSES, None):
            try:
                reply = client.get(path, query)
                require(reply)
                return reply
            except (APIError, requests.RequestException, ValueError) as error:
                cause, wait = error, _wait(error, path, pause)
            if pause is not None:
                self._sleep(wait)
        raise Unreachable(
            f"{path}: no usable answer after {len(PAUSES) + 1} attempts ({_words(cause)}); "
            "nothing was changed, run it again later"
        ) from cause


class JsonSession(TimedSession):
    """A session whose replies are read as JSON in UTF-8, several times as fast as requests does."""

    def send(self, request: requests.PreparedRequest, **kwargs: Any) -> requests.Response:
        """As `TimedSession.send`."""
        response = super().send(request, **{**kwargs, "stream": True})
        response._content = b"".join(response.iter_content(PIECE))
        response.encoding = "utf-8"
        response.json = partial(_parsed, response.content)  # type: ignore[method-assign]
        return response


def _parsed(content: bytes) -> Any:
    """JSON, also with the NaN that some servers write and the standard does not know."""
    try:
        return orjson.loads(content)
    except ValueError:
        return json.loads(content)


def connect(
    data_url: str, trading_url: str, key_id: str, secret_key: str, settings: DataSettings
) -> MarketData:
    """Clients of alpaca-py for a paper account and its data, behind the walls of `http`.

    Raises
    ------
    SettingsError
        A host or a key is not one of paper trading.
    """
    require_data_host(data_url)
    require_paper(trading_url, key_id)
    stocks = StockHistoricalDataClient(key_id, secret_key, raw_data=True, url_override=data_url)
    corporate = CorporateActionsClient(key_id, secret_key, raw_data=True, url_override=data_url)
    trading = TradingClient(key_id, secret_key, paper=True, raw_data=True, url_override=trading_url)
    timeout = CONNECT_SECONDS, settings.request_timeout_seconds
    session = JsonSession(timeout, REQUESTS_PER_MINUTE)
    for client in (stocks, corporate, trading):
        client._session = session
        client._retry = 0  # repeats are ours: bounded, growing, and never of a POST
    return MarketData(stocks, corporate, trading, settings.feed)


def _require_rows(name: str, page: int, reply: Any) -> None:
    """Raise ValueError where a page has no rows under `name`, not even none."""
    rows = reply.get(name) if isinstance(reply, dict) else None
    if not isinstance(rows, dict):
        raise ValueError(f"page {page} answered {str(reply)[:80]!r}")
    nothing = [str(key) for key, value in rows.items() if value is None]
    if nothing:
        raise ValueError(f"page {page} answered null for {', '.join(nothing[:8])}")


def _midnight(session: pd.Timestamp) -> str:
    """New York's midnight, the time stamp of a daily bar, as RFC 3339 in UTC."""
    moment = session.tz_localize(dates.NEW_YORK).tz_convert("UTC")
    return str(moment.strftime("%Y-%m-%dT%H:%M:%SZ"))


def _status(error: Exception) -> int | None:
    return error.status_code if isinstance(error, APIError) else None


def _wait(error: Exception, path: str, pause: float | None) -> float:
    """Seconds to wait before a repeat; BrokerError where a repeat cannot help."""
    status = _status(error)
    if status in (401, 403):
        raise BrokerError(
            f"{path} refused our keys or our subscription ({_words(error)}): check "
            "APCA_API_KEY_ID, APCA_API_SECRET_KEY and data.feed"
        ) from error
    if status is not None and status < 500 and status != TOO_MANY:
        raise BrokerError(f"{path} refused the question ({_words(error)})") from error
    if pause is None:
        return 0.0
    return BUSY_PAUSE if status == TOO_MANY and not _says_when(error) else pause


def _says_when(error: Exception) -> bool:
    """Whether a refusal names the moment of the next call (the session's pace then waits)."""
    response = getattr(error, "response", None)
    return response is not None and "X-RateLimit-Reset" in response.headers


def _words(error: Exception) -> str:
    """An error on one line, with the request id that the service's support asks for."""
    response = getattr(error, "response", None)
    request_id = response.headers.get("X-Request-ID") if response is not None else None
    text = " ".join(str(error).split())[:160] or type(error).__name__
    status = f"HTTP {_status(error)}: " if _status(error) else ""
    return status + text + (f", request {request_id}" if request_id else "")
