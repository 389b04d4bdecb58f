"""The run archive: a folder per run, sealed by digests, and a chain over all seals.

runs/<id>/
├── run.json          while the run is open: its plan, facts and the state of each stage
├── manifest.json     once sealed: the same, with the digest of every file
├── settings.json     what was asked (no secrets)
├── tables/*.parquet  what flowed         → the `results` digest: equal when repeated
├── notebooks/*.ipynb what was seen       ┐
├── log.jsonl         what happened       ├ the `evidence` digest
├── report.html · report.pdf              ┘
├── state/            what the next session goes on from (`pipeline.carry`); may be deleted
runs/chain.jsonl      one line per seal: run, manifest digest, link over the line before

A sealed run is never written again; a correction is a new run that names the old.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import json
import os
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TextIO

import pandas as pd
import pyarrow

from quant50lib.contracts import Schedule, Table
from quant50lib.errors import ArchiveError, ContractError, SettingsError
from quant50lib.utils.config import Home, checkout

OPEN, SEALED = "run.json", "manifest.json"
#: folder of a run for what can be computed anew: sealed, but neither result nor evidence
STATE = "state"
STATES = ("running", "failed", "half", "sealed", "damaged")


@dataclass(frozen=True)
class RunInfo:
    """One run as found on disk.

    `half` is neither sealed nor being worked on, and resumable; `damaged` cannot be read.
    """

    id: str
    run_date: str
    schedule: Schedule
    state: str
    path: Path
    facts: dict[str, Any] = field(default_factory=dict)

    @property
    def sealed(self) -> bool:
        return self.state == "sealed"

    @property
    def stages(self) -> dict[str, dict[str, Any]]:
        """State, seconds and scraps of each stage, by name."""
        return self.facts.get("stages", {})

    @property
    def pdf(self) -> Path | None:
        return self._existing("report.pdf")

    @property
    def html(self) -> Path | None:
        return self._existing("report.html")

    def _existing(self, name: str) -> Path | None:
        path = self.path / name
        return path if path.is_file() else None


def sha256(path: Path) -> str:
    """Hex digest of a file's bytes."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


