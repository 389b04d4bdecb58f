"""The runner against notebooks that misbehave: each failure ends with its evidence and its code."""

import os
import signal
import time

import nbformat
import pandas as pd
import psutil
import pytest

from quant50lib.contracts import INGEST
from quant50lib.errors import ArchiveError, ContractError, SettingsError, StageFailed
from quant50lib.pipeline import archive, runner, scratch
from quant50lib.pipeline.kernels import Kernels
from quant50lib.settings import RunnerSettings, Secrets, Settings
from quant50lib.utils import config
from quant50lib.utils.config import Home

pytestmark = pytest.mark.slow
SETTINGS = Settings(runner=RunnerSettings(cell_timeout_seconds=3))


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return tmp_path_factory.mktemp("desk")


@pytest.fixture(scope="module")
def kernels(root):
    with Kernels({"QUANT50_HOME": str(root)}, root, SETTINGS.runner) as opened:
        yield opened


@pytest.fixture
def home(tmp_path):
    return Home(tmp_path)


@pytest.fixture
def notebook(tmp_path, monkeypatch):
    """Replace the notebook of the first stage by one with the given cell."""
    folder = tmp_path / "notebooks"
    folder.mkdir()
    monkeypatch.setattr(config, "notebooks", lambda: folder)

    def write(code: str) -> None:
        cells = [
            nbformat.v4.new_markdown_cell("## A heading"),
            nbformat.v4.new_code_cell('run_date = ""', metadata={"tags": ["parameters"]}),
            nbformat.v4.new_code_cell(code),
        ]
        nbformat.write(nbformat.v4.new_notebook(cells=cells), folder / INGEST.notebook)

    return write


def order(**changes):
    known = {
        "schedule": "daily",
        "run_date": pd.Timestamp("2024-06-28"),
        "known_at": pd.Timestamp("2024-06-28T22:00Z"),
        "endpoints": {},
        "source": "none",
        "simulated": "SIMULATED",
    }
    return runner.Order(**{**known, **changes})


def run(home, kernels, seen=None):
    watch = seen.append if seen is not None else lambda event: None
    return runner.run(home, SETTINGS, Secrets(), order(), kernels, watch, until="features")


@pytest.mark.parametrize(
    ("code", "exit_code", "said"),
    [
        (
            "from quant50lib.errors import DataQualityError\nraise DataQualityError('no bars')",
            3,
            "no bars",
        ),
        (
            "from quant50lib.errors import ReconciliationError\nraise ReconciliationError('x')",
            7,
            "x",
        ),
        ("1 / 0", 1, "ZeroDivisionError"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", 1, "DeadKernelError"),
        ("import time; time.sleep(60)", 1, "over 3 s"),
    ],
)
def test_a_failing_stage_keeps_its_cause_and_its_notebook(
    home, kernels, notebook, code, exit_code, said
):
    notebook(code)
    with pytest.raises(StageFailed, match=said) as failed:
        run(home, kernels)
    assert failed.value.exit_code == exit_code and failed.value.stage == "ingest"
    info = archive.newest(home)
    assert info.state == "failed" and info.stages["ingest"]["state"] == "failed"
    assert (info.path / "notebooks" / INGEST.notebook).is_file()


def test_a_stage_that_breaks_its_promise_is_refused(home, kernels, notebook):
    notebook("pass")
    with pytest.raises(ContractError, match="without writing Universe"):
        run(home, kernels)


def test_each_stage_has_a_kernel_of_its_own_that_ends(home, kernels, notebook):
    notebook(
        "import os, builtins\nassert not hasattr(builtins, 'leak')\nbuiltins.leak = os.getpid()\nprint(builtins.leak)"
    )
    pids = set()
    for _ in range(2):
        with pytest.raises(ContractError):
            run(home, kernels)
        shown = nbformat.read(archive.newest(home).path / "notebooks" / INGEST.notebook, 4)
        pids.add(int(shown.cells[-1].outputs[0]["text"]))
    assert len(pids) == 2
    assert not [p for p in pids if psutil.pid_exists(p) and psutil.Process(p).status() != "zombie"]


def test_what_a_stage_is_doing_is_told_by_its_headings(home, kernels, notebook):
    notebook("pass")
    seen = []
    with pytest.raises(ContractError):
        run(home, kernels, seen)
    assert "A heading" in [event.doing for event in seen]
    assert seen[-1].state == "failed"


def test_the_same_request_has_the_same_id_and_a_changed_setting_another(home):
    one = runner.plan_id(home, Settings(), "daily", "2024-06-28")
    assert one == runner.plan_id(home, Settings(), "daily", "2024-06-28")
    assert one.startswith("2024-06-28-daily-")
    assert one != runner.plan_id(home, SETTINGS, "daily", "2024-06-28")


def test_going_on_from_a_stage_needs_the_stages_before_it(home):
    with pytest.raises(SettingsError, match="run without --from"):
        runner.begin(home, Settings(), order(from_stage="optimize"))


def test_a_scratch_run_without_any_run_asks_for_a_session(home):
    with pytest.raises(SettingsError, match="make demo"):
        scratch.prepare(home, INGEST, "")


def test_a_vanished_run_is_an_archive_error(home):
    with pytest.raises(ArchiveError, match="vanished"):
        runner._opened(home.runs / "2024-06-28-daily-0000")


def test_kernels_without_the_fork_server_are_new_interpreters(tmp_path):
    plain = RunnerSettings(fork_kernels=False, prestart_kernels=False)
    with Kernels({}, tmp_path, plain) as kernels:
        manager = kernels.take()
        assert manager.is_alive() and manager.kernel_name == "python3"
        kernels.stop(manager)
        assert not manager.is_alive()


def test_no_kernel_and_no_server_survives_a_killed_desk(tmp_path):
    import subprocess
    import sys

    code = (
        "import sys, time; from pathlib import Path\n"
        "from quant50lib.pipeline.kernels import Kernels\n"
        "from quant50lib.settings import RunnerSettings\n"
        "if __name__ == '__main__':\n"
        "    k = Kernels({'QUANT50_HOME': sys.argv[1]}, Path(sys.argv[1]), RunnerSettings())\n"
        "    k.take(); print('up', flush=True); time.sleep(60)\n"
    )
    (tmp_path / "desk.py").write_text(code)
    words = [sys.executable, str(tmp_path / "desk.py"), str(tmp_path)]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, text=True, start_new_session=True)
    assert process.stdout.readline() == "up\n"
    below = psutil.Process(process.pid).children(recursive=True)
    assert len(below) >= 3  # server, client, kernel
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    limit = time.monotonic() + 10
    while time.monotonic() < limit and any(
        p.is_running() and p.status() != "zombie" for p in below
    ):
        time.sleep(0.1)
    assert not [p for p in below if p.is_running() and p.status() != "zombie"]
