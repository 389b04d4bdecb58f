"""A desk from its first day on, by the real command: what it leaves, and what it survives."""

import contextlib
import dataclasses
import json
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from decimal import Decimal
from pathlib import Path
from typing import Any

import pandas as pd
import psutil
import pytest
import scrapbook

from quant50lib.contracts import (
    FEATURES,
    Equity,
    Feature,
    Fill,
    Limit,
    Order,
    Target,
    Universe,
    stages_of,
)
from quant50lib.errors import SettingsError
from quant50lib.jobs.desk import session_of
from quant50lib.pipeline import archive
from quant50lib.pipeline.archive import RunInfo
from quant50lib.pipeline.context import StageContext
from quant50lib.services import features
from quant50lib.utils import config, dates
from quant50lib.utils.config import Home
from tests import desks

pytestmark = pytest.mark.slow

SECOND = str(dates.shift(desks.FIRST, 1).date())


def daily(home: Path, date: str = desks.FIRST) -> RunInfo:
    run = archive.newest(Home(home), "daily", None, date)
    assert run is not None
    return run


# -- the first day --------------------------------------------------------------------------------


def test_the_demo_leaves_two_sealed_runs_that_verify(demo_home):
    runs = archive.runs(Home(demo_home))
    assert sorted((r.schedule, r.state) for r in runs) == [
        ("daily", "sealed"),
        ("weekly", "sealed"),
    ]
    checked = desks.invoke(demo_home, "verify")
    assert checked.code == 0 and "2 sealed runs" in checked.out


def test_every_table_of_the_day_keeps_its_contract(demo_home):
    run = daily(demo_home)
    for stage in stages_of("daily"):
        for table in stage.writes:
            archive.read_table(run.path, table)


def test_the_report_is_an_a4_pdf_that_says_simulated(demo_home):
    from pypdf import PdfReader

    (path,) = (demo_home / "data" / "reports").glob("*.pdf")
    assert path.name == f"diario_{desks.FIRST.replace('-', '')}.pdf"
    pdf = PdfReader(path)
    text = "\n".join(page.extract_text() for page in pdf.pages)
    assert float(pdf.pages[0].mediabox.width) == pytest.approx(210 / 25.4 * 72, abs=1)
    assert "SIMULATED" in text and desks.FIRST in text
    assert "import " not in text and str(demo_home) not in text


def test_the_first_plan_spends_no_more_than_there_is_and_keeps_the_turnover(demo_home):
    run = daily(demo_home)
    orders = archive.read_table(run.path, Order)
    sent = orders[orders["state"] == "accepted"]
    assert len(sent) >= 3 and (sent["side"] == "buy").all()
    assert sent["notional"].sum() <= 100_000 * 0.15 + 1
    limits = archive.read_table(run.path, Limit)
    assert not limits["breached"].any()
    assert archive.read_table(run.path, Target)["weight"].sum() == pytest.approx(
        sent["notional"].sum() / 100_000, abs=0.002
    )


def test_scrapbook_shows_the_day_at_a_glance(demo_home):
    book = scrapbook.read_notebooks(str(daily(demo_home).path / "notebooks"))
    scraps = {name for notebook in book.notebooks for name in notebook.scraps}
    assert {"ingest", "books", "forecast", "solution", "orders"} <= scraps


def test_archived_files_hold_no_path_of_the_machine_and_no_key(demo_home):
    hidden = [str(demo_home), sys.prefix, str(Path.home()) + "/", "PKTWIN"]
    for run in archive.runs(Home(demo_home)):
        for path in run.path.rglob("*"):
            if path.suffix in (".ipynb", ".json", ".jsonl", ".html"):
                text = path.read_text("utf-8")
                assert not [h for h in hidden if h in text], path.name


def test_the_manifest_says_what_made_the_run(demo_home):
    facts = daily(demo_home).facts
    assert facts["simulated"].startswith("SIMULATED")
    assert facts["environment"]["packages"]["lightgbm"] and facts["code"]["digest"]
    assert re.fullmatch(r"[0-9a-f]{64}", facts["results"])
    assert facts["queries"]["optimize.bars"]
    assert facts["known_at"].startswith(desks.FIRST)


def test_a_second_demo_does_nothing_and_says_so(desk):
    before = {p: p.stat().st_mtime_ns for p in desk.joinpath("runs").rglob("*") if p.is_file()}
    done = desks.invoke(desk, "demo", "--now", desks.instant(desks.FIRST), **desks.NO_FORKS)
    assert done.code == 0 and "nothing to do" in done.out
    after = {p: p.stat().st_mtime_ns for p in desk.joinpath("runs").rglob("*") if p.is_file()}
    assert before == after


