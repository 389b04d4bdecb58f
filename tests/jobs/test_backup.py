"""A backup of a desk, and the way back from a store that was damaged on purpose."""

from __future__ import annotations

import os
import shutil
import sqlite3
from pathlib import Path

import duckdb
import pandas as pd
import pytest

from quant50lib.adapters import backup as archive_file
from quant50lib.adapters.journal import Ledger
from quant50lib.adapters.store import Store
from quant50lib.adapters.trials import Trials
from quant50lib.errors import ArchiveError, ContractError, SettingsError
from quant50lib.jobs import backup
from quant50lib.pipeline import archive
from quant50lib.settings import Settings
from quant50lib.simulator import process
from quant50lib.utils.config import Home
from tests.adapters.market_frames import bars, instant

D1 = "2024-01-02"
SESSION = pd.Timestamp(D1)
EARLY, LATE = instant("2024-01-03"), instant("2024-01-04")
SETTINGS = Settings()


@pytest.fixture
def home(tmp_path) -> Home:
    """A desk with a store, books, an account of the twin, a model and a sealed run."""
    made = Home(tmp_path / "desk")
    rows = [(f"S{n}", D1, float(n + 1)) for n in range(20_000)]
    Store(made.store).append_bars(bars(rows), EARLY)
    Ledger(made.ledger).halt("a test", EARLY)
    made.twin.parent.mkdir(parents=True)
    with sqlite3.connect(made.twin) as account:
        account.execute("CREATE TABLE cash (amount TEXT)")
    model = made.models / "registry" / "20240102-aa"
    model.mkdir(parents=True)
    (model / "card.json").write_text("{}")
    (made.models / "latest").symlink_to("registry/20240102-aa")
    seal(made, "2024-01-02-daily-aaaa")
    return made


def seal(home: Home, name: str) -> None:
    folder = home.runs / name
    (folder / "tables").mkdir(parents=True)
    (folder / "tables" / "orders.parquet").write_bytes(name.encode())
    facts = {"id": name, "run_date": name[:10], "schedule": "daily"}
    archive.seal(home, archive.RunInfo(name, name[:10], "daily", "half", folder, facts))


def content(home: Home) -> dict[str, object]:
    """All that a desk cannot make again."""
    files = (
        p for p in home.root.rglob("*") if p.is_file() and p.suffix not in (".duckdb", ".lock")
    )
    kept = {p.relative_to(home.root).as_posix(): p.read_bytes() for p in files}
    return {
        **{name: data for name, data in kept.items() if not name.startswith("data/snapshots")},
        "store": Store(home.store).contents(),
        "halted": Ledger(home.ledger).halted(),
        "latest": os.readlink(home.models / "latest"),
    }


def save(home: Home, only: tuple[backup.Part, ...] = backup.PARTS) -> Path:
    file = home.root.parent / "saved.tar.zst"
    done = backup.write(home, SETTINGS, file, LATE, only)
    assert done.parts == only and done.files >= len(only)
    return file


def test_a_desk_comes_back_whole_in_another_place(home, tmp_path):
    before, file = content(home), save(home)
    other = Home(tmp_path / "other")
    done = backup.restore(other, SETTINGS, file)
    assert content(other) == before and done.aside is None
    assert archive.verify(other) == []
    assert not (other.data / archive_file.UNPACKED).exists()


def test_a_restore_forgets_no_trial(home):
    """Trials after the backup stay beside those of it, which a quant had taken away."""
    ledger = Trials(home.models)
    trial = {"data_digest": "d", "scores_digest": "s"}
    for name in ("early", "removed"):
        ledger.record(trial | {"configuration": name})
    file = save(home)
    lines = ledger.path.read_bytes().splitlines(keepends=True)
    ledger.path.write_bytes(lines[0])
    ledger.record(trial | {"configuration": "later"})
    backup.restore(home, SETTINGS, file, ("models",))
    assert [t["configuration"] for t in ledger.all()] == ["early", "removed", "later"]
    ledger.path.unlink()
    backup.restore(home, SETTINGS, file, ("models",))
    assert ledger.count() == 2


