"""What `quant50 doctor` sees, on this machine and on machines that lack something."""

from __future__ import annotations

import importlib.metadata
import os
import socket
import subprocess
import sys
import zoneinfo
from pathlib import Path

import pytest

from quant50lib.adapters import machine
from quant50lib.adapters.machine import Check
from quant50lib.settings import Settings
from quant50lib.utils.config import Home

LIVE = "AKMADEUPLOOKSLIVE000"
PAPER = {"APCA_API_KEY_ID": "PKMADEUP", "APCA_API_SECRET_KEY": "hidden"}


def test_every_check_has_a_name_and_a_remedy(tmp_path: Path) -> None:
    found = machine.checks(Home(tmp_path), Settings(), os.environ)
    assert len({check.name for check in found}) == len(found) >= 12
    for check in found:
        assert check.detail and (check.ok or check.mend), check


@pytest.mark.parametrize(
    "version, ok",
    [((3, 10), False), ((3, 11), True), ((3, 13), True), ((3, 14), False), ((2, 7), False)],
)
def test_versions_of_python(version: tuple[int, int], ok: bool) -> None:
    assert machine.python(version).ok is ok


def test_a_missing_program_is_named(tmp_path: Path) -> None:
    found = machine.program("git", "names the code", {"PATH": str(tmp_path)})
    assert not found.ok and "names the code" in found.detail and "git" in found.mend
    program = tmp_path / "git"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    assert machine.program("git", "", {"PATH": str(tmp_path)}) == Check(
        "git", True, str(program), found.mend
    )


def test_a_lock_is_read_as_pip_reads_it() -> None:
    text = (
        "numpy==2.4.6 ; python_full_version < '3.0' \\\n    --hash=sha256:00\n"
        "Flask-Thing==1.2.3 \\\n    --hash=sha256:00 \\\n    --hash=sha256:11\n"
        "six==1.17.0 ; python_full_version >= '3.0' \\\n    --hash=sha256:00\n"
        "# a remark\n"
    )
    assert list(machine.pinned(text)) == [("flask-thing", "1.2.3"), ("six", "1.17.0")]


def test_packages_that_differ_from_the_lock(tmp_path: Path) -> None:
    six = importlib.metadata.version("six")
    lock = tmp_path / "requirements.lock"
    lock.write_text(f"six=={six} \\\n    --hash=sha256:00\n")
    assert machine.packages(lock) == Check(
        "packages", True, "1 as pinned", "rm -rf .venv && make setup"
    )
    wrong = "".join(f"no-such-{i}==1 \\\n    --hash=sha256:00\n" for i in range(7))
    lock.write_text(f"six==0.0.1 \\\n    --hash=sha256:00\n{wrong}")
    found = machine.packages(lock)
    assert not found.ok
    assert f"six {six} (pinned 0.0.1)" in found.detail
    assert "no-such-0 missing (pinned 1)" in found.detail and "and 3 more" in found.detail
    assert not machine.packages(tmp_path / "none").ok


