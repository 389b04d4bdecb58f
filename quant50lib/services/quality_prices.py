"""Gates on the path of prices: jumps, forgotten splits, and bars that stand apart.

News moves prices and draws trade. A price that moves far and draws none is a split nobody told us
of, or a bar that belongs to another day.
"""

from __future__ import annotations

from fractions import Fraction

import numpy as np

from quant50lib.services.quality_scan import Hits, Scan, hits

#: splits that occur, new shares for old; each also the other way round
RATIOS = tuple(
    Fraction(ratio)
    for ratio in "5/4 4/3 3/2 5/3 2 5/2 3 4 5 6 7 8 10 12 15 20 25 30 40 50 100".split()
)
#: shares of `displaced_scales`: suspected of belonging to another day, confirmed by the next open,
#: and enough on a day when many are suspected
SUSPECT, CONFIRMED, IN_DISORDER = 0.5, 0.4, 0.3
#: fewer bars out of place are accidents of names, however small the universe
LEAST_MANY = 5


def jump(scan: Scan) -> Hits:
    """A close beyond `jump_max` from the last two, with no action and no trade to explain it.

    Explained is a move with `news_volume` times the usual value traded, and the way back from a
    bar that was wrong itself: then the close before the last agrees.
    """
    change, before = scan.moves.change, scan.moves.change_2
    far = np.abs(change) > scan.settings.jump_max
    undone = np.abs(before) < scan.settings.jump_max / 2
    news = scan.moves.dollars >= scan.settings.news_volume
    mask = far & ~undone & ~news & ~scan.unexplained & ~_ratio(scan)[0]
    return hits(
        mask & scan.raw.present,
        lambda r, c: f"{change[r, c]:+.1%} in a session, no action explains it",
    )


def unexplained_split(scan: Scan) -> Hits:
    """An open at the ratio of a split to the last close, with the value traded as usual.

    After a split of n for m the same value is n / m times the shares: a stock that fell by a third
    on news trades several times its usual value, a 3:2 split does not. (A split is the one change
    that leaves the market value, and so the turnover in dollars, alone: Fama, Fisher, Jensen and
    Roll 1969.)
    """
    mask, nearest = _ratio(scan)

    def say(row: int, col: int) -> str:
        ratio = RATIOS[nearest[row, col]]
        new, old = ratio.numerator, ratio.denominator
        fell = scan.moves.gap[row, col] < 0
        return f"looks like a {new}:{old} split" if fell else f"looks like a {old}:{new} split"

    return hits(mask, say)


def _ratio(scan: Scan) -> tuple[np.ndarray, np.ndarray]:
    """Where the gap is a split's, and the place of the nearest ratio."""
    size = np.abs(scan.moves.gap)
    steps = np.log([float(ratio) for ratio in RATIOS])
    after = np.clip(np.searchsorted(steps, size), 1, len(steps) - 1)
    nearest = after - (size - steps[after - 1] < steps[after] - size)
    close = np.abs(size - steps[nearest]) < scan.settings.split_tolerance
    return close & _lasting(scan, scan.moves.gap) & ~scan.unexplained & _ordinary(scan), nearest


def _ordinary(scan: Scan) -> np.ndarray:
    """Whether the value traded is about the usual one."""
    most = scan.settings.news_volume
    dollars = scan.moves.dollars
    return (dollars < most) & (dollars > 1 / most)


def suspect(scan: Scan) -> np.ndarray:
    """Bars that may belong to another day: (n_sessions, n_symbols).

    The open is far from the last close, and no way back to those before it; trade was quiet.
    """
    return _apart(scan, SUSPECT * scan.settings.displaced_scales)


def _apart(scan: Scan, scales: float) -> np.ndarray:
    far = np.abs(scan.moves.scales) > scales
    return far & _lasting(scan, scan.moves.rest) & _quiet(scan) & ~scan.unexplained


def _lasting(scan: Scan, size: np.ndarray) -> np.ndarray:
    """Whether a gap is no way back: the open is apart from the two closes before the last as well.

    It lies on the same side of them, by a third of the gap at least.
    """
    found = np.ones(size.shape, dtype=bool)
    for before in (scan.moves.back, scan.moves.further):
        found &= ~(np.sign(size) * before < np.abs(size) / 3)
    return found


def _quiet(scan: Scan) -> np.ndarray:
    return scan.moves.volume < scan.settings.quiet_volume


def many(scan: Scan, count: np.ndarray) -> np.ndarray:
    """Whether so many bars out of place, (n_sessions,), make a session unfit: `disorder_share`."""
    live = scan.raw.present.sum(axis=1)
    found: np.ndarray = (count > scan.settings.disorder_share * live) & (count >= LEAST_MANY)
    return found


def disordered(scan: Scan) -> np.ndarray:
    """Sessions on which many bars are suspected."""
    return many(scan, suspect(scan).sum(axis=1))


def displaced(scan: Scan) -> Hits:
    """A bar far from the one before it on a quiet day: quarantine until the next bar tells.

    Its open differs from the last close by `displaced_scales` times what is usual for the name after
    market and sector are taken out, and is no way back to the closes before; its range leaves out
    the last one's; and its volume is below `quiet_volume` times the usual. On a day when many names
    are suspected, less is enough.
    """
    mask = _apart(scan, scan.settings.displaced_scales) & _clear(scan)
    mask |= disordered(scan)[:, None] & _apart(scan, IN_DISORDER * scan.settings.displaced_scales)
    one, volume = scan.moves.scales, scan.moves.volume
    return hits(
        mask,
        lambda r, c: f"open {np.expm1(scan.moves.rest[r, c]):+.1%} beside its sector, "
        f"{abs(one[r, c]):.0f} times the usual, on {volume[r, c]:.1f} times the usual volume",
    )


def _clear(scan: Scan) -> np.ndarray:
    """Whether the range of a bar lies wholly above or below that of the bar before."""
    price = scan.factors.price
    high, low = scan.field("high") * price, scan.field("low") * price
    found = np.zeros(high.shape, dtype=bool)
    found[1:] = (low[1:] > high[:-1]) | (high[1:] < low[:-1])
    return found


def island(scan: Scan) -> Hits:
    """A bar apart from the one before, and the next open back where that one was.

    Judged when the next bar has arrived. Both gaps are large for the name, opposite, and on quiet
    trade; the next open has undone more than half of the first.
    """
    moves, scales = scan.moves, CONFIRMED * scan.settings.displaced_scales
    one, after = moves.scales[:-1], moves.scales[1:]
    mask = _apart(scan, scales)
    mask[-1] = False
    mask[:-1] &= (np.abs(after) > scales) & (one * after < 0)
    mask[:-1] &= np.abs(moves.back[1:]) < np.abs(moves.rest[:-1]) / 2
    return hits(
        mask,
        lambda r, c: f"open {np.expm1(moves.rest[r, c]):+.1%} beside its sector and back "
        "at the next, with no trade to explain it",
        1,
    )
