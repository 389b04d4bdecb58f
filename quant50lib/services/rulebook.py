"""The risk rules in the order in which they act, each with its edge: what `quant50 risk --rules` says.

A rule further up is never softened by one further down: what a halt sells no optimiser keeps, and
what a stop sells is outside the turnover cap.
"""

from __future__ import annotations

from typing import NamedTuple


class Rule(NamedTuple):
    """One rule: what it does, what happens exactly at its limit, and which settings move it."""

    name: str
    does: str
    edge: str
    settings: tuple[str, ...]  # section.field


RULES = (
    Rule(
        "kill switch",
        "by hand: nothing is bought until `quant50 resume`; sells still go",
        "asked again at every order; a file beside the ledger, so it outlives every restart",
        (),
    ),
    Rule(
        "halt",
        "drawdown of the episode: everything is sold and nothing bought; ends by "
        "`quant50 risk resume` or by waiting, with the mark reset to equity",
        "at the limit it halts, never later than where B falls below 0.2; an episode loses at most the "
        "limit, the session that crosses it, and the open at which all is sold",
        ("risk.drawdown_halt", "risk.rearm_sessions"),
    ),
    Rule(
        "stop-loss",
        "a loss from average entry above a multiple of the name's own volatility: sold at the next "
        "open, outside the turnover cap",
        "at the limit it is kept, above it is sold; too few returns: no stop",
        ("risk.stop_multiple", "risk.stop_volatility", "risk.stop_sessions"),
    ),
    Rule(
        "bar",
        "a name stopped out is not bought again",
        "the session of the stop is the first of them; 0 bars nothing",
        ("risk.stop_bar_sessions",),
    ),
    Rule(
        "brake",
        "drawdown of the episode: B falls in a straight line and scales what may be invested and the "
        "volatility target",
        "at the soft limit B is 1, at the hard one 0",
        ("risk.drawdown_soft", "risk.drawdown_hard"),
    ),
    Rule(
        "feedback",
        "squared surprises of the book: the volatility forecast rises and falls with them",
        "between 0.7 and 2; without a forecast nothing is learnt",
        ("risk.feedback", "risk.feedback_half_life_sessions"),
    ),
    Rule(
        "fast scale",
        "variance of the market of late over that of the year: it raises the volatility forecast",
        "never below its floor: at 1 a calm lowers nothing",
        ("optimize.fast_scale", "optimize.fast_scale_sessions", "optimize.fast_scale_min"),
    ),
    Rule(
        "limits of the book",
        "volatility target, sectors, names, turnover: constraints of the programme; what cannot hold "
        "gives way in the order set, and is named with its size and cure",
        "at the limit it is kept, to 1e-8",
        (
            "optimize.max_volatility_annual",
            "optimize.max_sector",
            "optimize.max_names",
            "optimize.max_weight",
            "optimize.max_turnover",
            "optimize.elastic_order",
        ),
    ),
    Rule(
        "checks before an order",
        "price, size, volume, account: the order is refused with every reason; sales that a rule "
        "demands pass whatever their size",
        "at the limit it passes",
        (
            "execute.max_order_notional",
            "execute.max_order_weight",
            "execute.max_volume_share",
            "execute.max_orders",
            "execute.max_price_gap",
        ),
    ),
    Rule(
        "alarm",
        "realised volatility above or below the forecast, safe to look at every day: an event, told to "
        "people, changes nothing",
        "at the limit, 1 / error = 20 times the stake, it is raised, and stays until the year ends",
        ("risk.alarm_error",),
    ),
)
