"""The scheduled weekly job: ``python -m quant50lib.jobs.weekly_train [--date D]``."""

from __future__ import annotations

import argparse

import pandas as pd

from quant50lib.jobs import desk
from quant50lib.jobs.entry import guarded
from quant50lib.jobs.progress import lines
from quant50lib.pipeline import runner
from quant50lib.pipeline.archive import RunInfo
from quant50lib.settings import Secrets, Settings
from quant50lib.utils import config
from quant50lib.utils.config import Home


def run(
    home: Home,
    settings: Settings,
    secrets: Secrets,
    now: pd.Timestamp,
    date: str | None = None,
    watch: runner.Watcher = lines,
    again: bool = False,
) -> tuple[RunInfo, bool]:
    """Open the desk and train once; see `desk.weekly`."""
    desk.check(date)
    with desk.open_desk(home, settings, secrets, now) as opened:
        return desk.weekly(opened, date, watch, again)


def main() -> None:
    """Entry point of the module."""
    parser = argparse.ArgumentParser(prog="weekly_train", description=__doc__)
    parser.add_argument("--date", help="session, YYYY-MM-DD; default: the newest closed one")
    asked = parser.parse_args()
    home = config.home()

    def work() -> None:
        now = pd.Timestamp.now("UTC")
        info, done = run(home, config.load(home), config.secrets(), now, asked.date)
        print(f"{info.id}: {'sealed' if done else 'was sealed before; nothing to do'}")

    guarded(work)


if __name__ == "__main__":
    main()
