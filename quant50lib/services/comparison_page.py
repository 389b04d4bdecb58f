"""The page that shows our books beside the broker's, complete in one file."""

from __future__ import annotations

import html
from collections.abc import Iterable, Mapping, Sequence

from quant50lib.services.comparison import Line

ADVICE = (
    "<p>Nothing is traded until the two sides agree. Look at the account's activities at the broker; "
    'then <code>quant50 reconcile --adopt "REASON"</code> takes its side over into our books, or, '
    "if it is the broker's side that will change, wait and run the day again.</p>"
)
HEADS = ("What", "Name", "Ours", "Theirs", "Difference", "Remark")
STYLE = """
body { font: 14px/1.45 system-ui, sans-serif; margin: 2rem auto; max-width: 72rem; padding: 0 1rem;
  color: #1b2733; background: #fff; }
h1 { font-size: 1.4rem; } h2 { font-size: 1.05rem; margin-top: 2rem; }
p { max-width: 48rem; } code { font-size: .95em; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th, td { text-align: left; padding: .3rem .6rem; border-bottom: 1px solid #d8dee4;
  vertical-align: top; }
th { font-weight: 600; color: #5b6b7a; }
td.n { text-align: right; white-space: nowrap; }
tr.differs td { color: #a3231f; font-weight: 600; } tr.explained td { color: #8a5a00; }
@media (prefers-color-scheme: dark) {
  body { color: #dfe6ec; background: #12181e; } th, td { border-color: #2c3843; }
  tr.differs td { color: #ff8b85; } tr.explained td { color: #f0c674; } }
"""


def page(title: str, facts: Mapping[str, str], lines: Sequence[Line]) -> str:
    """An HTML document: the facts, then what differs, what is explained, and what agrees."""
    parts = {
        "What differs": [line for line in lines if line.differs],
        "What is explained, and keeps its name from being traded": [
            line for line in lines if line.difference and line.explained
        ],
        "What agrees": sorted(
            [line for line in lines if not line.difference], key=lambda line: line.what == "fill"
        ),
    }
    body = "".join(_section(heading, found) for heading, found in parts.items())
    advice = ADVICE if parts["What differs"] else ""
    said = "".join(f"<tr>{_cell(name)}{_cell(value)}</tr>" for name, value in facts.items())
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width">'
        f"<title>{html.escape(title)}</title><style>{STYLE}</style></head><body>"
        f"<h1>{html.escape(title)}</h1><table>{said}</table>{advice}{body}</body></html>\n"
    )


def _section(heading: str, lines: Sequence[Line]) -> str:
    if not lines:
        return f"<h2>{html.escape(heading)}: nothing</h2>"
    heads = "".join(f"<th>{head}</th>" for head in HEADS)
    rows = "".join(_row(line) for line in lines)
    count = f"{len(lines)} {'line' if len(lines) == 1 else 'lines'}"
    return (
        f"<h2>{html.escape(heading)}: {count}</h2>"
        f"<table><thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table>"
    )


def _row(line: Line) -> str:
    tone = "differs" if line.differs else "explained" if line.difference else "agrees"
    figures = "".join(
        _cell(value, line.what in ("shares", "cash"))
        for value in (line.ours, line.theirs, line.difference)
    )
    return (
        f'<tr class="{tone}">{_cell(line.what)}{_cell(line.name)}{figures}'
        f"{_cell(line.remark)}</tr>"
    )


def _cell(value: str, figure: bool = False) -> str:
    kind = ' class="n"' if figure else ""
    return f"<td{kind}>{html.escape(value)}</td>"


def facts_of(lines: Iterable[Line], **known: str) -> dict[str, str]:
    """The head of the page: what is known of the moment, and how many lines differ."""
    found = list(lines)
    differ = sum(line.differs for line in found)
    return {**known, "lines compared": str(len(found)), "lines that differ": str(differ)}
