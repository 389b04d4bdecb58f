"""What waits for a person: the kill switch, frozen names, orders and replies that are odd.

Made from what the stages recorded: `books` of ingest and `brakes` of execute, by stage and name.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import pandas as pd

from quant50lib.services.report_header import Line
from quant50lib.services.report_html import Html, table, text

Scraps = Mapping[str, Mapping[str, Any]]
QUIET = "the kill switch is off, no name is frozen, nothing is odd"
NOT_ASKED = "the account was not asked: this run sends nothing"


def _found(scraps: Scraps) -> Iterator[tuple[str, str, str]]:
    brakes = scraps.get("execute", {}).get("brakes", {})
    if brakes.get("kill_switch"):
        yield "kill switch", "every buy", brakes["kill_switch"]
    for said in brakes.get("frozen", []):
        symbol, _, reason = said.partition(": ")
        yield "frozen", symbol, reason
    for said in scraps.get("ingest", {}).get("books", {}).get("to_look_at", []):
        yield "look at", "", said


def attention(scraps: Scraps) -> pd.DataFrame:
    """One row for each thing: what, name, why; empty where all is well."""
    return pd.DataFrame(list(_found(scraps)), columns=["what", "name", "why"])


def attention_line(scraps: Scraps, named: int = 8) -> Line:
    """What waits for a person, as a sentence of the summary."""
    found = attention(scraps)
    if found.empty:
        return f"Desk: {_nothing(scraps)}.", False
    of = found.groupby("what", sort=False)["name"].agg(list).to_dict()
    parts = []
    if "kill switch" in of:
        parts.append(f"KILL SWITCH on, nothing is bought: {found['why'].iloc[0]}.")
    if frozen := of.get("frozen"):
        rest = f" and {len(frozen) - named} more" if len(frozen) > named else ""
        parts.append(f"Frozen, not traded: {', '.join(frozen[:named])}{rest}.")
    if odd := of.get("look at"):
        parts.append(f"To look at: {len(odd)} (see Books).")
    return " ".join(parts), True


def attention_table(scraps: Scraps) -> Html:
    """The same with every reason."""
    columns = {"what": text("What"), "name": text("Of"), "why": text("Why", wrap=True)}
    return table(attention(scraps), columns, empty=f"nothing: {_nothing(scraps)}")


def _nothing(scraps: Scraps) -> str:
    return QUIET if scraps.get("execute", {}).get("brakes") else NOT_ASKED
