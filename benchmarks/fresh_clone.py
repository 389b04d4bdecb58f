"""Wall seconds of `make demo` in a fresh clone, with the package manager's cache as it is.

``python benchmarks/fresh_clone.py`` clones the checkout's HEAD into a folder of its own, runs
`make demo` there, and runs it once more. Prints JSON.
"""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
import time
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[1]


def timed(*words: str, cwd: Path) -> float:
    """Wall seconds of a command that must succeed."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("QUANT50_")}
    begun = time.perf_counter()
    subprocess.run(words, check=True, capture_output=True, cwd=cwd, env=environment)
    return time.perf_counter() - begun


def main() -> None:
    """Measure and print."""
    with tempfile.TemporaryDirectory() as folder:
        clone = Path(folder, "quant50")
        subprocess.run(["git", "clone", "-q", str(CHECKOUT), str(clone)], check=True)
        first = timed("make", "demo", cwd=clone)
        second = timed("make", "demo", cwd=clone)
    figures = {"make demo, fresh clone": first, "make demo, second time": second}
    print(json.dumps(figures, indent=1))


if __name__ == "__main__":
    main()
