"""Small desks for tests that run the real command: few names, two years, a small model."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

import nbformat
import pandas as pd
import pytest
from typer.testing import CliRunner

from quant50lib import cli
from quant50lib.adapters import universe
from quant50lib.jobs import desk
from quant50lib.utils import config, dates
from quant50lib.utils.config import Home

FIRST = "2024-06-27"
#: for commands that come to no stage: the process that kernels are forked from is not missed
NO_FORKS = {"QUANT50_RUNNER__FORK_KERNELS": "false"}
SETTINGS = """
[data]
history_years = 2
store_wait_seconds = 4

[model]
n_splits = 3
trees = 30
min_rows_per_leaf = 100
min_training_sessions = 150

[features]
min_dollar_volume = 0

[execute]
grace_seconds = 0.2
read_timeout_seconds = 5.0
"""


def write(home: Path, settings: str = SETTINGS) -> Path:
    """A home with settings and a universe of about fifty names, and nothing else."""
    home.mkdir(parents=True, exist_ok=True)
    names = universe.load(None)
    stocks = names[names["kind"] == "stock"].groupby("sector", sort=True).head(4)
    funds = names[names["symbol"].isin(["SPY", "QQQ", "TLT", "GLD", "EFA", "XLK", "XLU", "AGG"])]
    small = pd.concat([stocks, funds]).drop_duplicates("symbol")
    names_file = home.parent / "names.csv"  # beside the home: a copy of the desk has equal settings
    small.sort_values("symbol").to_csv(names_file, index=False)
    (home / "quant50.toml").write_text(f'[universe]\nfile = "{names_file}"\n{settings}')
    return home


def copy(source: Path, home: Path) -> Path:
    """The same desk in another home."""
    shutil.copytree(source, home, symlinks=True)
    return home


def instant(date: str) -> str:
    """22:00 UTC of a session."""
    return dates.scheduled(date).isoformat()


def environment(home: Path, **more: str) -> dict[str, str]:
    """What a command needs to work in that home, and none of the machine's own settings."""
    own = {k: v for k, v in os.environ.items() if not k.startswith(("QUANT50_", "APCA_"))}
    return {**own, "QUANT50_HOME": str(home), "OMP_NUM_THREADS": "1", **more}


@dataclass(frozen=True)
class Said:
    """What a command said, and how it ended."""

    code: int
    out: str
    err: str


def invoke(home: Path, *words: str, **more: str) -> Said:
    """The command in this process: quick, where that nothing else is running is not the point."""
    wanted = environment(home, COLUMNS="200", **more)
    absent = {name: None for name in os.environ if name not in wanted}
    done = CliRunner().invoke(cli.app, words, env={**wanted, **absent})
    return Said(done.exit_code, done.stdout, done.stderr)


@contextmanager
def prepared(home: Path) -> Iterator[None]:
    """A twin that stays up, and kernels that are ready, for the commands of a block."""
    place = Home(home)
    settings = config.load(place, environment(home))
    with (
        desk.twin_of(place, settings, dates.scheduled(FIRST)),  # never moves a clock back
        desk.kernels_of(place, settings) as kernels,
        pytest.MonkeyPatch.context() as patch,
    ):
        patch.setattr(desk, "kernels_of", lambda *_: nullcontext(kernels))
        yield


def command(*words: str) -> list[str]:
    """The command line of quant50 in this interpreter."""
    return [sys.executable, "-m", "quant50lib.cli", *words]


def quant50(home: Path, *words: str, timeout: float = 240) -> Said:
    """Run the command as a process of its own, to its end."""
    done = subprocess.run(
        command(*words), env=environment(home), capture_output=True, text=True, timeout=timeout
    )
    return Said(done.returncode, done.stdout, done.stderr)


def _hears_ctrl_c() -> None:
    """A shell's background job, such as a test run may be, hands down deafness to it."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@contextmanager
def begun(home: Path, *words: str) -> Iterator[subprocess.Popen]:
    """The command at work in a process group of its own; nothing of it survives the block."""
    process = subprocess.Popen(
        command(*words),
        env=environment(home),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
        preexec_fn=_hears_ctrl_c,
    )
    try:
        yield process
    finally:
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        process.wait()


def edit_notebook(name: str, folder: Path, before: str, lines: str) -> Path:
    """A copy of a stage notebook with lines put in front of the one that begins with `before`."""
    path = config.notebooks() / f"{name}.ipynb"
    notebook = nbformat.read(str(path), as_version=4)
    cells = [
        c for c in notebook.cells if c.cell_type == "code" and f"\n{before}" in f"\n{c.source}"
    ]
    (cell,) = cells
    cell.source = f"\n{cell.source}".replace(f"\n{before}", f"\n{lines}{before}").lstrip("\n")
    nbformat.write(notebook, str(folder / path.name))
    return folder / path.name
