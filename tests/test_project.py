"""The top level keeps its promises: locks, workflows, branch names, the state between jobs."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[1]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
LOCKS = [
    "requirements.lock",
    "requirements-dev.lock",
    "requirements-bench.lock",
    "requirements-lab.lock",
]


def pins(name: str) -> set[str]:
    """Requirements of a lock file, with their markers, without their hashes."""
    lines = (ROOT / name).read_text("utf-8").splitlines()
    return {line.removesuffix("\\").strip() for line in lines if line[:1].isalnum()}


def names(name: str) -> set[str]:
    return {pin.split("==")[0] for pin in pins(name)}


# -- locks ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", LOCKS)
def test_a_lock_is_exact_hashed_and_names_no_registry(name: str) -> None:
    text = (ROOT / name).read_text("utf-8")
    assert "://" not in text and "index-url" not in text and "find-links" not in text
    for block in re.split(r"\n(?=\w)", text.strip()):
        assert re.match(r"[a-z0-9._-]+==[^ ]+( ; .+)? \\\n    --hash=sha256:[0-9a-f]{64}", block)


def test_the_tools_are_locked_around_the_runtime() -> None:
    assert pins("requirements.lock") <= pins("requirements-dev.lock")


def test_every_dependency_is_locked_and_the_build_needs_nothing_else() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    name = re.compile(r"[A-Za-z0-9._-]+")
    wanted = {name.match(d).group().lower() for d in project["project"]["dependencies"]}
    tools = {
        name.match(d).group().lower() for d in project["project"]["optional-dependencies"]["dev"]
    }
    assert wanted <= names("requirements.lock")
    assert tools <= names("requirements-dev.lock")
    assert {name.match(d).group() for d in project["build-system"]["requires"]} == {"setuptools"}
    assert "setuptools" in names("requirements.lock"), "installed without build isolation"


def test_jupyterlab_stays_out_of_the_runtime() -> None:
    for package in ("jupyterlab", "jupyter-server", "rfc3987-syntax"):
        assert package not in names("requirements-dev.lock")
    assert "jupyterlab" in names("requirements-lab.lock")


# -- set-up ---------------------------------------------------------------------------------------


def test_the_readme_and_ci_call_targets_that_exist() -> None:
    makefile = (ROOT / "Makefile").read_text("utf-8")
    targets = set(re.findall(r"^([a-z-]+):", makefile, re.M))
    for path in ("README.md", "CONTRIBUTING.md", ".ci/run", *WORKFLOWS):
        called = re.findall(
            r"(?:^|[`&|]|run: )\s*make ([a-z-]+)", (ROOT / path).read_text("utf-8"), re.M
        )
        assert set(called) <= targets, path
    assert {"demo", "test", "lab", "bench", "lint", "lock", "clean", "help"} <= targets


def test_help_lists_what_there_is() -> None:
    said = subprocess.run(["make", "-C", str(ROOT), "help"], capture_output=True, text=True)
    for target in ("demo", "test", "lab", "bench", "lint", "lock", "clean"):
        assert re.search(rf"make {target} +\w", said.stdout)


@pytest.mark.parametrize("path", [*sorted((ROOT / "scripts").glob("*.sh")), ROOT / ".ci" / "run"])
def test_scripts_are_strict_and_parse(path: Path) -> None:
    text = path.read_text("utf-8")
    assert text.startswith("#!/usr/bin/env bash\n") and "\nset -euo pipefail\n" in text
    assert os.access(path, os.X_OK)
    assert subprocess.run(["bash", "-n", str(path)]).returncode == 0


def test_setup_refuses_a_python_that_is_none(tmp_path: Path) -> None:
    (tmp_path / "scripts").mkdir()
    shutil.copy(ROOT / "scripts" / "setup.sh", tmp_path / "scripts")
    for name in ("requirements.lock", "pyproject.toml"):
        shutil.copy(ROOT / name, tmp_path)
    environment = {**os.environ, "PYTHON": "python-of-nowhere", "SYSTEM": "no"}
    command = ["bash", str(tmp_path / "scripts" / "setup.sh"), "runtime"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 1
    assert "python-of-nowhere is no Python 3.11, 3.12 or 3.13" in done.stderr
    assert not (tmp_path / ".venv").exists()


def test_the_set_up_and_the_report_look_for_the_same_browsers() -> None:
    from quant50lib.adapters import pdf

    script = (ROOT / "scripts" / "setup.sh").read_text("utf-8")
    loop = re.search(r"for name in (chromium-headless-shell.*?); do", script, re.S)
    assert loop and tuple(loop.group(1).replace("\\", "").split()) == pdf.ON_PATH
    assert pdf.VARIABLE in script


# -- workflows ------------------------------------------------------------------------------------


def load(path: Path) -> dict[str, Any]:
    found: dict[Any, Any] = yaml.safe_load(path.read_text("utf-8"))
    found["on"] = found.pop(True)  # YAML 1.1 reads `on` as a truth
    return found


def steps(workflow: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for job in workflow["jobs"].values():
        yield from job["steps"]


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda p: p.name)
def test_actions_are_pinned_and_hold_no_credentials(path: Path) -> None:
    workflow = load(path)
    uses = re.findall(r"uses: (\S+)(.*)", path.read_text("utf-8"))
    assert uses
    for action, comment in uses:
        assert re.fullmatch(r"actions/[a-z-]+@[0-9a-f]{40}", action)
        assert re.fullmatch(r" # v\d+\.\d+\.\d+", comment)
    for step in steps(workflow):
        if step.get("uses", "").startswith("actions/checkout@"):
            assert step["with"]["persist-credentials"] is False


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda p: p.name)
def test_no_expression_reaches_a_shell(path: Path) -> None:
    for step in steps(load(path)):
        assert "${{" not in step.get("run", "")


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda p: p.name)
def test_permissions_are_the_least(path: Path) -> None:
    workflow = load(path)
    assert workflow["permissions"] in ({}, {"contents": "read"})
    for job in workflow["jobs"].values():
        assert "timeout-minutes" in job
        if "permissions" in job:
            assert path.stem in ("daily", "weekly") and job["permissions"] == {"contents": "write"}
    assert "concurrency" in workflow


def test_schedules_and_dates() -> None:
    found = {path.stem: load(path) for path in WORKFLOWS}
    assert set(found) == {"ci", "daily", "weekly"}
    assert found["daily"]["on"]["schedule"] == [{"cron": "0 22 * * 1-5"}]
    assert found["weekly"]["on"]["schedule"] == [{"cron": "0 20 * * 1"}]
    for name in ("daily", "weekly"):
        assert found[name]["on"]["workflow_dispatch"]["inputs"]["date"]["type"] == "string"
        assert found[name]["concurrency"] == {"group": "desk", "cancel-in-progress": False}
        saves = [s for s in steps(found[name]) if "state.sh save" in s.get("run", "")]
        assert saves[0]["if"] == "always() && steps.restore.outcome == 'success'"
    versions = found["ci"]["jobs"]["test"]["strategy"]["matrix"]["python"]
    assert versions == ["3.11", "3.12", "3.13"]


def test_ci_uses_made_up_credentials() -> None:
    text = (ROOT / ".github" / "workflows" / "ci.yml").read_text("utf-8")
    assert "secrets." not in text
    assert re.search(r"APCA_API_KEY_ID: PK\w+", text)


def test_actionlint_agrees() -> None:
    program = shutil.which("actionlint")
    if program is None:
        pytest.skip("actionlint is not on this machine")
    said = subprocess.run([program, *map(str, WORKFLOWS)], capture_output=True, text=True)
    assert said.returncode == 0, said.stdout


# -- branches -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name, good",
    [
        ("feature/optimise", True),
        ("fix/orders-lost.2", True),
        ("chore/lock_files", True),
        ("main", False),
        ("feature/", False),
        ("feature/Optimise", False),
        ("feature/a b", False),
        ("feature/a--b", False),
        ("feature/a/b", False),
        ("hotfix/a", False),
        ("feature/$(id)", False),
        ("x\nfeature/a", False),
    ],
)
def test_branch_names(name: str, good: bool) -> None:
    script = str(ROOT / "scripts" / "branch-name.sh")
    done = subprocess.run([script, name], capture_output=True, text=True)
    assert (done.returncode == 0) == good
    assert good or "feature/<module>" in done.stderr


# -- the state between jobs -----------------------------------------------------------------------


class Runner:
    """Machines that are thrown away: each job has a clone of its own of one remote."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.remote = folder / "remote.git"
        self._jobs = 0
        self.git("init", "--quiet", "--bare", "-b", "main", str(self.remote), cwd=folder)
        first = folder / "first"
        self.git("clone", "--quiet", str(self.remote), str(first), cwd=folder)
        self.git("commit", "--quiet", "--allow-empty", "-m", "code", cwd=first)
        self.git("push", "--quiet", "origin", "HEAD:main", cwd=first)

    def git(self, *words: str, cwd: Path) -> str:
        names = {"GIT_AUTHOR_NAME": "t", "GIT_AUTHOR_EMAIL": "t@localhost"}
        names |= {"GIT_COMMITTER_NAME": "t", "GIT_COMMITTER_EMAIL": "t@localhost"}
        done = subprocess.run(
            ["git", *words],
            cwd=cwd,
            env={**os.environ, **names},
            capture_output=True,
            text=True,
            check=True,
        )
        return done.stdout

    def job(self) -> Path:
        """A fresh clone."""
        self._jobs += 1
        clone = self.folder / f"job{self._jobs}"
        self.git(
            "clone", "--quiet", "--depth", "1", f"file://{self.remote}", str(clone), cwd=self.folder
        )
        return clone

    def state(self, action: str, clone: Path, **more: str) -> subprocess.CompletedProcess[str]:
        script = str(ROOT / "scripts" / "state.sh")
        return subprocess.run(
            [script, action, "desk"],
            cwd=clone,
            env={**os.environ, **more},
            capture_output=True,
            text=True,
        )

    def saved(self) -> set[str]:
        return set(self.git("ls-tree", "-r", "--name-only", "desk-state", cwd=self.remote).split())


