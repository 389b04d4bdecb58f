"""How the twin behaves where the real service is undocumented, or where a user may choose.

One rule is one named setting: `POST /sim/reset` takes any of them, a scenario file too. `GUESSES`
lists every other value of the rules that only say what the real service might do; an execution
module has to work under all of them.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from decimal import Decimal, InvalidOperation
from typing import Any

from quant50lib.simulator.refusals import Refusal

MOST = 10**15  # of any number


def guess(default: Any, *others: Any, about: str, only: bool = True) -> Any:
    """A rule that stands for something the real service does not document.

    `only` says that it has these values and no other.
    """
    values = (default, *others)
    return field(
        default=default,
        metadata={"values": values, "choices": values if only else (), "about": about},
    )


def choice(default: Any, *others: Any, about: str) -> Any:
    """A rule that a user sets; without `others`, any value of the type."""
    values = (default, *others) if others else ()
    return field(default=default, metadata={"choices": values, "about": about})


@dataclass(frozen=True)
class Rules:
    """Kept in the state file, and set anew by a reset."""

    # what a user chooses
    seed: int = choice(50, about="of partial fills and ids")
    cash: str = choice("100000", about="opening balance, US dollars")
    multiplier: str = choice("1", "2", "4", about="of buying power")
    no_shorting: bool = choice(True, False, about="sells beyond the position are refused")
    p_partial: float = choice(0.10, about="probability that a look fills a part only")
    half_spread_bps: float = choice(1.0, about="bid and ask around a price that has no quote")
    rate_limit: int | None = choice(None, about="requests a minute; null or 0: no limit")
    data_plan: str = choice("paid", "free", about="free: no SIP bars younger than 15 minutes")
    simulate_dividends: bool = choice(
        False, True, about="pay dividends in cash; Alpaca's paper does not"
    )
    calendar: dict[str, str | None] = field(
        default_factory=dict,
        metadata={"about": 'sessions that differ: {"2026-12-24": "13:00", "2026-12-31": null}'},
    )
    legacy_pdt_fields: bool = choice(
        False, True, about="the day-trading fields that replies lost on 2026-07-06"
    )
    # what the real service might do
    reserve_factor: str = guess(
        "1", "1.04", about="a market buy reserves the ask times this", only=False
    )
    splits_on_paper: str = guess(
        "apply", "late", "ignore", about="at 04:00 of the ex-date, days later, or never"
    )
    splits_late_days: int = choice(1, about="sessions by which `late` is late")
    acknowledge: str = guess(
        "pending_new", "accepted", "new", about="status in the reply to an order in the session"
    )
    queued_submitted_at: str = guess(
        "rewritten", "kept", about="submitted_at of a queued order when it turns new at 04:00"
    )
    day_order_end: str = guess("expired", "canceled", about="a DAY order at the close")
    cancel_outside: str = guess(
        "at_once", "pending", about="a cancel outside the session: done, or at the next open"
    )
    partial_filled_at: str = guess(
        "null", "last_fill", about="filled_at of an order that ended partly filled"
    )
    client_ids: str = guess("for_ever", "open", about="how long a client_order_id stays taken")
    renamed_asset: str = guess("same_id", "new_id", about="the asset id after a name change")
    refusal_status: str = guess(
        "table", "other", about="wash trades, inactive and not fractionable: 403 or 422"
    )
    unauthorized: str = guess("json", "old", "html", about="the body of a 401")
    rate_window: str = guess("bucket", "minute", about="how requests are counted")
    rate_headers: str = guess("always", "not_on_429", about="X-RateLimit headers of a 429")
    activity_delay: str = guess(
        "at_once", "next_day", about="when activities other than fills appear"
    )

    def __post_init__(self) -> None:
        for rule in fields(self):
            allowed = rule.metadata.get("choices")
            value = getattr(self, rule.name)
            if allowed and (type(value), value) not in [(type(v), v) for v in allowed]:
                raise Refusal(422, None, f"{rule.name} is one of {list(allowed)}, not {value!r}")
        if not self._numbers_fit():
            raise Refusal(422, None, f"not a set of rules: {self}")

    def _numbers_fit(self) -> bool:
        try:
            return (
                0 <= Decimal(self.cash) <= MOST
                and 0 < Decimal(self.reserve_factor) <= 100
                and 0 <= float(self.p_partial) <= 1
                and 0 <= float(self.half_spread_bps) < 10_000
                and 1 <= int(self.splits_late_days) <= 250
                and (self.rate_limit is None or 0 <= int(self.rate_limit) <= MOST)
                and abs(int(self.seed)) <= MOST
                and isinstance(self.calendar, dict)
            )
        except (TypeError, InvalidOperation, ValueError):
            return False


#: every other value of each rule that is a guess
GUESSES: dict[str, tuple[Any, ...]] = {
    rule.name: rule.metadata["values"][1:] for rule in fields(Rules) if "values" in rule.metadata
}
