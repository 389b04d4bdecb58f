"""Tables of the report: frames of the contracts in, restrained HTML out."""

from __future__ import annotations

import numpy as np
import pandas as pd

from quant50lib.services import alarm
from quant50lib.services.figures_book import NO_ORDERS, ordered, rule_name, rule_value
from quant50lib.services.report_html import (
    Column,
    Format,
    Html,
    bar,
    beside,
    facts_table,
    note,
    stack,
    table,
    text,
)
from quant50lib.services.report_style import BLUE, RED, SKY, bps, day, num, pct, shares, usd

#: how bad a finding is, worst first
SEVERITY = {"stop": 0, "quarantine": 1, "note": 2}
NO_FILLS = "no fills yet: the first orders fill at the next open"


def findings_table(findings: pd.DataFrame, limit: int = 20) -> Html:
    """What the quality gates saw, worst first; where that is nothing, `gates_table` says so."""
    rows = findings.assign(rank=findings["severity"].map(SEVERITY), where=findings["symbol"])
    rows["where"] = rows["where"].where(rows["where"] != "", "market")
    rows = rows.sort_values(["rank", "session", "symbol"], ascending=[True, False, True])
    columns = {
        "severity": text("Severity"),
        "where": text("Name"),
        "session": text("Session", day),
        "gate": text("Gate", lambda gate: gate.replace("_", " ")),
        "detail": text("Detail", wrap=True),
    }
    return table(rows, columns, limit, "", rows["severity"] == "stop")


def gates_table(findings: pd.DataFrame, named: int = 30) -> Html:
    """One row per verdict and gate, worst first: how many names, and which; notes are counted."""
    order = [severity for severity in SEVERITY if severity in set(findings["severity"])]
    rows = [
        {
            "severity": severity,
            "gate": gate,
            "found": len(part),
            "latest": part["session"].max(),
            "who": _who(part, named if severity != "note" else 0),
        }
        for severity in order
        for gate, part in findings[findings["severity"] == severity].groupby("gate")
    ]
    columns = {
        "severity": text("Verdict"),
        "gate": text("Gate", lambda gate: gate.replace("_", " ")),
        "found": Column("Found", lambda n: num(n, 0)),
        "latest": text("Latest", day),
        "who": text("Where", wrap=True),
    }
    frame = pd.DataFrame(rows, columns=list(columns))
    return table(
        frame,
        columns,
        len(frame),
        "every gate passed: nothing to report",
        frame["severity"] == "stop",
    )


def _who(part: pd.DataFrame, named: int) -> str:
    """The names of some findings, the latest first; of the market as a whole what is the matter."""
    if (part["symbol"] == "").all():
        return "; ".join(part["detail"])
    names = list(dict.fromkeys(part.sort_values("session", ascending=False)["symbol"]))
    if not named:
        return f"{num(len(names), 0)} name{'s' if len(names) > 1 else ''}, on record"
    rest = f" and {len(names) - named} more" if len(names) > named else ""
    return ", ".join(names[:named]) + rest


def extremes_table(features: pd.DataFrame, n: int = 5) -> Html:
    """Per feature the names with the lowest and the highest values."""
    known = features.dropna(subset=["value"]).sort_values(["feature", "value"], kind="stable")
    grouped = known.groupby("feature", sort=True)

    def names(rows: pd.DataFrame) -> str:
        return ", ".join(
            f"{symbol} {value:.3g}".replace("-", "−")
            for symbol, value in zip(rows["symbol"], rows["value"], strict=True)
        )

    rows = pd.DataFrame(
        [(name, names(part.head(n)), names(part.tail(n)[::-1])) for name, part in grouped],
        columns=["feature", "lowest", "highest"],
    )
    columns = {
        "feature": text("Feature"),
        "lowest": text(f"Lowest {n}", wrap=True),
        "highest": text(f"Highest {n}", wrap=True),
    }
    return table(rows, columns, empty="no features yet")


def folds_table(folds: pd.DataFrame) -> Html:
    """AUC and rank IC of each model over all folds, and of the first model fold by fold."""
    rows = folds.assign(
        ic=[
            f"{num(ic, 3, True)} ± {num(error, 3)}"
            for ic, error in zip(folds["rank_ic"], folds["rank_ic_error"], strict=True)
        ],
        whole=folds["fold"] == "all",
    ).sort_values(["whole", "model", "fold"], ascending=[False, True, True])
    rows = rows[rows["whole"] | rows["model"].isin(folds["model"].head(1))]
    columns = {
        "model": text("Model"),
        "fold": text("Fold"),
        "first_session": text("From", day),
        "last_session": text("To", day),
        "rows": Column("Rows", lambda n: num(n, 0)),
        "auc": Column("AUC", lambda auc: num(auc, 3)),
        "ic": Column("Rank IC ± error"),
    }
    return table(rows, columns, empty="no folds yet: the model has not been trained")


