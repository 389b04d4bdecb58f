"""What this machine must provide, each with the one command that mends it (`quant50 doctor`)."""

from __future__ import annotations

import ctypes
import os
import platform
import shutil
import socket
import subprocess
import sys
import tempfile
import zoneinfo
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import psutil
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from playwright._impl._driver import compute_driver_executable

from quant50lib.adapters import database, pdf
from quant50lib.adapters.http import require_paper_key
from quant50lib.errors import SettingsError
from quant50lib.settings import Settings
from quant50lib.utils import config
from quant50lib.utils.config import Home

PYTHON = ((3, 11), (3, 14))
#: a year of daily runs with their PDFs, and room for the packages' own caches
FREE_BYTES = 2 * 2**30
LOCK_WAIT_SECONDS = 0.5
DRIVER_SECONDS = 20.0
DEBIAN_BROWSER = "apt-get install --no-install-recommends chromium-headless-shell fonts-dejavu-core"


@dataclass(frozen=True)
class Check:
    """One thing looked at. `mend` is a command, or what to do, where it is not ok."""

    name: str
    ok: bool
    detail: str
    mend: str = ""


def checks(home: Home, settings: Settings, env: Mapping[str, str]) -> list[Check]:
    """Everything that `quant50 doctor` looks at, in the order in which to mend it."""
    return [
        python(sys.version_info[:2]),
        program("git", "names the code of a run in its manifest", env),
        program("make", "runs the set-up", env),
        packages(config.checkout() / "requirements.lock"),
        openmp(_loads),
        browser(settings),
        driver([*compute_driver_executable(), "--version"]),
        time_zones(),
        writable(home),
        disk(home),
        unlocked("store", home.store),
        unlocked("ledger", home.ledger),
        keys(settings, env),
        port(settings.api.host, settings.api.port),
    ]


def python(version: tuple[int, int]) -> Check:
    """The interpreter's version."""
    low, high = PYTHON
    shown = f"{version[0]}.{version[1]} at {sys.executable}"
    mend = "rm -rf .venv && make setup PYTHON=python3.12   (3.11, 3.12 or 3.13)"
    return Check("python", low <= version < high, shown, mend)


def program(name: str, purpose: str, env: Mapping[str, str]) -> Check:
    """A program on PATH."""
    found = shutil.which(name, path=env.get("PATH"))
    return Check(name, found is not None, found or f"not on PATH; it {purpose}", _install(name))


def packages(lock: Path) -> Check:
    """Whether every package that the lock pins for this machine is there in that version."""
    if not lock.is_file():
        return Check("packages", False, "requirements.lock is missing", "git checkout -- .")
    wanted = dict(pinned(lock.read_text("utf-8")))
    have: dict[str, str] = {
        canonicalize_name(d.metadata["Name"]): d.version for d in metadata.distributions()
    }
    wrong = [
        f"{name} {have.get(name, 'missing')} (pinned {version})"
        for name, version in wanted.items()
        if have.get(name) != version
    ]
    shown = f"{len(wanted)} as pinned" if not wrong else "; ".join(wrong[:5])
    if len(wrong) > 5:
        shown += f"; and {len(wrong) - 5} more"
    return Check("packages", not wrong, shown, "rm -rf .venv && make setup")


def pinned(lock: str) -> Iterator[tuple[str, str]]:
    """Name and version of each requirement of a lock file that applies to this machine."""
    for line in lock.splitlines():
        if not line[:1].isalnum():
            continue
        wanted = Requirement(line.removesuffix("\\").strip())
        if wanted.marker is None or wanted.marker.evaluate():
            version = next(iter(wanted.specifier)).version
            yield canonicalize_name(wanted.name), version


def openmp(loads: Callable[[str], bool]) -> Check:
    """LightGBM's wheel needs the OpenMP library of the system."""
    if platform.system() != "Linux":
        return Check("openmp", True, "not needed here")
    there = loads("libgomp.so.1")
    shown = "libgomp.so.1" if there else "libgomp.so.1 is missing: LightGBM cannot be imported"
    return Check("openmp", there, shown, _install("libgomp1"))


def _loads(library: str) -> bool:
    try:
        ctypes.CDLL(library)
    except OSError:
        return False
    return True


def browser(settings: Settings) -> Check:
    """A browser that prints the PDF; without one the day ends with HTML."""
    found = pdf.find_browser(settings.report.chromium)
    runs = found is not None and os.access(found, os.X_OK)
    shown = str(found) if runs else f"{found or 'none'}: reports stay HTML, without a PDF"
    return Check("browser", runs, shown, _install_browser())


