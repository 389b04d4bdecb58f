"""The risk rules on a desk: kept through a crash, shown, and re-armed by command."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from click.testing import Result
from typer.testing import CliRunner

from quant50lib.adapters import journal_rows
from quant50lib.adapters.journal import Ledger
from quant50lib.cli import app
from quant50lib.contracts import Equity, Holding, Limit, RiskEvent, RiskState
from quant50lib.jobs import risk as job
from quant50lib.pipeline import archive
from quant50lib.pipeline.memory import remembered
from quant50lib.pipeline.surprises import surprises
from quant50lib.services import alarm, book, risk, rulebook, stops
from quant50lib.settings import RiskSettings, Settings
from quant50lib.utils import dates
from quant50lib.utils.config import Home
from quant50lib.utils.frames import typed
from tests import desks, factories
from tests.services.test_risk import account

SESSIONS = dates.sessions_between("2024-01-02", "2024-03-28")
SETTINGS = RiskSettings()


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    for name, value in desks.environment(tmp_path).items():
        monkeypatch.setenv(name, value)
    return Home(tmp_path)


def quant50(*words: str) -> Result:
    return CliRunner().invoke(app, list(words), env={"COLUMNS": "200"})


def lived(ledger: Ledger, values: list[float], first: int = 0) -> None:
    """Sessions of an account as a desk lives them: each state from the ledger, and into it."""
    table = account(values)
    for session in table["session"].iloc[first:]:
        found = ledger.load_risk(session)
        before = found if len(found) else None
        known = table[table["session"] <= session]
        ledger.save_risk(*risk.next_state(before, known, session, SETTINGS))


FALL = [100.0, 99, 94, 93, 90.5, 90, 90]


@pytest.mark.parametrize(("at", "torn"), [(2, "risk_events"), (4, "risk_states")])
def test_a_kill_between_two_steps_of_the_journal_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: int, torn: str
) -> None:
    """Dead before either table is written: the next start finds the session before, and arrives
    where the undisturbed desk did, events included."""
    calm, hurt = Ledger(tmp_path / "calm.duckdb"), Ledger(tmp_path / "hurt.duckdb")
    lived(calm, FALL)
    lived(hurt, FALL[:at])
    insert = journal_rows.insert

    def dies(connection: object, table: str, rows: list) -> None:
        if table == torn:
            raise KeyboardInterrupt
        insert(connection, table, rows)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(journal_rows, "insert", dies)
        lived(hurt, FALL[: at + 1], at)
    again = Ledger(hurt.path)
    session = SESSIONS[at]
    pd.testing.assert_frame_equal(again.load_risk(session), calm.load_risk(session))
    assert again.load_risk(job.NEVER).equals(again.load_risk(session))
    lived(again, FALL, at)
    pd.testing.assert_frame_equal(again.load_risk(job.NEVER), calm.load_risk(job.NEVER))
    pd.testing.assert_frame_equal(again.risk_events(job.NEVER), calm.risk_events(job.NEVER))


def test_a_bar_outlives_a_restart(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger.duckdb")
    lived(ledger, [100.0, 100.0])
    stop = {"session": SESSIONS[2], "rule": "stop_loss", "symbol": "AA", "value": 0.1}
    state, _ = risk.next_state(
        ledger.load_risk(SESSIONS[2]), account([100.0] * 3), SESSIONS[2], SETTINGS
    )
    ledger.save_risk(state, typed(RiskEvent, [stop | {"limit": 0.05, "detail": "sold"}]))
    events = Ledger(ledger.path).risk_events(SESSIONS[20])
    barred = [len(stops.barred(events, s, SETTINGS)) for s in SESSIONS[:10]]
    assert barred == [0, 0, 1, 1, 1, 1, 1, 0, 0, 0]


def test_a_halt_is_ended_by_the_command_and_stands_in_the_ledger(home: Home) -> None:
    assert quant50("risk", "resume").exit_code == 5
    ledger = Ledger(home.ledger)
    lived(ledger, FALL)
    assert ledger.reduce_only(SESSIONS[6])
    done = quant50("risk", "resume")
    assert done.exit_code == 0 and "the mark is 90.00" in done.stdout, done.output
    again = Ledger(home.ledger)
    state = RiskState.check(again.load_risk(job.NEVER)).iloc[0]
    assert not state["halted"] and (state["budget"], state["mark"]) == (1.0, pytest.approx(90))
    events = RiskEvent.check(again.risk_events(job.NEVER))
    assert events["rule"].to_list()[-2:] == ["halt", "rearm"]
    assert events["detail"].iloc[-1] == "by command"
    assert not again.reduce_only(SESSIONS[6])
    lived(again, [*FALL, 89.0], len(FALL))
    later = again.load_risk(job.NEVER).iloc[0]
    assert later["drawdown"] == pytest.approx(1 / 90) and later["budget"] == 1.0
    refused = quant50("risk", "resume")
    assert refused.exit_code == 5 and "nothing to re-arm" in refused.stderr


def evening(ledger: Ledger, values: list[float], at: int) -> pd.DataFrame:
    """The rules of one session as notebook 05 asks for them and execute keeps them; its events."""
    session = SESSIONS[at]
    memory = remembered(ledger, session, pd.Series(dtype=float))
    known = account(values).iloc[: at + 1]
    panel = factories.panel(4, 30)
    state, events = book.rules(memory, known, Holding.empty(), panel, session, Settings())
    ledger.save_risk(state, events)
    return events


@pytest.mark.parametrize("waited", [0, 1, 2])
def test_a_session_run_again_after_its_halt_was_ended_stays_open(home: Home, waited: int) -> None:
    """Without the command it halts anew, to the same state; with it, it is what the command made."""
    ledger, last = Ledger(home.ledger), 4 + waited
    for at in range(last + 1):
        evening(ledger, FALL, at)
    halted, told = ledger.load_risk(job.NEVER), ledger.risk_events(job.NEVER)
    assert halted["halted"].iloc[0] and halted["halted_sessions"].iloc[0] == waited
    evening(ledger, FALL, last)
    pd.testing.assert_frame_equal(ledger.load_risk(job.NEVER), halted)
    pd.testing.assert_frame_equal(ledger.risk_events(job.NEVER), told)
    assert quant50("risk", "resume").exit_code == 0
    open_again, told = ledger.load_risk(job.NEVER), ledger.risk_events(job.NEVER)
    for _ in range(2):
        evening(Ledger(home.ledger), FALL, last)
        pd.testing.assert_frame_equal(ledger.load_risk(job.NEVER), open_again)
        pd.testing.assert_frame_equal(ledger.risk_events(job.NEVER), told)
    assert not ledger.reduce_only(SESSIONS[last])
    fallen = [*FALL[: last + 1], FALL[last] * 0.9]
    evening(ledger, fallen, last + 1)
    assert ledger.load_risk(job.NEVER)["halted"].iloc[0], "the next episode halts by itself"


def sealed_day(home: Home, n: int, volatility: float, values: list[float]) -> Path:
    """A daily run with two tables, as far as `quant50 risk` reads it."""
    session = SESSIONS[n]
    folder = home.runs / f"{session.date()}-daily-{n:04x}"
    (folder / "tables").mkdir(parents=True)
    row = {"session": session, "value": volatility, "limit": 0.1, "headroom": 0.1 - volatility}
    row |= {"rule": "volatility", "breached": False, "price_bps": float("nan"), "detail": ""}
    archive.write_table(folder, Limit, typed(Limit, [row]))
    archive.write_table(folder, Equity, account(values[: n + 1]))
    return folder


def test_what_is_shown_is_what_the_archive_and_the_ledger_hold(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    refused = quant50("risk")
    assert refused.exit_code == 8 and "no daily run with limits" in refused.stderr
    values = [100.0, 101.0, 99.0, 100.0]
    for n in range(4):
        sealed_day(home, n, 0.16, values)
    folders = sorted(home.runs.iterdir(), reverse=True)
    infos = [archive.RunInfo(f.name, f.name[:10], "daily", "sealed", f) for f in folders]
    monkeypatch.setattr(archive, "runs", lambda home: infos)
    lived(Ledger(home.ledger), values)
    found = json.loads(quant50("risk", "--json").stdout)
    assert found["state"]["budget"] == 1.0 and found["halt_level"] == pytest.approx(0.09)
    assert found["limits"][0]["rule"] == "volatility" and not found["alarm"]["raised"]
    expected = pd.Series([0.01, 99 / 101 - 1, 100 / 99 - 1]) / (0.16 / 252**0.5)
    known = surprises(home, account(values), SESSIONS[3])
    assert known["surprise"].dropna().to_list() == pytest.approx(expected.to_list())
    assert known["forecast"].dropna().to_list() == [0.16] * 3
    assert found["alarm"]["sessions"] == 3
    shown = quant50("risk").stdout
    assert "alarm: off" in shown and "left until the halt" in shown and "volatility" in shown


@pytest.mark.parametrize(
    ("size", "forecast", "rule"),
    [(0.02, 0.08, "forecast_too_low"), (0.001, 0.2, "forecast_too_high")],
)
def test_the_alarm_is_an_event_of_the_evening_and_changes_nothing(
    home: Home, monkeypatch: pytest.MonkeyPatch, size: float, forecast: float, rule: str
) -> None:
    """Evenings whose sealed runs forecast too little, or too much: told once, states alike."""
    n_sessions = 59
    moves = size * np.where(np.arange(n_sessions) % 2, 1.0, -1.0)
    values = list(100 * np.cumprod(1 + np.r_[0.0, moves]))
    row = {"value": forecast, "limit": 0.1, "headroom": 0.1 - forecast, "rule": "volatility"}
    table = typed(Limit, [row | {"breached": False, "price_bps": 0.0, "detail": ""}])
    runs = []
    for session in SESSIONS[:n_sessions]:
        folder = home.runs / f"{session.date()}-daily-0000"
        (folder / "tables").mkdir(parents=True)
        table.assign(session=session).to_parquet(folder / "tables" / Limit.file_name())
        runs.append(archive.RunInfo(folder.name, folder.name[:10], "daily", "sealed", folder, {}))
    monkeypatch.setattr(archive, "runs", lambda home: runs[::-1])
    known = surprises(home, account(values), SESSIONS[n_sessions])["surprise"]
    side = next(side for side, name in alarm.RULES.items() if name == rule)
    first = alarm.raised(known, 0.05, side).idxmax()
    panel, told = factories.panel(4, 30), RiskEvent.empty()
    for session in (dates.shift(first, -1), first, dates.shift(first, 1)):
        equity = account(values[: dates.distance(SESSIONS[0], session) + 1])
        seen = surprises(home, equity, session)["surprise"]
        args = (equity, Holding.empty(), panel, session, Settings())
        state, events = book.rules(book.Memory(None, told, seen), *args)
        calm, usual = book.rules(book.Memory(None, told), *args)
        pd.testing.assert_frame_equal(state, calm)
        more = events[events["rule"].str.startswith("forecast")]
        pd.testing.assert_frame_equal(events.drop(more.index).reset_index(drop=True), usual)
        told = pd.concat([told, more], ignore_index=True)
    assert list(told["rule"]) == [rule] and list(told["session"]) == [first]
    assert told["value"].iloc[0] >= 20 == told["limit"].iloc[0]


def test_a_run_that_sent_nothing_forecast_nothing(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    values = [100.0, 101.0, 102.0]
    kinds = ({"shadow": "late"}, "sealed"), ({}, "half")
    runs = []
    for n, (facts, kind) in enumerate(kinds):
        folder = sealed_day(home, n, 0.1, values)
        runs.append(archive.RunInfo(folder.name, folder.name[:10], "daily", kind, folder, facts))
    monkeypatch.setattr(archive, "runs", lambda home: runs[::-1])
    found = surprises(home, account(values), SESSIONS[2])
    assert found["forecast"].isna().all() and found["return"].notna().sum() == 2


def test_every_rule_is_listed_with_its_settings_in_the_order_in_which_it_acts() -> None:
    done = quant50("risk", "--rules")
    assert done.exit_code == 0 and "stop-loss" in done.stdout
    settings = Settings()
    for rule in rulebook.RULES:
        for name in rule.settings:
            section, field = name.split(".")
            assert field in type(getattr(settings, section)).model_fields
    listed = {name for rule in rulebook.RULES for name in rule.settings}
    assert {f"risk.{field}" for field in RiskSettings.model_fields} == {
        name for name in listed if name.startswith("risk.")
    }
    assert quant50("risk", "reset").exit_code == 2
