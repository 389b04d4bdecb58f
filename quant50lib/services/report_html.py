"""Pieces of HTML for report pages: tables without an index, notes, and their arrangement.

Styles stand inline, so that a piece looks the same in Jupyter, in the archived page and in print.
"""

from __future__ import annotations

import hashlib
import html
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from quant50lib.services.report_style import FAINT, INK, RED, SKY, SOFT, Chart

_CELL = f"padding: 1.5pt 6pt; border-bottom: 0.5pt solid {FAINT}; vertical-align: top;"


@dataclass(frozen=True)
class Html:
    """A piece of a page, shown by Jupyter and by nbconvert."""

    markup: str

    def _repr_html_(self) -> str:
        return self.markup

    def __repr__(self) -> str:
        return f"Html of {len(self.markup):,} characters"


def note(text: str) -> Html:
    """A quiet sentence where a table would be empty."""
    style = f"color:{SOFT};font-style:italic;font-size:8pt;margin:2pt 0 6pt"
    return Html(f'<p style="{style}">{html.escape(text)}</p>')


def stack(*parts: Html | Chart) -> Html:
    """Parts below each other."""
    return Html("\n".join(part.markup for part in parts))


def beside(*parts: Html | Chart, widths: Sequence[float] = ()) -> Html:
    """Parts side by side, in equal columns or in the proportion of `widths`."""
    columns = " ".join(f"minmax(0, {width}fr)" for width in widths or [1] * len(parts))
    cells = "".join(f"<div>{part.markup}</div>" for part in parts)
    return Html(
        f'<div class="q50-keep" style="display:grid;grid-template-columns:{columns};'
        f'column-gap:18pt;align-items:start;margin-bottom:6pt">{cells}</div>'
    )


def titled(title: str, part: Html | Chart) -> Html:
    """A part under a small heading, which stays on the page where the part begins."""
    head = (
        f'<h3 style="margin:8pt 0 2pt;font-size:9.5pt;break-after:avoid">{html.escape(title)}</h3>'
    )
    return Html(f"<div>{head}{part.markup}</div>")


# ── one builder for all tables ───────────────────────────────────────────────────────────────────

Format = Callable[[Any], str]


@dataclass(frozen=True)
class Column:
    """How a column of a frame is shown: its heading, its text, whether it is set to the left.

    What `show` returns is escaped unless it is `raw` HTML; only a column that may `wrap` breaks
    its lines.
    """

    head: str
    show: Format = str
    left: bool = False
    raw: bool = False
    wrap: bool = False

    def cell(self, value: Any) -> str:
        """The value as HTML."""
        return self.show(value) if self.raw else html.escape(self.show(value))


def text(head: str, show: Format = str, wrap: bool = False) -> Column:
    """A column of words, set to the left."""
    return Column(head, show, left=True, wrap=wrap)


def table(
    frame: pd.DataFrame,
    columns: dict[str, Column],
    limit: int | None = None,
    empty: str = "none",
    alert: pd.Series | None = None,
) -> Html:
    """The frame as a table: no index, tabular figures to the right, long ones cut.

    Parameters
    ----------
    columns : dict
        From the frame's column to how it is shown, in the order shown.
    limit : int, optional
        Rows shown; what is left out is counted in a line below.
    empty : str
        What to say in place of a table without rows; may be nothing at all.
    alert : Series of bool, optional
        Rows to be set in red, aligned with `frame`.
    """
    if frame.empty:
        return note(empty) if empty else Html("")
    shown = frame.head(limit) if limit else frame
    cells = pd.DataFrame(
        {name: [column.cell(value) for value in shown[name]] for name, column in columns.items()}
    )
    red = alert.loc[shown.index].to_numpy() if alert is not None else np.zeros(len(shown), bool)
    style = (
        cells.style.hide(axis="index")
        .format_index(lambda name: html.escape(columns[name].head), axis="columns")
        .set_table_styles(_rules(columns))
        .set_table_attributes('style="border-collapse:collapse;width:100%"')
        .set_uuid(hashlib.sha256(cells.to_csv().encode()).hexdigest()[:8])
        .apply(lambda _: np.where(red, f"color: {RED}; font-weight: 600", ""), axis=0)
    )
    style.cell_ids = False
    return Html(style.to_html() + _rest(len(frame) - len(shown)))


def bar(share: float, colour: str = SKY) -> str:
    """A small horizontal bar, full at 1, as raw HTML."""
    width = min(max(share, 0.0), 1.0)
    return (
        f'<div style="background:{FAINT};width:62pt;height:6pt;margin-top:2pt">'
        f'<div style="background:{colour};width:{width:.1%};height:6pt"></div></div>'
    )


def _rules(columns: dict[str, Column]) -> list[dict[str, Any]]:
    """CSS of a table; numbers right, words left."""
    rules = [
        {"selector": "", "props": f"font-size: 8pt; color: {INK}; margin: 2pt 0 4pt;"},
        {"selector": "th", "props": f"{_CELL} font-weight: 600; color: {SOFT}; text-align: right;"},
        {"selector": "td", "props": f"{_CELL} text-align: right; background: none;"},
        {"selector": "thead th", "props": f"border-bottom: 0.8pt solid {SOFT}; background: none;"},
        {"selector": "td, th", "props": "font-variant-numeric: tabular-nums; line-height: 1.25;"},
    ]
    for i, column in enumerate(columns.values()):
        props = "text-align: left;" * column.left + "white-space: nowrap;" * (not column.wrap)
        rules += [{"selector": f"th.col{i}, td.col{i}", "props": props}] if props else []
    return rules


def _rest(left_out: int) -> str:
    more = f"and {left_out} more"
    return f'<p style="color:{SOFT};font-size:8pt;margin:2pt 0 6pt">{more}</p>' if left_out else ""


def facts_table(facts: dict[str, str], right: bool = False) -> Html:
    """Names and texts in two columns without a heading; `right` sets figures to the right."""
    name_css = f"{_CELL} color:{SOFT};" + ("" if right else "width:46%")
    text_css = f"{_CELL} font-variant-numeric:tabular-nums;" + "text-align:right" * right
    lines = "".join(
        f'<tr><td style="{name_css}">{html.escape(name)}</td>'
        f'<td style="{text_css}">{html.escape(said)}</td></tr>'
        for name, said in facts.items()
    )
    return Html(
        f'<table style="border-collapse:collapse;width:100%;font-size:8pt;color:{INK}">'
        f"<tbody>{lines}</tbody></table>"
    )
