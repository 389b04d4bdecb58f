"""From the weights wanted to the orders that get there; pure, exact and in a fixed order.

Sells go first, then buys by their size: a queued sell frees no buying power before it fills, so
the largest buys that the account can carry today go today and the rest waits. A trade that fails a
check is kept as `refused` with the check's name and by how much it failed; one that has to wait is
kept as `deferred`. The state `planned` alone is meant to be sent.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, replace
from decimal import ROUND_FLOOR, Decimal

import pandas as pd

from quant50lib.contracts import INTENTS, Order
from quant50lib.errors import ContractError
from quant50lib.services.ledger import decimal
from quant50lib.settings import ExecuteSettings
from quant50lib.utils.frames import typed

#: smallest step of a quantity that we choose ourselves (the broker's is nine decimals)
STEP = Decimal("0.000001")
ZERO = Decimal(0)
#: these leave a position because a rule says so: no limit on the size of an order may keep them in
LEAVING = ("stop", "halt", "exit")


@dataclass(frozen=True)
class Draft:
    """One trade on its way to becoming an order."""

    symbol: str
    side: str
    intent: str
    qty: Decimal
    price: Decimal
    whole: bool  # the full position is sold
    state: str = "planned"
    reason: str = ""

    @property
    def notional(self) -> Decimal:
        return self.qty * self.price


@dataclass(frozen=True)
class Asset:
    """What has to be known of a name before it is traded."""

    price: Decimal  # US dollars; the close of the session, or the last one known
    fresh: bool  # the price is the close of the session
    tradable: bool
    fractionable: bool
    why: str  # why it may not be bought
    median_volume: Decimal | None  # shares a day


@dataclass(frozen=True)
class Conditions:
    """What all checks of a day are held against."""

    assets: dict[str, Asset]
    equity: Decimal
    reduce_only: bool
    settings: ExecuteSettings


def client_order_id(session: pd.Timestamp, draft: Draft, attempt: int = 1) -> str:
    """The name of an order, the same whenever it is computed, so that a repeat is recognised."""
    return f"q50-{session:%Y%m%d}-{draft.symbol}-{draft.side}-{draft.intent}-{attempt}"


def plan_orders(
    target: pd.DataFrame,
    holding: pd.DataFrame,
    universe: pd.DataFrame,
    equity: Decimal,
    cash: Decimal,
    median_volume: pd.Series,
    settings: ExecuteSettings,
    run_date: pd.Timestamp,
    open_symbols: Collection[str],
    reduce_only: bool,
    shadow_reason: str = "",
) -> pd.DataFrame:
    """The orders of a session, as `contracts.Order`, in the order in which they are to be sent.

    Parameters
    ----------
    target : Target frame
        A name with intent `hold` is left alone; a holding without a row is sold.
    holding : Holding frame
    universe : Universe frame
        Closes as traded on `run_date`, and what may be bought.
    equity, cash : Decimal
        US dollars; buys are paid out of `cash`, each valued a `price_collar` above the close.
    median_volume : Series by symbol
        Shares a day.
    open_symbols : collection of str
        Names with an unfinished order at the broker: they wait, one order a name.
    reduce_only : bool
        Nothing may be bought.
    shadow_reason : str
        Why nothing of this will be sent; empty: it will.

    Raises
    ------
    ContractError
        A target has neither a close nor a holding, or the universe is of another session.
    """
    assets = _assets(universe, holding, median_volume, run_date)
    day = Conditions(assets, decimal(equity), reduce_only, settings)
    drafts = _in_sequence(_drafts(target, holding, day))
    drafts = _limit_count([_checked(draft, day) for draft in drafts], settings)
    drafts = [_wait_for_open(draft, open_symbols) for draft in drafts]
    drafts = _within_cash(drafts, decimal(cash), decimal(settings.price_collar))
    return to_frame([_shadowed(draft, shadow_reason) for draft in drafts], run_date)


def in_sequence(orders: pd.DataFrame) -> pd.DataFrame:
    """Orders as they are sent: sells first, each side from the largest down, ties by symbol."""
    keyed = orders.assign(_buy=orders["side"] == "buy")
    return keyed.sort_values(
        ["_buy", "notional", "symbol"], ascending=[True, False, True], ignore_index=True
    ).drop(columns="_buy")


def buying_power(cash: Decimal, collar: Decimal) -> Decimal:
    """The notional that `cash` can carry when the broker values a buy `collar` higher."""
    return max(cash, ZERO) / (1 + collar)


def shadow(orders: pd.DataFrame, reason: str) -> pd.DataFrame:
    """The same orders with all that were to be sent marked as never to be sent, and why."""
    planned = orders["state"] == "planned"
    marked = orders.copy()
    marked.loc[planned, "state"] = "shadow"
    marked.loc[planned, "reason"] = reason
    return marked


# -- what is known of each name ----------------------------------------------------------------


def _assets(
    universe: pd.DataFrame, holding: pd.DataFrame, volume: pd.Series, run_date: pd.Timestamp
) -> dict[str, Asset]:
    other = universe.loc[universe["session"] != run_date, "session"]
    if len(other):
        raise ContractError(
            f"orders of {run_date.date()} on a universe of {other.iloc[0].date()}: run the stage "
            "ingest for the session first"
        )
    known = {row.symbol: row for row in universe.itertuples()}
    last = dict(zip(holding["symbol"], holding["price"]))
    symbols = sorted(set(known) | set(last))
    return {s: _asset(known.get(s), last.get(s), volume.get(s)) for s in symbols}


def _asset(row: object, last_price: float | None, volume: float | None) -> Asset:
    close = getattr(row, "close", None)
    fresh = close is not None and pd.notna(close) and close > 0
    price = close if fresh else last_price
    return Asset(
        price=decimal(price) if price is not None else ZERO,
        fresh=fresh,
        tradable=bool(getattr(row, "tradable", False)),
        fractionable=bool(getattr(row, "fractionable", True)),
        why=getattr(row, "reason", "it has left the universe"),
        median_volume=decimal(volume) if volume is not None and pd.notna(volume) else None,
    )


# -- how much -------------------------------------------------------------------------------------


def _drafts(target: pd.DataFrame, holding: pd.DataFrame, day: Conditions) -> list[Draft]:
    wanted = {row.symbol: (decimal(row.weight), row.intent) for row in target.itertuples()}
    held = {row.symbol: decimal(row.qty) for row in holding.itertuples()}
    unpriced = sorted(s for s in wanted if s not in day.assets or not day.assets[s].price)
    unpriced = [s for s in unpriced if wanted[s][0] > 0 or s in held]
    if unpriced:
        raise ContractError(f"no close is known for the targets {', '.join(unpriced)}")
    found = []
    for symbol in sorted(set(wanted) | set(held)):
        weight, intent = wanted.get(symbol, (ZERO, "exit"))
        draft = _draft(symbol, weight, intent, held.get(symbol, ZERO), day)
        if draft is not None and not _is_dust(draft, day.settings):
            found.append(draft)
    return found


def _draft(
    symbol: str, weight: Decimal, intent: str, held: Decimal, day: Conditions
) -> Draft | None:
    """The trade from the quantity held to the weight wanted, rounded towards no trade."""
    if weight > 0 and intent == "hold":
        return None
    intent = intent if intent in INTENTS else "exit"
    if weight == 0:
        return _full_sale(symbol, intent, held, day.assets[symbol]) if held else None
    asset = day.assets[symbol]
    value = weight * day.equity - held * asset.price
    step = STEP if asset.fractionable else Decimal(1)
    qty = _floor(abs(value) / asset.price, step)
    if not qty:
        return None
    side = "buy" if value > 0 else "sell"
    return Draft(symbol, side, intent, qty, asset.price, whole=False)


def _full_sale(symbol: str, intent: str, held: Decimal, asset: Asset) -> Draft:
    """All of it; of an asset that trades in whole shares, all whole ones where there are any."""
    lots = held if asset.fractionable else _floor(held, Decimal(1))
    return Draft(symbol, "sell", intent, lots or held, asset.price, whole=True)


def _floor(value: Decimal, step: Decimal) -> Decimal:
    return value.quantize(step, rounding=ROUND_FLOOR)


def _is_dust(draft: Draft, settings: ExecuteSettings) -> bool:
    return not draft.whole and draft.notional < decimal(settings.min_notional)


def _in_sequence(drafts: Iterable[Draft]) -> list[Draft]:
    return sorted(drafts, key=lambda d: (d.side == "buy", -d.notional, d.symbol))


# -- checks: empty text where passed, else by how much it failed ------------------------------------


def check_reduce_only(draft: Draft, day: Conditions) -> str:
    """Nothing is bought while the desk may only reduce."""
    return "nothing may be bought now" if day.reduce_only and draft.side == "buy" else ""


def check_price(draft: Draft, day: Conditions) -> str:
    """A quantity computed from a stale price is wrong; a full sale needs no price."""
    if day.assets[draft.symbol].fresh or draft.whole:
        return ""
    return f"no close of the session, the last one known is {draft.price}"


def check_tradable(draft: Draft, day: Conditions) -> str:
    """What may not be bought is not bought; it may always be sold."""
    asset = day.assets[draft.symbol]
    return f"may not be bought: {asset.why}" if draft.side == "buy" and not asset.tradable else ""


def check_fractionable(draft: Draft, day: Conditions) -> str:
    """An asset that trades in whole shares only takes whole shares."""
    part = draft.qty % 1
    if day.assets[draft.symbol].fractionable or not part:
        return ""
    return f"{part.normalize()} of a share, and the asset trades in whole ones"


def check_notional(draft: Draft, day: Conditions) -> str:
    """No single trade above a sum of money."""
    return _over(draft, draft.notional, decimal(day.settings.max_order_notional), "USD")


def check_weight(draft: Draft, day: Conditions) -> str:
    """No single trade above a share of equity."""
    limit = decimal(day.settings.max_order_weight) * day.equity
    return _over(draft, draft.notional, limit, "USD of equity's share")


def check_volume(draft: Draft, day: Conditions) -> str:
    """No single trade above a share of what the market trades on a median day."""
    volume = day.assets[draft.symbol].median_volume
    if volume is None:
        return "" if draft.intent in LEAVING else "its daily volume is not known"
    return _over(draft, draft.qty, decimal(day.settings.max_volume_share) * volume, "shares")


def _over(draft: Draft, value: Decimal, limit: Decimal, unit: str) -> str:
    if value <= limit or draft.intent in LEAVING:
        return ""
    return f"{value:,.2f} {unit} is {value - limit:,.2f} over the limit {limit:,.2f}"


CHECKS: dict[str, Callable[[Draft, Conditions], str]] = {
    "reduce_only": check_reduce_only,
    "price": check_price,
    "tradable": check_tradable,
    "fractionable": check_fractionable,
    "max_order_notional": check_notional,
    "max_order_weight": check_weight,
    "max_volume_share": check_volume,
}


def _checked(draft: Draft, day: Conditions) -> Draft:
    """The draft, or the same refused with all that speaks against it."""
    failures = {name: check(draft, day) for name, check in CHECKS.items()}
    against = "; ".join(f"{name}: {why}" for name, why in failures.items() if why)
    return replace(draft, state="refused", reason=against) if against else draft


# -- what concerns all of them together -------------------------------------------------------------


def _limit_count(drafts: list[Draft], settings: ExecuteSettings) -> list[Draft]:
    """Beyond `max_orders` trades the smallest are refused."""
    sendable = [draft for draft in drafts if draft.state == "planned"]
    surplus = {draft.symbol for draft in sendable[settings.max_orders :]}
    why = f"max_orders: {len(sendable)} is {len(surplus)} over the limit {settings.max_orders}"
    return [
        replace(draft, state="refused", reason=why) if draft.symbol in surplus else draft
        for draft in drafts
    ]


def _wait_for_open(draft: Draft, open_symbols: Collection[str]) -> Draft:
    if draft.state != "planned" or draft.symbol not in open_symbols:
        return draft
    return replace(draft, state="deferred", reason="open order: an earlier one is not finished")


def _within_cash(drafts: list[Draft], cash: Decimal, collar: Decimal) -> list[Draft]:
    """Buys in their sequence while the cash carries them; what does not fit waits."""
    left, kept = buying_power(cash, collar), []
    for draft in drafts:
        if draft.side == "buy" and draft.state == "planned":
            if draft.notional > left:
                need, have = draft.notional * (1 + collar), left * (1 + collar)
                why = f"buying power: needs {need:,.2f}, has {have:,.2f}"
                draft = replace(draft, state="deferred", reason=why)
            else:
                left -= draft.notional
        kept.append(draft)
    return kept


def _shadowed(draft: Draft, reason: str) -> Draft:
    if not reason or draft.state != "planned":
        return draft
    return replace(draft, state="shadow", reason=reason)


# -- the table --------------------------------------------------------------------------------------


def to_frame(drafts: list[Draft], run_date: pd.Timestamp) -> pd.DataFrame:
    """Drafts as `contracts.Order`, attempt 1 of each."""
    return typed(Order, (_row(draft, run_date) for draft in drafts))


def _row(draft: Draft, run_date: pd.Timestamp) -> dict[str, object]:
    return {
        "session": run_date,
        "client_order_id": client_order_id(run_date, draft),
        "symbol": draft.symbol,
        "side": draft.side,
        "intent": draft.intent,
        "attempt": 1,
        "qty": float(draft.qty),
        "price": float(draft.price),
        "notional": float(draft.notional),
        "state": draft.state,
        "broker_id": "",
        "filled_qty": 0.0,
        "filled_price": None,
        "reason": draft.reason,
    }
