"""The ledger of trials: nothing tried is forgotten, repeats count once, and a torn line is known."""

from __future__ import annotations

import json
import multiprocessing
import os
from pathlib import Path

import pytest

from quant50lib.adapters import trials
from quant50lib.adapters.trials import Trials
from quant50lib.settings import FeatureSettings, LabelSettings, ModelSettings


def trial(configuration="c1", data="d1", scores="s1", **more) -> dict:
    return {"configuration": configuration, "data_digest": data, "scores_digest": scores} | more


def test_an_empty_ledger_counts_the_trial_at_hand(tmp_path):
    ledger = Trials(tmp_path / "models")
    assert ledger.all() == [] and ledger.count() == 0 and ledger.count("c1") == 1


def test_repeats_count_once_and_changes_count(tmp_path):
    ledger = Trials(tmp_path)
    counts = []
    for one in (
        trial(),
        trial(),  # the same again
        trial(data="d2", scores="s2"),  # the same settings a week later
        trial("c2"),  # other settings
        trial(scores="s3"),  # same settings and data, other scores: something was edited
        trial(data="d2", scores="s4"),  # the same edit, a week later
    ):
        ledger.record(one)
        counts.append(ledger.count())
    assert counts == [1, 1, 1, 2, 3, 3]
    assert ledger.count("c1") == 3 and ledger.count("c9") == 4
    assert len(ledger.all()) == 6


@pytest.mark.parametrize("cut", [1, 10, 40])
def test_a_torn_line_is_recognised_closed_and_counted(tmp_path, cut):
    ledger = Trials(tmp_path)
    ledger.record(trial())
    ledger.record(trial("c2"))
    content = ledger.path.read_bytes()
    ledger.path.write_bytes(content[:-cut])
    torn = 0 if cut == 1 else 1  # without its newline alone a line is still whole
    assert ledger.torn() == torn and ledger.count() == 2
    ledger.record(trial("c3"))
    assert [t["configuration"] for t in ledger.all()][-1] == "c3"
    assert ledger.torn() == torn and ledger.count() == 3


def _write(folder: Path, who: int) -> None:
    for k in range(20):
        Trials(folder).record(trial(f"{who}-{k}", filler="x" * 5000))


def test_several_processes_write_whole_lines(tmp_path):
    context = multiprocessing.get_context("fork")
    workers = [context.Process(target=_write, args=(tmp_path, who)) for who in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
    ledger = Trials(tmp_path)
    assert len(ledger.all()) == 60 and ledger.torn() == 0 and ledger.count() == 60


def test_a_trial_is_on_disk_before_the_call_returns(tmp_path, monkeypatch):
    synced = []
    monkeypatch.setattr(os, "fsync", lambda handle: synced.append(os.fstat(handle).st_size))
    Trials(tmp_path).record(trial())
    assert synced == [(tmp_path / "trials.jsonl").stat().st_size]


def sections(**model) -> dict:
    return {
        "features": FeatureSettings(),
        "label": LabelSettings(),
        "model": ModelSettings(**model),
    }


def line(at: dict, scores: str = "s1") -> dict:
    digest, said = trials.configuration(at)
    return trial(digest, scores=scores) | {"settings": json.loads(json.dumps(said))}


def test_a_setting_that_is_younger_than_a_line_makes_no_new_trial(tmp_path):
    """An old line lacks it and had another digest; at its default nothing differs from it."""
    old = line(sections()) | {"configuration": "digest of older days"}
    del old["settings"]["model"]["search"], old["settings"]["features"]["names"]
    ledger = Trials(tmp_path)
    ledger.record(old)
    ledger.record(line(sections()))
    assert ledger.count() == ledger.count(trials.configuration(sections())[0]) == 1
    ledger.record(line(sections(search="small"), "s2"))
    assert ledger.count() == 2
    ledger.record(line(sections(trees=151), "s3"))
    assert ledger.count() == 3


def test_a_union_holds_every_line_once(tmp_path):
    one, two = (Trials(tmp_path / name) for name in "ab")
    for ledger, names in ((one, "xyz"), (two, "zw")):
        for name in names:
            ledger.record(trial(name))
    torn = two.path.read_bytes()[:-9]
    both = Trials(tmp_path / "c")
    both.path.parent.mkdir()
    both.path.write_bytes(trials.union(one.path.read_bytes(), torn))
    assert [t["configuration"] for t in both.all()] == list("xyz") and both.torn() == 1
    assert both.count() == 4
    assert trials.union(both.path.read_bytes(), torn) == both.path.read_bytes()


def test_a_configuration_is_what_shapes_a_score():
    base, said = trials.configuration(sections())
    assert trials.configuration(sections(threads=7, calibration_gap_max=0.1))[0] == base
    for change in ({"trees": 151}, {"seed": 51}, {"learner": "ranker"}, {"n_splits": 6}):
        assert trials.configuration(sections(**change))[0] != base
    assert json.loads(json.dumps(said))["model"]["trees"] == 150
