"""The set alpha158 against pandas and against pyqlib; features of one's own; the page."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from quant50lib.errors import SettingsError
from quant50lib.services import features, features_state
from quant50lib.services.features_alpha158 import ALPHA158, WINDOWS
from quant50lib.services.features_page import features_page
from quant50lib.services.features_registry import together
from quant50lib.settings import FeatureSettings
from tests import factories

PANEL = factories.panel(5, 150, seed=11)
FORMULAS = [spec.formula for spec in ALPHA158.values()]


def computed(panel):
    return dict(zip(ALPHA158, together(panel, FORMULAS, "SPY")))


@pytest.fixture(scope="module")
def found():
    return computed(PANEL)


def by_pandas(n: int) -> dict[str, pd.DataFrame]:
    """The rolling factors written in pandas and numpy, from the published expressions."""
    o, h, lo, c, v = (getattr(PANEL, f) for f in ("open", "high", "low", "close", "volume"))
    now, time = c.rolling(n), np.arange(1.0, n + 1)
    fit = lambda x: np.polyfit(time, x, 1)  # noqa: E731
    up, traded = c.diff(), v.diff()
    top, bottom = h.rolling(n).max(), lo.rolling(n).min()
    highest = h.rolling(n).apply(lambda x: x.argmax() + 1, raw=True)
    lowest = lo.rolling(n).apply(lambda x: x.argmin() + 1, raw=True)
    weighed = c.pct_change(fill_method=None).abs() * v

    def share(part, whole):
        return part.rolling(n).sum() / whole.abs().rolling(n).sum()

    def true(condition):
        return condition.astype(float).where(up.notna()).rolling(n).mean()

    return {
        "ROC": c.shift(n) / c,
        "MA": now.mean() / c,
        "STD": now.std() / c,
        "BETA": now.apply(lambda x: fit(x)[0], raw=True) / c,
        "RSQR": now.apply(lambda x: np.corrcoef(time, x)[0, 1] ** 2, raw=True),
        "RESI": now.apply(lambda x: x[-1] - np.polyval(fit(x), n), raw=True) / c,
        "MAX": top / c,
        "MIN": bottom / c,
        "QTLU": now.quantile(0.8) / c,
        "QTLD": now.quantile(0.2) / c,
        "RANK": now.rank(pct=True),
        "RSV": (c - bottom) / (top - bottom),
        "IMAX": highest / n,
        "IMIN": lowest / n,
        "IMXD": (highest - lowest) / n,
        "CORR": now.corr(np.log(v + 1)),
        "CORD": (c / c.shift(1)).rolling(n).corr(np.log(v / v.shift(1) + 1)),
        "CNTP": true(up > 0),
        "CNTN": true(up < 0),
        "CNTD": true(up > 0) - true(up < 0),
        "SUMP": share(up.clip(lower=0), up),
        "SUMN": share(-up.clip(upper=0), up),
        "SUMD": share(up, up),
        "VMA": v.rolling(n).mean() / v,
        "VSTD": v.rolling(n).std() / v,
        "WVMA": weighed.rolling(n).std() / weighed.rolling(n).mean(),
        "VSUMP": share(traded.clip(lower=0), traded),
        "VSUMN": share(-traded.clip(upper=0), traded),
        "VSUMD": share(traded, traded),
    }


def test_there_are_158():
    assert len(ALPHA158) == 158 and set(by_pandas(5)) == {n[:-1] for n in ALPHA158 if n[-1] == "5"}


@pytest.mark.parametrize("n", [5, 20, 60])
def test_rolling_factors_equal_pandas(found, n):
    for kind, wanted in by_pandas(n).items():
        np.testing.assert_allclose(
            found[f"{kind}{n}"], wanted, rtol=1e-9, atol=1e-10, err_msg=f"{kind}{n}"
        )


def test_shapes_of_the_bar_by_hand():
    bar = {"open": 10.0, "high": 14.0, "low": 8.0, "close": 11.0}
    one = PANEL.each(lambda f: f * 0.0 + 1.0)
    one = type(one)(**{**vars(one), **{k: one.open * x for k, x in bar.items()}})
    got = {k: v.iloc[-1, 0] for k, v in computed(one).items()}
    wanted = {
        "KMID": 0.1, "KLEN": 0.6, "KMID2": 1 / 6, "KUP": 0.3, "KUP2": 0.5, "KLOW": 0.2,
        "KLOW2": 1 / 3, "KSFT": 0.0, "KSFT2": 0.0, "OPEN0": 10 / 11, "HIGH0": 14 / 11,
        "LOW0": 8 / 11, "VWAP0": 1.0,
    }  # fmt: skip
    assert {k: got[k] for k in wanted} == pytest.approx(wanted)
    assert np.isnan(got["RSQR5"]) and np.isnan(got["CORR60"]), "what never varies explains nothing"


def test_windows_are_exact_and_more_history_changes_nothing_to_the_last_bit(found):
    for spec in ALPHA158.values():
        known = found[spec.name].notna().all(axis=1)
        assert list(known) == [k >= spec.window - 1 for k in range(len(known))], spec.name
    tail = computed(PANEL.each(lambda f: f.iloc[-61:]))
    for name, values in tail.items():
        np.testing.assert_array_equal(values.iloc[-1], found[name].iloc[-1], err_msg=name)


def test_a_missing_bar_is_missing_wherever_it_is_used(found):
    hole = PANEL.sessions[100]
    holed = computed(PANEL.each(lambda f: f.mask(f.index.to_series().eq(hole), np.nan)))
    for name, spec in ALPHA158.items():
        assert holed[name].loc[hole].isna().all(), name
        after = holed[name].iloc[100 + spec.window :]
        pd.testing.assert_frame_equal(after, found[name].iloc[100 + spec.window :])
    for name in ("QTLU20", "RANK20", "IMAX20", "CORR20", "BETA20", "MA20"):
        assert holed[name].iloc[100:120].isna().all(axis=None), name


def test_one_more_session_from_a_state(found):
    state = features_state.begin(FORMULAS, PANEL.each(lambda f: f.iloc[:-1]), "SPY")[0]
    values = features_state.advance(FORMULAS, state, PANEL, "SPY")[1]
    wanted = np.array([found[name].iloc[-1] for name in ALPHA158]).T
    np.testing.assert_array_equal(values, wanted)


def test_qlib_computes_the_same_on_its_own_store(tmp_path):
    qlib = pytest.importorskip("qlib", reason="pyqlib is not installed here")
    from qlib.contrib.data.loader import Alpha158DL
    from qlib.data import D

    days = [str(day.date()) for day in PANEL.sessions]
    (tmp_path / "calendars").mkdir()
    (tmp_path / "calendars" / "day.txt").write_text("\n".join(days))
    (tmp_path / "instruments").mkdir()
    lines = [f"{s}\t{days[0]}\t{days[-1]}" for s in PANEL.symbols]
    (tmp_path / "instruments" / "all.txt").write_text("\n".join(lines))
    typical = (PANEL.high + PANEL.low + PANEL.close) / 3
    for symbol in PANEL.symbols:
        folder = tmp_path / "features" / symbol.lower()
        folder.mkdir(parents=True)
        for name in ("open", "high", "low", "close", "volume", "vwap"):
            values = typical if name == "vwap" else getattr(PANEL, name)
            bits = np.concatenate([[0], values[symbol]]).astype("<f4")
            bits.tofile(folder / f"{name}.day.bin")
    qlib.init(provider_uri=str(tmp_path), region="us", kernels=1, logging_level=50)
    expressions, names = Alpha158DL.get_feature_config()
    assert set(names) == set(ALPHA158)
    theirs = D.features(D.instruments("all"), expressions, days[0], days[-1], freq="day")
    theirs.columns = names
    stored = computed(PANEL.each(lambda f: f.astype("float32").astype(float)))
    for name, spec in ALPHA158.items():
        wide = theirs[name].unstack(level=0)[list(PANEL.symbols)].to_numpy()[spec.window - 1 :]
        ours = stored[name].to_numpy()[spec.window - 1 :]
        # qlib calculates in single precision too: returns lose what prices still had
        tolerance = 1e-4 if name[:4] in ("CORD", "CORR", "WVMA") else 1e-6
        np.testing.assert_allclose(wide, ours, rtol=0, atol=tolerance, err_msg=name)


# ---- one's own -------------------------------------------------------------------------------------

OWN = """
from quant50lib.services.features_formula import bars, mean
from quant50lib.services.features_registry import own, own_function

