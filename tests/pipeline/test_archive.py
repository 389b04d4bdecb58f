"""The archive: whatever is altered in a sealed run, `verify` finds it."""

import errno
import json
import os
import subprocess
import sys

import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from quant50lib.contracts import Finding
from quant50lib.errors import ArchiveError, ContractError, SettingsError
from quant50lib.pipeline import archive
from quant50lib.utils.config import Home


def findings(n=2):
    return pd.DataFrame(
        {
            "gate": ["jump"] * n,
            "symbol": [f"A{chr(65 + i)}" for i in range(n)],
            "session": pd.Series([pd.Timestamp("2024-06-28")] * n).astype("datetime64[us]"),
            "severity": ["note"] * n,
            "detail": ["seen"] * n,
        }
    )


def sealed_run(home, run_id="2024-06-28-daily-abcd", date="2024-06-28"):
    path = home.runs / run_id
    (path / "notebooks").mkdir(parents=True)
    (path / "notebooks" / "01_ingest.ipynb").write_text("{}")
    archive.write_json(
        path / archive.OPEN,
        {"id": run_id, "run_date": date, "schedule": "daily", "state": "running", "stages": {}},
    )
    archive.write_table(path, Finding, findings())
    return archive.seal(home, archive.info(path))


@pytest.fixture
def home(tmp_path):
    return Home(tmp_path)


def test_a_sealed_run_verifies_and_is_found(home):
    run = sealed_run(home)
    assert run.sealed and archive.verify(home) == []
    assert archive.newest(home, "daily", "sealed").id == run.id
    assert archive.run_named(home, run.id).facts["files"]["tables/finding.parquet"]
    pd.testing.assert_frame_equal(archive.read_table(run.path, Finding), findings())


def test_an_unknown_run_is_an_archive_error(home):
    with pytest.raises(ArchiveError, match="no run"):
        archive.run_named(home, "2024-06-28-daily-0000")


@settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_any_altered_byte_of_any_file_is_found(tmp_path_factory, data):
    home = Home(tmp_path_factory.mktemp("desk"))
    run = sealed_run(home)
    files = [p for p in sorted(run.path.rglob("*")) if p.is_file()]
    path = data.draw(st.sampled_from(files))
    content = bytearray(path.read_bytes())
    at = data.draw(st.integers(0, len(content) - 1))
    content[at] ^= 1 << data.draw(st.integers(0, 7))
    path.write_bytes(bytes(content))
    assert any("altered" in problem for problem in archive.verify(home))


def test_a_missing_an_added_and_an_unlinked_file_are_found(home):
    run = sealed_run(home)
    (run.path / "surprise.txt").write_text("x")
    assert archive.verify(home) == [f"{run.id}: surprise.txt was added"]
    (run.path / "surprise.txt").unlink()
    (run.path / "notebooks" / "01_ingest.ipynb").unlink()
    assert archive.verify(home) == [f"{run.id}: notebooks/01_ingest.ipynb is missing"]
    (home.runs / "chain.jsonl").unlink()
    assert archive.verify(home) == [f"{run.id}: sealed but not in the chain"]


def test_a_dropped_link_breaks_the_chain(home):
    for day in (3, 4, 5):
        sealed_run(home, f"2024-06-0{day}-daily-abcd", f"2024-06-0{day}")
    path = home.runs / "chain.jsonl"
    lines = path.read_text().splitlines(keepends=True)
    path.write_text(lines[0] + lines[2])
    assert any("does not follow" in problem for problem in archive.verify(home))


def test_a_crash_between_manifest_and_chain_is_mended(home):
    run = sealed_run(home)
    (home.runs / "chain.jsonl").unlink()
    assert archive.mend_chain(home) == [run.id] and archive.verify(home) == []
    assert archive.mend_chain(home) == []


def test_a_half_written_last_line_of_the_chain_is_ignored(home):
    sealed_run(home)
    with (home.runs / "chain.jsonl").open("a") as stream:
        stream.write('{"run": "2024-07')
    assert len(archive.chain(home)) == 1


def test_links_are_hashes_of_the_link_before_and_the_manifest(home):
    import hashlib

    run = sealed_run(home)
    digest = hashlib.sha256((run.path / "manifest.json").read_bytes()).hexdigest()
    assert archive.chain(home) == [
        {"run": run.id, "manifest": digest, "link": hashlib.sha256(digest.encode()).hexdigest()}
    ]


def test_the_results_digest_depends_on_tables_only(home, tmp_path):
    one = sealed_run(home)
    other_home = Home(tmp_path / "other")
    two = sealed_run(other_home)
    assert one.facts["results"] == two.facts["results"]


def test_a_truncated_table_is_a_contract_error(home):
    run = sealed_run(home)
    path = run.path / "tables" / "finding.parquet"
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(ContractError, match="truncated"):
        archive.read_table(run.path, Finding)


def test_a_full_disk_says_so_and_leaves_the_old_file(tmp_path):
    path = tmp_path / "x.json"
    archive.write_json(path, {"old": 1})
    os.symlink("/dev/full", tmp_path / ".x.json.tmp")
    with pytest.raises(SettingsError, match="disk is full"):
        archive.write_json(path, {"new": 2})
    assert json.loads(path.read_text()) == {"old": 1}


def test_other_failures_of_the_disk_are_not_disguised():
    with pytest.raises(PermissionError), archive.disk_guard("x"):
        raise PermissionError(errno.EACCES, "no")


def test_the_lock_names_the_process_that_holds_it_and_is_freed_by_its_death(tmp_path):
    lock = tmp_path / "run.lock"
    code = (
        "import sys, time; from pathlib import Path; from quant50lib.pipeline import archive\n"
        "with archive.locked(Path(sys.argv[1]), 'a run'):\n    print('held', flush=True)\n"
        "    time.sleep(60)"
    )
    holder = subprocess.Popen(
        [sys.executable, "-c", code, str(lock)], stdout=subprocess.PIPE, text=True
    )
    try:
        assert holder.stdout.readline() == "held\n" and archive.is_locked(lock)
        with pytest.raises(SettingsError, match=str(holder.pid)), archive.locked(lock, "a run"):
            pass
    finally:
        holder.kill()
        holder.wait()
    assert not archive.is_locked(lock)
    with archive.locked(lock, "a run"):
        assert archive.is_locked(lock)


def test_scrubbing_takes_every_path_of_this_machine_out(home):
    text = f"{home.root}/runs and {sys.prefix}/lib and {archive.checkout()}/quant50lib"
    assert (
        archive.scrub(text, home) == "<home>/runs and <environment>/lib and <checkout>/quant50lib"
    )


def test_the_committed_sample_run_is_as_it_was_sealed():
    home = Home(archive.checkout() / "runs" / "sample")
    (run,) = archive.runs(home)
    assert run.sealed and archive.verify(home) == [] and run.pdf
    assert run.facts["simulated"].startswith("SIMULATED")
