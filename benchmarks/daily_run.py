"""Wall seconds of a daily run on a warm store, per stage, and what the runner adds to the notebooks.

``python benchmarks/daily_run.py [--sessions N]`` works in a folder of its own: it trains once and
then runs N sessions of the demo market in a row, each as the scheduled job would, PDF included.
Prints JSON: the median of each figure over the sessions.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from quant50lib.utils import dates

FIRST = "2026-06-01"


def quant50(home: Path, *words: str) -> float:
    """Run the command in a home; returns wall seconds, start of the interpreter included."""
    begun = time.perf_counter()
    subprocess.run(
        [sys.executable, "-m", "quant50lib.cli", *words],
        check=True,
        capture_output=True,
        env={**os.environ, "QUANT50_HOME": str(home)},
    )
    return time.perf_counter() - begun


def measured(home: Path, date: str, wall: float) -> dict[str, float]:
    """Figures of one sealed daily run."""
    (path,) = home.glob(f"runs/{date}-daily-*/manifest.json")
    manifest = json.loads(path.read_text())
    stages = manifest["stages"]
    cells = sum(stage["cell_seconds"] for stage in stages.values())
    figures = {"daily run": wall, "of it: notebook cells": cells}
    figures |= {f"stage {name}": stage["seconds"] for name, stage in stages.items()}
    pdf = manifest["pdf_seconds"]
    figures["report to HTML and PDF"] = pdf
    figures["runner, kernels, twin and start-up"] = wall - cells - pdf
    return figures


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sessions", type=int, default=5)
    asked = parser.parse_args()
    first = dates.as_session(FIRST)
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        setup = quant50(home, "demo", "--now", dates.scheduled(first).isoformat())
        found = []
        for n in range(1, asked.sessions + 1):
            session = dates.shift(first, n)
            wall = quant50(home, "run", "--now", dates.scheduled(session).isoformat())
            found.append(measured(home, str(session.date()), wall))
    medians = {name: statistics.median(f[name] for f in found) for name in found[0]}
    worst = {"daily run, slowest": max(f["daily run"] for f in found)}
    print(json.dumps({"first demo (ingest, training, day)": setup} | medians | worst, indent=1))


if __name__ == "__main__":
    main()
