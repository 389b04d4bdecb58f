"""How a run is watched: plain lines for logs and pipes, a live table for a terminal."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Iterator
from types import TracebackType

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress import (
    BarColumn,
    Progress,
    SpinnerColumn,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from quant50lib.pipeline.runner import Event

MARKS = {"done": "✓", "kept": "=", "failed": "✗", "sealed": "■"}
COLOURS = {"done": "green", "kept": "cyan", "failed": "red", "running": "yellow"}


def lines(event: Event) -> None:
    """One line per stage that begins or ends."""
    if event.state in ("running", "exporting") and event.seconds:
        return
    mark = MARKS.get(event.state, "…")
    took = f" {event.seconds:6.1f} s" if event.state in ("done", "failed") else ""
    print(f"{mark} {event.stage or 'run':<10}{took} {event.doing}".rstrip(), file=sys.stderr)


def shares() -> Callable[[str, float], None]:
    """One line for each new thing that is done, and for each tenth of it."""
    told: set[tuple[str, int]] = set()

    def tell(doing: str, share: float) -> None:
        mark = doing, int(10 * share)
        if mark not in told:
            told.add(mark)
            print(f"{share:4.0%} {doing}", file=sys.stderr)

    return tell


@contextlib.contextmanager
def bar(console: Console, title: str) -> Iterator[Callable[[str, float], None]]:
    """A bar in a terminal, with the time that is left; elsewhere `shares`."""
    if not console.is_terminal:
        yield shares()
        return
    columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), TaskProgressColumn())
    with Progress(*columns, TimeElapsedColumn(), TimeRemainingColumn(), console=console) as shown:
        task = shown.add_task(title, total=1.0)
        yield lambda doing, share: shown.update(
            task, completed=share, description=f"{title} · {doing}"
        )


class LiveProgress:
    """A table that changes in place: each stage, its time, and what it is doing now.

    Call it with events; use it as a context manager around the work.
    """

    def __init__(self, console: Console, title: str) -> None:
        self._console = console
        self._title = title
        self._rows: dict[str, tuple[Event, float]] = {}
        self._begun = time.monotonic()
        self._live = Live(self, console=console, refresh_per_second=8, transient=False)

    def __enter__(self) -> LiveProgress:
        self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._live.stop()

    def __call__(self, event: Event) -> None:
        if not event.stage:
            return
        _, since = self._rows.get(event.stage, (event, time.monotonic()))
        self._rows[event.stage] = (event, since)

    def __rich__(self) -> RenderableType:
        table = Table.grid(padding=(0, 2))
        for column in ("", "stage", "elapsed", "doing"):
            table.add_column(column, justify="right" if column == "elapsed" else "left")
        for name, (event, since) in self._rows.items():
            table.add_row(*self._cells(name, event, since))
        elapsed = time.monotonic() - self._begun
        return Group(Text(f"{self._title} · {elapsed:.0f} s", style="bold"), table)

    def _cells(self, name: str, event: Event, since: float) -> tuple[RenderableType, ...]:
        working = event.state in ("running", "exporting")
        seconds = time.monotonic() - since if working else event.seconds
        mark: RenderableType = Spinner("dots") if working else Text(MARKS.get(event.state, ""))
        style = COLOURS.get(event.state, "yellow")
        took = "" if event.state == "kept" else f"{seconds:.1f} s"
        doing = "done before" if event.state == "kept" else event.doing
        return mark, Text(name, style=style), Text(took), Text(doing, style="dim")


def watcher(console: Console, title: str) -> LiveProgress | None:
    """A live table where the console can show one, else None: use `lines`."""
    return LiveProgress(console, title) if console.is_terminal else None
