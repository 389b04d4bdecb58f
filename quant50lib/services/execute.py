"""From the weights wanted to the orders that get there; pure, exact and in a fixed order.

Sells go first, then buys by their size: a queued sell frees no buying power before it fills, so
the largest buys that the account can carry today go today and the rest waits. A trade that fails a
check is kept as `refused` with the check's name and by how much it failed; one that has to wait is
kept as `deferred`. The state `planned` alone is meant to be sent.

Nothing is carried over but the books: what was refused or deferred, cancelled or filled in part is
part of the next session's drift between holding and target, and is planned anew from it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from decimal import ROUND_FLOOR, Decimal
from typing import Any

import pandas as pd

from quant50lib.contracts import INTENTS, Order
from quant50lib.errors import ContractError
from quant50lib.services.checks import Asset, Conditions, Draft, checked
from quant50lib.services.ledger import decimal
from quant50lib.settings import ExecuteSettings
from quant50lib.utils.frames import typed

#: smallest step of a quantity that we choose ourselves (the broker's is nine decimals)
STEP = Decimal("0.000001")
ZERO = Decimal(0)
#: corporate actions that multiply the shares of the name itself
SPLITS = ("forward_split", "reverse_split", "stock_dividend")
#: corporate actions that leave the number of shares as it is
HARMLESS = ("cash_dividend",)
NOTHING: Mapping[str, str] = {}


def client_order_id(session: pd.Timestamp, draft: Draft, attempt: int = 1) -> str:
    """The name of an order, the same whenever it is computed, so that a repeat is recognised.

    The number of the attempt is 1 in every daily plan: within a session an order is only ever sent
    again under the same name (see `pipeline.resolve`), and the next session has names of its own.
    """
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
    *,
    frozen: Mapping[str, str] | None = None,
    halted: str = "",
    coming: Mapping[str, str] | None = None,
    available: Mapping[str, Decimal] | None = None,
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
    frozen : mapping, optional
        Names in which nothing may be sent until something is cleared up, and what that is.
    halted : str
        Why the kill switch is on; empty: it is not.
    coming : mapping, optional
        Names whose number of shares changes before the orders fill, and how (`coming_actions`).
    available : mapping, optional
        Shares of each position that no other order holds, as the broker counts them.

    Raises
    ------
    ContractError
        A target has neither a close nor a holding, or the universe is of another session.
    """
    assets = _assets(universe, holding, median_volume, run_date)
    held_at = {row.symbol: decimal(row.price) for row in holding.itertuples()}
    day = Conditions(assets, decimal(equity), reduce_only, settings, halted, coming or {}, held_at)
    wanted = {row.symbol: (decimal(row.weight), row.intent) for row in target.itertuples()}
    held = {row.symbol: decimal(row.qty) for row in holding.itertuples()}
    waits = _waits(open_symbols, frozen or {})
    drafts = planned(wanted, held, day, decimal(cash), waits, available)
    return to_frame([_shadowed(draft, shadow_reason) for draft in drafts], run_date)


def planned(
    wanted: Mapping[str, tuple[Decimal, str]],
    held: Mapping[str, Decimal],
    day: Conditions,
    cash: Decimal,
    waits: Mapping[str, str] = NOTHING,
    available: Mapping[str, Decimal] | None = None,
) -> list[Draft]:
    """`plan_orders` on plain numbers: the trades in the order in which they are to be sent.

    Parameters
    ----------
    wanted
        Weight and intent by symbol.
    held
        Shares by symbol.
    day
        Knows the assets of both.
    waits
        Why a name takes no order now.
    """
    drafts = _in_sequence(_drafts(wanted, held, day))
    drafts = _limit_count([checked(draft, day) for draft in drafts], day.settings)
    drafts = [_wait(draft, waits.get(draft.symbol, "")) for draft in drafts]
    drafts = [_within_available(draft, available) for draft in drafts]
    return _within_cash(drafts, cash, decimal(day.settings.price_collar))