@contextlib.contextmanager
def disk_guard(doing: str) -> Iterator[None]:
    """Turn a full disk into an error that says what to do; the run stays resumable."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise SettingsError(
            f"the disk is full ({doing}): free some space and run again; "
            "what is finished is kept and the run goes on from there"
        ) from error


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file so that a reader or a crash sees the old or the new, never a part."""
    temporary = path.with_name(f".{path.name}.tmp")
    with disk_guard(f"writing {path.name}"):
        with temporary.open("wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(temporary, path)


def write_json(path: Path, value: Any) -> None:
    """Write readable JSON atomically."""
    text = json.dumps(value, indent=1, sort_keys=True, default=str)
    write_atomically(path, (text + "\n").encode())


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object of the archive.

    Raises
    ------
    ArchiveError
        The file is missing or is not JSON.
    """
    try:
        return json.loads(path.read_text("utf-8"))
    except FileNotFoundError as error:
        raise ArchiveError(f"{path.parent.name}/{path.name} is missing") from error
    except ValueError as error:  # not JSON, or not even text
        raise ArchiveError(f"{path.parent.name}/{path.name} is not JSON: {error}") from error


def write_table(folder: Path, table: type[Table], frame: pd.DataFrame) -> pd.DataFrame:
    """Check a frame against its contract and store it; returns the checked frame."""
    checked = table.check(frame)
    (folder / "tables").mkdir(parents=True, exist_ok=True)
    sink = pyarrow.BufferOutputStream()
    checked.to_parquet(sink, index=False, compression="zstd")
    write_atomically(folder / "tables" / table.file_name(), sink.getvalue().to_pybytes())
    return checked


def read_table(folder: Path, table: type[Table]) -> pd.DataFrame:
    """A table of a run, checked again on the way in.

    Raises
    ------
    ArchiveError
        No stage has written it.
    ContractError
        The file is truncated or does not fit the contract.
    """
    return table.check(read_columns(folder, table))


def read_columns(
    folder: Path, table: type[Table], columns: list[str] | None = None
) -> pd.DataFrame:
    """Some columns of a table of a run, unchecked: for those who look through hundreds of runs.

    Raises
    ------
    ArchiveError
        No stage has written it.
    ContractError
        The file is truncated.
    """
    path = folder / "tables" / table.file_name()
    if not path.is_file():
        raise ArchiveError(f"run {folder.name} holds no table {table.__name__}")
    try:
        return pd.read_parquet(path, columns=columns)
    except (pyarrow.ArrowException, OSError, ValueError) as error:
        raise ContractError(
            f"{path.name} of run {folder.name} is truncated or no Parquet ({error}); "
            "run again from the stage that writes it"
        ) from error


def runs(home: Home) -> list[RunInfo]:
    """All runs of a desk, newest session first."""
    found = []
    for path in home.runs.glob("*-*-*-*"):
        run = info(path)
        if run:
            found.append(run)
    return sorted(found, key=lambda r: (r.run_date, r.facts.get("started", "")), reverse=True)


def newest(
    home: Home, schedule: Schedule | None = None, state: str | None = None, date: str | None = None
) -> RunInfo | None:
    """The newest run that fits, or None."""
    for run in runs(home):
        fits = (
            schedule in (None, run.schedule)
            and state in (None, run.state)
            and date in (None, run.run_date)
        )
        if fits:
            return run
    return None


def run_named(home: Home, run_id: str) -> RunInfo:
    """The run of that id."""
    for run in runs(home):
        if run.id == run_id:
            return run
    raise ArchiveError(f"there is no run {run_id!r}; `quant50 status` lists them")


def run_id(run_date: str, schedule: Schedule, *parts: str) -> str:
    """Deterministic name of a run: session, schedule and four digits over what made it."""
    mark = hashlib.sha256("|".join((run_date, schedule, *parts)).encode()).hexdigest()[:4]
    return f"{run_date}-{schedule}-{mark}"


def info(path: Path) -> RunInfo | None:
    """The run in a folder, or None where there is none."""
    sealed = (path / SEALED).is_file()
    source = path / (SEALED if sealed else OPEN)
    if not source.is_file():
        return None
    try:
        facts = read_json(source)
        state = "sealed" if sealed else _state_of_open(path, facts)
        return RunInfo(facts["id"], facts["run_date"], facts["schedule"], state, path, facts)
    except (ArchiveError, KeyError):
        schedule: Schedule = "weekly" if "-weekly-" in path.name else "daily"
        return RunInfo(path.name, path.name[:10], schedule, "damaged", path)


def _state_of_open(path: Path, facts: dict[str, Any]) -> str:
    if facts.get("state") == "running" and not is_locked(path / ".lock"):
        return "half"
    return facts.get("state", "half")


def is_locked(path: Path) -> bool:
    """Whether a live process holds the lock."""
    if not path.is_file():
        return False
    with path.open("rb") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


@contextlib.contextmanager
def locked(path: Path, what: str) -> Iterator[None]:
    """Hold an exclusive lock; the operating system frees it however the process ends.

    Raises
    ------
    SettingsError
        Another process holds it; names the process.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+") as stream:
        try:
            _lock(stream)
        except BlockingIOError as error:
            stream.seek(0)
            holder = stream.read().strip() or "unknown"
            raise SettingsError(
                f"{what} is at work in process {holder}: wait for it, or end that process"
            ) from error
        stream.truncate(0)
        stream.write(str(os.getpid()))
        stream.flush()
        yield


def _lock(stream: TextIO) -> None:
    """Take the lock; somebody who only looks (`is_locked`) holds it for an instant."""
    for _ in range(5):
        with contextlib.suppress(BlockingIOError):
            return fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        time.sleep(0.05)
    fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)


def scrub(text: str, home: Home) -> str:
    """The text without paths of this machine."""
    places = {
        str(home.root): "<home>",
        str(checkout()): "<checkout>",
        sys.prefix: "<environment>",
        sys.base_prefix: "<python>",
        str(Path.home()): "~",
    }
    for place in sorted(places, key=len, reverse=True):
        if len(place) > 1:
            text = text.replace(place, places[place])
    return text


# -- sealing ------------------------------------------------------------------------------------


