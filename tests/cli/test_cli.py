"""The command line: every command explains itself, and wrong words get a sentence."""

import re

import pandas as pd
import pytest
from typer.testing import CliRunner

from quant50lib import cli
from quant50lib.errors import SettingsError
from quant50lib.utils import config
from tests import desks

COMMANDS = sorted(command.callback.__name__ for command in cli.app.registered_commands)
RUNNER = CliRunner()


@pytest.fixture
def empty(tmp_path, monkeypatch):
    """A desk that has done nothing yet."""
    for name, value in desks.environment(tmp_path).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("COLUMNS", "160")
    return tmp_path


@pytest.mark.parametrize("name", COMMANDS)
def test_the_help_of_every_command_is_worth_reading(name):
    typed = name.replace("_", "-")
    shown = RUNNER.invoke(cli.app, [typed, "--help"], env={"COLUMNS": "120"})
    assert shown.exit_code == 0 and f"Usage: quant50 {typed}" in shown.stdout
    command = next(c for c in cli.app.registered_commands if c.callback.__name__ == name)
    assert len(command.callback.__doc__.split()) >= 10


def test_the_readme_names_every_command():
    readme = (config.checkout() / "README.md").read_text("utf-8")
    named = set(re.findall(r"`(?:quant50 )?([a-z-]+)[ `]", readme))
    assert {c.replace("_", "-") for c in COMMANDS} - {"contracts", "demo"} <= named


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["report"], 8, "no daily run yet"),
        (["orders"], 8, "no run holds orders"),
        (["schedule"], 2, "choose one"),
        (["replay", "--market", "nothing.parquet"], 2, "does not exist"),
        (["run", "--now", "soon"], 2, "is no instant"),
    ],
)
def test_a_desk_that_has_nothing_yet_says_so(empty, words, code, said):
    done = RUNNER.invoke(cli.app, words)
    assert done.exit_code == code and said in done.output


def test_status_and_verify_of_an_empty_desk(empty):
    assert "no run yet" in RUNNER.invoke(cli.app, ["status"]).stdout
    assert "0 sealed runs" in RUNNER.invoke(cli.app, ["verify"]).stdout


def test_the_schedule_is_printed_for_both_kinds(empty):
    assert "OnCalendar=" in RUNNER.invoke(cli.app, ["schedule", "--systemd"]).stdout
    assert "22 * * 1-5" in RUNNER.invoke(cli.app, ["schedule", "--cron"]).stdout


def test_doctor_ends_with_2_exactly_when_something_is_missing(empty):
    done = RUNNER.invoke(cli.app, ["doctor"])
    assert done.exit_code == (2 if "✗" in done.stdout else 0)
    assert "python" in done.stdout.lower()


def test_a_rehearsed_instant_is_for_the_simulated_broker_only():
    assert cli._present("2024-06-28 22:00", "sim") == pd.Timestamp("2024-06-28T22:00Z")
    assert cli._present("2024-06-28T18:00-04:00", "sim") == pd.Timestamp("2024-06-28T22:00Z")
    with pytest.raises(SettingsError, match="simulated broker only"):
        cli._present("2024-06-28 22:00", "paper")


def test_a_replay_keeps_to_a_home_of_its_own(tmp_path, monkeypatch):
    monkeypatch.delenv("QUANT50_HOME", raising=False)
    assert (
        cli._replay_home(tmp_path / "bars.parquet").root == config.checkout() / "replays" / "bars"
    )
    monkeypatch.setenv("QUANT50_HOME", str(tmp_path))
    assert cli._replay_home(None).root == tmp_path
