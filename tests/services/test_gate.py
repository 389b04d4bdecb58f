"""The gate keeps out the broken, demands better, and lets an ageing champion be renewed."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import spearmanr

from quant50lib.services import gate, validation
from quant50lib.services.gate import Champion
from quant50lib.services.inference import Estimate
from quant50lib.settings import ModelSettings
from quant50lib.utils import dates

SETTINGS = ModelSettings()
SOUND = {
    "auc": 0.51,
    "rank_ic": 0.02,
    "rank_ic_error": 0.01,
    "calibration_gap": 0.01,
    "calibration_gap_error": 0.004,
    "calibration_slope": 0.9,
    "calibration_slope_error": 0.2,
    "drift_largest": 0.02,
    "drift_feature": "vol_21",
}


@pytest.mark.parametrize(
    ("change", "accepted", "why"),
    [
        ({}, True, "first sound"),
        ({"rank_ic": -0.01}, True, "first sound"),
        ({"auc": 0.57}, False, "leak"),
        ({"rank_ic": 0.13}, False, "leak"),
        ({"calibration_gap": -0.06}, False, "not calibrated"),
        ({"calibration_gap": 0.06, "calibration_gap_error": 0.03}, True, "first sound"),
        ({"calibration_slope": 0.1, "calibration_slope_error": 0.1}, False, "claim too much"),
        ({"calibration_slope": 0.1, "calibration_slope_error": 0.2}, True, "first sound"),
        ({"calibration_slope": 2.7, "calibration_slope_error": 0.2}, False, "claim too little"),
        ({"calibration_slope": float("nan")}, True, "first sound"),  # flat: it claims nothing
        ({"rank_ic_error": float("nan")}, False, "could not be measured"),
        ({"drift_largest": 0.3}, False, "vol_21 has drifted"),
    ],
)
def test_a_first_model_must_be_sound(change, accepted, why):
    verdict = gate.judge(SOUND | change, None, SETTINGS)
    assert verdict.accepted is accepted and why in verdict.reason and not verdict.sound


@pytest.mark.parametrize(
    ("bound", "change"),
    [
        ("calibration_gap_max", {"calibration_gap": 0.06}),
        ("calibration_slope_min", {"calibration_slope": 0.1, "calibration_slope_error": 0.1}),
        ("calibration_slope_max", {"calibration_slope": 2.7}),
    ],
)
def test_the_bounds_of_calibration_are_settings(bound, change):
    wide = {"calibration_gap_max": 0.1, "calibration_slope_min": 0.0, "calibration_slope_max": 9.0}
    for settings, accepted in ((SETTINGS, False), (ModelSettings(**{bound: wide[bound]}), True)):
        assert gate.judge(SOUND | change, None, settings).accepted is accepted


def test_a_leak_is_refused_however_good_the_rest():
    champion = Champion(SOUND, 25, Estimate(0.05, 0.01), 60)
    verdict = gate.judge(SOUND, champion, SETTINGS, leaks=["features.vol_21 at 2024-01-02"])
    assert not verdict.accepted and not verdict.sound and "features.vol_21" in verdict.reason


@pytest.mark.parametrize(
    ("age", "ahead", "champion_ic", "accepted", "why"),
    [
        (5, Estimate(0.012, 0.010), 0.0, True, "^better"),
        (5, Estimate(0.008, 0.010), 0.0, False, "young"),
        (19, Estimate(0.008, 0.010), 0.0, False, "young"),
        (20, Estimate(0.008, 0.010), 0.0, True, "^renewal"),
        (20, Estimate(-0.009, 0.010), 0.0, True, "^renewal"),
        (29, Estimate(-0.011, 0.010), 0.0, False, "^worse"),
        (5, None, -0.5, False, "young"),  # the out-of-fold figures cannot show that it is better
        (20, None, 0.025, True, "^renewal.*each out of fold"),
        (20, None, 0.031, False, "^worse"),
        (20, None, None, True, "^renewal"),
        (20, Estimate(float("nan"), 0.01), 0.0, False, "^worse"),
    ],
)
def test_a_champion_gives_way_to_the_better_and_the_old_one_to_the_not_worse(
    age, ahead, champion_ic, accepted, why
):
    champion = Champion(SOUND | {"rank_ic": champion_ic}, age, ahead, 30)
    verdict = gate.judge(SOUND, champion, SETTINGS)
    assert verdict.accepted is accepted
    assert pd.Series([verdict.reason]).str.contains(why).all(), verdict.reason
    assert verdict.sound is not accepted


def test_weekly_training_without_skill_never_lets_the_desk_stand_still():
    """Fifty weeks in which no challenger is better: the champion is never older than allowed."""
    age, oldest = 0, 0
    for _ in range(50):
        age += 5
        oldest = max(oldest, age)
        if gate.judge(SOUND, Champion(SOUND, age, None), SETTINGS).accepted:
            age = 0
    assert oldest <= SETTINGS.max_age_sessions


def test_the_comparison_is_the_mean_paired_difference_of_daily_rank_ics():
    rng = np.random.default_rng(0)
    sessions = dates.sessions_between("2024-01-02", "2024-03-28")
    rows = pd.DataFrame(
        [(s, f"A{chr(65 + i)}") for s in sessions for i in range(12)], columns=["session", "symbol"]
    )
    rows["excess_return"] = rng.normal(size=len(rows))
    ours = rows.assign(score=rng.random(len(rows)) + 0.5 * rows.excess_return, fold=1)
    ours.loc[ours.session < sessions[20], "fold"] = 0
    theirs = rows[["session", "symbol"]].assign(score=rng.random(len(rows)))
    later = theirs[theirs.session >= sessions[30]]
    ahead, common = gate.compare(ours, later, 5)
    by_hand = []
    for s in sessions[30:]:
        a, b = ours[ours.session == s], theirs[theirs.session == s]
        by_hand.append(
            spearmanr(a.score, a.excess_return)[0] - spearmanr(b.score, a.excess_return)[0]
        )
    assert common == len(by_hand) and ahead.value == pytest.approx(np.mean(by_hand))
    wanted = validation.session_mean(np.array(by_hand), 5).error  # of one fold alone
    assert ahead.error == pytest.approx(wanted)
    few, n = gate.compare(ours, theirs[theirs.session >= sessions[-20]], 5)
    assert few is None and n == 20