def seal(home: Home, run: RunInfo) -> RunInfo:
    """Write the manifest with the digest of every file, and a link in the chain."""
    facts = {k: v for k, v in run.facts.items() if k != "state"}
    files = _files(run.path)
    digests = {name: sha256(run.path / name) for name in files}
    manifest = {
        **facts,
        "state": "sealed",
        "files": digests,
        "state_files": state_digests(run.path),
        "results": _digest_of({n: d for n, d in digests.items() if n.startswith("tables/")}),
        "evidence": _digest_of({n: d for n, d in digests.items() if not n.startswith("tables/")}),
    }
    write_json(run.path / SEALED, manifest)
    (run.path / OPEN).unlink(missing_ok=True)
    (run.path / ".lock").unlink(missing_ok=True)
    _append_link(home, run.path)
    return info(run.path) or run


def mend_chain(home: Home) -> list[str]:
    """Link sealed runs that a crash left out of the chain; returns their ids."""
    linked = {line["run"] for line in chain(home)}
    left = [r for r in reversed(runs(home)) if r.sealed and r.id not in linked]
    for run in left:
        (run.path / OPEN).unlink(missing_ok=True)
        _append_link(home, run.path)
    return [run.id for run in left]


def chain(home: Home) -> list[dict[str, str]]:
    """The lines of runs/chain.jsonl; a half-written last line is ignored."""
    path = home.runs / "chain.jsonl"
    if not path.is_file():
        return []
    lines = path.read_text("utf-8").splitlines(keepends=True)
    return [json.loads(line) for line in lines if line.endswith("\n")]


def _append_link(home: Home, path: Path) -> None:
    lines = chain(home)
    before = lines[-1]["link"] if lines else ""
    digest = sha256(path / SEALED)
    line = {"run": path.name, "manifest": digest, "link": link(before, digest)}
    whole = [json.dumps(entry) for entry in [*lines, line]]
    write_atomically(home.runs / "chain.jsonl", ("\n".join(whole) + "\n").encode())


def link(before: str, digest: str) -> str:
    """sha256 over the link before and a manifest's digest."""
    return hashlib.sha256((before + digest).encode()).hexdigest()


def _files(path: Path) -> list[str]:
    inside = (p for p in path.rglob("*") if p.is_file())
    names = (p.relative_to(path).as_posix() for p in inside)
    kept = (n for n in names if n not in (OPEN, SEALED) and not n.startswith(f"{STATE}/"))
    return sorted(n for n in kept if not Path(n).name.startswith("."))


def state_digests(path: Path) -> dict[str, str]:
    """Digest of each file that a run keeps for the next session."""
    return {p.name: sha256(p) for p in sorted((path / STATE).glob("*.*")) if p.name[0] != "."}


def _digest_of(digests: dict[str, str]) -> str:
    return hashlib.sha256(json.dumps(digests, sort_keys=True).encode()).hexdigest()


def verify(home: Home) -> list[str]:
    """Recompute every digest and link; returns what is wrong, one sentence each."""
    problems = []
    before = ""
    linked = set()
    for entry in chain(home):
        name = entry["run"]
        linked.add(name)
        if entry["link"] != link(before, entry["manifest"]):
            problems.append(f"chain: the link of {name} does not follow from the one before")
        before = entry["link"]
        problems += _verify_run(home.runs / name, entry["manifest"])
    for manifest in sorted(home.runs.glob(f"*-*-*-*/{SEALED}")):
        if manifest.parent.name not in linked:
            problems.append(f"{manifest.parent.name}: sealed but not in the chain")
    return problems


def _verify_run(path: Path, manifest_digest: str) -> list[str]:
    if not (path / SEALED).is_file():
        return [f"{path.name}: the run or its manifest is missing"]
    if sha256(path / SEALED) != manifest_digest:
        return [f"{path.name}: manifest.json was altered"]
    manifest = read_json(path / SEALED)
    digests: dict[str, str] = manifest["files"]
    found = set(_files(path))
    problems = [f"{path.name}: {name} is missing" for name in sorted(set(digests) - found)]
    problems += [f"{path.name}: {name} was added" for name in sorted(found - set(digests))]
    for name in sorted(found & set(digests)):
        if sha256(path / name) != digests[name]:
            problems.append(f"{path.name}: {name} was altered")
    sealed = manifest.get("state_files", {})
    for name, digest in state_digests(path).items():
        if sealed.get(name) != digest:
            problems.append(f"{path.name}: {STATE}/{name} is not what was sealed: delete it")
    return problems