def driver(command: list[str]) -> Check:
    """Playwright's own program, which drives the browser; a minimal system cannot start it."""
    try:
        asked = subprocess.run(command, capture_output=True, text=True, timeout=DRIVER_SECONDS)
        works, said = asked.returncode == 0, asked.stdout + asked.stderr
    except (OSError, subprocess.TimeoutExpired) as error:
        works, said = False, str(error)
    line = said.strip().split("\n")[-1]
    shown = line if works else f"it does not start ({line}): reports stay HTML, without a PDF"
    return Check("browser driver", works, shown, _install("libatomic1"))


def _install_browser() -> str:
    if shutil.which("apt-get") and "debian" in _system():
        return f"{_sudo()}{DEBIAN_BROWSER}"
    return "playwright install --with-deps chromium"


def _system() -> str:
    release = Path("/etc/os-release")
    lines = release.read_text("utf-8").splitlines() if release.is_file() else []
    return next((line.removeprefix("ID=") for line in lines if line.startswith("ID=")), "")


def _install(package: str) -> str:
    if shutil.which("apt-get"):
        return f"{_sudo()}apt-get install {package}"
    return f"install {package} with this system's package manager"


def _sudo() -> str:
    return "" if os.geteuid() == 0 else "sudo "


def time_zones() -> Check:
    """The zone in which the exchange opens and closes."""
    try:
        zoneinfo.ZoneInfo("America/New_York")
    except zoneinfo.ZoneInfoNotFoundError:
        return Check("time zones", False, "America/New_York is unknown", _install("tzdata"))
    return Check("time zones", True, "America/New_York is known")


def writable(home: Home) -> Check:
    """Whether state can be kept in the desk's home."""
    nearest = next(place for place in (home.root, *home.root.parents) if place.exists())
    try:
        with tempfile.NamedTemporaryFile(dir=nearest, prefix=".quant50-"):
            return Check("home", True, f"{home.root} can be written")
    except OSError as error:
        mend = f"chown -R {os.geteuid()} {nearest}, or set QUANT50_HOME to a folder of yours"
        return Check("home", False, f"{nearest}: {error.strerror}", mend)


def disk(home: Home) -> Check:
    """Room for a year of runs."""
    nearest = next(place for place in (home.root, *home.root.parents) if place.exists())
    free = shutil.disk_usage(nearest).free
    shown = f"{free / 2**30:.1f} GiB free (at least {FREE_BYTES / 2**30:.0f} wanted)"
    mend = "free some space, or set QUANT50_HOME to a folder on a larger disk"
    return Check("disk", free >= FREE_BYTES, shown, mend)


def unlocked(name: str, path: Path) -> Check:
    """Whether a database is free to be written; names who is in the way."""
    if not path.is_file():
        return Check(name, True, "not made yet")
    try:
        with database.connect(path, wait_seconds=LOCK_WAIT_SECONDS):
            return Check(name, True, f"{path.name} is free")
    except SettingsError as error:
        return Check(name, False, str(error), "end that process, or let it finish")


def keys(settings: Settings, env: Mapping[str, str]) -> Check:
    """Whether keys are there and look like those of a paper account. Their text is never shown."""
    given = [name for name in ("APCA_API_KEY_ID", "APCA_API_SECRET_KEY") if env.get(name)]
    mend = "export APCA_API_KEY_ID=PK… APCA_API_SECRET_KEY=…   (keys of a PAPER account)"
    try:
        require_paper_key(env.get("APCA_API_KEY_ID", ""))
    except SettingsError as error:
        return Check("keys", False, str(error), mend)
    if settings.broker == "paper" and len(given) < 2:
        return Check("keys", False, 'broker = "paper" and no complete pair of keys is set', mend)
    shown = f"{' and '.join(given)} set" if given else "none set"
    needed = "none needed by the simulated broker" if settings.broker == "sim" else "paper"
    return Check("keys", True, f"{shown}; {needed}")


def port(host: str, number: int) -> Check:
    """Whether `quant50 serve` could listen, or does already."""
    if number == 0 or _free(host, number):
        return Check("port", True, f"{host}:{number} is free for `quant50 serve`")
    words = _listener(number)
    shown = f"{host}:{number} is used by {' '.join(words)[:120]}"
    mend = "export QUANT50_API__PORT=8051   (or another free port)"
    return Check("port", _is_ours(words), shown, mend)


def _is_ours(words: list[str]) -> bool:
    return "serve" in words and any("quant50" in word for word in words)


def _free(host: str, number: int) -> bool:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as trial:
        trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            trial.bind((host.strip("[]"), number))
        except OSError:
            return False
    return True


def _listener(number: int) -> list[str]:
    """The command that listens on a port, as far as it may be seen."""
    try:
        for seen in psutil.net_connections("tcp"):
            listens = seen.status == psutil.CONN_LISTEN and seen.laddr[1:2] == (number,)
            if listens and seen.pid:
                return ["process", str(seen.pid), *psutil.Process(seen.pid).cmdline()]
    except psutil.Error:
        return ["a process of another user"]
    return ["another program"]
