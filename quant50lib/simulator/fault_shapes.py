"""Every fault the twin can be asked for, with its arguments.

`Action` is the list: a field more is a fault more, once `fault_actions` or `order_faults` knows it
or the handlers of the data look for it.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, field_validator

from quant50lib.simulator.shapes import OneOf, Shape, unsaid

Seconds = Annotated[float, Field(ge=0, le=86_400)]
Code = Annotated[int, Field(ge=200, le=599)]
Token = Annotated[str, Field(pattern=r"^[!#$%&'*+.^_`|~0-9A-Za-z-]+$")]  # a header's name
Visible = Annotated[str, Field(pattern=r"^[!-~]([ -~]*[!-~])?$")]  # a header's value
When = Literal["before", "after"]
Stuck = Literal[
    "accepted", "new", "pending_new", "partially_filled", "pending_cancel", "pending_replace",
    "held", "stopped", "suspended", "calculated", "accepted_for_bidding", "done_for_day",
]  # fmt: skip


class Nothing(Shape):
    """No arguments."""


class Answer(Shape):
    """An answer made up."""

    code: Code = 500
    body: Any = ""
    """Text goes out as it is, all else as JSON."""
    content_type: Visible = "application/json"
    headers: dict[Token, Visible] = {}


class Html(Shape):
    """A page of the gateway."""

    code: Code = 502


class Empty(Shape):
    """A reply without a body."""

    processed: bool = True
    """Whether the request did its work before the answer was lost."""


class Redirect(Shape):
    """A 3xx."""

    code: Annotated[int, Field(ge=300, le=399)] = 302
    location: Visible = "/elsewhere"


class RateLimit(Shape):
    """Headers that say how much is left."""

    remaining: Annotated[int, Field(ge=0)] = 0
    reset_s: Annotated[int, Field(ge=0)] = 60
    """From the simulated now to X-RateLimit-Reset."""


class Delay(Shape):
    """A pause of real time."""

    s: Seconds = 1.0
    when: When = "before"


class Reset(Shape):
    """A connection reset by the peer (RST)."""

    when: When = "before"


class Truncate(Shape):
    """A document cut off, honestly counted."""

    bytes: Annotated[int, Field(ge=0)] = unsaid()
    """What is left; half of it unless said."""


class ShortPage(Shape):
    """A page with fewer rows than it could have, and a token."""

    rows: Annotated[int, Field(ge=1)] = 1


class NullField(Shape):
    """One field of each row is null."""

    name: Literal["t", "o", "h", "l", "c", "v", "n", "vw"] = "c"


class Stale(Shape):
    """Data that ends sessions ago."""

    days: Annotated[int, Field(ge=0)] = 1


class DropRows(Shape):
    """Rows that are missing."""

    rows: Annotated[int, Field(ge=1)] = 1


class Stick(Shape):
    """An order that does not move until the faults are cleared."""

    status: Stuck = unsaid()
    """Unless said: pending_cancel after a DELETE, the status it has after anything else."""


class RejectLater(Shape):
    """An order accepted, and rejected when anybody looks again or the clock moves."""

    reason: str = "rejected by the venue"


class FillRace(Shape):
    """An order filled between a DELETE and its processing."""

    code: Literal[204, 422] = 204
    """204: the cancel was taken; 422: it says that the order is filled."""


class UnknownStatus(Shape):
    """A status that no client knows."""

    value: str = "pending_review_of_reviews"


class Late(Shape):
    """An order that exists, and that look-ups and lists do not show yet."""

    s: Seconds = unsaid()
    """Simulated seconds."""
    lookups: Annotated[int, Field(ge=1)] = unsaid()
    """Replies from which it is missing; one, if neither is said."""


class Skew(Shape):
    """The broker's clock against ours."""

    s: Annotated[float, Field(ge=-86_400, le=86_400)] = 0.0


class Action(OneOf):
    """What happens to the requests that match: one of these, with its arguments."""

    status: Answer = unsaid()
    """Answer this in place of the service; nothing is processed."""
    after: Answer = unsaid()
    """Process, then answer this."""
    html: Html = unsaid()
    """Answer a page of the gateway; nothing is processed."""
    empty_200: Empty = unsaid()
    redirect: Redirect = unsaid()
    ratelimit: RateLimit = unsaid()
    drop_before: Nothing = unsaid()
    """Close the connection without an answer; nothing is processed."""
    drop_after: Nothing = unsaid()
    """Process, then close the connection."""
    reset: Reset = unsaid()
    delay: Delay = unsaid()
    hang: Nothing = unsaid()
    """Never answer."""
    truncate: Truncate = unsaid()
    empty_page_with_token: Nothing = unsaid()
    duplicate_rows: Nothing = unsaid()
    shuffle_pages: Nothing = unsaid()
    short_page: ShortPage = unsaid()
    null_bars: Nothing = unsaid()
    null_symbol: Nothing = unsaid()
    nan_volume: Nothing = unsaid()
    null_field: NullField = unsaid()
    token_empty_string: Nothing = unsaid()
    stale: Stale = unsaid()
    drop_rows: DropRows = unsaid()
    stick: Stick = unsaid()
    reject_later: RejectLater = unsaid()
    fill_race: FillRace = unsaid()
    unknown_status: UnknownStatus = unsaid()
    duplicate_visible_late: Late = unsaid()
    clock_skew: Skew = unsaid()


class Match(Shape):
    """Which requests; a key that is not given fits all."""

    method: str = unsaid()
    path_regex: str = unsaid()
    """Searched in the path, so that `orders` fits `/v2/orders/17`."""
    nth: Annotated[int, Field(ge=1)] = 1
    """The first request that is hit, counted from the moment the fault is set."""

    @field_validator("path_regex")
    @classmethod
    def _compiles(cls, value: str) -> str:
        try:
            re.compile(value)
        except (re.error, RecursionError, OverflowError) as error:
            raise ValueError(f"{value!r} is no regular expression: {error}") from error
        return value


class FaultShape(Shape):
    """A fault as the control plane takes it."""

    match: Match = Match()
    times: Annotated[int, Field(ge=1)] = 1
    """How many requests are hit, from the nth on."""
    action: Action


def _listed(value: Any) -> Any:
    return value if isinstance(value, list) else [value]


#: several faults, or one
FaultList = Annotated[list[FaultShape], BeforeValidator(_listed)]