def coming_actions(
    actions: pd.DataFrame, session: pd.Timestamp, until: pd.Timestamp
) -> dict[str, str]:
    """Names whose shares change after a session and up to another, and by what.

    Parameters
    ----------
    actions : DataFrame
        symbol, type, ex_date.
    """
    between = (actions["ex_date"] > session) & (actions["ex_date"] <= until)
    return changing(actions[between].itertuples())


def changing(actions: Iterable[Any]) -> dict[str, str]:
    """Names whose shares an action changes, and how; each action has symbol, type and ex_date."""
    return {
        row.symbol: f"{row.type} on {row.ex_date.date()}"
        for row in actions
        if row.type not in HARMLESS
    }


def in_sequence(orders: pd.DataFrame) -> pd.DataFrame:
    """Orders as they are sent: sells first, each side from the largest down, ties by symbol."""
    keyed = orders.assign(_buy=orders["side"] == "buy")
    return keyed.sort_values(
        ["_buy", "notional", "symbol"], ascending=[True, False, True], ignore_index=True
    ).drop(columns="_buy")


def buying_power(cash: Decimal, collar: Decimal) -> Decimal:
    """The notional that `cash` can carry when the broker values a buy `collar` higher."""
    return max(cash, ZERO) / (1 + collar)


def reserved(working: pd.DataFrame, settings: ExecuteSettings) -> Decimal:
    """What the broker keeps back for open buys, US dollars: their rest, a `price_collar` higher."""
    buys = working[working["side"] == "buy"]
    rest = ((buys["qty"] - buys["filled_qty"]) * buys["price"]).sum()
    return decimal(rest) * (1 + decimal(settings.price_collar))


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
    return asset(
        getattr(row, "close", None),
        last_price,
        bool(getattr(row, "tradable", False)),
        bool(getattr(row, "fractionable", True)),
        getattr(row, "reason", "it has left the universe"),
        volume,
    )


def asset(
    close: float | None,
    last_price: float | None,
    tradable: bool,
    fractionable: bool,
    why: str,
    volume: float | None,
) -> Asset:
    """A name as the checks see it; without a close of the session the last price known counts."""
    fresh = close is not None and close > 0
    price = close if fresh else last_price
    return Asset(
        price=decimal(price) if price is not None else ZERO,
        fresh=fresh,
        tradable=tradable,
        fractionable=fractionable,
        why=why,
        median_volume=decimal(volume) if volume is not None and volume == volume else None,
    )


# -- how much -------------------------------------------------------------------------------------


def _drafts(
    wanted: Mapping[str, tuple[Decimal, str]], held: Mapping[str, Decimal], day: Conditions
) -> list[Draft]:
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


def _waits(open_symbols: Collection[str], frozen: Mapping[str, str]) -> dict[str, str]:
    """Why each name takes no order now."""
    waiting = dict.fromkeys(open_symbols, "open order: an earlier one is not finished")
    return waiting | {symbol: f"frozen: {reason}" for symbol, reason in frozen.items()}


def _wait(draft: Draft, why: str) -> Draft:
    if draft.state != "planned" or not why:
        return draft
    return replace(draft, state="deferred", reason=why)


def _within_available(draft: Draft, available: Mapping[str, Decimal] | None) -> Draft:
    """A sell of shares that another order holds waits until that one has ended."""
    if available is None or draft.side == "buy" or draft.state != "planned":
        return draft
    free = available.get(draft.symbol, ZERO)
    if draft.qty <= free:
        return draft
    why = f"held_for_orders: {draft.qty} wanted, {draft.qty - free} over the {free} available"
    return replace(draft, state="deferred", reason=why)


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
    return typed(Order, (order_row(draft, run_date) for draft in drafts))


def order_row(draft: Draft, run_date: pd.Timestamp) -> dict[str, object]:
    """A row of `contracts.Order`."""
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
