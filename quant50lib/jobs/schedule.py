"""What a machine of one's own needs to run the desk by itself: units for systemd, or crontab lines.

Daily at 22:00 UTC from Monday to Friday (after every close of the year), training on Mondays at
20:00 UTC. The jobs are safe to run late, twice or not at all: a session is run once, and what was
missed is caught up by the next run.
"""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path

from quant50lib.errors import SettingsError


@dataclass(frozen=True)
class Job:
    """A job and when it is due, in UTC."""

    name: str
    module: str
    purpose: str
    calendar: str
    cron: str
    hours: int


JOBS = (
    Job(
        "daily",
        "quant50lib.jobs.daily_run",
        "daily run",
        "Mon..Fri *-*-* 22:00:00 UTC",
        "0 22 * * 1-5",
        2,
    ),
    Job(
        "weekly",
        "quant50lib.jobs.weekly_train",
        "weekly training",
        "Mon *-*-* 20:00:00 UTC",
        "0 20 * * 1",
        6,
    ),
)

SERVICE = """\
[Unit]
Description=Quant50: {purpose}
Wants=network-online.target
After=network-online.target
StartLimitIntervalSec=3h
StartLimitBurst=4

[Service]
Type=oneshot
User={user}
WorkingDirectory={folder}
ExecStart={python} -m {module}
Environment={home}
# keys of the paper account, if any; the file may be missing
EnvironmentFile=-{folder}/.env
# Jupyter keeps its connection files and history here and nowhere else
RuntimeDirectory=quant50-{name}
Environment=JUPYTER_RUNTIME_DIR=%t/quant50-{name} IPYTHONDIR=%t/quant50-{name}/ipython
Environment=MPLCONFIGDIR=%t/quant50-{name}/matplotlib
TimeoutStartSec={hours}h
TimeoutStopSec=60
KillMode=mixed
# a run goes on where it stopped; what only a person can mend is not tried again:
# 2 settings, 5 a risk rule, 7 books differ, 8 archive
Restart=on-failure
RestartSec=10min
RestartPreventExitStatus=2 5 7 8
UMask=0077
NoNewPrivileges=yes
PrivateTmp=yes
ProtectSystem=strict
ProtectHome=read-only
ReadWritePaths={writable}
ProtectClock=yes
ProtectControlGroups=yes
ProtectHostname=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK
RestrictRealtime=yes
RestrictSUIDSGID=yes
LockPersonality=yes
"""

TIMER = """\
[Unit]
Description=Quant50: {purpose}, {calendar}

[Timer]
OnCalendar={calendar}
# caught up after the machine was off
Persistent=true
AccuracySec=1s

[Install]
WantedBy=timers.target
"""

CRONTAB = """\
# Quant50. Hours are UTC: cronie honours CRON_TZ; Debian's own cron ignores it, so let such a
# machine's clock run on UTC, or use `quant50 schedule --systemd`.
CRON_TZ=UTC
"""


def systemd(home: Path, python: Path, user: str = "") -> dict[str, str]:
    """Units to put into /etc/systemd/system, by file name.

    Parameters
    ----------
    home : Path
        The desk's home; keys may lie in its file .env.
    python : Path
        The interpreter of the environment that holds quant50lib.
    user : str
        Who runs the jobs; by default the owner of `home`.

    Raises
    ------
    SettingsError
        `home` does not exist, or a path holds what systemd refuses: quotes, $, a line break.
    """
    _refuse((home, python), "\"'\\$", "a unit")
    owner = user or _owner(home)
    units: dict[str, str] = {}
    for job in JOBS:
        units[f"quant50-{job.name}.service"] = SERVICE.format(
            name=job.name,
            purpose=job.purpose,
            module=job.module,
            hours=job.hours,
            user=owner,
            folder=_unit_path(home),
            python=_quoted(python),
            home=_quoted(f"QUANT50_HOME={home}"),
            writable=_quoted(home),
        )
        units[f"quant50-{job.name}.timer"] = TIMER.format(
            purpose=job.purpose, calendar=job.calendar
        )
    return units


def cron(home: Path, python: Path) -> str:
    """Lines for `crontab -e`.

    Raises
    ------
    SettingsError
        A path holds a line break.
    """
    _refuse((home, python), "", "a crontab")
    return CRONTAB + "".join(f"{job.cron} {_shell(job, home, python)}\n" for job in JOBS)


def _shell(job: Job, home: Path, python: Path) -> str:
    """One line of shell; a percent sign ends a crontab's command unless it is escaped."""
    folder, program = shlex.quote(str(home)), shlex.quote(str(python))
    return (
        f"cd {folder} && mkdir -p data && {{ [ ! -f .env ] || {{ set -a; . ./.env; }}; }} && "
        f"QUANT50_HOME={folder} {program} -m {job.module} >> data/cron.log 2>&1"
    ).replace("%", r"\%")


def _owner(home: Path) -> str:
    try:
        return home.owner()
    except (FileNotFoundError, KeyError) as error:
        raise SettingsError(f"{home} does not exist, or its owner has no name") from error


def _refuse(paths: tuple[Path, ...], signs: str, what: str) -> None:
    for path in paths:
        if any(ord(sign) < 32 or sign in signs for sign in str(path)):
            raise SettingsError(f"{str(path)!r} cannot stand in {what}: rename the folder")


def _unit_path(path: Path | str) -> str:
    """A path alone after an equals sign: spaces stand, % begins a specifier."""
    return str(path).replace("%", "%%")


def _quoted(text: Path | str) -> str:
    """A word of a unit, spaces and all."""
    return f'"{_unit_path(text)}"'
