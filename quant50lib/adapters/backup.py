"""One file that holds what a desk cannot make again, and the way back.

The file is a tar, compressed by zstd: `backup.json` first, with the digest of every member, then the
members under their places in the desk's home. A restore believes nothing that does not agree with
these digests, and touches nothing before all of it does.

1. `unpack`   the members into a folder beside their places, each digest checked;
2. `swap`     a note of what is to be moved is put on disk, then every member takes its place and what
              stood there moves aside; killed in between, `finish` goes on with the note.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import shutil
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, cast

import pyarrow

from quant50lib.errors import ArchiveError, SettingsError

FORMAT = 1
HEAD = "backup.json"
NOTE, UNPACKED = "restore.json", "restore.part"
#: what belongs to a database and must not outlive it
COMPANIONS = (".wal", "-wal", "-shm")


@dataclass(frozen=True)
class Member:
    """A file or a symbolic link of the backup: its place in the home, and where it lies now."""

    place: str
    source: Path


def write(file: Path, members: list[Member], facts: dict[str, Any]) -> dict[str, Any]:
    """Write a backup; it appears under its name when it is whole and on disk. Returns its head.

    Raises
    ------
    SettingsError
        The file cannot be written.
    """
    files = {m.place: _digest(m.source) for m in members}
    head = {"format": FORMAT, **facts, "files": files}
    part = file.with_name(f".{file.name}.part")
    try:
        with _disk(file):
            with (
                pyarrow.CompressedOutputStream(pyarrow.OSFile(str(part), "wb"), "zstd") as packed,
                tarfile.open(fileobj=cast(IO[bytes], packed), mode="w|") as tar,
            ):
                _add_text(tar, HEAD, json.dumps(head, indent=1, sort_keys=True))
                for member in members:
                    tar.add(member.source, member.place, recursive=False)
            with part.open("rb") as written:
                os.fsync(written.fileno())
            os.replace(part, file)
    finally:
        part.unlink(missing_ok=True)
    return head


def unpack(file: Path, folder: Path) -> dict[str, Any]:
    """All members of a backup into an empty folder, each checked; returns its head.

    Raises
    ------
    ArchiveError
        The backup is damaged, incomplete, or of another format.
    SettingsError
        It does not exist, or the disk is full.
    """
    if not file.is_file():
        raise SettingsError(f"{file} does not exist")
    shutil.rmtree(folder, ignore_errors=True)
    try:
        with _disk(folder), _opened(file) as tar:
            folder.mkdir(parents=True)
            tar.extractall(folder, filter="data")
        head = json.loads((folder / HEAD).read_text("utf-8"))
    except (tarfile.TarError, pyarrow.ArrowException, OSError, ValueError, EOFError) as error:
        raise ArchiveError(f"{file} is damaged or no backup ({error}): take another") from error
    if head.get("format") != FORMAT:
        raise ArchiveError(f"{file} has format {head.get('format')}, known is {FORMAT}")
    _compare(file, folder, head["files"])
    (folder / HEAD).unlink()
    return head


@contextlib.contextmanager
def unpacked(file: Path, folder: Path) -> Iterator[dict[str, Any]]:
    """The head of a backup, its members being in the folder; they leave it with the block.

    Unless a `swap` was begun and cut off: `finish` needs them.
    """
    try:
        yield unpack(file, folder)
    finally:
        if not folder.with_name(NOTE).exists():
            shutil.rmtree(folder, ignore_errors=True)


def _compare(file: Path, folder: Path, files: dict[str, str]) -> None:
    inside = (p for p in folder.rglob("*") if p.is_symlink() or p.is_file())
    found = {p.relative_to(folder).as_posix() for p in inside} - {HEAD}
    wrong = sorted(found ^ set(files))
    wrong += [name for name in sorted(found & set(files)) if _digest(folder / name) != files[name]]
    if wrong:
        raise ArchiveError(
            f"{file} is damaged: {', '.join(wrong[:5])} missing, added or altered: take another"
        )


# -- putting it in place ------------------------------------------------------------------------


def swap(root: Path, folder: Path, places: list[str], aside: Path) -> None:
    """Put unpacked members into their places; what stands there moves aside.

    Killed at any point, `finish` completes it.
    """
    note = {
        "folder": folder.relative_to(root).as_posix(),
        "aside": aside.relative_to(root).as_posix(),
        "places": places,
    }
    path = folder.with_name(NOTE)
    os.sync()  # the members are on disk before anything moves
    with path.with_suffix(".tmp").open("w", encoding="utf-8") as stream:
        stream.write(json.dumps(note))
        stream.flush()
        os.fsync(stream.fileno())
    os.replace(path.with_suffix(".tmp"), path)
    finish(root, path.parent)


def finish(root: Path, folder: Path) -> bool:
    """Complete a swap that was cut off; whether there was one."""
    path = folder / NOTE
    if not path.is_file():
        return False
    note = json.loads(path.read_text("utf-8"))
    members, aside = root / note["folder"], root / note["aside"]
    for place in note["places"]:
        source, target = members / place, root / place
        if not (source.exists() or source.is_symlink()):
            continue  # moved before the cut
        for name in (place, *(place + end for end in COMPANIONS)):
            _move(root / name, aside / name)
        _move(source, target)
    os.sync()
    path.unlink()
    shutil.rmtree(members, ignore_errors=True)
    return True


def _move(source: Path, target: Path) -> None:
    if source.exists() or source.is_symlink():
        target.parent.mkdir(parents=True, exist_ok=True)
        os.replace(source, target)


# -- files --------------------------------------------------------------------------------------


def _digest(path: Path) -> str:
    """SHA-256 of a file's bytes, or of where a link leads."""
    if path.is_symlink():
        return hashlib.sha256(os.readlink(path).encode()).hexdigest()
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _add_text(tar: tarfile.TarFile, name: str, text: str) -> None:
    content = text.encode()
    entry = tarfile.TarInfo(name)
    entry.size = len(content)
    tar.addfile(entry, io.BytesIO(content))


@contextlib.contextmanager
def _opened(file: Path) -> Iterator[tarfile.TarFile]:
    with (
        pyarrow.CompressedInputStream(pyarrow.OSFile(str(file)), "zstd") as packed,
        tarfile.open(fileobj=cast(IO[bytes], packed), mode="r|") as tar,
    ):
        yield tar


@contextlib.contextmanager
def _disk(path: Path) -> Iterator[None]:
    """Failures of the disk under a path, for the operator; what is read there is not meant."""
    try:
        yield
    except OSError as error:
        if error.errno is None:  # pyarrow's own, about the content
            raise
        raise SettingsError(f"{path} cannot be written: {error}") from error
