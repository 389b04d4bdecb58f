"""Run every benchmark and write its figures into the README's table (`make bench` calls this)."""

from __future__ import annotations

import json
import platform
import subprocess
import sys
from pathlib import Path

import psutil

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks import readme  # noqa: E402

HERE = Path(__file__).resolve().parent
SCRIPTS = ("daily_run.py", "fresh_clone.py", "orders.py", "data.py")
#: an interpreter that has pyqlib (make bench-peers makes it)
PEERS = HERE.parent / ".venv-bench" / "bin" / "python"


def figures(script: str) -> dict[str, float]:
    """The JSON that a benchmark prints."""
    more = ["--qlib", str(PEERS)] if script == "data.py" and PEERS.exists() else []
    done = subprocess.run(
        [sys.executable, str(HERE / script), *more], check=True, stdout=subprocess.PIPE, text=True
    )
    return json.loads(done.stdout)


def table(rows: dict[str, float]) -> str:
    """The figures as Markdown, with the machine they were measured on."""
    lines = ["| measure | seconds, or as named |", "|---|--:|"]
    lines += [f"| {name} | {value:.{1 if value >= 1 else 2}f} |" for name, value in rows.items()]
    machine = f"{psutil.cpu_count()} cores, {psutil.virtual_memory().total / 2**30:.0f} GiB"
    return "\n".join([*lines, "", f"Python {platform.python_version()}, {machine}; wall time."])


def main() -> None:
    """Measure, and replace the table."""
    rows: dict[str, float] = {}
    for script in SCRIPTS:
        rows |= figures(script)
    readme.write("figures: make bench", table(rows))
    print(table(rows))


if __name__ == "__main__":
    main()
