"""A scenario at work: the steps that are still to come."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from quant50lib.simulator.timetable import utc_text


@dataclass(frozen=True)
class Planned:
    """A step whose instant is known and whose body is checked."""

    at: int
    do: str
    act: Callable[[Any, Any], Any]
    body: Any


@dataclass
class Script:
    """The steps in order of time, and how many of them are done."""

    title: str
    claim: str
    steps: list[Planned]
    done: int = 0

    def next(self, until: int) -> Planned | None:
        """The next step, if it is due by then; it counts as done."""
        if self.done == len(self.steps) or self.steps[self.done].at > until:
            return None
        self.done += 1
        return self.steps[self.done - 1]

    @property
    def shown(self) -> dict[str, Any]:
        """As GET /sim/scenario tells it."""
        rows = [
            {"at": utc_text(step.at), "do": step.do, "done": number < self.done}
            for number, step in enumerate(self.steps)
        ]
        return {"title": self.title, "claim": self.claim, "steps": rows}
