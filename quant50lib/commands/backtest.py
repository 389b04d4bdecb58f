"""The command backtest: the desk's days in a loop, on a simulated market or on real bars."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from quant50lib.commands.shared import (
    ActionsFile,
    MarketFile,
    UniverseFile,
    do,
    err,
    on_market,
    out,
    shown,
)
from quant50lib.utils import config

app = typer.Typer()


@app.command()
def backtest(
    first: Annotated[str, typer.Option("--from", help="First session.")] = "2025-01-02",
    last: Annotated[str, typer.Option("--to", help="Last session.")] = "2025-06-30",
    market: MarketFile = None,
    actions: ActionsFile = None,
    universe: UniverseFile = None,
    book: Annotated[
        str, typer.Option("--book", help="What it expects: zero, momentum, model or equal.")
    ] = "zero",
    brake: Annotated[
        bool, typer.Option("--brake/--no-brake", help="The drawdown brake and halt.")
    ] = True,
    stops: Annotated[bool, typer.Option("--stops/--no-stops", help="The stop-losses.")] = True,
    as_json: Annotated[bool, typer.Option("--json", help="The summary as JSON.")] = False,
) -> None:
    """Trade past sessions by the same functions as the daily run, in one loop, without notebooks.

    The model book trains before the first session and again on every Monday. Orders fill whole at
    the next open, half a spread away from it; dividends are paid on their day. Prices of the demo
    market are made up, and so is every figure that comes of them.

    The result lies in backtests/ of the desk's home; notebooks/backtest.ipynb reads the newest.

    **Examples**

        quant50 backtest --book model --from 2025-01-02 --to 2025-12-31
        quant50 backtest --market bars.parquet --actions actions.csv --universe names.csv --no-brake
    """
    from quant50lib.jobs import backtest as job
    from quant50lib.jobs.progress import bar

    def work() -> None:
        asked = job.Asked(first, last, book, brake, stops)
        settings = on_market(config.load(config.home()), market, actions, universe)
        with bar(err, "back-test") as tell:
            said, folder = job.run(config.home(), settings, asked, tell)
        if as_json:
            out.print_json(json.dumps(said, default=str))
            return
        out.print(f"{said['market']}, book {book}, {said['first']} to {said['last']}")
        for name, value in said.items():
            text = f"{value:.4g}" if isinstance(value, float) else str(value)
            text = "withheld, the span is too short" if value is None else text
            out.print(f"  {name:<24}{text}", soft_wrap=True, markup=False)
        out.print(f"kept in {shown(folder)}", soft_wrap=True)

    do(work)
