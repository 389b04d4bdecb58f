"""Units and crontab lines, checked by the programs that will read them where those are here."""

from __future__ import annotations

import configparser
import datetime as dt
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from quant50lib.errors import SettingsError
from quant50lib.jobs import schedule

ODD = "a home 100% $HOME 'quoted' \"twice\""


def directives(text: str) -> dict[str, list[str]]:
    """Values of each directive of a unit, in order."""
    pairs = [line.partition("=")[::2] for line in text.splitlines() if re.match(r"[A-Z]\w+=", line)]
    return {name: [v for n, v in pairs if n == name] for name, _ in pairs}


def test_four_units(tmp_path: Path) -> None:
    units = schedule.systemd(tmp_path, Path("/usr/bin/python3"), "desk")
    assert sorted(units) == [
        "quant50-daily.service",
        "quant50-daily.timer",
        "quant50-weekly.service",
        "quant50-weekly.timer",
    ]
    daily = directives(units["quant50-daily.service"])
    assert daily["ExecStart"] == ['"/usr/bin/python3" -m quant50lib.jobs.daily_run']
    assert daily["User"] == ["desk"]
    assert daily["EnvironmentFile"] == [f"-{tmp_path}/.env"]
    assert daily["ReadWritePaths"] == [f'"{tmp_path}"']
    timer = directives(units["quant50-weekly.timer"])
    assert timer["OnCalendar"] == ["Mon *-*-* 20:00:00 UTC"] and timer["Persistent"] == ["true"]


def test_the_owner_of_the_home_runs_the_jobs(tmp_path: Path) -> None:
    units = schedule.systemd(tmp_path, Path("/usr/bin/python3"))
    assert f"User={tmp_path.owner()}\n" in units["quant50-daily.service"]
    with pytest.raises(SettingsError, match="does not exist"):
        schedule.systemd(tmp_path / "none", Path("/usr/bin/python3"))


def test_a_path_cannot_smuggle_a_directive(tmp_path: Path) -> None:
    for make in (schedule.systemd, schedule.cron):
        with pytest.raises(SettingsError, match="cannot stand in"):
            make(tmp_path / "x\nExecStartPre=evil", Path("/usr/bin/python3"))
    with pytest.raises(SettingsError, match="rename the folder"):
        schedule.systemd(tmp_path / ODD, Path("/usr/bin/python3"))


@pytest.mark.parametrize("name", ["plain", "a home 100%"])
def test_systemd_accepts_the_units(tmp_path: Path, name: str) -> None:
    program = shutil.which("systemd-analyze")
    if program is None:
        pytest.skip("systemd-analyze is not on this machine")
    home = tmp_path / name
    (home / "bin").mkdir(parents=True)
    python = home / "bin" / "python"
    python.symlink_to(sys.executable)
    folder = tmp_path / "units"
    folder.mkdir()
    for file, text in schedule.systemd(home, python, "root").items():
        (folder / file).write_text(text)
    files = sorted(map(str, folder.iterdir()))
    said = subprocess.run([program, "verify", *files], capture_output=True, text=True)
    ours = [line for line in said.stderr.splitlines() if "quant50" in line]
    assert said.returncode == 0 and ours == [], said.stderr


def test_systemd_notices_a_broken_unit(tmp_path: Path) -> None:
    program = shutil.which("systemd-analyze")
    if program is None:
        pytest.skip("systemd-analyze is not on this machine")
    units = schedule.systemd(tmp_path, Path("/no/such/python"), "root")
    (tmp_path / "quant50-daily.service").write_text(units["quant50-daily.service"])
    said = subprocess.run(
        [program, "verify", str(tmp_path / "quant50-daily.service")], capture_output=True, text=True
    )
    assert "/no/such/python" in said.stderr


@pytest.mark.parametrize("job", schedule.JOBS, ids=lambda job: job.name)
def test_both_forms_name_the_same_hours(job: schedule.Job) -> None:
    """The calendar expression and the cron fields, each read by hand over a fortnight."""
    minute, hour, _, _, days = job.cron.split()
    first, _, last = days.partition("-")
    wanted = {d % 7 for d in range(int(first), int(last or first) + 1)}  # cron: 1 is Monday
    weekdays, _, at, zone = job.calendar.split()
    order = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"]
    start, _, end = weekdays.partition("..")
    named = set(order[order.index(start) : order.index(end or start) + 1])
    assert zone == "UTC" and at == f"{int(hour):02d}:{int(minute):02d}:00"
    for day in range(14):
        date = dt.date(2026, 11, 16) + dt.timedelta(days=day)
        assert (date.isoweekday() in wanted) == (date.strftime("%a") in named)


def test_a_crontab_line_runs_what_it_should(tmp_path: Path) -> None:
    home = tmp_path / ODD
    home.mkdir()
    (home / ".env").write_text("APCA_API_KEY_ID=PKMADEUP\n")
    python = home / "python"
    python.write_text('#!/bin/sh\necho "$QUANT50_HOME|$APCA_API_KEY_ID|$*|$PWD"\n')
    python.chmod(0o755)
    text = schedule.cron(home, python)
    assert "CRON_TZ=UTC\n" in text
    lines = [line for line in text.splitlines() if re.match(r"\d", line)]
    assert [line.split()[:5] for line in lines] == [
        ["0", "22", "*", "*", "1-5"],
        ["0", "20", "*", "*", "1"],
    ]
    for line, module in zip(lines, ("daily_run", "weekly_train"), strict=True):
        assert not re.search(r"(?<!\\)%", line)
        command = line.split(None, 5)[5].replace(r"\%", "%")  # as cron does
        assert subprocess.run(["sh", "-c", command], cwd="/").returncode == 0
        said = (home / "data" / "cron.log").read_text().splitlines()[-1]
        assert said == f"{home}|PKMADEUP|-m quant50lib.jobs.{module}|{home}"


def test_units_are_plain_ini(tmp_path: Path) -> None:
    for text in schedule.systemd(tmp_path, Path("/usr/bin/python3"), "desk").values():
        parser = configparser.ConfigParser(strict=False, interpolation=None)
        parser.read_string(text)
        assert "Unit" in parser.sections()
