"""The head of the daily report: title, badge, headline tiles, the day in sentences; and its checks."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from quant50lib.services.figures_book import rule_name
from quant50lib.services.report_html import Html, facts_table, note
from quant50lib.services.report_style import (
    INK,
    MISSING,
    ORANGE,
    PAPER,
    RED,
    SOFT,
    day,
    num,
    pct,
    usd,
)
from quant50lib.services.report_tables import SIGNED
from quant50lib.settings import ModelSettings
from quant50lib.utils import dates

#: (KPI, heading, KPI or word below, words after it); the second line is the money or the context
TILES = (
    ("equity", "Equity", "cash", "cash"),
    ("pnl_day", "Result of the day", "return_day", ""),
    ("return_ytd", "Year to date", "pnl_ytd", ""),
    ("return_total", "Since inception", "pnl_total", ""),
    ("drawdown", "Drawdown", "max_drawdown", "at its deepest"),
    ("volatility_annual", "Volatility", "", "annual, realised"),
    ("turnover_day", "Turnover of the day", "", "bought and sold, of equity"),
    ("invested", "Invested", "", "of equity"),
)
#: orders in these states went to the broker, or are about to
WORKING = ("sending", "accepted", "partially_filled", "filled", "unknown")


def document_title(title: str, run_date: pd.Timestamp, simulated: str) -> str:
    """One line for the footer and the properties of the document."""
    return f"{title} · {day(run_date)} · {simulated}"


def header(title: str, run_date: pd.Timestamp, simulated: str, kpis: pd.DataFrame) -> Html:
    """Title, session, what is simulated, and eight headline tiles from the table `Kpi`."""
    tiles = "".join(_tile(kpis, *tile) for tile in TILES)
    return Html(
        '<div style="display:flex;justify-content:space-between;align-items:flex-start;gap:12pt">'
        f'<div><h1 style="margin:0;font-size:17pt">{html.escape(title)}</h1>'
        f'<p style="margin:2pt 0 0;color:{SOFT}">{run_date:%A} {run_date.day} {run_date:%B %Y} '
        f"· {day(run_date)} · at the close</p></div>"
        f"{_badge(simulated)}</div>"
        '<div class="q50-keep" style="display:grid;grid-template-columns:repeat(4,1fr);gap:6pt;'
        f'margin:10pt 0 8pt">{tiles}</div>'
    )


def _badge(simulated: str) -> str:
    """What is not real, said in full; the loud colour only where something is simulated."""
    loud = "simulated" in simulated.lower()
    colour = ORANGE if loud else SOFT
    word = "SIMULATED" if loud else "PAPER"
    rest = simulated.removeprefix(word).strip()
    return (
        f'<div style="border:1.2pt solid {colour};color:{colour};border-radius:3pt;'
        'padding:3pt 8pt;text-align:center;white-space:nowrap">'
        f'<div style="font-weight:700;letter-spacing:0.08em;font-size:9pt">{word}</div>'
        f'<div style="font-size:7pt">{html.escape(rest)}</div></div>'
    )


def _tile(kpis: pd.DataFrame, name: str, heading: str, below: str, words: str) -> str:
    line = " ".join(part for part in (_kpi(kpis, below) if below else "", words) if part)
    row = kpis[kpis["name"] == name]
    withheld = len(row) and pd.isna(row["value"].iloc[0]) and row["detail"].iloc[0]
    return (
        f'<div style="background:{PAPER};border-radius:3pt;padding:5pt 8pt">'
        f'<div style="font-size:7pt;color:{SOFT}">{html.escape(heading)}</div>'
        f'<div style="font-size:13pt;font-weight:700;color:{INK};line-height:1.3;'
        f'font-variant-numeric:tabular-nums">{_kpi(kpis, name)}</div>'
        f'<div style="font-size:7pt;color:{SOFT}">{html.escape(withheld or line)}</div></div>'
    )


def _kpi(kpis: pd.DataFrame, name: str) -> str:
    """A figure as a tile shows it: dollars whole, percentages to one or two digits."""
    row = kpis[kpis["name"] == name]
    if row.empty:
        return MISSING
    value, unit = float(row["value"].iloc[0]), row["unit"].iloc[0]
    sign = name in SIGNED
    if unit == "usd":
        return usd(value, sign=sign)
    fine = 2 if sign or "drawdown" in name else 1
    return pct(value, fine, sign=sign) if unit == "fraction" else num(value)


Line = tuple[str, bool]  # a sentence, and whether somebody must act on it


def summary(*lines: Line) -> Html:
    """The day in sentences; what somebody must act on is set in red."""
    items = "".join(
        f'<li style="margin:1pt 0;{f"color:{RED};font-weight:600" if urgent else ""}">'
        f"{html.escape(sentence)}</li>"
        for sentence, urgent in lines
    )
    return Html(f'<ul class="q50-keep" style="margin:0 0 6pt;padding-left:14pt">{items}</ul>')


def result_line(kpis: pd.DataFrame, benchmark_returns: pd.Series, benchmark: str) -> Line:
    """What the account gained or lost, and the benchmark; its last return is that of the day."""
    values = kpis.set_index("name")["value"]
    market = f" {benchmark}: {pct(benchmark_returns.iloc[-1], 2, sign=True)}."
    if pd.isna(values["return_day"]):
        return f"The account's first session: results are counted from here.{market}", False
    verb = "gained" if values["pnl_day"] >= 0 else "lost"
    change = pct(values["return_day"], 2, sign=True)
    return f"The account {verb} {usd(abs(values['pnl_day']))} ({change}).{market}", False


def orders_line(orders: pd.DataFrame, run_date: pd.Timestamp) -> Line:
    """What goes to the next open."""
    opening = f"the open of {day(dates.shift(run_date, 1))}"
    working = orders[orders["state"].isin(WORKING)]
    idle = len(orders) - len(working)
    rest = f" {idle} more not sent (see below)." if idle else ""
    if working.empty:
        kept = f"No order goes to {opening}."
        return f"{kept}{rest.replace(' more', '')}", False
    sums = working.groupby("side")["notional"].agg(["size", "sum"])
    said = [
        f"{row['size']:.0f} {side}{'s' if row['size'] > 1 else ''} for {usd(row['sum'])}"
        for side, row in sums.iterrows()
    ]
    return f"For {opening}: {' and '.join(said)}.{rest}", bool((orders["state"] == "unknown").any())


def limits_line(limits: pd.DataFrame) -> Line:
    """Whether all limits are kept, and if not which."""
    broken = limits.loc[limits["breached"], "rule"].map(rule_name)
    if limits.empty:
        return "No limits were evaluated.", True
    if broken.empty:
        return f"All {len(limits)} limits of the book are kept.", False
    verb = "is" if len(broken) == 1 else "are"
    return f"{len(broken)} of {len(limits)} limits {verb} breached: {', '.join(broken)}.", True


def risk_line(state: pd.DataFrame, events: pd.DataFrame) -> Line:
    """Drawdown, budget, halt and stop-losses."""
    stopped = events.loc[events["rule"] == "stop_loss", "symbol"]
    stops = f" Stop-loss: {', '.join(stopped)}." if len(stopped) else ""
    if state.empty:
        return f"The risk rules have no state yet.{stops}", False
    today = state.iloc[-1]
    if today["halted"]:
        return (
            f"HALTED at {pct(today['drawdown'])} below the mark: the desk only sells.{stops}",
            True,
        )
    return (
        f"Risk: {pct(today['drawdown'])} below the mark, exposure budget {pct(today['budget'], 0)}."
        f"{stops}",
        False,
    )


def data_line(findings: pd.DataFrame, named: int = 8) -> Line:
    """How many names the gates keep out, and which."""
    held = findings.loc[findings["severity"] == "quarantine", "symbol"].drop_duplicates()
    if held.empty:
        return "Data: every name passed the quality gates.", False
    rest = f" and {len(held) - named} more" if len(held) > named else ""
    return (
        f"Data: {len(held)} name{'s' if len(held) > 1 else ''} in quarantine, not bought today: "
        f"{', '.join(held.head(named))}{rest}.",
        False,
    )


# ── checks ───────────────────────────────────────────────────────────────────────────────────────


def books(equity: pd.DataFrame) -> Html:
    """Equity by our ledger and by the broker, and with the dividends that paper accounts omit."""
    if equity.empty:
        return note("no books yet")
    last = equity.sort_values("session").iloc[-1]
    apart = last["equity"] - last["broker_equity"]
    return facts_table(
        {
            "Our ledger": usd(last["equity"], 2),
            "The broker": usd(last["broker_equity"], 2),
            "Difference": usd(apart, 2, sign=True),
            "Dividends due, not paid on paper": usd(last["dividends"], 2),
            "Ledger and dividends due": usd(last["equity"] + last["dividends"], 2),
        }
    )


def data_health(universe: pd.DataFrame, findings: pd.DataFrame) -> Html:
    """How many names there are, have a price, and may be bought; and what the gates found."""
    found = findings["severity"].value_counts()
    words = [f"{found[name]} {name}" for name in ("stop", "quarantine", "note") if name in found]
    priced = int(universe["close"].notna().sum())
    return facts_table(
        {
            "Names in the universe": num(len(universe), 0),
            "With a close today": f"{num(priced, 0)} ({pct(priced / max(len(universe), 1))})",
            "May be bought": num(universe["tradable"].sum(), 0),
            "Findings of the gates": ", ".join(words) or "none",
        }
    )


def model_health(
    card: Mapping[str, Any] | None,
    forecast: pd.DataFrame,
    run_date: pd.Timestamp,
    settings: ModelSettings,
) -> Html:
    """Age and out-of-fold quality of the model in use, and what it says today.

    `card` has `model_id`, `trained_at` and the metrics of `services.evaluation` (flat, or under
    `metrics`); None: no model, alpha is zero.
    """
    facts = {"Model": "none: every forecast is the common premium, alpha is zero"}
    if card is not None:
        facts = _model_facts({**card, **(card.get("metrics") or {})}, run_date, settings)
    if len(forecast):
        low, high = 1e4 * forecast["expected_return"].quantile([0.05, 0.95])
        facts["Forecast of today, 5% to 95% of names"] = (
            f"{num(low, 1, True)} to {num(high, 1, True)} bp over the horizon"
        )
    return facts_table(facts)


def _model_facts(
    card: Mapping[str, Any], run_date: pd.Timestamp, settings: ModelSettings
) -> dict[str, str]:
    trained = dates.as_date(str(card["trained_at"])[:10])
    age = len(dates.sessions_between(trained, run_date)) - 1
    return {
        "Model": str(card.get("model_id", MISSING)),
        "Trained": f"{day(trained)}, {age} sessions ago (allowed: {settings.max_age_sessions})",
        "Rank IC, out of fold": _with_error(card, "rank_ic", 4, sign=True),
        "ROC-AUC, out of fold": _with_error(card, "auc", 3),
        "Calibration slope (1 is right)": _with_error(card, "calibration_slope", 2),
        "Sharpe ratio gained over equal weight, 95%": _interval(card, "sharpe_gain_equal_weight"),
        "Sharpe ratio gained over 12-1 momentum, 95%": _interval(card, "sharpe_gain_momentum"),
    }


def _with_error(card: Mapping[str, Any], name: str, digits: int, sign: bool = False) -> str:
    value, error = _measured(card, (name, f"{name}_error"))
    return f"{num(value, digits, sign)} ± {num(error, digits)}"


def _interval(card: Mapping[str, Any], name: str) -> str:
    value, low, high = _measured(card, (name, f"{name}_low", f"{name}_high"))
    bounds = f"  [{num(low, 2, True)}, {num(high, 2, True)}]" if pd.notna(low) else ""
    return f"{num(value, 2, True)}{bounds}"


def _measured(card: Mapping[str, Any], names: Sequence[str]) -> list[float]:
    return [float("nan") if card.get(name) is None else float(card[name]) for name in names]
