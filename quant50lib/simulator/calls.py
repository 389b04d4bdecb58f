"""What the control plane can have a twin do: over HTTP, or as the steps of a scenario."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from pydantic import TypeAdapter, ValidationError

from quant50lib.simulator.app import Twin
from quant50lib.simulator.control_market import set_actions, set_assets, set_bars, set_market
from quant50lib.simulator.control_shapes import Clock, Reset, now_in, rules_in
from quant50lib.simulator.exchange import Exchange
from quant50lib.simulator.fault_shapes import FaultList, FaultShape, Nothing
from quant50lib.simulator.faults import fault_of
from quant50lib.simulator.market_shapes import ActionShape, AssetShape, BarsShape, MarketShape
from quant50lib.simulator.refusals import Refusal
from quant50lib.simulator.reprice import RepriceShape, reprice
from quant50lib.simulator.rules import Rules
from quant50lib.simulator.shapes import Shape, explain
from quant50lib.simulator.timetable import SECOND, Timetable, parse_instant, utc_text


def instant(value: str) -> int:
    """An RFC 3339 instant as microseconds; raises Refusal where it is none."""
    try:
        return parse_instant(value)
    except (ValueError, OverflowError) as error:
        raise Refusal(422, None, f"{value!r} is not an RFC 3339 instant with a zone") from error


def on_the_calendar(times: Timetable, at: int) -> int:
    """The instant itself, if there are sessions around it."""
    if not times.midnights[1] <= at < times.midnights[-2]:
        first, last = times.day(1), times.day(len(times.days) - 2)
        raise Refusal(422, None, f"{utc_text(at)} is not between {first} and {last}")
    return at


def reset(twin: Twin, shape: Shape, rules: Rules | None = None) -> None:
    """An empty account; rules that are not named stay as in `rules`, or as they are."""
    named, now = rules_in(shape), now_in(shape)
    at = twin.exchange.now if now is None else instant(now)
    begin = replace(rules or twin.exchange.rules, **named)
    twin.exchange.reset(begin, on_the_calendar(twin.exchange.times, at))
    twin.clear_faults()
    twin.requests.clear()


def target(exchange: Exchange, clock: Clock) -> int:
    """Where a call sends the clock."""
    how, value = clock.chosen
    if how == "set":
        return on_the_calendar(exchange.times, instant(value))
    if how == "advance_s":
        return on_the_calendar(exchange.times, exchange.now + round(value * SECOND))
    marks = {
        "next_open": exchange.times.next_open,
        "next_close": exchange.times.next_close,
        "04:00": exchange.times.next_early,
    }
    return marks[value](exchange.now)


def set_faults(twin: Twin, shapes: list[FaultShape]) -> None:
    """Put faults into force, after those that are."""
    twin.faults.rules.extend(fault_of(shape) for shape in shapes)


def clear_faults(twin: Twin, shape: Any = None) -> None:
    """End all faults; orders that were stuck go on."""
    twin.clear_faults()


def advance(twin: Twin, to: int) -> None:
    """Move the clock; the steps of a scenario happen on the way."""
    twin.orders.settle()
    while twin.script is not None and (step := twin.script.next(to)) is not None:
        twin.exchange.advance(step.at)
        step.act(twin, step.body)
    twin.exchange.advance(to)


@dataclass(frozen=True)
class StepKind:
    """A call that a scenario can make: what its body must be, and what it does."""

    shape: TypeAdapter[Any]
    act: Callable[[Twin, Any], Any]

    def read(self, body: Any) -> Any:
        """The body, checked."""
        try:
            return self.shape.validate_python({} if body is None else body)
        except ValidationError as error:
            raise Refusal(422, None, f"with: {explain(error.errors())}") from error


STEPS: dict[str, StepKind] = {
    "reset": StepKind(TypeAdapter(Reset), reset),
    "faults": StepKind(TypeAdapter(FaultList), set_faults),
    "clear_faults": StepKind(TypeAdapter(Nothing), clear_faults),
    "assets": StepKind(TypeAdapter(list[AssetShape]), set_assets),
    "market": StepKind(TypeAdapter(MarketShape), set_market),
    "bars": StepKind(TypeAdapter(BarsShape), set_bars),
    "corporate_actions": StepKind(TypeAdapter(list[ActionShape]), set_actions),
    "reprice": StepKind(TypeAdapter(RepriceShape), reprice),
}
