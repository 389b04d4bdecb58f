"""Days written down: a TOML file with the rules to begin with, and what happens when.

    title = "..."
    claim = "what is to be seen"
    market = "demo"                  # needed market: demo, none, or left out: any

    [reset]                          # as POST /sim/reset; rules left out have their defaults
    now = "2024-06-03T22:00:00Z"

    [[steps]]                        # in order of time
    at = "open+5m"                   # or "close-10m", "04:00+26s", "2024-06-04T14:00:00Z"
    do = "faults"                    # a call of the control plane, see `STEPS`
    with = [{ action = { hang = {} } }]

A mark means its first occurrence at or after the step before. All of it is checked before anything
is started or reset.
"""

from __future__ import annotations

import datetime as dt
import re
import tomllib
from dataclasses import replace
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field, field_validator

from quant50lib.simulator.app import Twin
from quant50lib.simulator.calls import STEPS, advance, instant, on_the_calendar, reset
from quant50lib.simulator.control_shapes import Reset, now_in, rules_in
from quant50lib.simulator.refusals import Refusal
from quant50lib.simulator.rules import Rules
from quant50lib.simulator.script import Planned, Script
from quant50lib.simulator.shapes import Shape, read, unsaid
from quant50lib.simulator.timetable import SECOND, Timetable, timetable, utc_text

MARK = re.compile(r"^(open|close|04:00)(?:([+-])(\d{1,6})([smh]))?$")
UNITS = {"s": SECOND, "m": 60 * SECOND, "h": 3600 * SECOND}
SHIPPED = files("quant50lib.simulator") / "scenarios"


class StepShape(Shape):
    """A step as it is written."""

    at: str
    do: Literal[tuple(STEPS)]  # type: ignore[valid-type]
    with_: Annotated[Any, Field(alias="with")] = None

    @field_validator("at")
    @classmethod
    def _is_a_time(cls, value: str) -> str:
        if not MARK.match(value):
            try:
                instant(value)
            except Refusal as refusal:
                raise ValueError(
                    f"{value!r} is neither an instant (2024-06-04T14:00:00Z) nor a mark "
                    "(open, close or 04:00, with an offset like +5m or -90s)"
                ) from refusal
        return value


class Scenario(Shape):
    """A whole file."""

    title: str
    claim: str
    market: Literal["demo", "none"] = unsaid()
    reset: Reset  # type: ignore[valid-type]
    steps: list[StepShape] = []

    @property
    def now(self) -> int:
        """Where its clock begins."""
        named = now_in(self.reset)
        if named is None:
            raise Refusal(422, None, "reset.now: a scenario says when it begins")
        return instant(named)


def names() -> list[str]:
    """The scenarios that are shipped."""
    found = (entry.name for entry in SHIPPED.iterdir())
    return sorted(name.removesuffix(".toml") for name in found if name.endswith(".toml"))


def load(name: str) -> Scenario:
    """A shipped scenario by its name, or one from a file.

    Raises
    ------
    Refusal
        422, naming the file, the key, and what is allowed there.
    """
    if name in names():
        return parse((SHIPPED / f"{name}.toml").read_text(), name)
    path = Path(name)
    if path.suffix != ".toml":
        raise Refusal(422, None, f"there is no scenario {name}; known: {', '.join(names())}")
    try:
        return parse(path.read_text(), str(path))
    except (OSError, UnicodeDecodeError) as error:
        raise Refusal(422, None, f"the scenario {path} cannot be read: {error}") from error


def parse(text: str, source: str) -> Scenario:
    """The scenario of a text; `source` names it in refusals."""
    try:
        found: Scenario = read(Scenario, _plain(tomllib.loads(text)))
        plan(found)
    except tomllib.TOMLDecodeError as error:
        raise Refusal(422, None, f"{source}: {error}") from error
    except Refusal as refusal:
        raise Refusal(refusal.status, None, f"{source}: {refusal}") from refusal
    return found


def _plain(value: Any) -> Any:
    """TOML as JSON has it: instants as text."""
    if isinstance(value, dict):
        return {key: _plain(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_plain(inner) for inner in value]
    if isinstance(value, dt.datetime | dt.date | dt.time):
        return value.isoformat()
    return value


def plan(scenario: Scenario) -> list[Planned]:
    """The steps with their instants and checked bodies, in order of time."""
    rules = replace(Rules(), **rules_in(scenario.reset))
    times = timetable(rules.calendar)
    at, found = on_the_calendar(times, scenario.now), []
    for number, step in enumerate(scenario.steps):
        try:
            at = _instant_of(step.at, at, times)
            kind = STEPS[step.do]
            body = kind.read(step.with_)
        except Refusal as refusal:
            raise Refusal(refusal.status, None, f"steps.{number}: {refusal}") from refusal
        found.append(Planned(at, step.do, kind.act, body))
    return found


def _instant_of(text: str, before: int, times: Timetable) -> int:
    found = MARK.match(text)
    at = _first(found, before, times) if found else instant(text)
    if at < before:
        raise Refusal(422, None, f"at: {text} lies before the step before, {utc_text(before)}")
    return on_the_calendar(times, at)


def _first(mark: re.Match[str], before: int, times: Timetable) -> int:
    name, sign, amount, unit = mark.groups()
    offset = int(sign + amount) * UNITS[unit] if sign else 0
    instants = {"open": times.opens, "close": times.closes, "04:00": times.early}[name]
    place = int(np.searchsorted(instants, before - offset))
    return int(instants[min(place, len(instants) - 1)]) + offset


def begin(twin: Twin, scenario: Scenario) -> None:
    """Reset the twin and have the steps happen as its clock moves.

    Raises
    ------
    Refusal
        422: the scenario needs another market than the twin has.
    """
    name = twin.exchange.market.name
    if scenario.market is not None and scenario.market != name:
        raise Refusal(
            422, None, f"{scenario.title} needs the market {scenario.market}, this twin has {name}"
        )
    steps = plan(scenario)
    reset(twin, scenario.reset, Rules())
    twin.script = Script(scenario.title, scenario.claim, steps)
    advance(twin, twin.exchange.now)