@pytest.fixture
def runner(tmp_path: Path) -> Runner:
    return Runner(tmp_path)


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def test_state_passes_from_job_to_job(runner: Runner) -> None:
    one = runner.job()
    assert runner.state("restore", one).returncode == 0
    assert not (one / "desk" / "runs").exists()
    write(one / "desk" / "data" / "ledger.duckdb", "first day")
    write(one / "desk" / "data" / "market.duckdb", "bars")
    write(one / "desk" / "data" / "run.lock", "7")
    write(one / "desk" / ".env", "secret")
    write(one / "desk" / "runs" / "2026-11-20-daily-7f3a" / "manifest.json", "{}")
    said = runner.state("save", one)
    assert "State after 2026-11-20-daily-7f3a" in said.stdout, said.stderr
    assert runner.saved() == {
        ".gitignore",
        "data/ledger.duckdb",
        "runs/2026-11-20-daily-7f3a/manifest.json",
    }
    two = runner.job()
    assert runner.state("restore", two).returncode == 0
    assert (two / "desk" / "data" / "ledger.duckdb").read_text() == "first day"
    assert "nothing changed" in runner.state("save", two).stdout
    write(two / "desk" / "data" / "ledger.duckdb", "second day")
    assert runner.state("save", two).returncode == 0
    assert len(runner.git("log", "--oneline", "desk-state", cwd=runner.remote).splitlines()) == 3


