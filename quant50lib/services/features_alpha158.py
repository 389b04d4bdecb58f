"""The set `alpha158`: the 158 factors that Microsoft's qlib publishes, over open to volume.

Nine shapes of the bar, four prices, and 29 rolling factors over 5, 10, 20, 30 and 60 sessions; written
anew from the published expressions, which stand as each factor's meaning. Three things differ, by our
own rules: a window that is not full or lacks a bar gives no value (qlib takes what there is), prices
are total-return prices, and "does not vary" is judged relative to the value (2e-7 of it), not as 2e-5
in dollars. VWAP is the typical price (high + low + close) / 3: our bars carry no traded average.
"""

from __future__ import annotations

from collections.abc import Callable

from quant50lib.services.features_formula import (
    MAX2,
    MIN2,
    Formula,
    absolute,
    bars,
    change,
    correlation,
    highest,
    larger,
    line,
    log,
    lowest,
    mean,
    node,
    oldest_highest,
    oldest_lowest,
    positive,
    quantile,
    rank,
    residual,
    rsquare,
    spread,
    total,
    trend,
)
from quant50lib.services.features_registry import FeatureSpec, of_formula

WINDOWS = (5, 10, 20, 30, 60)
REFERENCE = "Yang et al. (2020), qlib Alpha158"
TINY = 1e-12

O, H, L, C, V = (bars(name) for name in ("open", "high", "low", "close", "volume"))
C1, V1 = C.ago(1), V.ago(1)
TYPICAL = line(H + L + C, 1 / 3)
MOVE, TRADE = C - C1, V - V1
WEIGHED = absolute(change(C)) * V
BODY_TOP, BODY_BOTTOM = node(MAX2, (O, C)), node(MIN2, (O, C))
RANGE = line(H - L, 1.0, TINY)


def _share(part: Formula, whole: Formula) -> Formula:
    return part / line(whole, 1.0, TINY)


def _gained(move: Formula, n: int) -> Formula:
    return _share(total(positive(move), n), total(absolute(move), n))


def _lost(move: Formula, n: int) -> Formula:
    return _share(total(positive(line(move, -1.0)), n), total(absolute(move), n))


def _gained_less_lost(move: Formula, n: int) -> Formula:
    won, lost = total(positive(move), n), total(positive(line(move, -1.0)), n)
    return _share(won - lost, total(absolute(move), n))


Single = dict[str, tuple[Formula, str]]
BARS: Single = {
    "KMID": ((C - O) / O, "($close-$open)/$open"),
    "KLEN": ((H - L) / O, "($high-$low)/$open"),
    "KMID2": ((C - O) / RANGE, "($close-$open)/($high-$low+1e-12)"),
    "KUP": ((H - BODY_TOP) / O, "($high-Greater($open,$close))/$open"),
    "KUP2": ((H - BODY_TOP) / RANGE, "($high-Greater($open,$close))/($high-$low+1e-12)"),
    "KLOW": ((BODY_BOTTOM - L) / O, "(Less($open,$close)-$low)/$open"),
    "KLOW2": ((BODY_BOTTOM - L) / RANGE, "(Less($open,$close)-$low)/($high-$low+1e-12)"),
    "KSFT": ((line(C, 2.0) - H - L) / O, "(2*$close-$high-$low)/$open"),
    "KSFT2": ((line(C, 2.0) - H - L) / RANGE, "(2*$close-$high-$low)/($high-$low+1e-12)"),
    "OPEN0": (O / C, "$open/$close"),
    "HIGH0": (H / C, "$high/$close"),
    "LOW0": (L / C, "$low/$close"),
    "VWAP0": (TYPICAL / C, "$vwap/$close, with the typical price for $vwap"),
}

