"""The command `leak-check`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from quant50lib.commands.shared import Now, do, err, out, present
from quant50lib.errors import LeakFound, SettingsError
from quant50lib.utils import config, dates

if TYPE_CHECKING:
    from quant50lib.services.leak import Leak

app = typer.Typer()

#: the check of the pipeline without a planted leak
CLEAN = "clean"
WIDE = 200


@app.command("leak-check")
def leak_check(
    date: Annotated[
        str | None, typer.Option("--date", help="Newest session after which all is replaced.")
    ] = None,
    sessions: Annotated[
        int, typer.Option("--sessions", min=1, max=12, help="How many sessions are tried.")
    ] = 3,
    notebooks: Annotated[
        Path | None,
        typer.Option("--notebooks", help="A folder of stage notebooks, edited: run them as well."),
    ] = None,
    self_test: Annotated[
        bool, typer.Option("--self-test", help="Show that every planted leak is caught.")
    ] = False,
    now: Now = None,
) -> None:
    """Replace everything after a session by noise, and demand that nothing before it changes.

    Features, labels, rows to learn from and forecast are made of a past that ends with the session,
    and again with made-up futures behind it: wild prices, names that vanish and appear, members that
    leave, splits, dividends, bars said anew. A value at or before the session that differs, to the
    last bit, is a leak: its table, column and first cell are named, and the exit code is 3.

    It reads a copy of the desk's store or, where there is none, the demo market. With --notebooks the
    stage notebooks 02 to 05 of a folder are run in a scratch desk, and every variable they leave that
    has sessions is compared.

    **Examples**

        quant50 leak-check                           the library, three sessions
        quant50 leak-check --notebooks notebooks     and the notebooks as they are in this checkout
        quant50 leak-check --self-test               a table of planted leaks and where each was caught
    """
    from quant50lib.jobs import leak_check as job
    from quant50lib.jobs import leak_notebooks
    from quant50lib.services import leak

    tell = lambda words: err.print(words, style="dim", soft_wrap=True)  # noqa: E731

    def work() -> None:
        home = config.home()
        settings = config.load(home)
        moment = present(now, settings.broker)
        if self_test:
            _show(job.self_test(settings, moment))
            return
        if date is not None and dates.as_session(date) > dates.last_closed(moment):
            raise SettingsError(f"{date} has not closed yet: there is nothing to replace after it")
        known = job.world_of(home, settings, date, moment, sessions, tell)
        found = job.check(known, settings, sessions, tell)
        if notebooks is not None:
            found += leak_notebooks.run(settings, known, notebooks, tell=tell)
        leak.require_none(found)
        out.print("nothing at or before a session depends on what came after it")

    do(work)


def _show(found: dict[str, tuple[Leak, ...]]) -> None:
    """The planted leaks and where each was caught; `LeakFound` where one was missed."""
    from quant50lib.services.leak_planted import PLANTED

    table = Table("planted", "the mistake", "caught in", "first cell", "without", "with a future")
    caught = {
        name: next((one for one in found[name] if one.table == planted.table), None)
        for name, planted in PLANTED.items()
    }
    for name, seen in caught.items():
        where = ("nothing",) if seen is None else _where(seen)
        table.add_row(name, escape(PLANTED[name].mistake), *where)
    (out if out.is_terminal else Console(width=WIDE, highlight=False)).print(table)
    out.print(f"without a planted leak: {len(found[CLEAN])} columns differ")
    missed = [name for name, seen in caught.items() if seen is None]
    if missed or found[CLEAN]:
        raise LeakFound(f"missed: {', '.join(missed) or 'none'}; see the table")


def _where(seen: Leak) -> tuple[str, ...]:
    cell = f"{seen.session.date()} {seen.symbol}"
    return f"{seen.table}.{seen.column}", cell, seen.without, seen.behind
