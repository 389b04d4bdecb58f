"""One HTTP session for every call to the broker: with time limits, a pace, and three hosts.

alpaca-py sends no timeout and knows no pace of its own. A `TimedSession` mounted on its clients
(``client._session = TimedSession(...)``) adds both, and is the last wall before the network: a
request to any host but loopback, the paper account and the data service is refused unsent, and
a redirect is followed nowhere. All sessions of a process that talk to one host share its pace.
"""

from __future__ import annotations

import ipaddress
import math
import re
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import SplitResult, urlsplit

import requests

from quant50lib.errors import BrokerError, SettingsError
from quant50lib.settings import DATA_HOST, PAPER_HOST

WINDOW_SECONDS = 60.0
TOO_MANY = 429
#: key ids of real accounts begin with this
LIVE_PREFIX = "AK"
#: nothing but scheme, host and port: other spellings are read differently by different parsers
PLAIN_URL = re.compile(r"(?i:https?)://(\[[0-9a-fA-F:]+\]|[A-Za-z0-9.-]+)(:[0-9]{1,5})?/?")


def is_loopback(host: str) -> bool:
    """Whether the host is this machine, by its name or its literal address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def require_paper(url: str, key_id: str) -> None:
    """Refuse any trading host but loopback and Alpaca's paper host, and keys that look live.

    Raises
    ------
    SettingsError
        With what to correct; the key itself is never shown.
    """
    _require_host(url, PAPER_HOST, "alpaca.trading_url")
    require_paper_key(key_id)


def require_data_host(url: str) -> None:
    """Refuse any market-data host but loopback and Alpaca's data host (SettingsError)."""
    _require_host(url, DATA_HOST, "alpaca.data_url")


def require_paper_key(key_id: str) -> None:
    """Refuse a key id of a real account (SettingsError)."""
    if key_id.strip().upper().startswith(LIVE_PREFIX):
        raise SettingsError(
            f"APCA_API_KEY_ID begins with {LIVE_PREFIX}: that is a key of a live account. This "
            "desk trades on paper only; put a paper key (PK...) into the environment"
        )


def require_paper_account(number: str, prefix: str) -> None:
    """Refuse an account whose number is not that of a paper account; an empty prefix takes any.

    Raises
    ------
    BrokerError
        Nothing is sent to that account.
    """
    if not number.startswith(prefix):
        raise BrokerError(
            f"the account answers as {number[:2] or 'nobody'}…, and numbers of paper accounts begin "
            f"with {prefix}: nothing was sent. Look at which account the keys belong to "
            "(execute.account_prefix says what is expected)"
        )


def _require_host(url: str, allowed: str, setting: str) -> None:
    host = _host_of(url)
    if is_loopback(host):
        return
    if host != allowed or urlsplit(url).scheme.lower() != "https":
        raise SettingsError(
            f"{setting} = {url!r} is not allowed: this desk talks to https://{allowed} or to "
            "its twin on loopback, and to nothing else"
        )


def _host_of(url: str) -> str:
    """The host of a plain URL, or an empty text for anything that is not one."""
    if not PLAIN_URL.fullmatch(url):
        return ""
    return (urlsplit(url).hostname or "").lower()


class Pace:
    """At most `per_minute` calls in any minute, and none before the moment that the server named.

    Thread-safe. `clock`, `sleep` and `epoch` are the machine's own; tests put theirs in place.
    """

    def __init__(
        self,
        per_minute: int,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
        epoch: Callable[[], float] = time.time,
    ) -> None:
        self._clock, self._sleep, self._epoch = clock, sleep, epoch
        self._per_minute = per_minute
        self._calls: deque[float] = deque(maxlen=per_minute)
        self._resume = float("-inf")
        self._lock = threading.Lock()

    def lower(self, per_minute: int) -> None:
        """Take a lower limit from now on; a higher one changes nothing."""
        with self._lock:
            if 0 < per_minute < (self._per_minute or math.inf):
                self._per_minute = per_minute
                self._calls = deque(self._calls, maxlen=per_minute)

    def wait(self) -> None:
        """Take the next free moment, and sleep until then. `per_minute` 0: no limit of ours."""
        with self._lock:
            now = self._clock()
            moment = max(now, self._resume, self._free())
            self._calls.append(moment)
        if moment > now:
            self._sleep(moment - now)

    def _free(self) -> float:
        """When one more call fits into the minute before it."""
        full = self._per_minute and len(self._calls) == self._per_minute
        return self._calls[0] + WINDOW_SECONDS if full else float("-inf")

    def heed(self, status: int, headers: Mapping[str, str]) -> None:
        """Hold back all calls until the moment that a reply names; see `seconds_asked`."""
        pause = seconds_asked(status, headers, self._epoch())
        if pause > 0:
            with self._lock:
                self._resume = max(self._resume, self._clock() + pause)


