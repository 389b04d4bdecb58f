"""One calendar year of the demo market: draws, returns, prices, ranges and volumes.

Arrays run sessions first, names second; stocks stand before funds. Prices are US dollars as
traded, rounded to the cent; volatilities are annual unless the name says otherwise.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from quant50lib.simulator import funds
from quant50lib.simulator.market import Listing

YEAR = 252  # sessions, to annualise
NIGHT = 0.28  # share of a session's variance that falls between close and open
MARKET_VOL, SECTOR_VOL = 0.135, 0.085
CALM_KEEP = 0.975  # persistence of log volatility, and its spread: market, sector, stock
CALM_SPREAD = (0.46, 0.20, 0.25)
SECTOR_SHARE, OWN_SHARE = 0.6, 0.45  # of the market's log volatility felt by sectors and stocks
LEVERAGE = 0.5  # correlation of a fall with a rise of the market's volatility
TAILS = 5  # degrees of freedom of the shocks
JUMP_VOL = 0.045  # of an earnings day, four a year
BUSY_KEEP, BUSY_SPREAD = 0.65, 0.30
EDGE_WINDOW = 5
EDGE_SCALE = 0.9  # a session's edge in own volatilities, per unit of planted_ic
SPLIT_DAYS = (40, 103, 166, 229)  # sessions of the year on which a split may take effect
SPLIT_NOTICE = 12  # sessions between the decision and the split


@dataclass(frozen=True)
class Names:
    """Who trades, and what stays the same of each; arrays over all names unless said."""

    stocks: list[Listing]
    etfs: list[Listing]
    recipes: list[funds.Fund]
    sectors: list[str]
    sector: np.ndarray  # stocks: index into sectors
    beta: np.ndarray  # stocks
    own: np.ndarray  # stocks: volatility of the own shock
    drift: np.ndarray  # stocks: log, a session
    split_above: np.ndarray  # stocks: price from which a split is decided
    split_into: np.ndarray  # stocks: shares for one
    pays: np.ndarray  # dividend yield a year
    pay_day: np.ndarray  # session of the quarter that is the ex-date
    book: np.ndarray  # funds x stocks, zeros and ones
    loads: np.ndarray  # funds x factors

    @property
    def symbols(self) -> list[str]:
        return [listing.symbol for listing in (*self.stocks, *self.etfs)]


@dataclass(frozen=True)
class State:
    """What one year hands to the next."""

    close: np.ndarray  # raw, all names
    size: np.ndarray  # market value of the stocks, US dollars
    calm: np.ndarray  # log volatility: market, sectors, stocks
    busy: np.ndarray  # log volume over its usual, all names
    recent: np.ndarray  # stocks: excess log returns of the last sessions, window x stocks


@dataclass(frozen=True)
class Year:
    """The bars of a calendar year, and the ratios and amounts of its corporate actions."""

    open: np.ndarray
    high: np.ndarray
    low: np.ndarray
    close: np.ndarray
    volume: np.ndarray
    ratio: np.ndarray  # new shares for one old share, 1 where nothing happens
    dividend: np.ndarray  # US dollars a share, on its ex-date


@dataclass(frozen=True)
class Returns:
    """Log returns without the edge, and the volatility of the day part (a session, not a year)."""

    night: np.ndarray
    day: np.ndarray
    market: np.ndarray  # both parts of the market's own return
    factors: tuple[np.ndarray, np.ndarray]  # night and day, sessions x factors
    noise: tuple[np.ndarray, np.ndarray]  # night and day, sessions x funds
    spread: np.ndarray  # all names


def generator(*key: int | str) -> np.random.Generator:
    """A generator of its own for every key, equal in every process."""
    return np.random.default_rng([zlib.crc32(k.encode()) if isinstance(k, str) else k for k in key])


def make_year(
    names: Names, state: State, draw: Callable[[str], np.random.Generator], n: int, start: int,
    alive: np.ndarray, planted_ic: float,
) -> tuple[Year, State]:  # fmt: skip
    """The sessions `start` to `n` of a year of `n` sessions, and the state after it.

    `draw` gives the year's generator of a name; `alive` (sessions x stocks) says which stocks
    count in the funds. Everything is a function of the arguments: nothing later is looked at.
    """
    calm, calm_end = _calm(names, state, draw, n, start)
    returns = _returns(names, draw, calm, n)
    prices, size, recent = _prices(names, state, returns, start, alive, planted_ic)
    busy, busy_end = _busy(names, state, draw, n, start)
    ranges = _ranges(names, draw, prices, returns.spread)
    volume = _volume(names, prices, size, busy, returns)
    kept = {name: values[start:] for name, values in (prices | ranges).items()}
    end = State(prices["close"][-1], size[-1], calm_end, busy_end, recent)
    return Year(volume=volume[start:], **kept), end


def _labels(names: Names) -> list[str]:
    return ["market:", *(f"sector:{s}" for s in names.sectors), *(s.symbol for s in names.stocks)]


def _persist(shocks: np.ndarray, before: np.ndarray, keep: float) -> np.ndarray:
    """x[t] = keep x[t-1] + shocks[t], from the state before."""
    found, x = np.empty_like(shocks), before
    for t, shock in enumerate(shocks):
        found[t] = x = keep * x + shock
    return found


def _calm(
    names: Names, state: State, draw: Callable[[str], np.random.Generator], n: int, start: int
) -> tuple[np.ndarray, np.ndarray]:
    """Log volatility of market, sectors and stocks."""
    counts = (1, len(names.sectors), len(names.stocks))
    spread = np.repeat(CALM_SPREAD, counts) * np.sqrt(1 - CALM_KEEP**2)
    shocks = np.column_stack([draw("calm:" + k).standard_normal(n) for k in _labels(names)])
    fall = -_shock(draw("day:market:"), n)
    before = np.concatenate([[0.0], fall[:-1]])
    shocks[:, 0] = LEVERAGE * before + np.sqrt(1 - LEVERAGE**2) * shocks[:, 0]
    calm = np.zeros_like(shocks)
    calm[start:] = _persist((spread * shocks)[start:], state.calm, CALM_KEEP)
    return calm, calm[-1]


def _shock(rng: np.random.Generator, n: int) -> np.ndarray:
    return rng.standard_t(TAILS, n) * np.sqrt((TAILS - 2) / TAILS)


def _scales(names: Names, calm: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Volatility of market, sectors and own shocks over their long-run levels, variance 1."""
    market, sector, own = (s**2 for s in CALM_SPREAD)
    k = 1 + len(names.sectors)
    shared = calm[:, :1]
    return (
        np.exp(shared - market),
        np.exp(SECTOR_SHARE * shared + calm[:, 1:k] - SECTOR_SHARE**2 * market - sector),
        np.exp(OWN_SHARE * shared + calm[:, k:] - OWN_SHARE**2 * market - own),
    )


