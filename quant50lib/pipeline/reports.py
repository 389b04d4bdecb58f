"""The report of a run, printed again where it is missing."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from quant50lib.contracts import REPORT
from quant50lib.errors import ArchiveError
from quant50lib.pipeline import runner
from quant50lib.pipeline.archive import RunInfo
from quant50lib.settings import Settings
from quant50lib.utils.config import Home


@dataclass(frozen=True)
class Report:
    """Files of a report, newest kind first, and why the PDF is missing if it is."""

    paths: tuple[Path, ...]
    missing: str = ""


def ensure(home: Home, settings: Settings, run: RunInfo, again: bool = False) -> Report:
    """The report under data/reports, printed from the executed notebook where it is missing.

    A sealed run is not written: what is printed later lies in data/reports only.

    Raises
    ------
    ArchiveError
        The run has no executed report to print from.
    """
    stem = home.reports / f"diario_{run.run_date.replace('-', '')}"
    pdf, html = stem.with_suffix(".pdf"), stem.with_suffix(".html")
    if pdf.is_file() and not again:
        return Report((pdf, html) if html.is_file() else (pdf,))
    executed = run.path / "notebooks" / REPORT.notebook
    if run.stages.get(REPORT.name, {}).get("state") != "done":
        raise ArchiveError(
            f"run {run.id} has not reached its report; `quant50 run` goes on with it"
        )
    said = runner.print_report(home, settings, executed, stem, runner.title_of(settings, run))
    return Report((pdf, html)) if said == "ok" else Report((html,), said)
