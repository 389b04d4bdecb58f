"""The bodies of the control plane: what a call takes and what it gives."""

from __future__ import annotations

import json
from dataclasses import MISSING
from dataclasses import Field as RuleField
from dataclasses import fields
from typing import Annotated, Any, Literal, cast, get_type_hints

from pydantic import Field, create_model

from quant50lib.simulator.refusals import Refusal
from quant50lib.simulator.rules import Rules
from quant50lib.simulator.shapes import OneOf, Shape, read, unsaid

Instant = Annotated[str, Field(description="RFC 3339, with a zone", examples=["2024-06-03T22:00Z"])]
CENTURY = 3.2e9  # seconds


class Clock(OneOf):
    """Where the clock goes; what falls due on the way happens, in order."""

    set: Instant = unsaid()
    advance_s: Annotated[float, Field(ge=0, le=CENTURY)] = unsaid()
    """Seconds of simulated time."""
    to: Literal["next_open", "next_close", "04:00"] = unsaid()


def _default(rule: RuleField[Any]) -> Any:
    if rule.default_factory is not MISSING:
        return rule.default_factory()
    return rule.default


def _annotation(rule: RuleField[Any], kind: Any) -> Any:
    """Of the type of the rule; of its values, if only some are allowed."""
    allowed = rule.metadata.get("choices")
    if allowed and kind is not bool:
        kind = Literal[allowed]
    return Annotated[kind, Field(description=rule.metadata["about"])]


def _reset_shape() -> type[Shape]:
    types = get_type_hints(Rules)
    keys: dict[str, Any] = {
        rule.name: (_annotation(rule, types[rule.name]), _default(rule)) for rule in fields(Rules)
    }
    keys["now"] = (Instant, unsaid())
    words = "An empty account. A rule that is not named stays what it is; so does the clock."
    return create_model("Reset", __base__=Shape, __doc__=words, **keys)


Reset = _reset_shape()


class ScenarioCall(OneOf):
    """A script to begin: one that is shipped, or the text of a file."""

    name: str = unsaid()
    toml: str = unsaid()


class Now(Shape):
    """The clock after the call."""

    now: str


class Info(Shape):
    """Which market it is, and where its clock stands."""

    market: str
    simulated_prices: bool
    """False where the prices are those of a real market's past."""
    identity: str
    now: str
    first_session: str
    last_session: str


class RuleShape(Shape):
    """One named behaviour of the twin."""

    name: str
    kind: Literal["choice", "guess"]
    """guess: the real service does not document it; an execution has to work under every value."""
    about: str
    default: Any
    others: list[Any]
    """Its other known values; none listed: any of the type."""
    now: Any
    """The value in force."""


class Count(Shape):
    """How many faults are set."""

    faults: int


class FaultSeen(Shape):
    """A fault that is set, and how many requests matched it so far."""

    match: dict[str, Any]
    times: int
    action: dict[str, Any]
    seen: int


class Logged(Shape):
    """A request to Alpaca's interface; `status` is null where no answer went out."""

    t: str
    method: str
    path: str
    query: dict[str, str]
    body: str
    status: int | None
    fault: dict[str, Any] | None
    x_request_id: str | None


class CashMove(Shape):
    """A movement of cash."""

    t: str
    amount: str
    balance: str
    why: str


class Held(Shape):
    """Shares owned."""

    symbol: str
    qty: str


class Truth(Shape):
    """What really happened, whatever the replies said."""

    orders: list[dict[str, Any]]
    """Each order of the account, with its `history` and, of a late rejection, its `reason`."""
    executions: list[dict[str, Any]]
    cash_ledger: list[CashMove]
    positions: list[Held]
    cash: str


class Step(Shape):
    """A step of a scenario; `done` once the clock has passed it."""

    at: str
    do: str
    done: bool


class ScenarioState(Shape):
    """The scenario at work, if any."""

    title: str | None
    claim: str | None
    steps: list[Step]


class Problem(Shape):
    """Why a call was refused; nothing was changed."""

    message: str


def rules_listed(rules: Rules) -> list[dict[str, Any]]:
    """Every rule with its values, as GET /sim/rules tells it."""
    return [
        {
            "name": rule.name,
            "kind": "guess" if "values" in rule.metadata else "choice",
            "about": rule.metadata["about"],
            "default": _default(rule),
            "others": [value for value in _known(rule) if value != _default(rule)],
            "now": getattr(rules, rule.name),
        }
        for rule in fields(Rules)
    ]


def _known(rule: RuleField[Any]) -> tuple[Any, ...]:
    found: tuple[Any, ...] = rule.metadata.get("values") or rule.metadata.get("choices") or ()
    return found


def rules_in(reset: Shape) -> dict[str, Any]:
    """The rules that a reset names."""
    return {name: value for name, value in reset.given.items() if name != "now"}


def now_in(reset: Shape) -> str | None:
    """The instant that a reset names."""
    return cast(str | None, reset.given.get("now"))


def rule_given(text: str) -> dict[str, Any]:
    """A rule as a command line names it: `p_partial=0.5`, `splits_on_paper=late`.

    Raises
    ------
    Refusal
        422: there is no such rule, or it has other values.
    """
    name, _, value = text.partition("=")
    try:
        return rules_in(read(Reset, {name: json.loads(value)}))
    except (ValueError, Refusal):
        return rules_in(read(Reset, {name: value}))
