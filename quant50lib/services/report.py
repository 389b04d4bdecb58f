"""Everything the eye sees in the notebooks and the daily PDF: `from quant50lib.services import report`.

Frames in, a picture out: a function named `…_figure` returns a `Chart` (a matplotlib figure that
shows itself as SVG), every other one a piece of `Html`. Put the call last in a cell. Where there is
nothing to show, a sentence stands in place of empty axes. `close` is (sessions, symbols);
capitalised types are tables of `contracts`.

all         use_style()                             beside(*parts, widths=()) · stack(*parts)
            titled(title, part) · note(text)        usd · pct · bps · num · shares · day
01 ingest   coverage_figure(close, minimum, sessions=60)
            gates_table(Finding)                    quarantine_figure(Finding, close, sessions=60)
            findings_table(Finding, limit=20)
            market_figure(close, Universe, benchmark, sessions=252)
02 features correlation_figure(Feature)             distribution_figure(Feature)
            extremes_table(Feature, n=5)
03 labels   label_distribution_figure(Label)        base_rate_figure(Label)
04 train    rank_ic_figure(ic_by_session, horizon_sessions=5)
            calibration_figure(calibration)         deciles_figure(decile_returns, horizon_sessions=5)
            folds_figure(Fold)                      folds_table(Fold)
            importance_figure(importance, n=20)     frames of `model.Trained`
            decay_figure(ic_decay, horizon_sessions=5) · skill_figure(by_year, "year")
            shap_figure(shap, n=20)                 signal_turnover_figure(signal_turnover)
            overfitting_figure(Overfitting, 5)      frames of `services.evaluation_…`
05 optimize drift_figure(Drift, n=12)                   drift_table(Drift)
            weights_figure(Target)                  sectors_figure(Target, cap)
            trades_figure(Target, n=20)             risk_figure(Target, n=20)
            limits_figure(Limit)                    limits_table(Limit, sectors=None)
            brake_figure(RiskState, settings.risk, width)  events_table(RiskEvent)
06 execute  orders_figure(Order, n=30)              orders_table(Order, limit=25)
            order_states_table(Order)               cash_figure(cash, Order)
            attention_table(stage.scraps()): the kill switch, frozen names, what is odd
07 report   document_title(title, run_date, simulated) -> str
            header(title, run_date, simulated, Kpi)
            summary(*lines), of result_line(Kpi, benchmark_returns, benchmark)
                             orders_line(Order, run_date) · limits_line(Limit)
                             risk_line(RiskState, RiskEvent) · data_line(Finding)
                             attention_line(stage.scraps())
                             alarm_line(stage.alarm)
            exposures(stage.scraps(), benchmark, equity_usd), of
                             exposure_table(told, benchmark) · tail_table(told, equity_usd)
            forecast_held(stage.surprises, stage.alarm, limit), of
                             forecast_figure(returns, forecast, limit) · alarm_table(stage.alarm)
            equity_figure(Equity, benchmark_returns, benchmark)
            pnl_figure(Equity, sessions=60)         invested_figure(Equity, sessions=252)
            kpis_table(Kpi)                         holdings_table(Holding, Universe, limit=15)
            fills_table(Fill, limit=25)             books(Equity)
            data_health(Universe, Finding)          model_health(card, Forecast, run_date, settings.model)
"""

from quant50lib.services.figures_account import equity_figure, invested_figure, pnl_figure
from quant50lib.services.figures_book import (
    brake_figure,
    cash_figure,
    limits_figure,
    orders_figure,
    risk_figure,
    sectors_figure,
    trades_figure,
    weights_figure,
)
from quant50lib.services.figures_drift import drift_figure, drift_table
from quant50lib.services.figures_market import (
    base_rate_figure,
    correlation_figure,
    coverage_figure,
    distribution_figure,
    label_distribution_figure,
    market_figure,
    quarantine_figure,
)
from quant50lib.services.figures_model import (
    calibration_figure,
    decay_figure,
    deciles_figure,
    folds_figure,
    importance_figure,
    overfitting_figure,
    rank_ic_figure,
    shap_figure,
    signal_turnover_figure,
    skill_figure,
)
from quant50lib.services.figures_risk import (
    alarm_line,
    alarm_table,
    exposure_table,
    exposures,
    forecast_figure,
    forecast_held,
    tail_table,
)
from quant50lib.services.report_attention import attention_line, attention_table
from quant50lib.services.report_header import (
    books,
    data_health,
    data_line,
    document_title,
    header,
    limits_line,
    model_health,
    orders_line,
    result_line,
    risk_line,
    summary,
)
from quant50lib.services.report_html import Html, beside, facts_table, note, stack, titled
from quant50lib.services.report_style import Chart, bps, day, num, pct, shares, usd, use_style
from quant50lib.services.report_tables import (
    events_table,
    extremes_table,
    fills_table,
    findings_table,
    folds_table,
    gates_table,
    holdings_table,
    kpis_table,
    limits_table,
    order_states_table,
    orders_table,
)

__all__ = [
    "Chart",
    "Html",
    "alarm_line",
    "alarm_table",
    "attention_line",
    "attention_table",
    "base_rate_figure",
    "beside",
    "books",
    "bps",
    "brake_figure",
    "calibration_figure",
    "cash_figure",
    "correlation_figure",
    "coverage_figure",
    "data_health",
    "data_line",
    "day",
    "decay_figure",
    "deciles_figure",
    "distribution_figure",
    "document_title",
    "drift_figure",
    "drift_table",
    "equity_figure",
    "events_table",
    "exposure_table",
    "exposures",
    "extremes_table",
    "facts_table",
    "fills_table",
    "findings_table",
    "folds_figure",
    "folds_table",
    "forecast_figure",
    "forecast_held",
    "gates_table",
    "header",
    "holdings_table",
    "importance_figure",
    "invested_figure",
    "kpis_table",
    "label_distribution_figure",
    "limits_figure",
    "limits_line",
    "limits_table",
    "market_figure",
    "model_health",
    "note",
    "num",
    "order_states_table",
    "orders_figure",
    "orders_line",
    "orders_table",
    "overfitting_figure",
    "pct",
    "pnl_figure",
    "quarantine_figure",
    "rank_ic_figure",
    "result_line",
    "risk_figure",
    "risk_line",
    "sectors_figure",
    "shap_figure",
    "shares",
    "signal_turnover_figure",
    "skill_figure",
    "stack",
    "summary",
    "tail_table",
    "titled",
    "trades_figure",
    "usd",
    "use_style",
    "weights_figure",
]
