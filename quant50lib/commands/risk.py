"""The command `quant50 risk`: where the desk stands on every rule, and the end of a halt."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer
from rich.table import Table

from quant50lib.commands.shared import do, out
from quant50lib.errors import SettingsError
from quant50lib.utils import config

app = typer.Typer()


@app.command()
def risk(
    action: Annotated[
        str, typer.Argument(metavar="[resume]", help="`resume` ends a halt of the risk rules.")
    ] = "",
    rules: Annotated[
        bool, typer.Option("--rules", help="Every rule in its order, with its edge.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False,
) -> None:
    """Show every limit with its head-room, the brake, the halt, bars, exposures and the alarm.

    `resume` re-arms the desk after a halt: the episode starts again at today's equity, and the event
    is in the ledger. The kill switch is another thing: `quant50 halt` and `quant50 resume`.

    **Examples**

        quant50 risk
        quant50 risk --rules
        quant50 risk resume
    """
    from quant50lib.jobs import risk as job

    def work() -> None:
        if action not in ("", "resume"):
            raise SettingsError(
                f"{action!r} is not known here: `quant50 risk` or `quant50 risk resume`"
            )
        home = config.home()
        settings = config.load(home)
        if rules:
            _say_rules(settings)
        elif action == "resume":
            state = job.rearm(home, settings)
            out.print(f"re-armed: the mark is {state['mark']:,.2f}, exposure budget 100 %")
        elif as_json:
            out.print_json(json.dumps(job.look(home, settings).plain()))
        else:
            _say(job.look(home, settings))

    do(work)


def _say_rules(settings: Any) -> None:
    from quant50lib.services.rulebook import RULES

    table = Table("", "rule", "what it does", "at its edge", "settings", show_lines=True)
    for place, rule in enumerate(RULES, 1):
        knobs = "\n".join(f"{name} = {_knob(settings, name)}" for name in rule.settings)
        table.add_row(str(place), rule.name, rule.does, rule.edge, knobs)
    out.print(table)


def _knob(settings: Any, name: str) -> Any:
    section, _, field = name.partition(".")
    return getattr(getattr(settings, section), field)


def _say(look: Any) -> None:
    out.print(f"run {look.run}", soft_wrap=True)
    if look.switch:
        out.print(f"kill switch: {look.switch}", style="red", markup=False, soft_wrap=True)
    if look.state:
        out.print(_stand(look), style="red" if look.state["halted"] else "", soft_wrap=True)
    out.print(f"barred: {', '.join(look.barred) or 'no name'}", soft_wrap=True)
    style = "red" if look.alarm["raised"] else ""
    out.print(_alarm(look.alarm), style=style, soft_wrap=True)
    table = Table("rule", "value", "limit", "head-room", "price, bp per 1 %")
    for row in look.limits.itertuples():
        style = "red" if row.breached else ""
        cells = (f"{row.value:.4g}", f"{row.limit:.4g}", f"{row.headroom:.4g}")
        price = f"{row.price_bps:.2f}" if row.price_bps == row.price_bps else ""
        table.add_row(row.rule, *cells, price, style=style)
    out.print(table)
    for name, value in look.exposure.items():
        said = f"{value:.4g}" if isinstance(value, float) else value
        out.print(f"{name.replace('_', ' ')}: {said}", markup=False, soft_wrap=True)


def _stand(look: Any) -> str:
    state = look.state
    stand = f"{state['drawdown']:.2%} below the mark of {state['mark']:,.2f}"
    if state["halted"]:
        return f"HALTED for {state['halted_sessions']} sessions, {stand}: `quant50 risk resume` ends it"
    left = look.halt_level - state["drawdown"]
    return f"brake: {stand}, exposure budget {state['budget']:.0%}; {left:.2%} left until the halt"


def _alarm(alarm: dict[str, Any]) -> str:
    if not alarm["sessions"]:
        return "alarm: no session with a forecast this year yet"
    raised = f"RAISED, volatility is forecast {alarm['raised']}" if alarm["raised"] else "off"
    return (
        f"alarm: {raised}; realised over forecast volatility "
        f"{alarm['realised_over_forecast']:.2f} over {min(alarm['sessions'], 63)} sessions, evidence "
        f"{alarm['too_low']:.2f} (too low) and {alarm['too_high']:.2f} (too high) of "
        f"{alarm['needed']:.0f}"
    )
