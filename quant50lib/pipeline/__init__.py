"""Runs: what a stage notebook holds in its hands, who executes it, and what is sealed afterwards."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from quant50lib.pipeline.context import StageContext


def open_stage(name: str, run_date: str = "", run_dir: str = "") -> StageContext:
    """Open a stage of a run; see `quant50lib.pipeline.context.open_stage`."""
    from quant50lib.pipeline import context  # it brings every library of every stage

    return context.open_stage(name, run_date, run_dir)
