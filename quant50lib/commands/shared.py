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
from quant50lib.settings import Settings

Result = TypeVar("Result")

out = Console(highlight=False)
err = Console(stderr=True, highlight=False)

Now = Annotated[
    str | None,
    typer.Option("--now", help="Pretend it is this instant (ISO 8601). Simulated broker only."),
]

#: a market other than the demo's, for a replay or a back-test
MarketFile = Annotated[
    Path | None,
    typer.Option("--market", help="Parquet of real daily bars; default: the demo market."),
]
ActionsFile = Annotated[
    Path | None, typer.Option("--actions", help="CSV of corporate actions for the Parquet.")
]
UniverseFile = Annotated[
    Path | None, typer.Option("--universe", help="CSV of names in place of the packaged ones.")
]


def on_market(
    settings: Settings, market: Path | None, actions: Path | None, universe: Path | None
) -> Settings:
    """The settings with those files as the twin's market and the desk's names.

    Raises
    ------
    SettingsError
        A file does not exist.
    """
    for path in (market, actions, universe):
        if path is not None and not path.is_file():
            raise SettingsError(f"{path} does not exist")
    twin = {"market": str(market.resolve())} if market else {}
    changed = twin | ({"actions": actions.resolve()} if actions else {})
    names = {"file": universe.resolve()} if universe else {}
    return settings.model_copy(
        update={
            "simulator": settings.simulator.model_copy(update=changed),
            "universe": settings.universe.model_copy(update=names),
        }
    )


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
