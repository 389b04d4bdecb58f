"""The core set: textbook descriptions of a name, each with its source."""

from __future__ import annotations

from quant50lib.services.features_formula import (
    RSI,
    SKEW,
    Formula,
    absolute,
    bars,
    change,
    decayed,
    deviation,
    highest,
    line,
    log,
    node,
    of_benchmark,
    positive,
    product_less,
    ratio,
    total,
)
from quant50lib.services.features_registry import feature

SESSIONS_A_YEAR = 252
RSI_SEED = 14
RSI_SMOOTHING = 1 / RSI_SEED
#: the seed of Wilder's recursion keeps a weight of (13/14)^237 = 2e-8 in a window of this length
RSI_SESSIONS = 252

OPEN, CLOSE, DOLLARS = bars("open"), bars("close"), bars("dollar_volume")
RETURN = change(CLOSE)


@feature("ret_1", "reversal", "fraction", "Jegadeesh (1990)")
def ret_1() -> Formula:
    """Return of the session."""
    return RETURN


@feature("ret_5", "reversal", "fraction", "Lehmann (1990)")
def ret_5() -> Formula:
    """Return over 5 sessions."""
    return change(CLOSE, 5)


@feature("ret_21", "reversal", "fraction", "Jegadeesh (1990)")
def ret_21() -> Formula:
    """Return over 21 sessions."""
    return change(CLOSE, 21)


@feature("mom_12_1", "momentum", "fraction", "Jegadeesh and Titman (1993); Asness (1994)")
def mom_12_1() -> Formula:
    """Return over 252 sessions without the last 21."""
    return ratio(CLOSE.ago(21), CLOSE.ago(252))


@feature("mom_6_1", "momentum", "fraction", "Jegadeesh and Titman (1993)")
def mom_6_1() -> Formula:
    """Return over 126 sessions without the last 21."""
    return ratio(CLOSE.ago(21), CLOSE.ago(126))


@feature("high_52w", "momentum", "fraction", "George and Hwang (2004)")
def high_52w() -> Formula:
    """Close over the highest close of 252 sessions, minus one: the distance to the 52-week high."""
    return ratio(CLOSE, highest(CLOSE, 252))


@feature("vol_21", "risk", "fraction a year", "Ang, Hodrick, Xing and Zhang (2006)")
def vol_21() -> Formula:
    """Annualised standard deviation of 21 daily returns."""
    return deviation(RETURN, 21, SESSIONS_A_YEAR)


@feature("vol_63", "risk", "fraction a year", "Ang, Hodrick, Xing and Zhang (2006)")
def vol_63() -> Formula:
    """Annualised standard deviation of 63 daily returns."""
    return deviation(RETURN, 63, SESSIONS_A_YEAR)


def _comoment(a: Formula, b: Formula, n: int) -> Formula:
    return product_less(total(a * b, n), total(a, n), total(b, n), n)


def _market_model(n: int) -> tuple[Formula, Formula]:
    """Slope and sum of squared residuals of returns on the benchmark's."""
    market = of_benchmark(RETURN)
    variance = _comoment(RETURN, RETURN, n)
    covariance = product_less(
        total(RETURN * market, n), total(RETURN, n), of_benchmark(total(RETURN, n)), n
    )
    beta = covariance / of_benchmark(variance)
    return beta, positive(variance - beta * covariance)


@feature("beta_60", "risk", "ratio", "Sharpe (1964); Frazzini and Pedersen (2014)")
def beta_60() -> Formula:
    """Slope of 60 daily returns on the benchmark's."""
    return _market_model(60)[0]


@feature("residual_vol_60", "risk", "fraction a year", "Ang, Hodrick, Xing and Zhang (2006)")
def residual_vol_60() -> Formula:
    """Annualised standard deviation of what the benchmark leaves of 60 daily returns."""
    return line(_market_model(60)[1], SESSIONS_A_YEAR / 58).root()


@feature("max_21", "risk", "fraction", "Bali, Cakici and Whitelaw (2011)")
def max_21() -> Formula:
    """Highest daily return of 21 sessions."""
    return highest(RETURN, 21)


@feature("skew_63", "risk", "ratio", "Boyer, Mitton and Vorkink (2010)")
def skew_63() -> Formula:
    """Skewness of 63 daily returns: third central moment over the cube of the deviation."""
    square = RETURN * RETURN
    return node(SKEW, (total(RETURN, 63), total(square, 63), total(square * RETURN, 63)), (63.0,))


def _wilder(x: Formula, seed: Formula) -> Formula:
    """Wilder's average of x at the end of each window, times 14: the mean of the first 14 values of
    the window, then smoothing."""
    return decayed(x, RSI_SESSIONS - 1 - RSI_SEED, 1 - RSI_SMOOTHING, seed)


@feature("rsi_14", "oscillator", "0 to 100", "Wilder (1978)")
def rsi_14() -> Formula:
    """Wilder's relative strength index over 14 sessions, 50 where nothing moved.

    The recursion starts with the plain mean of the first 14 changes *of the window* of 252
    sessions, so that the value does not depend on where the panel begins. It is computed from the
    averages of changes and of their sizes: (all + net) / (2 all) is ups over ups and downs.
    """
    moved = CLOSE - CLOSE.ago(1)
    size = absolute(moved)
    net = _wilder(moved, CLOSE - CLOSE.ago(RSI_SEED))
    return node(RSI, (net, _wilder(size, total(size, RSI_SEED))))


@feature("overnight_21", "clock", "log return", "Lou, Polk and Skouras (2019)")
def overnight_21() -> Formula:
    """Sum of 21 log returns from close to open."""
    return total(log(OPEN / CLOSE.ago(1)), 21)


@feature("intraday_21", "clock", "log return", "Lou, Polk and Skouras (2019)")
def intraday_21() -> Formula:
    """Sum of 21 log returns from open to close."""
    return total(log(CLOSE / OPEN), 21)


@feature("log_dollar_volume_21", "liquidity", "log US dollars", "Brennan et al. (1998)")
def log_dollar_volume_21() -> Formula:
    """Logarithm of the mean dollar volume of 21 sessions."""
    return log(total(DOLLARS, 21), 1 / 21)


@feature("amihud_21", "liquidity", "fraction per million US dollars", "Amihud (2002)")
def amihud_21() -> Formula:
    """Mean of absolute return over dollar volume, 21 sessions; missing after one without volume."""
    return line(total(absolute(RETURN) / DOLLARS, 21), 1e6 / 21)


@feature("volume_trend_5_63", "liquidity", "log ratio", "Gervais, Kaniel and Mingelgrin (2001)")
def volume_trend_5_63() -> Formula:
    """Logarithm of the mean dollar volume of 5 sessions over that of 63."""
    return log(total(DOLLARS, 5) / total(DOLLARS, 63), 63 / 5)
