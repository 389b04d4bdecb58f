"""The command simulate: the twin of Alpaca alone."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Annotated

import typer

from quant50lib.commands.shared import do, out, present
from quant50lib.utils import config

app = typer.Typer()


@app.command()
def simulate(
    port: Annotated[int, typer.Option(help="Of Alpaca's interface; 0: any free one.")] = 0,
    control_port: Annotated[int, typer.Option(help="Of the control plane.")] = 0,
    state: Annotated[Path | None, typer.Option(help="The file that remembers the account.")] = None,
    market: Annotated[
        str | None,
        typer.Option(
            help="demo (the usual), none (only what the control plane sets), or a Parquet."
        ),
    ] = None,
    scenario: Annotated[
        str | None, typer.Option(help="Begin anew with this day: a name, or a TOML file.")
    ] = None,
    list_scenarios: Annotated[
        bool, typer.Option("--list-scenarios", help="Say which days are shipped, and stop.")
    ] = False,
    actions: Annotated[Path | None, typer.Option(help="CSV of corporate actions.")] = None,
    universe: Annotated[Path | None, typer.Option(help="CSV of names of the demo.")] = None,
    cash: Annotated[str | None, typer.Option(help="Opening cash, US dollars; 100000.")] = None,
    now: Annotated[str | None, typer.Option(help="The clock of a fresh account.")] = None,
    seed: Annotated[int | None, typer.Option(help="Of the demo market and partial fills.")] = None,
    rule: Annotated[
        list[str] | None, typer.Option(help="NAME=VALUE, a rule of GET /sim/rules; repeatable.")
    ] = None,
) -> None:
    """Run the twin of Alpaca alone, for any Alpaca client, until Ctrl-C.

    Point a client at the printed address with any key that begins with PK. The account survives a
    restart in its state file. The control plane (its address is printed too; /docs there) moves the
    clock, sets prices and scripts faults.

    **Examples**

        quant50 simulate --port 8900 --control-port 8901 --market bars.parquet
        quant50 simulate --scenario crash_12
        quant50 simulate --rule p_partial=0 --rule splits_on_paper=late
    """
    from quant50lib.simulator import scenario as scenarios

    def work() -> None:
        if list_scenarios:
            for name in scenarios.names():
                found = scenarios.load(name)
                out.print(f"{name}: {found.title}\n    {found.claim}", soft_wrap=True)
            return
        home = config.home()
        place = state or home.data / "twin" / _state_name(scenario)
        place.parent.mkdir(parents=True, exist_ok=True)
        begins = scenario is None and (now or market in (None, "demo", "none"))
        asked = {
            "--state": place,
            "--port": port,
            "--control-port": control_port,
            "--market": market,
            "--scenario": scenario,
            "--actions": actions,
            "--universe": universe or config.load(home).universe.file,
            "--cash": cash,
            "--now": present(now, "sim").isoformat() if begins else now,
            "--seed": seed,
        }
        words = [str(word) for pair in asked.items() if pair[1] is not None for word in pair]
        words += [word for one in rule or () for word in ("--rule", one)]
        done = subprocess.run([sys.executable, "-m", "quant50lib.simulator", *words])
        if done.returncode:
            raise SystemExit(done.returncode)

    do(work)


def _state_name(scenario: str | None) -> str:
    """A scenario empties its account, so it has one of its own."""
    return f"scenario-{Path(scenario).stem}.sqlite" if scenario else "simulate.sqlite"