def test_what_another_job_saved_is_never_overwritten(runner: Runner) -> None:
    one, two = runner.job(), runner.job()
    for clone in (one, two):
        assert runner.state("restore", clone).returncode == 0
        write(clone / "desk" / "data" / "ledger.duckdb", clone.name)
    assert runner.state("save", one).returncode == 0
    refused = runner.state("save", two)
    assert refused.returncode != 0 and "rejected" in refused.stderr
    assert runner.git("show", "desk-state:data/ledger.duckdb", cwd=runner.remote) == one.name


def test_a_remote_that_does_not_answer_is_not_an_empty_desk(runner: Runner) -> None:
    clone = runner.job()
    said = runner.state("restore", clone, STATE_REMOTE=str(runner.folder / "nowhere.git"))
    assert said.returncode not in (0, 2)
    assert "nothing is begun" in said.stderr
    assert not (clone / "desk").exists()


def test_the_token_is_left_nowhere(runner: Runner) -> None:
    clone = runner.job()
    assert runner.state("restore", clone, STATE_TOKEN="ghs_made_up").returncode == 0
    write(clone / "desk" / "data" / "ledger.duckdb", "x")
    said = runner.state("save", clone, STATE_TOKEN="ghs_made_up")
    assert said.returncode == 0
    traces = subprocess.run(
        ["grep", "-rl", "-e", "ghs_made_up", "-e", "extraheader", str(clone)],
        capture_output=True,
        text=True,
    )
    assert traces.stdout == "" and "ghs_made_up" not in said.stdout + said.stderr
