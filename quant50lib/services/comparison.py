"""Our books beside the broker's, line by line: what agrees, what is explained, what differs. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal

import pandas as pd

from quant50lib.services.ledger import SHARE, ZERO, Entry, fold

#: cash agrees to the cent
CENT = Decimal("0.01")
NONE = "none"
#: how far apart two reports of the same corporate action may lie
SAME_ACTION = pd.Timedelta(days=14)


@dataclass(frozen=True)
class Side:
    """What one side says of the account."""

    cash: Decimal  # US dollars
    shares: Mapping[str, Decimal]
    orders: Mapping[str, str]  # working orders in words, by client_order_id
    fills: Mapping[str, str]  # executions in words, by id


@dataclass(frozen=True)
class Line:
    """One thing as we and as the broker have it."""

    what: str  # order, fill, shares, cash
    name: str  # of the order or fill, or the symbol
    ours: str
    theirs: str
    difference: str = ""  # theirs less ours; empty: they agree
    remark: str = ""
    explained: bool = False  # nothing has to stop for it

    @property
    def differs(self) -> bool:
        """Whether the desk has to stop for it."""
        return bool(self.difference) and not self.explained


def compare(ours: Side, theirs: Side, explained: Mapping[str, str]) -> list[Line]:
    """Every position, the cash, every working order and every execution of both sides.

    Parameters
    ----------
    explained : mapping
        Symbols whose shares may differ, and why.
    """
    return [
        *_orders(ours.orders, theirs.orders),
        *_fills(ours.fills, theirs.fills),
        *_shares(ours.shares, theirs.shares, explained),
        _cash(ours.cash, theirs.cash),
    ]


def differing(lines: Iterable[Line]) -> list[Line]:
    """Those for which the desk has to stop."""
    return [line for line in lines if line.differs]


def share_differences(
    ours: Mapping[str, Decimal], theirs: Mapping[str, Decimal]
) -> dict[str, Decimal]:
    """Theirs less ours, of each symbol on which that is more than the last digit."""
    gaps = {s: theirs.get(s, ZERO) - ours.get(s, ZERO) for s in sorted({*ours, *theirs})}
    return {symbol: gap for symbol, gap in gaps.items() if abs(gap) > SHARE}


def number(value: Decimal) -> str:
    """A decimal without trailing zeros, never in powers of ten."""
    return f"{value.normalize():f}"


def _shares(
    ours: Mapping[str, Decimal], theirs: Mapping[str, Decimal], explained: Mapping[str, str]
) -> list[Line]:
    gaps = share_differences(ours, theirs)
    lines = []
    for symbol in sorted({*ours, *theirs}):
        pair = number(ours.get(symbol, ZERO)), number(theirs.get(symbol, ZERO))
        gap = f"{gaps[symbol].normalize():+f}" if symbol in gaps else ""
        why = explained.get(symbol, "") if gap else ""
        lines.append(Line("shares", symbol, *pair, gap, why, bool(why)))
    return lines


def _cash(ours: Decimal, theirs: Decimal) -> Line:
    gap = theirs - ours
    said = f"{gap:+,.4f}" if abs(gap) >= CENT / 2 else ""
    return Line("cash", "", f"{ours:,.4f}", f"{theirs:,.4f}", said)


def _orders(ours: Mapping[str, str], theirs: Mapping[str, str]) -> list[Line]:
    """Working orders; what we have as working and they have not was settled before this."""
    lines = [Line("order", name, words, theirs.get(name, "")) for name, words in ours.items()]
    for name, words in theirs.items():
        if name not in ours:
            why = "cancel it at the broker: it is not ours to adopt"
            lines.append(Line("open order", name, NONE, words, "not ours", why))
    return lines


def _fills(ours: Mapping[str, str], theirs: Mapping[str, str]) -> list[Line]:
    lines = []
    for name, words in theirs.items():
        if name in ours:
            lines.append(Line("fill", name, ours[name], words))
        else:
            lines.append(Line("fill of an order not ours", name, NONE, words, "not ours"))
    return lines


# -- splits that the broker has not applied -----------------------------------------------------


def pending_splits(
    entries: Sequence[Entry], theirs: Mapping[str, Decimal], closes: pd.DataFrame | None
) -> dict[str, str]:
    """Names in which the broker's count is ours without the last split, and why that is so.

    The books keep the number of shares that is economically right, as shares times a price after
    the split has to make sense; the broker's count follows or not, and meanwhile nothing can be
    traded in the name. The price must confirm the split: a split that only a table knows of, and
    neither the broker nor the market, explains nothing.

    Parameters
    ----------
    closes : DataFrame, (n_sessions, n_symbols), or None
        As traded, US dollars. None: no price confirms anything.
    """
    found = {}
    ours = {symbol: position.qty for symbol, position in fold(entries).items()}
    for symbol in share_differences(ours, theirs):
        own = [entry for entry in entries if entry.symbol == symbol]
        at = max((n for n, e in enumerate(own) if e.kind == "split" and e.qty), default=None)
        if at is None or closes is None:
            continue
        without = sum((entry.qty for n, entry in enumerate(own) if n != at), ZERO)
        before = sum((entry.qty for entry in own[:at]), ZERO)
        if abs(without - theirs.get(symbol, ZERO)) > SHARE or before <= 0:
            continue
        if _confirmed(own[at], float((before + own[at].qty) / before), closes):
            found[symbol] = (
                f"split of {own[at].detail} on {own[at].at:%Y-%m-%d} not applied yet: our books "
                f"have {number(ours.get(symbol, ZERO))}, the broker {number(without)}"
            )
    return found


def _confirmed(split: Entry, factor: float, closes: pd.DataFrame) -> bool:
    """Whether the price fell by about the factor, or has not been seen since."""
    if split.symbol not in closes:
        return False
    prices = closes[split.symbol].dropna()
    day = split.at.tz_localize(None).normalize()
    earlier, later = prices[prices.index < day], prices[prices.index >= day]
    if later.empty:
        return True
    if earlier.empty:
        return False
    fall = earlier.iloc[-1] / later.iloc[0]
    return bool(abs(fall / factor - 1) < abs(fall - 1))


# -- in words -----------------------------------------------------------------------------------


def as_frame(lines: Iterable[Line]) -> pd.DataFrame:
    """The lines as a table for people and programs."""
    columns = ["what", "name", "ours", "theirs", "difference", "remark", "explained"]
    return pd.DataFrame([vars(line) for line in lines], columns=columns)


def explained(lines: Sequence[Line], page: str = "") -> str:
    """Why the desk stops: all that differs, and what to do next."""
    table = as_frame(lines)[["what", "name", "ours", "theirs", "difference"]]
    where = f"the page {page} shows both sides; " if page else ""
    places = "1 place" if len(lines) == 1 else f"{len(lines)} places"
    return (
        f"our books and the broker's differ in {places}, and no corporate action "
        "or activity explains it:\n"
        f"{table.to_string(index=False)}\n"
        f"nothing is traded until they agree: {where}look at the account's activities, and "
        '`quant50 reconcile --adopt "REASON"` takes the broker\'s side over into our books'
    )