def test_openmp(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not machine.openmp(lambda library: False).ok
    assert machine.openmp(lambda library: library == "libgomp.so.1").ok
    assert not machine._loads("libno-such-thing.so.9")
    monkeypatch.setattr(machine.platform, "system", lambda: "Darwin")
    assert machine.openmp(lambda library: False).ok


def test_a_browser_that_is_named_but_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QUANT50_CHROMIUM", "/no/such/browser")
    found = machine.browser(Settings())
    assert not found.ok and "HTML" in found.detail and "install" in found.mend
    monkeypatch.setenv("QUANT50_CHROMIUM", sys.executable)
    assert machine.browser(Settings()).ok


def test_a_driver_that_does_not_start() -> None:
    said = "libatomic.so.1: cannot open shared object file"
    broken = machine.driver([sys.executable, "-c", f"import sys; sys.exit({said!r})"])
    assert not broken.ok and said in broken.detail and "libatomic1" in broken.mend
    assert not machine.driver(["/no/such/driver"]).ok
    works = machine.driver([sys.executable, "-c", "print('Version 1.65.2')"])
    assert works.ok and works.detail == "Version 1.65.2"


def test_remedies_fit_the_system(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine.os, "geteuid", lambda: 1000)
    monkeypatch.setattr(machine.shutil, "which", lambda name: "/usr/bin/apt-get")
    monkeypatch.setattr(machine, "_system", lambda: "debian")
    assert machine._install_browser().startswith("sudo apt-get install")
    assert machine._install("git") == "sudo apt-get install git"
    monkeypatch.setattr(machine, "_system", lambda: "ubuntu")
    assert "playwright install" in machine._install_browser()
    monkeypatch.setattr(machine.shutil, "which", lambda name: None)
    assert "package manager" in machine._install("git")


def test_without_time_zones(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise zoneinfo.ZoneInfoNotFoundError(name)

    assert machine.time_zones().ok
    monkeypatch.setattr(machine.zoneinfo, "ZoneInfo", missing)
    assert not machine.time_zones().ok and "tzdata" in machine.time_zones().mend


def test_a_home_that_is_no_folder_of_ours(tmp_path: Path) -> None:
    assert machine.writable(Home(tmp_path / "not" / "made" / "yet")).ok
    assert list(tmp_path.iterdir()) == []
    assert not machine.writable(Home(Path("/proc/nowhere"))).ok


def test_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert machine.disk(Home(tmp_path)).detail.endswith("(at least 2 wanted)")
    monkeypatch.setattr(machine, "FREE_BYTES", 2**80)
    assert not machine.disk(Home(tmp_path)).ok


@pytest.mark.slow
def test_a_store_that_another_process_holds(tmp_path: Path) -> None:
    path = tmp_path / "market.duckdb"
    assert machine.unlocked("store", path).ok
    code = f"import duckdb, sys; c = duckdb.connect({str(path)!r}); print(1, flush=True); sys.stdin.read()"
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout is not None and holder.stdout.readline() == "1\n"
        found = machine.unlocked("store", path)
        assert not found.ok and f"process {holder.pid}" in found.detail
        holder.communicate("")
    assert machine.unlocked("store", path).ok


def test_keys_are_never_shown() -> None:
    paper = Settings(broker="paper")
    assert machine.keys(Settings(), {}).ok
    assert machine.keys(paper, PAPER).ok
    assert not machine.keys(paper, {"APCA_API_KEY_ID": "PKMADEUP"}).ok
    live = {**PAPER, "APCA_API_KEY_ID": LIVE}
    for settings in (paper, Settings()):
        assert not machine.keys(settings, live).ok
    for check in (machine.keys(paper, PAPER), machine.keys(paper, live)):
        text = check.detail + check.mend
        assert LIVE not in text and "hidden" not in text and "PKMADEUP" not in text


def test_ports() -> None:
    assert machine.port("127.0.0.1", 0).ok
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        number = taken.getsockname()[1]
        found = machine.port("127.0.0.1", number)
        assert not found.ok and f"process {os.getpid()} " in found.detail
    assert machine.port("127.0.0.1", number).ok


def test_our_own_service_may_hold_the_port(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "_free", lambda host, number: False)
    for words, ok in (
        (["process", "7", "/x/bin/python", "/x/bin/quant50", "serve"], True),
        (["process", "7", "python", "-m", "quant50lib.cli", "serve"], True),
        (["process", "7", "/x/bin/quant50", "simulate"], False),
        (["process", "7", "nginx"], False),
    ):
        monkeypatch.setattr(machine, "_listener", lambda number, words=words: words)
        assert machine.port("127.0.0.1", 8050).ok is ok


def test_a_port_of_nobody_we_may_see(monkeypatch: pytest.MonkeyPatch) -> None:
    def denied(kind: str) -> None:
        raise machine.psutil.AccessDenied(1)

    monkeypatch.setattr(machine.psutil, "net_connections", lambda kind: [])
    assert machine._listener(9) == ["another program"]
    monkeypatch.setattr(machine.psutil, "net_connections", denied)
    assert machine._listener(9) == ["a process of another user"]
