"""Commands about data: ingest, sql, restated, backup, restore."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import pandas as pd
import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from quant50lib.commands.shared import Now, do, err, out, present, shown
from quant50lib.errors import SettingsError
from quant50lib.utils import config

app = typer.Typer()

Format = Literal["table", "csv", "json", "parquet"]
ROWS_SHOWN = 60
WIDE = 400


@app.command()
def ingest(
    first: Annotated[
        str | None,
        typer.Option("--from", help="First session. Default: the history that a run needs."),
    ] = None,
    last: Annotated[
        str | None,
        typer.Option("--to", "--date", help="Last session. Default: the newest closed one."),
    ] = None,
    now: Now = None,
) -> None:
    """Fetch bars, corporate actions and assets into the store: what is missing, and no more.

    `quant50 run` does this by itself; alone it fills a fresh store, catches up, or reaches further
    back. Nothing that is stored is changed: what the vendor has revised becomes a new row. Stop it
    anywhere and give the same command again: it goes on from there, nothing is lost and nothing is
    stored twice. With everything there it asks for nothing.

    Of a few names, others every session (data.vendor_sample), our adjusted closes are held against
    the vendor's own; where they differ, a table says since when.

    **Examples**

        quant50 ingest                                  up to the newest closed session
        quant50 ingest --from 2016-01-04                with more history
        quant50 ingest --from 2016-01-04 --to 2019-12-31
    """
    from quant50lib.jobs import ingest as job
    from quant50lib.jobs.progress import bar

    def work() -> None:
        home = config.home()
        settings = config.load(home)
        moment = present(now, settings.broker)
        with bar(err, "ingest") as tell:
            found = job.run(home, settings, config.secrets(), moment, first, last, tell)
        for line in job.in_words(found):
            out.print(line, soft_wrap=True, markup=False)
        differing = found.checks[found.checks["differs"]]
        if len(differing):
            _print(_table(differing.drop(columns="differs")))

    do(work)


@app.command()
def sql(
    query: Annotated[str, typer.Argument(help="One SELECT of DuckDB's SQL.")],
    form: Annotated[Format, typer.Option("--format", help="How to give the answer.")] = "table",
    to: Annotated[Path | None, typer.Option("--out", help="Write it to this file.")] = None,
) -> None:
    """Ask the store, read only, on a snapshot: a scheduled run is never in the way, nor you in its.

    Tables: bars, actions, assets, checks (every row that was ever known, with known_at in UTC) and
    ingests. The views bars_in_force, actions_in_force and assets_in_force hold the newest word.
    In Python: `quant50lib.open_market()`.

    **Examples**

        quant50 sql "SELECT symbol, max(session) AS newest FROM bars GROUP BY symbol"
        quant50 sql "SELECT * FROM bars_in_force WHERE symbol = 'SPY'" --format parquet --out spy.parquet
        quant50 sql "SELECT count(*) FROM bars" --format json
    """
    from quant50lib import open_market

    def work() -> None:
        if form == "parquet" and to is None:
            raise SettingsError("Parquet goes into a file: add --out FILE.parquet")
        with open_market() as market:
            frame = market.sql(query)
        _give(frame, form, to)

    do(work)


@app.command()
def restated(
    since: Annotated[
        str | None, typer.Option(help="Learnt on this day or later, YYYY-MM-DD. Default: ever.")
    ] = None,
    decisions: Annotated[
        int, typer.Option(min=0, help="Decide so many of the newest runs concerned again.")
    ] = 0,
    form: Annotated[Format, typer.Option("--format", help="Of the runs concerned.")] = "table",
    to: Annotated[Path | None, typer.Option("--out", help="Write them to this file.")] = None,
) -> None:
    """Say which past bars the vendor has changed, which sealed runs used the old ones, and why that
    matters: whether the name was held, ordered or wanted, and how far its close has moved.

    With --decisions N the newest N daily runs concerned are decided again, features, forecast and
    optimiser, on the bars as known then and as known now, all else equal; the difference of the
    weights is shown. Nothing is stored and no order is sent.
    """
    from quant50lib.jobs import restated as job

    def work() -> None:
        home = config.home()
        tell = lambda words: err.print(words, style="dim")  # noqa: E731
        found = job.report(home, config.load(home), since, decisions, tell)
        out.print(f"{len(found.changes)} bars were said anew")
        if len(found.changes):
            _print(_table(found.changes))
        out.print(f"{found.used['run'].nunique()} sealed runs used an old value")
        if len(found.used) or form != "table":
            _give(found.used, form, to)
        for again in found.decided:
            moved = again.weights[again.weights["change"].abs() >= 5e-5]
            exact = "as sealed" if again.exact else "not as sealed"
            out.print(f"{again.run}: bars of then read {exact}; {len(moved)} weights differ")
            if len(moved):
                _print(_table(moved))

    do(work)


Only = Annotated[
    list[str] | None,
    typer.Option("--only", help="store, books, models or runs; repeatable. Default: all."),
]


@app.command()
def backup(
    file: Annotated[Path, typer.Argument(help="The file to write, for instance desk.tar.zst.")],
    only: Only = None,
) -> None:
    """Save what this desk cannot make again in one file, every part with its digest.

    The store (with all that was ever known), the books (ledger, kill switch, the twin's account),
    the models and the sealed runs. The desk must be at rest; a run that begins meanwhile is not
    kept waiting, and the backup then says so.
    """
    from quant50lib.jobs import backup as job

    def work() -> None:
        home = config.home()
        moment = pd.Timestamp.now("UTC")
        saved = job.write(home, config.load(home), file, moment, _parts(only))
        size = saved.file.stat().st_size / 1e6
        words = (
            f"{shown(saved.file)}: {', '.join(saved.parts)}, {saved.files} files, {size:,.1f} MB"
        )
        out.print(words, soft_wrap=True)

    do(work)


@app.command()
def restore(
    file: Annotated[Path, typer.Argument(help="A file that `quant50 backup` wrote.")],
    only: Only = None,
    force: Annotated[
        bool, typer.Option("--force", help="Also where the desk knows more than the backup.")
    ] = False,
) -> None:
    """Put a backup back: every digest is checked before anything is touched.

    Where the desk knows more than the backup, it refuses: restore some parts (--only store, after a
    damage of the store), or --force. What is replaced is moved aside, not deleted. Cut off in the
    middle, the next start of the desk completes it.
    """
    from quant50lib.jobs import backup as job

    def work() -> None:
        home = config.home()
        done = job.restore(home, config.load(home), file, _parts(only), force)
        out.print(f"restored: {', '.join(done.parts)}, {done.files} files")
        if done.aside:
            out.print(f"what stood there is in {shown(done.aside)}", soft_wrap=True)

    do(work)


def _parts(only: list[str] | None) -> Any:
    """The parts asked for, in their order (SettingsError)."""
    from quant50lib.jobs.backup import PARTS

    strange = sorted(set(only or ()) - set(PARTS))
    if strange:
        raise SettingsError(f"{strange[0]!r} is no part of a backup: {', '.join(PARTS)}")
    return tuple(part for part in PARTS if not only or part in only)


def _give(frame: pd.DataFrame, form: Format, to: Path | None) -> None:
    """A frame on the screen or in a file."""
    if form == "table" and to is None:
        _print(_table(frame))
        return
    if form == "parquet":
        frame.to_parquet(to, index=False, compression="zstd")
    else:
        text = _text(frame, form)
        if to is None:
            typer.echo(text, nl=False)
            return
        to.write_text(text, "utf-8")
    out.print(f"{shown(to or Path())}: {len(frame):,} rows", soft_wrap=True)


def _print(table: Table) -> None:
    """As wide as the terminal, or as wide as it is where nobody looks."""
    (out if out.is_terminal else Console(width=WIDE, highlight=False)).print(table)


def _text(frame: pd.DataFrame, form: Format) -> str:
    if form == "json":
        return str(frame.to_json(orient="records", date_format="iso", lines=False)) + "\n"
    return str(frame.to_csv(index=False))


def _table(frame: pd.DataFrame) -> Table:
    """The first rows of a frame, and how many more there are."""
    numbers = frame.select_dtypes("number").columns
    more = len(frame) - ROWS_SHOWN
    caption = f"{more:,} rows more; --format csv gives all" if more > 0 else None
    table = Table(caption=caption)
    for name in frame.columns:
        table.add_column(escape(str(name)), justify="right" if name in numbers else "left")
    for row in frame.head(ROWS_SHOWN).itertuples(index=False):
        table.add_row(*(escape(_cell(value)) for value in row))
    return table


def _cell(value: Any) -> str:
    if isinstance(value, pd.Timestamp):
        return str(value.date()) if value == value.normalize() else f"{value:%Y-%m-%d %H:%M:%S}"
    if isinstance(value, float):
        return f"{value:,.6g}"
    return "" if value is None or value is pd.NaT else str(value)
