"""The command `quant50`. Only here does anybody ask what day it is."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, TypeVar

import pandas as pd
import typer

from quant50lib.commands import backtest, books, data, leak, models, risk, runs, simulate
from quant50lib.commands.shared import ActionsFile, MarketFile, Now, UniverseFile
from quant50lib.commands.shared import do as _do
from quant50lib.commands.shared import err, on_market, out
from quant50lib.commands.shared import present as _present
from quant50lib.commands.shared import shown as _shown
from quant50lib.errors import SettingsError
from quant50lib.utils import config

Result = TypeVar("Result")

app = typer.Typer(
    name="quant50",
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    help="""The daily desk of a 50-asset quantitative portfolio.

Without keys it trades a simulated market on an embedded twin of Alpaca; with keys in
APCA_API_KEY_ID and APCA_API_SECRET_KEY and broker = "paper" it trades an Alpaca paper account. It
cannot trade a live one.

All state lies under QUANT50_HOME (default: the checkout): data/, models/, runs/. Settings come from
quant50.toml there and from `QUANT50_<SECTION>__<KEY>` in the environment.

Exit codes: 0 done · 2 settings or command · 3 data · 4 no portfolio · 5 a risk rule stopped it ·
6 broker · 7 books differ · 8 archive · 1 a bug.
""",
)

Date = Annotated[
    str | None, typer.Option("--date", help="Session, YYYY-MM-DD. Default: the newest closed one.")
]


def _watched(title: str, work: Callable[[Any], Result]) -> Result:
    from quant50lib.jobs.progress import lines, watcher

    live = watcher(err, title)
    if live is None:
        return work(lines)
    with live:
        return work(live)


@app.command()
def run(
    date: Date = None,
    from_stage: Annotated[
        str | None,
        typer.Option("--from", help="Repeat from this stage on: ingest features optimize …"),
    ] = None,
    now: Now = None,
) -> None:
    """Run the daily pipeline of one session: ingest, features, optimize, execute, report.

    Orders are sent only for the newest closed session, and only once: the same session twice is
    harmless, and a run that was cut off goes on where it stopped. An older session is run as a
    shadow: everything is computed and archived, nothing is sent.

    **Examples**

        quant50 run                       the newest closed session
        quant50 run --date 2026-11-20     that session
        quant50 run --from optimize       a correction: new weights on the same data
    """
    from quant50lib.jobs import daily_run

    def work() -> None:
        home = config.home()
        settings, secrets = config.load(home), config.secrets()
        moment = _present(now, settings.broker)
        info, done = _watched(
            "daily run",
            lambda watch: daily_run.run(home, settings, secrets, moment, date, from_stage, watch),
        )
        _say_run(info, done)

    _do(work)


@app.command()
def train(
    date: Date = None,
    again: Annotated[
        bool, typer.Option("--again", help="Train even if this session was trained on before.")
    ] = False,
    now: Now = None,
) -> None:
    """Train and judge a model on all that was known at a session: ingest, features, labels, train.

    The challenger becomes models/latest_model.pkl only when it passes the gate; its card under
    models/registry/ says why or why not.
    """
    from quant50lib.jobs import weekly_train

    def work() -> None:
        home = config.home()
        settings, secrets = config.load(home), config.secrets()
        moment = _present(now, settings.broker)
        info, done = _watched(
            "weekly training",
            lambda watch: weekly_train.run(home, settings, secrets, moment, date, watch, again),
        )
        _say_run(info, done)

    _do(work)


@app.command()
def demo(now: Now = None) -> None:
    """Train once and run the newest closed session on the simulated market (what `make demo` runs).

    A second call is fast and harmless: what is done is done.
    """
    from quant50lib.jobs import desk

    def work() -> None:
        home = config.home()
        settings, secrets = config.load(home), config.secrets()
        if settings.broker != "sim":
            raise SettingsError('the demo runs on the simulated broker; broker is "paper"')
        moment = _present(now, "sim")
        with desk.open_desk(home, settings, secrets, moment) as opened:
            if not list(home.models.glob("registry/*/card.json")):
                desk_run = _watched("training", lambda watch: desk.weekly(opened, None, watch))
                _say_run(*desk_run)
            daily = _watched("daily run", lambda watch: desk.daily(opened, None, watch))
            _say_run(*daily)

    _do(work)


@app.command()
def replay(
    market: MarketFile = None,
    first: Annotated[str, typer.Option("--from", help="First session.")] = "2017-06-01",
    last: Annotated[str, typer.Option("--to", help="Last session.")] = "2017-06-14",
    actions: ActionsFile = None,
    universe: UniverseFile = None,
    retrain: Annotated[
        bool, typer.Option("--retrain", help="Train again after each Monday's close.")
    ] = False,
) -> None:
    """Run many sessions in a row against the twin, whose clock moves on from day to day.

    It trains on the sessions before the first one and then runs each daily pipeline as the schedule
    would, with fills at every next open; our books are held against the twin's after each session.
    State lies under QUANT50_HOME if set, else under replays/<market> of the checkout, so that a
    replay never touches the desk.
    """
    from quant50lib.jobs.progress import lines, watcher
    from quant50lib.jobs.replay import replay as replayed

    def work() -> None:
        home = _replay_home(market)
        settings = _replay_settings(home, market, actions, universe)
        live: list[Any] = []

        def watch(title: str) -> Any:
            while live:
                live.pop().__exit__(None, None, None)
            table = watcher(err, title)
            if table is None:
                err.print(title)
                return lines
            live.append(table.__enter__())
            return table

        try:
            for day in replayed(home, settings, config.secrets(), first, last, watch, retrain):
                while live:
                    live.pop().__exit__(None, None, None)
                out.print(
                    f"{day.session.date()}  {day.run.id}  cash {day.cash:,.2f} = twin's "
                    f"{day.twin_cash:,.2f}",
                    soft_wrap=True,
                )
        finally:
            while live:
                live.pop().__exit__(None, None, None)
        out.print(f"reports: {_shown(home.reports)}", soft_wrap=True)

    _do(work)


def _replay_home(market: Path | None) -> config.Home:
    if os.environ.get("QUANT50_HOME"):
        return config.home()
    return config.Home(config.checkout() / "replays" / (market.stem if market else "demo"))


def _replay_settings(
    home: config.Home, market: Path | None, actions: Path | None, universe: Path | None
) -> config.Settings:
    settings = config.load(home)
    if settings.broker != "sim":
        raise SettingsError('a replay needs broker = "sim"')
    return on_market(settings, market, actions, universe)


@app.command()
def serve(
    host: Annotated[str | None, typer.Option(help="Address; default from settings.")] = None,
    port: Annotated[int | None, typer.Option(help="Port; default from settings.")] = None,
) -> None:
    """Serve the API under /api/v1 and the web page, on loopback.

    Acting needs the bearer token of QUANT50_API_TOKEN; without one, a token for this time is made
    and printed.
    """
    from quant50lib.api.main import serve as serve_api

    def work() -> None:
        home = config.home()
        settings = config.load(home)
        bind, at = host or settings.api.host, (settings.api.port if port is None else port)
        serve_api(home, settings, config.secrets(), bind, at)

    _do(work)


@app.command()
def doctor() -> None:
    """Say what is missing on this machine, and the one command that mends it (exit 2 if anything)."""
    from quant50lib.adapters import machine

    def work() -> None:
        home = config.home()
        checks = machine.checks(home, config.load(home), os.environ)
        for check in checks:
            mark = "[green]✓[/green]" if check.ok else "[red]✗[/red]"
            out.print(f"{mark} {check.name}: {check.detail}", soft_wrap=True)
            if not check.ok:
                out.print(f"    mend: {check.mend}", soft_wrap=True, markup=False)
        if not all(check.ok for check in checks):
            raise SettingsError("something is missing: see above")

    _do(work)


@app.command()
def schedule(
    systemd: Annotated[bool, typer.Option("--systemd", help="Units for systemd.")] = False,
    cron: Annotated[bool, typer.Option("--cron", help="Lines for crontab.")] = False,
) -> None:
    """Print what makes a machine of your own run the desk: daily at 22:00 UTC, training on Mondays
    at 20:00 UTC."""
    from quant50lib.jobs import schedule as units

    def work() -> None:
        if systemd == cron:
            raise SettingsError("choose one of --systemd and --cron")
        home, python = config.home(), Path(sys.executable)
        if cron:
            out.print(units.cron(home.root, python), markup=False, soft_wrap=True)
            return
        for name, text in units.systemd(home.root, python).items():
            out.print(f"# {name}\n{text}", markup=False, soft_wrap=True)

    _do(work)


@app.command()
def contracts() -> None:
    """Print the tables and stages as Markdown (notebooks/README.md is made by this)."""
    from quant50lib.utils.pages import contracts_page

    typer.echo(contracts_page(), nl=False)


@app.command()
def features() -> None:
    """Print the registry of features as Markdown (notebooks/features.md is made by this)."""
    from quant50lib.services.features_page import features_page

    typer.echo(features_page(), nl=False)


def _say_run(info: Any, done: bool) -> None:
    out.print(f"{info.id}: {'sealed' if done else 'was sealed before; nothing to do'}")
    shadow = info.facts.get("shadow")
    if shadow and info.schedule == "daily":
        out.print(f"  no orders were sent: {shadow}", soft_wrap=True)
    out.print(f"  notebooks  {_shown(info.path / 'notebooks')}", soft_wrap=True)
    if info.pdf:
        name = f"diario_{info.run_date.replace('-', '')}.pdf"
        out.print(f"  report     {_shown(config.home().reports / name)}", soft_wrap=True)
    elif info.html:
        out.print(f"  report     {_shown(info.html)}", soft_wrap=True)
        out.print(f"  no PDF: {info.facts.get('pdf')}", soft_wrap=True)
    seconds = {n: s.get("seconds", 0) for n, s in info.stages.items()}
    if done:
        out.print("  " + " · ".join(f"{n} {s:.1f} s" for n, s in seconds.items()))


for _part in (books, runs, data, leak, simulate, backtest, models, risk):
    app.registered_commands += _part.app.registered_commands
app.add_typer(models.models, name="models")


def main() -> None:
    """Entry point for `python -m quant50lib.cli`."""
    app()


if __name__ == "__main__":
    main()