def _returns(
    names: Names, draw: Callable[[str], np.random.Generator], calm: np.ndarray, n: int
) -> Returns:
    m, s, o = _scales(names, calm)
    m, s, o = MARKET_VOL * m, SECTOR_VOL * s[:, names.sector], names.own * o
    parts = {
        part: np.column_stack([_shock(draw(f"{part}:{k}"), n) for k in _labels(names)])
        for part in ("night", "day")
    }
    k, root = 1 + len(names.sectors), 1 / np.sqrt(YEAR)

    def combine(shocks: np.ndarray, weight: float) -> tuple[np.ndarray, np.ndarray]:
        market = m * shocks[:, :1] * root * np.sqrt(weight)
        rest = s * shocks[:, 1:k][:, names.sector] + o * shocks[:, k:]
        own = rest * root * np.sqrt(weight)
        return names.beta * market + own + names.drift * weight, market

    night, market_night = combine(parts["night"], NIGHT)
    day, market_day = combine(parts["day"], 1 - NIGHT)
    factors = _factors(draw, n, market_night, market_day)
    noise = _noise(names, draw, n)
    shares = np.array([recipe.shares * (recipe.book != "none") for recipe in names.recipes])
    own = np.array([recipe.noise for recipe in names.recipes])
    fixed = (names.loads**2) @ np.array([v**2 for v in funds.FACTORS.values()]) + own**2
    spread_funds = np.sqrt((shares * m) ** 2 + fixed)
    spread = np.hstack([np.sqrt((names.beta * m) ** 2 + s**2 + o**2), spread_funds])
    return Returns(
        night=night + _jumps(names, draw, n),
        day=day,
        market=(market_night + market_day)[:, 0],
        factors=factors,
        noise=noise,
        spread=spread * root * np.sqrt(1 - NIGHT),
    )


