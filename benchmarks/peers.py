"""Run the benchmarks that stand beside peers and write their figures into the README.

`make bench-peers [ARGS=optimize]` calls this in the environment that holds the peers. Every script
prints JSON: a list of rows, each with `measure`, `ours`, `peer`, `theirs`, `unit`, `ratio` and the
`target` that the ratio is held against (null: none).
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks import readme  # noqa: E402

HERE = Path(__file__).resolve().parent
SCRIPTS = ("features", "train", "optimize", "backtest")
#: one thread for everybody, or the ratios compare schedulers
ONE_THREAD = dict.fromkeys(
    (
        "OMP_NUM_THREADS",
        "OPENBLAS_NUM_THREADS",
        "MKL_NUM_THREADS",
        "POLARS_MAX_THREADS",
        "NUMBA_NUM_THREADS",
    ),
    "1",
)


def rows(script: str) -> list[dict]:
    """What a benchmark prints."""
    done = subprocess.run(
        [sys.executable, str(HERE / f"{script}.py")],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | ONE_THREAD,
    )
    # a solver's library greets on the same stream, before the rows or after them
    begin = done.stdout.index("[\n")
    return json.JSONDecoder().raw_decode(done.stdout[begin:])[0]


def table(found: list[dict]) -> str:
    """The rows as Markdown; a ratio short of its target says so."""
    lines = ["| measure | ours | peer | theirs | ratio | target |", "|---|--:|---|--:|--:|--:|"]
    for row in found:
        target = "" if row["target"] is None else f"{row['target']:g}×"
        short = row["target"] is not None and row["ratio"] < row["target"]
        lines.append(
            f"| {row['measure']} | {row['ours']:.3g} {row['unit']} | {row['peer']} "
            f"| {row['theirs']:.3g} {row['unit']} | {row['ratio']:.1f}× "
            f"| {target}{' **not met**' if short else ''} |"
        )
    return "\n".join(lines)


def main() -> None:
    """Measure the scripts named, or all, and replace the table of each."""
    for script in sys.argv[1:] or SCRIPTS:
        made = table(rows(script))
        readme.write(f"peers: {script}", made)
        print(made)


if __name__ == "__main__":
    main()
