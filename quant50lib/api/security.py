"""Who may ask: the bearer token, the names under which the service answers, and safe headers."""

from __future__ import annotations

import hmac
import ipaddress
import secrets
from collections.abc import Awaitable, Callable
from typing import Annotated

from fastapi import HTTPException, Request, Response, Security
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from starlette.middleware.base import RequestResponseEndpoint

from quant50lib.errors import SettingsError

LOOPBACK_NAMES = ("127.0.0.1", "localhost", "[::1]")

#: nothing from elsewhere, no inline script or style, no frame around the page
PAGE_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
#: an exported notebook brings its styles and figures along, and needs no script
REPORT_POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; img-src data:; font-src data:; "
    "frame-ancestors 'none'; sandbox"
)
#: a PDF is drawn by the browser's own viewer, which a sandbox would stop
PDF_POLICY = "frame-ancestors 'none'"
HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": PAGE_POLICY,
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}

_bearer = HTTPBearer(
    auto_error=False,
    description="the value of QUANT50_API_TOKEN, or the one that `quant50 serve` printed",
)


def new_token() -> str:
    """256 random bits, fit for a URL."""
    return secrets.token_urlsafe(32)


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach the address."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def check_binding(host: str, token: str) -> None:
    """Refuse to be reachable from other machines without a token that somebody chose.

    Raises
    ------
    SettingsError
    """
    if not is_loopback(host) and not token:
        raise SettingsError(
            f"api.host = {host!r} can be reached from other machines: set QUANT50_API_TOKEN to a "
            "long random text first, or leave the host at 127.0.0.1"
        )
    if token and len(token) < 16:
        raise SettingsError("QUANT50_API_TOKEN is too short: use at least 16 characters")


def names_of(host: str) -> tuple[str, ...]:
    """Names that a Host header may carry; empty: any.

    On loopback the list is closed, which stops DNS rebinding (a page of another site whose name
    is made to point here). Bound to the outside, a chosen token is always asked for instead.
    """
    return LOOPBACK_NAMES if is_loopback(host) else ()


def name_in(header: str) -> str:
    """The host of a Host header, without its port."""
    if header.startswith("["):
        return header.partition("]")[0] + "]"
    return header.partition(":")[0].lower()


def guard(token: str) -> Callable[[HTTPAuthorizationCredentials | None], None]:
    """A dependency that asks for the token, in constant time; an empty one fits nothing."""

    def check(
        given: Annotated[HTTPAuthorizationCredentials | None, Security(_bearer)],
    ) -> None:
        if given is None:
            raise _unauthorised("this needs the header `Authorization: Bearer <token>`")
        same = hmac.compare_digest(given.credentials.encode(), token.encode())
        if not (same and token):
            raise _unauthorised("the token is not the right one")

    return check


def _unauthorised(text: str) -> HTTPException:
    return HTTPException(401, text, headers={"WWW-Authenticate": "Bearer"})


def harden(
    names: tuple[str, ...], refuse: Callable[[str], Response]
) -> Callable[[Request, RequestResponseEndpoint], Awaitable[Response]]:
    """Middleware: check the Host header, add safe headers to every reply."""

    async def middleware(request: Request, go_on: RequestResponseEndpoint) -> Response:
        asked = name_in(request.headers.get("host", ""))
        if names and asked not in names:
            reply = refuse("this service answers only under " + ", ".join(names))
        else:
            reply = await go_on(request)
        for name, value in HEADERS.items():
            reply.headers.setdefault(name, value)
        return reply

    return middleware