# ── book and orders ──────────────────────────────────────────────────────────────────────────────


def limits_table(limits: pd.DataFrame, sectors: int | None = None) -> Html:
    """Every rule with value, limit, head-room and price; breaches in red.

    With `sectors`, only so many of them, the fullest, and those that are breached.
    """
    if limits.empty:
        return note("no limits were evaluated")
    rows = ordered(limits)
    fuller = rows.groupby("is_sector").cumcount()
    if sectors is not None:
        rows = rows[~rows["is_sector"] | (fuller < sectors) | rows["breached"]]
    colour = np.where(rows["breached"], RED, np.where(rows["usage"] > 0.995, BLUE, SKY))
    rule = rows["rule"]
    rows = rows.assign(
        words=rule.map(rule_name),
        at=[rule_value(*pair) for pair in zip(rule, rows["value"], strict=True)],
        allowed=[rule_value(*pair) for pair in zip(rule, rows["limit"], strict=True)],
        left=[rule_value(*pair) for pair in zip(rule, rows["headroom"], strict=True)],
        used=[bar(share, tone) for share, tone in zip(rows["usage"], colour, strict=True)],
    )
    columns = {
        "words": text("Rule"),
        "used": Column("Used", left=True, raw=True),
        "at": Column("Stands at"),
        "allowed": Column("Limit"),
        "left": Column("Head-room"),
        "price_bps": Column("Price", _price),
        "detail": text("Remark", wrap=True),
    }
    if (rows["detail"] == "").all():
        del columns["detail"]
    return table(rows, columns, alert=rows["breached"])


def _price(value: float) -> str:
    """Of a rule, in bp; a rule that costs nothing has none."""
    return bps(value, 2, sign=False) if value >= 0.005 else ""


def events_table(events: pd.DataFrame, limit: int = 15) -> Html:
    """What the risk rules did."""
    rows = events.assign(
        where=events["symbol"].where(events["symbol"] != "", "book"),
        measured=[_event_value(e.rule, e.value) for e in events.itertuples()],
        against=[_event_value(e.rule, e.limit) for e in events.itertuples()],
    )
    columns = {
        "session": text("Session", day),
        "rule": text("Rule", lambda rule: rule.replace("_", "-")),
        "where": text("Name"),
        "measured": Column("Measured"),
        "against": Column("Against"),
        "detail": text("What it did", wrap=True),
    }
    return table(rows, columns, limit, "no stop-loss, brake, halt or alarm")


def _event_value(rule: str, value: float) -> str:
    """Waiting is counted in sessions, evidence is a number, everything else is a fraction."""
    if rule in alarm.RULES.values():
        return num(value, 1)
    return f"{value:.0f} sessions" if rule in ("barred", "rearm") else pct(value, 2)


def _plain(reason: str) -> str:
    """A reason without our code names' underscores."""
    return reason.replace("_", " ")


def order_states_table(orders: pd.DataFrame) -> Html:
    """Orders by state and side: how many, for how much, and why where they were not sent."""
    reasons = orders["reason"].where(orders["reason"] != "")
    rows = (
        orders.assign(reason=reasons)
        .groupby(["state", "side"])
        .agg(
            count=("symbol", "size"),
            notional=("notional", "sum"),
            reason=("reason", lambda texts: "; ".join(dict.fromkeys(texts.dropna()))[:160]),
        )
        .reset_index()
    )
    columns = {
        "state": text("State", lambda state: state.replace("_", " ")),
        "side": text("Side"),
        "count": Column("Orders", lambda n: num(n, 0)),
        "notional": Column("Notional", usd),
        "reason": text("Why", _plain, wrap=True),
    }
    if (rows["reason"] == "").all():
        del columns["reason"]
    return table(rows, columns, empty=NO_ORDERS)


def orders_table(orders: pd.DataFrame, limit: int = 25) -> Html:
    """The orders of the session, largest first."""
    rows = orders.sort_values("notional", ascending=False)
    columns = {
        "symbol": text("Symbol"),
        "side": text("Side"),
        "intent": text("Intent"),
        "qty": Column("Shares", shares),
        "price": Column("Last close", lambda price: usd(price, 2)),
        "notional": Column("Notional", usd),
        "state": text("State", lambda state: state.replace("_", " ")),
        "reason": text("Why", _plain, wrap=True),
    }
    if (rows["reason"] == "").all():
        del columns["reason"]
    alert = rows["state"].isin(("unknown", "refused"))
    return table(rows, columns, limit, NO_ORDERS, alert)


