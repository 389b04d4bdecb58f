"""One HTTP session for every call to the broker: with time limits, a pace, and three hosts.

alpaca-py sends no timeout and knows no pace of its own. A `TimedSession` mounted on its clients
(``client._session = TimedSession(...)``) adds both, and is the last wall before the network: a
request to any host but loopback, the paper account and the data service is refused unsent.
"""

from __future__ import annotations

import ipaddress
import re
import threading
import time
from collections import deque
from collections.abc import Callable, MutableMapping
from typing import Any
from urllib.parse import urlsplit

import requests
from requests.structures import CaseInsensitiveDict

from quant50lib.errors import SettingsError
from quant50lib.settings import DATA_HOST, PAPER_HOST

WINDOW_SECONDS = 60.0
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
    """At most `per_minute` calls in any minute, and none while the server's allowance is spent.

    Thread-safe. `clock`, `sleep` and `epoch` are the machine's own; tests put theirs in place.
    """

    def __init__(
        self,
        per_minute: int,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
        epoch: Callable[[], float] = time.time,
    ) -> None:
        self._per_minute = per_minute
        self._clock, self._sleep, self._epoch = clock, sleep, epoch
        self._calls: deque[float] = deque(maxlen=per_minute)
        self._resume = float("-inf")
        self._lock = threading.Lock()

    def wait(self) -> None:
        """Take the next free moment, and sleep until then. `per_minute` 0: no limit of ours."""
        with self._lock:
            moment = max(self._clock(), self._resume, self._free())
            self._calls.append(moment)
        pause = moment - self._clock()
        if pause > 0:
            self._sleep(pause)

    def _free(self) -> float:
        """When one more call fits into the minute before it."""
        full = self._per_minute and len(self._calls) == self._per_minute
        return self._calls[0] + WINDOW_SECONDS if full else float("-inf")

    def heed(self, headers: MutableMapping[str, str]) -> None:
        """Remember X-RateLimit-Reset (epoch seconds) once X-RateLimit-Remaining is zero."""
        left = _number(headers.get("X-RateLimit-Remaining"))
        reset = _number(headers.get("X-RateLimit-Reset"))
        if left is None or left > 0 or reset is None:
            return
        pause = min(max(reset - self._epoch(), 0.0), WINDOW_SECONDS)
        with self._lock:
            self._resume = self._clock() + pause


def _number(text: str | None) -> float | None:
    try:
        return float(text) if text is not None else None
    except ValueError:
        return None


class TimedSession(requests.Session):
    """A requests session with default time limits, a pace, and a wall of hosts.

    Parameters
    ----------
    timeout : tuple of float
        Seconds to connect, seconds of silence while reading. A call may still name its own.
    requests_per_minute : int
        Our own limit, below the server's; 0: none.
    """

    def __init__(
        self, timeout: tuple[float, float], requests_per_minute: int, pace: Pace | None = None
    ) -> None:
        super().__init__()
        self._timeout = timeout
        self._pace = pace or Pace(requests_per_minute)

    def send(self, request: requests.PreparedRequest, **kwargs: Any) -> requests.Response:
        """Send one request after its turn has come (SettingsError for a forbidden host)."""
        self._refuse_strangers(request)
        if kwargs.get("timeout") is None:
            kwargs["timeout"] = self._timeout
        self._pace.wait()
        response = super().send(request, **kwargs)
        self._pace.heed(CaseInsensitiveDict(response.headers))
        return response

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

    @staticmethod
    def _refuse_strangers(request: requests.PreparedRequest) -> None:
        host = (urlsplit(request.url or "").hostname or "").lower()
        if not is_loopback(host) and host not in (PAPER_HOST, DATA_HOST):
            raise SettingsError(
                f"a request to {host!r} was stopped: this desk talks to {PAPER_HOST}, "
                f"{DATA_HOST} and its twin on loopback only"
            )
