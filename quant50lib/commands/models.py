"""Commands about models: which there are, which one decides, and what was tried."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Column, Table

from quant50lib.commands.shared import do, out
from quant50lib.utils import config

if TYPE_CHECKING:
    from quant50lib.adapters.registry import Registry

app = typer.Typer()
models = typer.Typer(help="The models of the desk: list them, promote one, or go back.")


@models.callback(invoke_without_command=True)
def show(context: typer.Context) -> None:
    """List the models with the gate's verdict on each; the one in use is marked."""
    if context.invoked_subcommand is None:
        do(_show)


@models.command()
def promote(model_id: Annotated[str, typer.Argument(help="As `quant50 models` lists it.")]) -> None:
    """Let this model decide from the next run on; one that the gate found unsound is refused."""
    do(lambda: _promote(_registry(), model_id))


@models.command()
def rollback(
    model_id: Annotated[
        str | None, typer.Argument(help="Default: the accepted one before.")
    ] = None,
) -> None:
    """Go back to an older model: from the next run on it decides, if it is young enough."""

    def work() -> None:
        registry = _registry()
        _promote(registry, model_id or registry.before(_in_use(registry)))

    do(work)


@app.command()
def trials(as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False) -> None:
    """List every training ever done here, scheduled or by hand: what the Sharpe ratio is deflated by."""
    from quant50lib.adapters.trials import Trials

    def work() -> None:
        ledger = Trials(config.home().models)
        if as_json:
            out.print_json(data={"configurations": ledger.count(), "trials": ledger.all()})
            return
        table = Table(
            Column("run", no_wrap=True), "configuration", "learner", "rank IC", "AUC", "features"
        )
        for trial in ledger.all():
            metrics, learner = trial["metrics"], trial["settings"]["model"]["learner"]
            ic = f"{_num(metrics['rank_ic'], '+.4f')} ± {_num(metrics['rank_ic_error'], '.4f')}"
            area, count = _num(metrics["auc"], ".3f"), str(len(trial["features"]))
            table.add_row(trial["run_id"], trial["configuration"], learner, ic, area, count)
        out.print(table)
        torn = f", {ledger.torn()} cut off while it was written" if ledger.torn() else ""
        out.print(f"{len(ledger.all())} trainings{torn}: {ledger.count()} configurations tried")

    do(work)


def _registry() -> Registry:
    from quant50lib.adapters.registry import Registry

    return Registry(config.home().models)


def _in_use(registry: Registry) -> str:
    from quant50lib.errors import ArchiveError

    card = registry.champion_card()
    if card is None:
        raise ArchiveError("no model is in use: run `quant50 train`")
    return str(card["model_id"])


def _promote(registry: Registry, model_id: str) -> None:
    registry.promote(model_id)
    out.print(f"{model_id} decides from the next run on", soft_wrap=True)


def _show() -> None:
    registry = _registry()
    cards, current = registry.list(), registry.champion_card()
    if not cards:
        out.print("no model yet: `quant50 train` makes the first")
        return
    for card in cards:
        used = current is not None and card["model_id"] == current["model_id"]
        verdict = "accepted" if card["accepted"] else "refused"
        out.print(
            f"{'→' if used else ' '} {_line(card)} · {verdict}: {card['reason']}", soft_wrap=True
        )


def _line(card: dict[str, Any]) -> str:
    metrics = card["metrics"]
    ic = f"{_num(metrics.get('rank_ic'), '+.4f')} ± {_num(metrics.get('rank_ic_error'), '.4f')}"
    return f"{card['model_id']} · {card.get('learner', 'lightgbm')} · rank IC {ic}"


def _num(value: float | None, form: str) -> str:
    return "–" if value is None else format(value, form)