def widest(panel, benchmark):
    return (panel.high / panel.low).rolling(3).max()

FEATURES = [
    own("gap_5", mean(bars("open") / bars("close").ago(1), 5), "Mean gap."),
    own_function("widest_3", 3, widest, "Widest range."),
]
"""


def of_file(folder: Path, text: str, **more) -> FeatureSettings:
    path = folder / "mine.py"
    path.write_text(text)
    return FeatureSettings(file=path, **more)


def test_features_of_a_file_stand_beside_the_set(tmp_path):
    said = of_file(tmp_path, OWN, names=("ret_5", "gap_5", "widest_3", "KMID"))
    got = features.compute(PANEL, said, "SPY")
    assert set(got) == {"ret_5", "gap_5", "widest_3", "KMID"}
    gap = (PANEL.open / PANEL.close.shift(1)).rolling(5).mean()
    np.testing.assert_allclose(got["gap_5"], gap, rtol=1e-12)
    assert {s.name: s.window for s in features.chosen(said)}["gap_5"] == 6
    assert len(features.chosen(of_file(tmp_path, OWN, set="alpha158"))) == 160
    assert len(features.chosen(FeatureSettings(set="alpha158"))) == 158


@pytest.mark.parametrize(
    "text, says",
    [
        ("FEATURES = [1/0]", "mine.py, line 1: ZeroDivisionError"),
        ("def (", "mine.py, line 1: SyntaxError"),
        ("x = 1", "needs a list FEATURES"),
        ("FEATURES = ['vol']", "make features by own"),
        (OWN.replace("gap_5", "ret_5"), "'ret_5' is taken"),
        (OWN.replace("gap_5", "widest_3"), "'widest_3' is taken"),
        ("raise SystemExit(3)", "line 1: SystemExit: 3"),
    ],
)
def test_a_file_that_cannot_be_used_says_why(tmp_path, text, says):
    with pytest.raises(SettingsError, match=says):
        features.chosen(of_file(tmp_path, text))


def test_a_function_of_another_form_and_a_file_that_is_not_there(tmp_path):
    wrong = OWN.replace(".rolling(3).max()", ".iloc[5:]")
    with pytest.raises(SettingsError, match="'widest_3' must give a frame"):
        features.compute(PANEL, of_file(tmp_path, wrong), "SPY")
    with pytest.raises(SettingsError, match="does not exist"):
        features.chosen(FeatureSettings(file=tmp_path / "none.py"))


def test_the_committed_page_is_current_and_names_every_core_feature():
    page = features_page()
    committed = Path(__file__).parents[2] / "notebooks" / "features.md"
    assert committed.read_text("utf-8") == page, "run: quant50 features > notebooks/features.md"
    for name, spec in features.FEATURES.items():
        assert f"| `{name}` | {spec.group} | {spec.window} |" in page
    for kind in by_pandas(max(WINDOWS)):
        assert f"| `{kind}60` |" in page


def test_an_input_that_the_bars_do_not_have_is_refused_with_what_there_is(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(
        "from quant50lib.services.features_formula import bars\n"
        "from quant50lib.services.features_registry import own\n"
        "FEATURES = [own('gap', bars('close') / bars('vwap'), 'Close over vwap.')]\n"
    )
    with pytest.raises(SettingsError, match="line 3: .*no 'vwap', but open, .*alpha158"):
        features.chosen(FeatureSettings(file=path))