def test_commands_that_look_show_the_day(demo_home):
    run = daily(demo_home)
    assert run.id in desks.invoke(demo_home, "status").out
    shown = desks.invoke(demo_home, "orders", "--json")
    assert {o["side"] for o in json.loads(shown.out)} == {"buy"}
    assert "diario_" in desks.invoke(demo_home, "report").out


# -- the second day, on which everything goes wrong, one thing after another ----------------------


@dataclasses.dataclass
class Story:
    """One desk on its second day: what each command said, and how the run stood after it."""

    home: Path
    said: dict[str, desks.Said] = dataclasses.field(default_factory=dict)
    runs: dict[str, RunInfo] = dataclasses.field(default_factory=dict)
    facts: dict[str, Any] = dataclasses.field(default_factory=dict)

    def note(self, chapter: str, said: desks.Said, date: str = SECOND) -> None:
        """What was said, and how the run stands now."""
        self.said[chapter], self.runs[chapter] = said, daily(self.home, date)

    def here(self, chapter: str, *more: str, date: str = SECOND) -> None:
        """The command in this process, on a twin and with kernels that outlive it."""
        self.note(chapter, desks.invoke(self.home, *RUN, *more), date)

    @property
    def folder(self) -> Path:
        return daily(self.home, SECOND).path


RUN = ("run", "--now", desks.instant(SECOND))


@pytest.fixture(scope="module")
def story(demo_home, tmp_path_factory) -> Story:
    """The second day until it is sealed, each command after the trouble of the one before."""
    told = Story(desks.copy(demo_home, tmp_path_factory.mktemp("story") / "desk"))
    with (told.home / "quant50.toml").open("a") as file:
        file.write('\n[report]\nchromium = "/no-such-browser"\n')
    interrupt_in_features(told)
    with desks.prepared(told.home):
        mishaps(told)
        told.here("older", "--date", desks.FIRST, "--from", "optimize", date=desks.FIRST)
    told.note("to the end", desks.quant50(told.home, *RUN))
    return told


def mishaps(told: Story) -> None:
    """Each stops the run in another way, and is mended."""
    with store_locked(told.home) as told.facts["holder"]:
        told.here("locked")
    (told.home / "models").rename(told.home / "models.away")
    told.here("no model")
    told.facts["shown"] = (told.folder / "notebooks" / "05_optimize.ipynb").read_text()
    shutil.rmtree(told.home / "models", ignore_errors=True)
    (told.home / "models.away").rename(told.home / "models")
    table = told.folder / "tables" / "feature.parquet"
    table.write_bytes(table.read_bytes()[:-40])
    told.here("truncated")
    trap = told.folder / "tables" / ".forecast.parquet.tmp"
    trap.symlink_to("/dev/full")
    told.here("full disk", "--from", "features")
    trap.unlink()


def interrupt_in_features(told: Story) -> None:
    """Ctrl-C while the second stage is at work; before it, somebody else tries to run the desk."""
    with desks.begun(told.home, *RUN) as process:
        wait_for(lambda: state_of(told.home, "features") == "running")
        told.facts["other"] = desks.invoke(told.home, *RUN)
        process.send_signal(signal.SIGINT)
        told.facts["worker"] = process.pid
        told.note("interrupted", desks.Said(process.wait(30), process.stdout.read(), ""))
        wait_for(lambda: not children_of(told.home), 15)


@contextlib.contextmanager
def store_locked(home: Path):
    """Another process has the store open; gives its number."""
    code = "import duckdb, sys; c = duckdb.connect(sys.argv[1]); print('held', flush=True); input()"
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(home / "data" / "market.duckdb")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout.readline() == "held\n"
        yield process.pid
    finally:
        process.kill()
        process.communicate()


def wait_for(condition, seconds=60.0):
    limit = time.monotonic() + seconds
    while time.monotonic() < limit:
        if condition():
            return
        time.sleep(0.02)
    raise AssertionError("it did not happen in time")


def state_of(home: Path, stage: str) -> str:
    run = archive.newest(Home(home), "daily", None, SECOND)
    return run.stages.get(stage, {}).get("state", "") if run else ""


