"""What each demo fund holds: shares of the demo stocks, or loadings on factors of its own."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from quant50lib.simulator.market import Listing

#: annual volatility of the factors that are not shares; each has a shock of its own every session
FACTORS = {"rates": 0.14, "gold": 0.15, "oil": 0.30, "abroad": 0.08, "emerging": 0.13}
#: correlation of a factor's shock with the market's
WITH_MARKET = {"rates": -0.25, "gold": 0.03, "oil": 0.30, "abroad": 0.10, "emerging": 0.25}

TECHNOLOGY = ("Information Technology", "Communication Services", "Consumer Discretionary")
SECTOR_FUNDS = {
    "XLB": ("Materials",),
    "XLC": ("Communication Services",),
    "XLE": ("Energy",),
    "XLF": ("Financials",),
    "XLI": ("Industrials",),
    "XLK": ("Information Technology",),
    "XLP": ("Consumer Staples",),
    "XLRE": ("Real Estate",),
    "XLU": ("Utilities",),
    "XLV": ("Health Care",),
    "XLY": ("Consumer Discretionary",),
    "VNQ": ("Real Estate",),
    "QQQ": TECHNOLOGY,
}


@dataclass(frozen=True)
class Fund:
    """A recipe: `shares` of the book of stocks picked by `book`, plus factor loadings.

    `noise` is the annual volatility of what the recipe does not explain; `dividend` a yearly yield;
    `dollars` the usual value traded a day.
    """

    book: str = "none"  # none, all, large, small, sectors
    sectors: tuple[str, ...] = ()
    shares: float = 1.0
    loadings: dict[str, float] = field(default_factory=dict)
    noise: float = 0.002
    drift: float = 0.0
    dividend: float = 0.018
    dollars: float = 1e9


_ABROAD = Fund("all", shares=0.85, loadings={"abroad": 1.0}, noise=0.02, drift=-0.01)
_EMERGING = Fund(
    "all", shares=0.9, loadings={"abroad": 0.5, "emerging": 1.0}, noise=0.01, drift=-0.015
)
_GOLD = Fund(loadings={"gold": 1.0}, noise=0.003, drift=0.03, dividend=0.0, dollars=1.2e9)


def _bonds(loading: float, drift: float, dollars: float = 1e9) -> Fund:
    loadings = {"rates": loading}
    return Fund(loadings=loadings, noise=0.004, drift=drift, dividend=0.028, dollars=dollars)


FUNDS = {
    "SPY": Fund("all", dollars=3e10),
    "VTI": Fund("all", noise=0.006, dollars=8e8),
    "DIA": Fund("large", noise=0.004, dollars=1.2e9),
    "IWM": Fund("small", shares=1.08, noise=0.04, dividend=0.012, dollars=5e9),
    "MDY": Fund("small", noise=0.02, dividend=0.012),
    "EFA": _ABROAD,
    "VEA": _ABROAD,
    "EEM": _EMERGING,
    "VWO": _EMERGING,
    "TLT": _bonds(1.0, 0.030, dollars=2.5e9),
    "IEF": _bonds(0.45, 0.027),
    "SHY": _bonds(0.08, 0.020),
    "AGG": _bonds(0.32, 0.026),
    "BND": _bonds(0.32, 0.026),
    "LQD": _bonds(0.45, 0.032),
    "HYG": Fund("all", shares=0.4, noise=0.03, drift=0.01, dividend=0.055),
    "TIP": _bonds(0.38, 0.027),
    "GLD": _GOLD,
    "IAU": _GOLD,
    "SLV": Fund(loadings={"gold": 1.5}, noise=0.15, drift=0.03, dividend=0.0),
    "USO": Fund(loadings={"oil": 1.0}, noise=0.05, drift=0.02, dividend=0.0),
    "DBC": Fund(loadings={"oil": 0.5, "gold": 0.2}, noise=0.05, drift=0.02, dividend=0.0),
}


def recipe(listing: Listing, sectors: set[str]) -> Fund:
    """The fund's recipe: by symbol, else by its group, else the market with a little noise."""
    if listing.symbol in FUNDS:
        return FUNDS[listing.symbol]
    tracked = SECTOR_FUNDS.get(listing.symbol) or (listing.sector,)
    if set(tracked) & sectors:
        dollars = 1.5e10 if listing.symbol == "QQQ" else 1e9
        return Fund("sectors", tuple(tracked), dollars=dollars)
    group = listing.sector.lower()
    if "bond" in group or "fixed" in group:
        return _bonds(0.4, 0.025)
    return _GOLD if "commodit" in group or "gold" in group else Fund("all", noise=0.03)


def membership(fund: Fund, stocks: list[Listing], size: np.ndarray) -> np.ndarray:
    """Which stocks the fund holds, as zeros and ones over `stocks`; `size` ranks them."""
    rank = np.argsort(np.argsort(-size))
    chosen = {
        "none": np.zeros(len(stocks), bool),
        "all": np.ones(len(stocks), bool),
        "large": rank < 30,
        "small": rank >= len(stocks) // 2,
        "sectors": np.array([s.sector in fund.sectors for s in stocks], bool),
    }
    return chosen[fund.book].astype(float)
