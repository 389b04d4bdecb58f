"""Commands about our books and the kill switch: reconcile, halt, resume."""

from __future__ import annotations

import getpass
from typing import Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from quant50lib.commands.shared import Now, do, out, present, shown
from quant50lib.errors import ReconciliationError
from quant50lib.utils import config

app = typer.Typer()


@app.command()
def reconcile(
    adopt: Annotated[
        str,
        typer.Option(metavar="REASON", help="Take the broker's side over where the two differ."),
    ] = "",
    symbol: Annotated[
        str, typer.Option(help="With --adopt: the shares of this name alone, frozen or not.")
    ] = "",
    as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False,
    now: Now = None,
) -> None:
    """Hold our books against the broker's: orders, fills, positions, cash (exit 7 if they differ).

    Nothing is changed at the broker. Both sides are shown here and on a page under data/reports.

    **Examples**

        quant50 reconcile
        quant50 reconcile --adopt "sold 3 AAA by hand on the web page"
        quant50 reconcile --adopt "paper never applied the split" --symbol BBB
    """
    from quant50lib.jobs import books
    from quant50lib.services import comparison

    def work() -> None:
        home = config.home()
        settings = config.load(home)
        moment, who = present(now, settings.broker), getpass.getuser()
        look = books.reconcile(home, settings, config.secrets(), moment, adopt, who, symbol)
        if as_json:
            out.print_json(comparison.as_frame(look.done.lines).to_json(orient="records"))
        else:
            _say_sides(look)
        if look.done.differences:
            raise ReconciliationError(comparison.explained(look.done.differences))

    do(work)


def _say_sides(look: Any) -> None:
    """Both sides as a table: what differs, and of the rest what is not merely an old fill."""
    table = Table("what", "name", "ours", "theirs", "difference", "remark")
    for line in look.done.lines:
        if line.difference or line.what != "fill":
            style = "red" if line.differs else "yellow" if line.difference else ""
            cells = (line.what, line.name, line.ours, line.theirs, line.difference, line.remark)
            table.add_row(*map(escape, cells), style=style)
    out.print(table)
    fills = sum(line.what == "fill" for line in look.done.lines)
    said = f"{len(look.done.lines)} lines compared, {fills} of them fills"
    adopted = f" · events adopted: {look.adopted}" if look.adopted else ""
    out.print(f"{said}, {len(look.done.differences)} differ{adopted}")
    for name, reason in sorted(look.done.frozen.items()):
        out.print(f"frozen: {name}: {reason}", style="yellow", markup=False, soft_wrap=True)
    for remark in look.done.remarks:
        out.print(f"look at {remark}", style="yellow", markup=False, soft_wrap=True)
    out.print(f"page: {shown(look.page)}", soft_wrap=True)


@app.command()
def halt(reason: Annotated[str, typer.Argument(help="Why; it is kept.")]) -> None:
    """Throw the kill switch: nothing is bought any more until `quant50 resume`; sells still go.

    It is a file beside the ledger and an event in it: it works at once, also on a run that is at
    work, and survives restarts.
    """
    from quant50lib.jobs import books

    def work() -> None:
        home = config.home()
        left = books.halt(home, config.load(home), reason, present(None, "sim"))
        out.print(f"halted: {reason}", markup=False, soft_wrap=True)
        if left:
            out.print(left, markup=False, soft_wrap=True)

    do(work)


@app.command()
def resume(reason: Annotated[str, typer.Argument(help="Why; it is kept.")]) -> None:
    """Lift the kill switch. Orders that it kept back go with the next run while their session lasts."""
    from quant50lib.jobs import books

    def work() -> None:
        home = config.home()
        books.resume(home, config.load(home), reason, present(None, "sim"))
        out.print(f"resumed: {reason}", markup=False, soft_wrap=True)

    do(work)