def _jumps(names: Names, draw: Callable[[str], np.random.Generator], n: int) -> np.ndarray:
    """Earnings: one night in each quarter, the same session of the quarter for a stock."""
    jumps = np.zeros((n, len(names.stocks)))
    for column, stock in enumerate(names.stocks):
        rng = draw("jump:" + stock.symbol)
        at = 18 + zlib.crc32(stock.symbol.encode()) % 25 + 63 * np.arange(4)
        jumps[at[at < n], column] = JUMP_VOL * rng.standard_normal(4)[at < n]
    return jumps


def _factors(
    draw: Callable[[str], np.random.Generator], n: int, night: np.ndarray, day: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Simple returns of the factors, tied to the market by their correlation with it."""
    vol = np.array(list(funds.FACTORS.values())) / np.sqrt(YEAR)
    tie = np.array(list(funds.WITH_MARKET.values()))
    usual = MARKET_VOL / np.sqrt(YEAR)

    def part(label: str, market: np.ndarray, weight: float) -> np.ndarray:
        own = np.column_stack([_shock(draw(f"{label}:factor:{k}"), n) for k in funds.FACTORS])
        mixed = tie * market / usual + np.sqrt((1 - tie**2) * weight) * own
        return np.asarray(vol * mixed)

    return part("night", night, NIGHT), part("day", day, 1 - NIGHT)


def _noise(
    names: Names, draw: Callable[[str], np.random.Generator], n: int
) -> tuple[np.ndarray, np.ndarray]:
    scale = np.array([recipe.noise for recipe in names.recipes]) / np.sqrt(YEAR)
    drift = np.array([recipe.drift for recipe in names.recipes]) / YEAR

    def part(label: str, weight: float) -> np.ndarray:
        drawn = [draw(f"{label}:{f.symbol}").standard_normal(n) for f in names.etfs]
        own = np.column_stack(drawn) if drawn else np.zeros((n, 0))
        return np.asarray(scale * own * np.sqrt(weight) + drift * weight)

    return part("night", NIGHT), part("day", 1 - NIGHT)


def _prices(
    names: Names, state: State, returns: Returns, start: int, alive: np.ndarray, planted_ic: float
) -> tuple[dict[str, np.ndarray], np.ndarray, np.ndarray]:
    """Opens and closes session by session: the edge and the actions depend on earlier prices."""
    n, stocks, every = len(returns.night), len(names.stocks), len(names.symbols)
    out = {k: np.ones((n, every)) for k in ("open", "close", "ratio")}
    out["dividend"] = np.zeros((n, every))
    sizes = np.zeros((n, stocks))
    close, size, recent = state.close, state.size, state.recent
    amount = np.maximum(np.round(names.pays * close / 4, 2), 0.01) * (names.pays > 0)
    pending = np.ones(every)
    own = np.sqrt((names.beta * MARKET_VOL) ** 2 + SECTOR_VOL**2 + names.own**2) / np.sqrt(YEAR)
    for t in range(start, n):
        if t + SPLIT_NOTICE in SPLIT_DAYS:
            pending = _splits(names, close)
        ratio = pending if t in SPLIT_DAYS else np.ones(every)
        amount = np.round(amount / ratio, 4)
        paid = np.where(t % 63 == names.pay_day, amount, 0.0)
        score = np.clip(-recent.sum(axis=0) / (own * np.sqrt(EDGE_WINDOW)), -3, 3)
        edge = EDGE_SCALE * planted_ic * own * score
        night = returns.night[t] + NIGHT * edge
        day = returns.day[t] + (1 - NIGHT) * edge
        up_night, up_day = _with_funds(names, returns, t, size * alive[t], night, day)
        base = np.maximum(close / ratio - paid, 0.05)
        opening = np.maximum(np.round(base * up_night, 2), 0.01)
        after = np.maximum(np.round(opening * up_day, 2), 0.01)
        size = size * (after * ratio / close)[:stocks]
        excess = night + day - returns.market[t]
        recent, close = np.vstack([recent[1:], excess[None]]), after
        out["open"][t], out["close"][t], sizes[t] = opening, after, size
        out["ratio"][t], out["dividend"][t] = ratio, paid
    return out, sizes, recent


def _with_funds(
    names: Names, returns: Returns, t: int, size: np.ndarray, night: np.ndarray, day: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Growth factors of all names in the night and in the day; funds follow their books."""
    up_night, up_both = np.exp(night), np.exp(night + day)
    weight = names.book * size
    weight /= np.maximum(weight.sum(axis=1, keepdims=True), 1e-300)
    held = weight.any(axis=1)
    share = np.array([recipe.shares for recipe in names.recipes])
    book_night = np.where(held, weight @ up_night, 1.0)
    book_day = np.where(held, weight @ up_both, 1.0) / book_night
    fund_night, fund_day = (
        1 + share * (book - 1) + names.loads @ returns.factors[part][t] + returns.noise[part][t]
        for part, book in enumerate((book_night, book_day))
    )
    return (
        np.concatenate([up_night, np.maximum(fund_night, 0.5)]),
        np.concatenate([np.exp(day), np.maximum(fund_day, 0.5)]),
    )


def _splits(names: Names, close: np.ndarray) -> np.ndarray:
    """Shares for one old share, decided on the price of the day; funds never split."""
    price = close[: len(names.stocks)]
    ratio = np.where(price > names.split_above, names.split_into, 1.0)
    ratio = np.where(price < 5, 1 / 8, ratio)
    return np.concatenate([ratio, np.ones(len(names.etfs))])


def _ranges(
    names: Names,
    draw: Callable[[str], np.random.Generator],
    prices: dict[str, np.ndarray],
    spread: np.ndarray,
) -> dict[str, np.ndarray]:
    """Extremes of a Brownian bridge from open to close, sampled from their exact law."""
    n = len(spread)
    uniform = np.stack([draw("range:" + s).random((2, n)) for s in names.symbols], axis=-1)
    x = np.log(prices["close"] / prices["open"])
    reach = np.sqrt(x**2 - 2 * spread**2 * np.log1p(-uniform))
    top = np.maximum(prices["open"], prices["close"])
    bottom = np.minimum(prices["open"], prices["close"])
    high = np.round(prices["open"] * np.exp((x + reach[0]) / 2), 2)
    low = np.round(prices["open"] * np.exp((x - reach[1]) / 2), 2)
    return {"high": np.maximum(high, top), "low": np.maximum(np.minimum(low, bottom), 0.01)}


def _busy(
    names: Names, state: State, draw: Callable[[str], np.random.Generator], n: int, start: int
) -> tuple[np.ndarray, np.ndarray]:
    scale = BUSY_SPREAD * np.sqrt(1 - BUSY_KEEP**2)
    drawn = np.column_stack([draw("busy:" + s).standard_normal(n) for s in names.symbols])
    busy = np.zeros_like(drawn)
    busy[start:] = _persist(scale * drawn[start:], state.busy, BUSY_KEEP)
    return busy, busy[-1]


def _volume(
    names: Names,
    prices: dict[str, np.ndarray],
    size: np.ndarray,
    busy: np.ndarray,
    returns: Returns,
) -> np.ndarray:
    """Shares traded: half a percent of a stock's value on a usual day, more on a big move and news.

    News is a night far beyond the usual, as before an opening after earnings.
    """
    move = np.abs(np.log(prices["close"] / prices["open"])) / returns.spread
    night = returns.spread[:, : len(names.stocks)] * np.sqrt(NIGHT / (1 - NIGHT))
    news = np.zeros_like(move)
    news[:, : len(names.stocks)] = np.clip(np.abs(returns.night) / night - 2, 0, 4)
    dollars = [recipe.dollars for recipe in names.recipes]
    usual = np.hstack([0.005 * size, np.broadcast_to(dollars, (len(size), len(dollars)))])
    drawn = busy + 0.35 * (np.minimum(move, 4) - 0.8) + 0.5 * news
    traded = usual * np.exp(drawn) / prices["close"]
    return np.maximum(np.round(traded), 100).astype(np.int64)
