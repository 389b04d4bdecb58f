"""What every command needs: consoles, common options, and one way to meet errors."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, TypeVar

import pandas as pd
import typer
from rich.console import Console

from quant50lib.errors import SettingsError
from quant50lib.jobs.entry import guarded

Result = TypeVar("Result")

out = Console(highlight=False)
err = Console(stderr=True, highlight=False)

Now = Annotated[
    str | None,
    typer.Option("--now", help="Pretend it is this instant (ISO 8601). Simulated broker only."),
]


def do(work: Callable[[], Result]) -> Result:
    """Do the work of a command; an expected failure becomes a sentence and an exit code."""
    return guarded(work, lambda text: err.print(text, style="red", markup=False, soft_wrap=True))


def present(now: str | None, broker: str) -> pd.Timestamp:
    """The present time, UTC, or the instant that is rehearsed (SettingsError on paper)."""
    if now is None:
        return pd.Timestamp.now("UTC")
    if broker != "sim":
        raise SettingsError('--now rehearses on the simulated broker only, and broker = "paper"')
    try:
        moment = pd.Timestamp(now)
    except ValueError as error:
        raise SettingsError(f"--now {now!r} is no instant; write 2026-11-20T22:00Z") from error
    return moment.tz_localize("UTC") if moment.tzinfo is None else moment.tz_convert("UTC")


def shown(path: Path) -> str:
    """A path as a person would type it."""
    try:
        return str(path.relative_to(Path.cwd()))
    except ValueError:
        return str(path)
