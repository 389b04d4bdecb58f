"""The scheduled daily job: ``python -m quant50lib.jobs.daily_run [--date D] [--from STAGE]``.

Exit code 0 also where there is nothing to do: no new session has closed since the last sealed run.
"""

from __future__ import annotations

import argparse

import pandas as pd

from quant50lib.jobs import desk
from quant50lib.jobs.entry import guarded
from quant50lib.jobs.progress import lines
from quant50lib.pipeline import runner
from quant50lib.pipeline.archive import RunInfo
from quant50lib.settings import Secrets, Settings
from quant50lib.utils import config, dates
from quant50lib.utils.config import Home


def plan(home: Home, settings: Settings, date: str) -> str:
    """The id that the daily run of a session will have."""
    return runner.plan_id(home, settings, "daily", str(dates.as_session(date).date()))


def run(
    home: Home,
    settings: Settings,
    secrets: Secrets,
    now: pd.Timestamp,
    date: str | None = None,
    from_stage: str | None = None,
    watch: runner.Watcher = lines,
) -> tuple[RunInfo, bool]:
    """Open the desk and run one session; see `desk.daily`."""
    desk.check(date, from_stage)
    with desk.open_desk(home, settings, secrets, now) as opened:
        return desk.daily(opened, date, watch, from_stage)


def main() -> None:
    """Entry point of the module."""
    parser = argparse.ArgumentParser(prog="daily_run", description=__doc__)
    parser.add_argument("--date", help="session, YYYY-MM-DD; default: the newest closed one")
    parser.add_argument("--from", dest="from_stage", help="repeat from this stage")
    asked = parser.parse_args()
    home = config.home()

    def work() -> None:
        now = pd.Timestamp.now("UTC")
        settings, secrets = config.load(home), config.secrets()
        info, done = run(home, settings, secrets, now, asked.date, asked.from_stage)
        print(f"{info.id}: {'sealed' if done else 'was sealed before; nothing to do'}")

    guarded(work)


if __name__ == "__main__":
    main()
