"""Commands that read what runs have left: report, orders, status, verify."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.table import Column, Table

from quant50lib.commands.shared import do, err, out, shown
from quant50lib.errors import ArchiveError
from quant50lib.utils import config

app = typer.Typer()


@app.command()
def report(
    date: Annotated[str | None, typer.Option("--date", help="Session; default: newest.")] = None,
    again: Annotated[bool, typer.Option("--again", help="Print the PDF anew.")] = False,
) -> None:
    """Say where the report of a session lies, printing the PDF if it is missing."""
    from quant50lib.pipeline import archive, reports

    def work() -> None:
        home = config.home()
        found = archive.newest(home, "daily", None, date)
        if found is None:
            raise ArchiveError("there is no daily run yet; `quant50 run` makes one")
        said = reports.ensure(home, config.load(home), found, again)
        for path in said.paths:
            out.print(shown(path), soft_wrap=True)
        if said.missing:
            err.print(said.missing, soft_wrap=True)

    do(work)


@app.command()
def orders(
    date: Annotated[str | None, typer.Option("--date", help="Session; default: newest.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False,
) -> None:
    """Show the orders decided on a session, sent or not, as the newest run knows them."""
    from quant50lib.contracts import Order
    from quant50lib.pipeline import archive

    def work() -> None:
        home = config.home()
        for found in archive.runs(home):
            fits = found.schedule == "daily" and date in (None, found.run_date)
            if fits and (found.path / "tables" / Order.file_name()).is_file():
                break
        else:
            raise ArchiveError(f"no run holds orders{f' of {date}' if date else ''} yet")
        frame = archive.read_table(found.path, Order)
        if as_json:
            out.print_json(frame.to_json(orient="records", date_format="iso"))
            return
        table = Table("side", "symbol", "qty", "price", "notional", "intent", "state", "why")
        for row in frame.sort_values(["side", "notional"], ascending=[False, False]).itertuples():
            cells = (row.side, row.symbol, f"{row.qty:,.6g}", f"{row.price:,.2f}")
            table.add_row(*cells, f"{row.notional:,.2f}", row.intent, row.state, row.reason)
        out.print(f"{found.id}: {len(frame)} orders")
        out.print(table)

    do(work)


@app.command()
def status() -> None:
    """Show the desk: its runs, its newest equity, and what is unfinished."""
    from quant50lib.contracts import Equity
    from quant50lib.jobs import books
    from quant50lib.pipeline import archive

    def work() -> None:
        home = config.home()
        settings = config.load(home)
        out.print(f"home {shown(home.root)} · broker {settings.broker}", soft_wrap=True)
        if reason := books.halted(home, settings):
            out.print(f"halted: {reason}", style="red", markup=False, soft_wrap=True)
        if archive.is_locked(home.lock):
            out.print(f"a run is at work (process {home.lock.read_text()})")
        found = archive.runs(home)
        if not found:
            out.print("no run yet: `quant50 demo` makes the first")
            return
        table = Table(
            Column("run", no_wrap=True), *("session", "state", "sent", "equity", "stages")
        )
        for info in found[:15]:
            equity = ""
            if (info.path / "tables" / Equity.file_name()).is_file():
                values = archive.read_table(info.path, Equity)["equity"]
                equity = f"{values.iloc[-1]:,.2f}" if len(values) else ""
            stages = " ".join(f"{n}:{s['state']}" for n, s in info.stages.items())
            sends = "no" if info.facts.get("shadow") else "yes"
            done = "all" if info.sealed else stages
            table.add_row(info.id, info.run_date, info.state, sends, equity, done)
        out.print(table)

    do(work)


@app.command()
def verify() -> None:
    """Recompute every digest of every sealed run and every link of the chain (exit 8 if altered)."""
    from quant50lib.pipeline import archive

    def work() -> None:
        home = config.home()
        problems = archive.verify(home)
        if problems:
            raise ArchiveError("\n".join(problems))
        out.print(f"{len(archive.chain(home))} sealed runs: every file and every link holds")

    do(work)