def children_of(home: Path) -> list[psutil.Process]:
    """Live processes that work in that home."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get("QUANT50_HOME") == str(home) and process.status() != "zombie":
                found.append(process)
        except (psutil.AccessDenied, psutil.NoSuchProcess):
            continue
    return found


def states(run: RunInfo) -> dict[str, str]:
    return {name: stage["state"] for name, stage in run.stages.items()}


def test_a_store_locked_by_another_process_is_named_with_its_process(story):
    done = story.said["locked"]
    assert done.code == 2 and str(story.facts["holder"]) in done.err, done.err


def test_two_runs_of_one_desk_exclude_each_other(story):
    other = story.facts["other"]
    assert other.code == 2 and str(story.facts["worker"]) in other.err, other.err


def test_ctrl_c_in_a_stage_keeps_the_evidence_and_ends_all_kernels(story):
    assert story.said["interrupted"].code == 130, story.said["interrupted"].out
    assert states(story.runs["interrupted"]) == {"ingest": "done", "features": "failed"}


def test_without_a_model_the_day_stops_and_leaves_the_notebook_that_shows_where(story):
    done, run = story.said["no model"], story.runs["no model"]
    assert done.code == 2 and "quant50 train" in done.err, done.err
    assert states(run) == {"ingest": "done", "features": "done", "optimize": "failed"}
    assert run.state == "failed" and "quant50 train" in story.facts["shown"]


def test_the_same_command_goes_on_from_there_and_repeats_nothing(story):
    begun, sealed = story.runs["interrupted"], story.runs["to the end"]
    assert sealed.id == begun.id and sealed.stages["ingest"] == begun.stages["ingest"]


def test_a_truncated_table_stops_the_stage_that_reads_it(story):
    done = story.said["truncated"]
    assert done.code == 3 and "truncated" in done.err, done.err
    mended = states(story.runs["full disk"])
    assert mended == {"ingest": "done", "features": "done", "optimize": "failed"}


def test_a_full_disk_in_a_stage_keeps_what_is_done_and_goes_on_later(story):
    done, later = story.said["full disk"], story.said["to the end"]
    assert done.code == 2 and "disk is full" in done.err, done.err
    assert later.code == 0 and story.runs["to the end"].sealed, later.err


def test_features_go_on_from_the_first_day_and_are_those_of_the_whole_panel(story, tmp_path):
    run = story.runs["to the end"]
    scrap = run.stages["features"]["scraps"]["features"]
    assert scrap["computed"].startswith(f"carried on from {desks.FIRST}"), scrap
    place = shutil.copytree(run.path, tmp_path / "open")
    (place / archive.SEALED).rename(place / archive.OPEN)
    stage = StageContext(Home(story.home), FEATURES, place)
    whole = features.describe(stage.panel, sectors_of(stage), stage.settings.features, "SPY")
    again = features.to_table(whole.raw, whole.standardised, stage.run_date)
    pd.testing.assert_frame_equal(archive.read_table(run.path, Feature), again, check_exact=True)
    first = run_of_first_day(story)
    assert (
        archive.info(first).stages["features"]["scraps"]["features"]["computed"].startswith("anew")
    )
    assert set(run.facts["state_files"]) == {"features.npz"} and (run.path / "state").is_dir()


def sectors_of(stage: StageContext) -> pd.Series:
    return stage.read(Universe).set_index("symbol")["sector"]


def test_without_a_browser_the_day_completes_with_html(story):
    run = story.runs["to the end"]
    assert run.sealed and run.html and not run.pdf and "chromium" in run.facts["pdf"].lower()
    assert "no PDF" in story.said["to the end"].out


def test_orders_fill_at_the_next_open_and_books_agree_with_the_twin(story):
    run = story.runs["to the end"]
    fills, equity = archive.read_table(run.path, Fill), archive.read_table(run.path, Equity)
    sent = archive.read_table(run_of_first_day(story), Order).query("state == 'accepted'")
    assert fills.groupby("symbol")["qty"].sum().to_dict() == pytest.approx(
        sent.set_index("symbol")["qty"].to_dict()
    )
    last = equity.iloc[-1]
    spent = sum(Decimal(str(f.qty)) * Decimal(str(f.price)) for f in fills.itertuples())
    assert last["cash"] == pytest.approx(float(100_000 - spent), abs=0.005)
    assert last["equity"] == pytest.approx(last["broker_equity"], abs=0.005)
    assert list(equity["session"].dt.strftime("%Y-%m-%d")) == [desks.FIRST, SECOND]


def run_of_first_day(story: Story) -> Path:
    """The day as it was run first, before its correction."""
    return story.home / "runs" / story.runs["older"].facts["corrects"][0]


def test_an_older_session_is_a_shadow_and_sends_nothing(story):
    done, run = story.said["older"], story.runs["older"]
    assert done.code == 0, done.out + done.err
    assert "no orders were sent" in done.out
    assert set(archive.read_table(run.path, Order)["state"]) <= {"shadow", "deferred", "refused"}
    assert run.facts["corrects"] == [run_of_first_day(story).name]


# -- bad input: refused before anything is started --------------------------------------------------


@pytest.fixture(scope="module")
def spare(demo_home, tmp_path_factory):
    """A desk on which nothing is ever run."""
    return desks.copy(demo_home, tmp_path_factory.mktemp("spare") / "desk")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["run", "--date", "2024-06-29"], "2024-06-28 and 2024-07-01"),
        (["run", "--date", "tomorrow"], "YYYY-MM-DD"),
        (["run", "--from", "lunch"], "no stage"),
    ],
)
def test_a_wrong_session_or_stage_is_refused(spare, words, said):
    done = desks.invoke(spare, *words, "--now", desks.instant(desks.FIRST))
    assert done.code == 2 and said in done.err, done.err


def test_a_session_that_has_not_closed_is_refused():
    with pytest.raises(SettingsError, match="2024-07-05 has not closed yet.*2024-06-27"):
        session_of("2024-07-05", dates.scheduled(desks.FIRST))


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({"QUANT50_OPTIMIZE__MAX_WIEGHT": "0.1"}, "optimize.max_weight"),
        ({"QUANT50_BROKER": "live"}, "'sim' or 'paper'"),
        ({"QUANT50_BROKER": "paper"}, "APCA_API_KEY_ID"),
        (
            {
                "QUANT50_BROKER": "paper",
                "APCA_API_KEY_ID": "AK" + "X" * 18,
                "APCA_API_SECRET_KEY": "s",
            },
            "live",
        ),
        (
            {
                "QUANT50_BROKER": "paper",
                "QUANT50_ALPACA__TRADING_URL": "https://api.alpaca.markets",
                "APCA_API_KEY_ID": "PK" + "X" * 18,
                "APCA_API_SECRET_KEY": "s",
            },
            "api.alpaca.markets",
        ),
    ],
)
def test_wrong_settings_stop_before_anything_is_reached(spare, variables, said):
    done = desks.invoke(spare, "run", **variables, **desks.NO_FORKS)
    assert done.code == 2 and said in done.err, done.err


def test_a_truncated_market_file_is_named(tmp_path):
    broken = tmp_path / "bars.parquet"
    broken.write_bytes(b"PAR1 and nothing more")
    home = desks.write(tmp_path / "desk")
    done = desks.invoke(home, "replay", "--market", str(broken), **desks.NO_FORKS)
    assert done.code == 3 and "bars.parquet" in done.err, done.err


@pytest.mark.parametrize("words", [["simulate", "--port"], ["serve", "--port"]])
def test_a_taken_port_is_a_clear_error(spare, words, capfd):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        done = desks.invoke(spare, *words, port)
    assert done.code == 2 and port in done.err + capfd.readouterr().err


# -- notebooks by hand ----------------------------------------------------------------------------

BY_HAND = """
import papermill, sys
for name in sys.argv[2:]:
    path, *dates = name.split("@")
    given = {"run_date": dates[0]} if dates else {}
    papermill.execute_notebook(
        path, sys.argv[1], parameters=given, kernel_name="python3", progress_bar=False
    )
