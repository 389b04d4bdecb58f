"""Prepare the scratch run of a notebook opened by hand; prints its folder as JSON.

``python -m quant50lib.jobs.scratch --date D --stage S``; `pipeline.scratch` calls it. What the
stages before S made is taken from the desk's run of that session, or made now in a store of its own
with a twin of its own, so that a scratch run can neither stop, move nor trade on the desk's.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import shutil
from pathlib import Path

from quant50lib.contracts import Stage, stage_named, stages_of
from quant50lib.jobs.desk import kernels_of, paper_desk, simulated_desk
from quant50lib.jobs.entry import guarded
from quant50lib.jobs.progress import lines
from quant50lib.pipeline import archive, runner, scratch
from quant50lib.settings import Secrets, Settings
from quant50lib.utils import config, dates
from quant50lib.utils.config import Home


def prepare(home: Home, settings: Settings, secrets: Secrets, date: str, stage: Stage) -> Path:
    """The folder of a scratch run in which `stage` can begin."""
    folder = home.runs / "scratch" / date
    schedule = scratch.schedule_of(stage)
    before = [s for s in stages_of(schedule) if s.number < stage.number]
    source = scratch.source_run(home, stage, date)
    settings = lenient(settings)
    if source is not None:
        shutil.rmtree(folder, ignore_errors=True)
        order = runner.Order(
            schedule=source.schedule,
            run_date=dates.as_session(date),
            known_at=source.facts["known_at"],
            endpoints=source.facts["endpoints"],
            source=source.facts["source"],
            simulated=source.facts["simulated"],
            shadow=scratch.SHADOW,
            folder=folder,
        )
        runner.begin(home, settings, order)
        runner.copy_stages(source, folder, [s.name for s in before])
        return folder
    return _make(home, settings, secrets, date, stage, folder)


def lenient(settings: Settings) -> Settings:
    """Settings of a scratch run: no model is no obstacle, the forecast then has no alpha."""
    model = settings.model.model_copy(update={"without_model": "zero"})
    return settings.model_copy(update={"model": model})


def _make(
    home: Home, settings: Settings, secrets: Secrets, date: str, stage: Stage, folder: Path
) -> Path:
    """Run the stages before `stage` on a store and a twin that belong to this scratch run."""
    folder.mkdir(parents=True, exist_ok=True)
    session = dates.as_session(date)
    with contextlib.ExitStack() as stack:
        kernels = stack.enter_context(kernels_of(home, settings))
        if settings.broker == "paper":
            opened = paper_desk(home, settings, secrets, kernels)
        else:
            twin = stack.enter_context(scratch.own_twin(settings, session, folder))
            opened = simulated_desk(home, settings, secrets, kernels, twin)
        order = runner.Order(
            schedule=scratch.schedule_of(stage),
            run_date=session,
            known_at=opened.clock(),
            endpoints=opened.endpoints,
            source=opened.source,
            simulated=opened.simulated,
            shadow=scratch.SHADOW,
            store=(folder / "market.duckdb").relative_to(home.root).as_posix(),
            folder=folder,
        )
        runner.run(home, settings, secrets, order, kernels, lines, until=stage.name)
    return folder


def main() -> None:
    """Entry point of the module."""
    parser = argparse.ArgumentParser(prog="scratch", description=__doc__)
    parser.add_argument("--date", required=True)
    parser.add_argument("--stage", required=True)
    asked = parser.parse_args()
    home = config.home()

    def work() -> None:
        with archive.locked(home.data / "scratch.lock", "another scratch run"):
            folder = prepare(
                home, config.load(home), config.secrets(), asked.date, stage_named(asked.stage)
            )
        print(json.dumps({"run_dir": folder.relative_to(home.root).as_posix()}))

    guarded(work)


if __name__ == "__main__":
    main()