def seconds_asked(status: int, headers: Mapping[str, str], epoch: float) -> float:
    """How long the server wants to be left alone: from 0 (it does not say) to 60 seconds.

    Retry-After counts as it stands (seconds, or a date); X-RateLimit-Reset (epoch seconds) counts
    for a 429 and where X-RateLimit-Remaining is zero. `headers` know no upper or lower case.
    """
    asked = headers.get("Retry-After")
    if asked is not None:
        pause = _number(asked) if _number(asked) is not None else _until(asked, epoch)
    else:
        reset, left = (_number(headers.get(f"X-RateLimit-{n}")) for n in ("Reset", "Remaining"))
        spent = status == TOO_MANY or (left is not None and left <= 0)
        pause = reset - epoch if spent and reset is not None else None
    return min(max(pause or 0.0, 0.0), WINDOW_SECONDS)


def _number(text: str | None) -> float | None:
    try:
        number = float(text) if text is not None else math.nan
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def _until(date: str, epoch: float) -> float | None:
    try:
        return parsedate_to_datetime(date).timestamp() - epoch
    except ValueError:
        return None


_paces: dict[str, Pace] = {}
_sharing = threading.Lock()


def shared_pace(url: str, per_minute: int) -> Pace:
    """This process's one pace towards a server, at the lowest limit that anybody asked for.

    Our twin on loopback has no limit of ours; what it asks for is heeded all the same.
    """
    parts = urlsplit(url)
    limit = 0 if is_loopback(parts.hostname or "") else per_minute
    with _sharing:
        pace = _paces.setdefault(parts.netloc, Pace(limit))
    pace.lower(limit)
    return pace


class Redirected(requests.RequestException):
    """The server points elsewhere; nobody follows it there with our keys."""


class TimedSession(requests.Session):
    """A requests session with default time limits, the host's pace, and a wall of hosts.

    Parameters
    ----------
    timeout : tuple of float
        Seconds to connect, seconds of silence while reading. A call may still name its own.
    requests_per_minute : int
        Our own limit, below the server's; 0: none.
    """

    def __init__(self, timeout: tuple[float, float], requests_per_minute: int) -> None:
        super().__init__()
        self._timeout = timeout
        self._per_minute = requests_per_minute
        self._paces: dict[str, Pace] = {}
        self.auth = lambda request: request  # else requests would look for a .netrc
        #: X-Request-ID of the last reply; empty while there is none
        self.request_id = ""

    def send(self, request: requests.PreparedRequest, **kwargs: Any) -> requests.Response:
        """Send one request, once, after its turn has come.

        Raises
        ------
        SettingsError
            A forbidden host; nothing was sent.
        Redirected
            A reply of the family 3xx.
        """
        where = _refuse_strangers(request)
        if kwargs.get("timeout") is None:
            kwargs["timeout"] = self._timeout
        pace = self._pace(where)
        pace.wait()
        self.request_id = ""
        response = super().send(request, **{**kwargs, "allow_redirects": False})
        self.request_id = response.headers.get("X-Request-ID", "")
        pace.heed(response.status_code, response.headers)
        if 300 <= response.status_code < 400:
            to = urlsplit(response.headers.get("Location", "")).hostname or "another path"
            raise Redirected(f"HTTP {response.status_code} points to {to}: not followed")
        return response

    def _pace(self, where: SplitResult) -> Pace:
        if where.netloc not in self._paces:
            self._paces[where.netloc] = shared_pace(where.geturl(), self._per_minute)
        return self._paces[where.netloc]

    def merge_environment_settings(
        self, url: Any, proxies: Any, stream: Any, verify: Any, cert: Any
    ) -> Any:
        """As in requests, but a proxy of the environment never stands before our own twin."""
        if not is_loopback(urlsplit(url).hostname or ""):
            return super().merge_environment_settings(url, proxies, stream, verify, cert)
        return {
            "proxies": proxies or {},
            "stream": stream or self.stream,
            "verify": self.verify if verify is None else verify,
            "cert": cert or self.cert,
        }


def _refuse_strangers(request: requests.PreparedRequest) -> SplitResult:
    """The address of a request, if it is one of the three that there are (SettingsError)."""
    where = urlsplit(request.url or "")
    host = (where.hostname or "").lower()
    if not is_loopback(host) and (host not in (PAPER_HOST, DATA_HOST) or where.scheme != "https"):
        raise SettingsError(
            f"a request to {host!r} was stopped: this desk talks to {PAPER_HOST}, "
            f"{DATA_HOST} and its twin on loopback only"
        )
    return where
