"""Runs: what a stage notebook holds in its hands, who executes it, and what is sealed afterwards."""

from quant50lib.pipeline.context import open_stage

__all__ = ["open_stage"]