"""


def by_hand(home: Path, out: Path, *names: str) -> subprocess.Popen:
    """Papermill at work on notebooks, one after the other."""
    paths = [str(config.notebooks() / name) for name in names]
    words = [sys.executable, "-c", BY_HAND, str(out), *paths]
    return subprocess.Popen(words, env=desks.environment(home), stderr=subprocess.PIPE, text=True)


def test_a_notebook_opened_by_hand_works_and_can_send_nothing(desk, tmp_path):
    import papermill

    out = tmp_path / "out.ipynb"
    todo = {
        out: ("05_optimize.ipynb", "01_ingest.ipynb"),
        tmp_path / "older.ipynb": ("05_optimize.ipynb@2023-06-30",),
    }
    for path, names in todo.items():  # one scratch run of a desk at a time
        process = by_hand(desk, path, *names)
        _, said = process.communicate(timeout=240)
        assert process.returncode == 0, said
    assert papermill.inspect_notebook(str(out))
    scratch = desk / "runs" / "scratch"
    assert sorted(p.name for p in scratch.iterdir()) == ["2023-06-30", desks.FIRST]
    target = archive.read_table(scratch / "2023-06-30", Target)
    assert target["session"].eq(pd.Timestamp("2023-06-30")).all() and len(target) > 5
    assert desks.invoke(desk, "verify").code == 0