def damage(path: Path, how: str) -> None:
    if how == "truncated":
        os.truncate(path, path.stat().st_size // 2)
    elif how == "overwritten":
        with path.open("r+b") as stream:  # everything but the headers
            stream.seek(12_288)
            stream.write(b"\xa5" * (path.stat().st_size - 12_288))
    else:
        path.write_bytes(b"")


@pytest.mark.parametrize("how", ["truncated", "overwritten"])
def test_a_damaged_store_is_explained_and_restored_with_the_same_digests(home, how):
    before, file = content(home), save(home)
    damage(home.store, how)
    with pytest.raises(ContractError, match="damaged.*quant50 restore FILE --only store"):
        Store(home.store).contents()
    with pytest.raises(ContractError, match=f"{home.store} is damaged"):
        backup.write(home, SETTINGS, file.with_name("next"), LATE)
    assert not file.with_name("next").exists()
    done = backup.restore(home, SETTINGS, file, ("store",))
    assert done.aside and (done.aside / "data" / "market.duckdb").is_file()
    shutil.rmtree(done.aside)
    assert content(home) == before


def test_the_log_that_a_killed_writer_left_is_saved_and_does_not_outlive_a_restore(home):
    file = save(home)
    with duckdb.connect(str(home.store)) as connection:
        connection.execute("PRAGMA disable_checkpoint_on_shutdown")
        connection.execute("INSERT INTO meta VALUES ('mark', 'x')")
    log = home.store.with_name("market.duckdb.wal")
    assert log.is_file()
    with_log = home.root.parent / "log.tar.zst"
    backup.write(home, SETTINGS, with_log, LATE, ("store",))
    backup.restore(home, SETTINGS, file, ("store",), force=True)
    assert not log.exists() and marks(home) == 0
    backup.restore(home, SETTINGS, with_log, ("store",), force=True)
    assert marks(home) == 1


def marks(home: Home) -> int:
    with duckdb.connect(str(home.store), read_only=True) as connection:
        return connection.sql("SELECT count(*) FROM meta WHERE key = 'mark'").fetchall()[0][0]


def test_what_the_desk_has_learnt_since_is_not_lost_without_being_told(home):
    file = save(home)
    Store(home.store).append_bars(bars([("NEW", D1, 1.0)]), LATE)
    Ledger(home.ledger).resume("over", LATE)
    (home.models / "registry" / "20240103-bb").mkdir()
    (home.models / "registry" / "20240103-bb" / "card.json").write_text("{}")
    seal(home, "2024-01-03-daily-bbbb")
    before = content(home)
    with pytest.raises(SettingsError, match="store, books, models, runs.*--only.*--force"):
        backup.restore(home, SETTINGS, file)
    assert content(home) == before
    backup.restore(home, SETTINGS, file, force=True)
    assert "NEW" not in set(Store(home.store).bars_asof(SESSION)["symbol"])
    assert Ledger(home.ledger).halted() == "a test"
    assert archive.mend_chain(home) == ["2024-01-03-daily-bbbb"], "a sealed run is never removed"
    assert archive.verify(home) == []


def test_a_damaged_backup_touches_nothing(home):
    file = save(home)
    before, whole = content(home), file.read_bytes()
    for bad in (
        whole[: len(whole) // 2],
        whole[:200] + b"\0" * 64 + whole[264:],
        b"",
        b"no backup",
    ):
        file.write_bytes(bad)
        with pytest.raises(ArchiveError, match="damaged"):
            backup.restore(home, SETTINGS, file, force=True)
        shutil.rmtree(home.data / archive_file.UNPACKED, ignore_errors=True)
        assert content(home) == before
    with pytest.raises(SettingsError, match="does not exist"):
        backup.restore(home, SETTINGS, file.with_name("other"))


def test_a_member_that_was_exchanged_is_noticed(home, tmp_path):
    file, unpacked = save(home, ("models",)), tmp_path / "unpacked"
    head = archive_file.unpack(file, unpacked)
    card = "models/registry/20240102-aa/card.json"
    (unpacked / card).write_text('{"accepted": true}')
    members = [archive_file.Member(place, unpacked / place) for place in head["files"]]
    forged = {key: head[key] for key in head if key not in ("files", "format")}
    archive_file.write(file, members, forged)
    honest = archive_file.unpack(file, tmp_path / "again")
    assert honest["files"][card] != head["files"][card]
    lying = [(m.place, m.source.read_bytes()) for m in members if m.place == card]
    with pytest.raises(ArchiveError, match="card.json missing, added or altered"):
        (tmp_path / "again" / card).write_bytes(lying[0][1])
        archive_file._compare(file, tmp_path / "again", head["files"])


@pytest.mark.parametrize("moves", [0, 1, 2, 3])
def test_a_restore_cut_off_between_two_moves_is_completed(home, monkeypatch, moves):
    before, file = content(home), save(home)
    damage(home.store, "emptied")
    left = [moves]

    def dies(source: Path, target: Path) -> None:
        if left[0] == 0:
            raise KeyboardInterrupt
        left[0] -= 1
        os.replace(source, target)

    with monkeypatch.context() as patched:
        patched.setattr(archive_file, "_move", lambda a, b: _if_there(dies, a, b))
        with pytest.raises(KeyboardInterrupt):
            backup.restore(home, SETTINGS, file, force=True)
    assert archive_file.finish(home.root, home.data)
    assert not archive_file.finish(home.root, home.data)
    shutil.rmtree(next(home.root.glob("replaced-*")))
    assert content(home) == before


def _if_there(move, source: Path, target: Path) -> None:
    if source.exists() or source.is_symlink():
        target.parent.mkdir(parents=True, exist_ok=True)
        move(source, target)


def test_a_desk_at_work_is_neither_saved_nor_restored(home, monkeypatch):
    file = save(home)
    with archive.locked(home.lock, "a run of this desk"):
        with pytest.raises(SettingsError, match="is at work in process"):
            backup.write(home, SETTINGS, file, LATE)
        with pytest.raises(SettingsError, match="is at work in process"):
            backup.restore(home, SETTINGS, file)
    twin = process.Twin("http://127.0.0.1:1", "http://127.0.0.1:1", 4321, False)
    monkeypatch.setattr(process, "find", lambda state: twin)
    with pytest.raises(SettingsError, match="twin is at work in process 4321"):
        backup.restore(home, SETTINGS, file)


def test_a_run_that_writes_while_the_backup_is_made_is_noticed(home, monkeypatch):
    gathered = backup.GATHER["models"]

    def and_meanwhile(*words):
        Store(home.store).append_bars(bars([("NEW", D1, 1.0)]), LATE)
        return gathered(*words)

    monkeypatch.setitem(backup.GATHER, "models", and_meanwhile)
    with pytest.raises(SettingsError, match="began meanwhile"):
        backup.write(home, SETTINGS, home.root.parent / "b", LATE)
    assert not list(home.root.parent.glob("*b*"))


def test_there_must_be_something_to_save_and_somewhere_to_put_it(tmp_path, home):
    with pytest.raises(SettingsError, match="nothing to save"):
        backup.write(Home(tmp_path / "empty"), SETTINGS, tmp_path / "b", LATE)
    with pytest.raises(SettingsError, match="does not exist"):
        backup.write(home, SETTINGS, tmp_path / "no" / "b", LATE)
    file = save(home, ("store",))
    with pytest.raises(SettingsError, match="holds store: nothing that was asked"):
        backup.restore(home, SETTINGS, file, ("books",))