def fills_table(fills: pd.DataFrame, limit: int = 25) -> Html:
    """Executions booked since the last run, with what each cost against the close planned on."""
    rows = fills.sort_values("value", ascending=False)
    columns = {
        "symbol": text("Symbol"),
        "side": text("Side"),
        "session": text("Session", day),
        "qty": Column("Shares", shares),
        "price": Column("Price", lambda price: usd(price, 2)),
        "value": Column("Value", usd),
        "slippage_bps": Column("Slippage", bps),
    }
    return table(rows, columns, limit, NO_FILLS)


# ── account ──────────────────────────────────────────────────────────────────────────────────────


def holdings_table(holdings: pd.DataFrame, universe: pd.DataFrame, limit: int = 15) -> Html:
    """The largest holdings, with name, sector and result since entry."""
    known = universe.set_index("symbol")[["name", "sector"]]
    rows = holdings.join(known, on="symbol").sort_values("weight", ascending=False)
    top = rows["weight"].max() if len(rows) else 1.0
    rows = rows.assign(
        gain=rows["price"] / rows["entry_price"] - 1,
        share=[bar(weight / top) for weight in rows["weight"]],
        name=rows["name"].fillna(""),
        sector=rows["sector"].fillna(""),
    )
    columns = {
        "symbol": text("Symbol"),
        "name": text("Name", lambda name: name if len(name) <= 30 else name[:29] + "…"),
        "sector": text("Sector"),
        "value": Column("Value", usd),
        "gain": Column("Since entry", lambda gain: pct(gain, 1, sign=True)),
        "weight": Column("Weight", lambda weight: pct(weight, 2)),
        "share": Column("", left=True, raw=True),
    }
    return table(rows, columns, limit, "nothing is held: the account is all cash")


#: gains and losses: their sign is always shown
SIGNED = tuple(
    f"{kind}_{span}" for kind in ("pnl", "return") for span in ("day", "mtd", "ytd", "total")
)


def kpi_text(kpi: pd.Series, sign: bool = False) -> str:
    """The value of a row of `Kpi` in its unit."""
    shows: dict[str, Format] = {
        "usd": lambda value: usd(value, 2, sign),
        "fraction": lambda value: pct(value, 2, sign),
        "ratio": num,
        "count": lambda value: num(value, 0),
        "sessions": lambda value: num(value, 0),
    }
    return shows[kpi["unit"]](kpi["value"])


KPI_NAMES = {
    "pnl_day": "Result of the day",
    "pnl_mtd": "Result, month to date",
    "pnl_ytd": "Result, year to date",
    "pnl_total": "Result since inception",
    "return_day": "Return of the day",
    "return_mtd": "Return, month to date",
    "return_ytd": "Return, year to date",
    "return_total": "Return since inception",
    "return_annual": "Return, annual",
    "volatility_annual": "Volatility, annual",
    "sharpe": "Sharpe ratio",
    "beta": "Beta to the benchmark",
    "tracking_error_annual": "Tracking error, annual",
    "drawdown": "Drawdown now",
    "max_drawdown": "Deepest drawdown",
    "hit_rate": "Sessions with a gain",
    "best_day": "Best session",
    "worst_day": "Worst session",
    "turnover_day": "Turnover of the day",
    "turnover_mean": "Turnover, daily mean",
    "turnover_annual": "Turnover, annual",
    "invested": "Invested, of equity",
    "cash": "Cash",
    "sessions": "Sessions with a return",
}


def kpis_table(kpis: pd.DataFrame) -> Html:
    """All key figures in three columns, in the order of a reader's questions."""
    withheld = kpis["value"].isna() & kpis["detail"].str.startswith("withheld")
    named = kpis[~withheld].set_index("name")
    names = [name for name in KPI_NAMES if name in named.index]
    names += [name for name in named.index if name not in KPI_NAMES and name != "equity"]
    shown = {
        KPI_NAMES.get(name, name.replace("_", " ").capitalize()): kpi_text(
            named.loc[name], name in SIGNED
        )
        for name in names
    }
    parts = np.array_split(list(shown), 3)
    page = beside(*(facts_table({key: shown[key] for key in part}, right=True) for part in parts))
    if not withheld.any():
        return page
    return stack(page, note(f"Annual figures: {kpis.loc[withheld, 'detail'].iloc[0]}."))
