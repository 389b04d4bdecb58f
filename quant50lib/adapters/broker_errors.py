"""What an answer that is no success means: refused, and why, or not known.

Many refusals share one code and their texts may change, so a refusal is sorted by its status, its
code, its further fields and its text together. Only an answer that can be nothing but a refusal is
one; whatever else a POST is answered leaves open whether the order exists.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from alpaca.common.exceptions import APIError

from quant50lib.errors import RefusalKind

#: the service refuses with these, in JSON with a text or a code
REFUSALS = (400, 403, 422)
#: ... with these a gateway may speak as well: only a code of the service's own is a refusal
ROUTES = (404, 405)
UNAUTHORISED = 401
#: a read that meets these may do better a moment later; so may one that meets any 5xx
PASSING = (408, 425, 429)
TOO_MANY = 429
#: "order not found"
ABSENT = 40410000

#: fields that only one kind of refusal has
FIELDS: tuple[tuple[str, RefusalKind], ...] = (
    ("buying_power", "insufficient_buying_power"),
    ("held_for_orders", "insufficient_qty"),
    ("existing_order_id", "wash"),
)
#: words of a text, tried in this order
WORDS: tuple[tuple[str, RefusalKind], ...] = (
    (r"buying power", "insufficient_buying_power"),
    (r"insufficient (qty|quantity)|allowed to short|sold short", "insufficient_qty"),
    (r"wash trade", "wash"),
    (r"not fractionable|fractional trading", "not_fractionable"),
    (r"asset .*not (found|active|tradable)|not active|not tradable", "untradable"),
    (
        r"not authori[sz]ed|restricted|liquidation|suspend|blocked|user request|day.trad",
        "account_blocked",
    ),
    (r"required?\b|invalid|must be|accepted|minimal amount|no more than", "validation"),
)
#: refusals that speak of the name of an order mean that it is taken, unless they say what it lacks
TAKEN = re.compile(r"client.?order.?id(?!.*(no more than|too long|characters))", re.I | re.S)


def body_of(error: APIError) -> dict[str, Any]:
    """The JSON object of an answer, or empty where the body is none (a gateway's page)."""
    try:
        body = error.response.json()
    except (ValueError, AttributeError):
        return {}
    return body if isinstance(body, dict) else {}


def refusal(status: int | None, body: Mapping[str, Any]) -> RefusalKind | None:
    """The kind of a clear refusal of an order; None where the order may exist all the same."""
    code, text = body.get("code"), str(body.get("message") or "")
    clear = status in REFUSALS and ("message" in body or "code" in body)
    clear |= status in ROUTES and isinstance(code, int)
    if not clear or TAKEN.search(text):
        return None
    for name, kind in FIELDS:
        if name in body:
            return kind
    found = [kind for words, kind in WORDS if re.search(words, text, re.I | re.S)]
    return found[0] if found else "other"


def is_absent(error: APIError) -> bool:
    """Whether the service itself says that there is no such order; a gateway's 404 says nothing."""
    return error.status_code == 404 and body_of(error).get("code") == ABSENT


def may_pass(error: APIError) -> bool:
    """Whether the same read may be answered a moment later."""
    status = error.status_code or 0
    if status in PASSING or status >= 500:
        return True
    return status != UNAUTHORISED and not body_of(error)


def words(body: Mapping[str, Any]) -> str:
    """The text of an answer."""
    return str(body.get("message") or dict(body))[:300]


def summary(error: Exception | None, request_id: str = "") -> str:
    """An error on one line, with the request's id, for which the service's support asks."""
    if isinstance(error, APIError):
        body = body_of(error)
        said = f"HTTP {error.status_code} {words(body) if body else 'without a usable body'}"
    else:
        said = f"{type(error).__name__}: {str(error)[:200]}"
    return f"{said} (request {request_id})" if request_id else said