Rolling = dict[str, tuple[Callable[[int], Formula], str]]
ROLLING: Rolling = {
    "ROC": (lambda n: C.ago(n) / C, "Ref($close,d)/$close"),
    "MA": (lambda n: mean(C, n) / C, "Mean($close,d)/$close"),
    "STD": (lambda n: spread(C, n) / C, "Std($close,d)/$close"),
    "BETA": (lambda n: trend(C, n) / C, "Slope($close,d)/$close"),
    "RSQR": (lambda n: rsquare(C, n), "Rsquare($close,d)"),
    "RESI": (lambda n: residual(C, n) / C, "Resi($close,d)/$close"),
    "MAX": (lambda n: highest(H, n) / C, "Max($high,d)/$close"),
    "MIN": (lambda n: lowest(L, n) / C, "Min($low,d)/$close"),
    "QTLU": (lambda n: quantile(C, n, 0.8) / C, "Quantile($close,d,0.8)/$close"),
    "QTLD": (lambda n: quantile(C, n, 0.2) / C, "Quantile($close,d,0.2)/$close"),
    "RANK": (lambda n: rank(C, n), "Rank($close,d)"),
    "RSV": (
        lambda n: _share(C - lowest(L, n), highest(H, n) - lowest(L, n)),
        "($close-Min($low,d))/(Max($high,d)-Min($low,d)+1e-12)",
    ),
    "IMAX": (lambda n: line(oldest_highest(H, n), 1 / n), "IdxMax($high,d)/d"),
    "IMIN": (lambda n: line(oldest_lowest(L, n), 1 / n), "IdxMin($low,d)/d"),
    "IMXD": (
        lambda n: line(oldest_highest(H, n) - oldest_lowest(L, n), 1 / n),
        "(IdxMax($high,d)-IdxMin($low,d))/d",
    ),
    "CORR": (lambda n: correlation(C, log(line(V, 1.0, 1.0)), n), "Corr($close,Log($volume+1),d)"),
    "CORD": (
        lambda n: correlation(C / C1, log(line(V / V1, 1.0, 1.0)), n),
        "Corr($close/Ref($close,1),Log($volume/Ref($volume,1)+1),d)",
    ),
    "CNTP": (lambda n: mean(larger(C, C1), n), "Mean($close>Ref($close,1),d)"),
    "CNTN": (lambda n: mean(larger(C1, C), n), "Mean($close<Ref($close,1),d)"),
    "CNTD": (
        lambda n: mean(larger(C, C1), n) - mean(larger(C1, C), n),
        "Mean($close>Ref($close,1),d)-Mean($close<Ref($close,1),d)",
    ),
    "SUMP": (lambda n: _gained(MOVE, n), "gains over all moves of $close, d sessions"),
    "SUMN": (lambda n: _lost(MOVE, n), "losses over all moves of $close, d sessions"),
    "SUMD": (lambda n: _gained_less_lost(MOVE, n), "gains less losses over all moves of $close"),
    "VMA": (lambda n: _share(mean(V, n), V), "Mean($volume,d)/($volume+1e-12)"),
    "VSTD": (lambda n: _share(spread(V, n), V), "Std($volume,d)/($volume+1e-12)"),
    "WVMA": (
        lambda n: _share(spread(WEIGHED, n), mean(WEIGHED, n)),
        "Std(x,d)/(Mean(x,d)+1e-12) of x = Abs($close/Ref($close,1)-1)*$volume",
    ),
    "VSUMP": (lambda n: _gained(TRADE, n), "gains over all moves of $volume, d sessions"),
    "VSUMN": (lambda n: _lost(TRADE, n), "losses over all moves of $volume, d sessions"),
    "VSUMD": (lambda n: _gained_less_lost(TRADE, n), "gains less losses over all moves of $volume"),
}


def alpha158() -> dict[str, FeatureSpec]:
    """The registry of the set, in qlib's order."""
    found = {name: _spec(name, "bar", said, formula) for name, (formula, said) in BARS.items()}
    for kind, (make, said) in ROLLING.items():
        for n in WINDOWS:
            found[f"{kind}{n}"] = _spec(f"{kind}{n}", "rolling", said, make(n))
    return found


def _spec(name: str, group: str, said: str, formula: Formula) -> FeatureSpec:
    return of_formula(name, group, "ratio", REFERENCE, f"`{said}`", formula)


ALPHA158 = alpha158()
