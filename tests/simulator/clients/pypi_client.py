"""A day with alpaca-trade-api, run by the interpreter of its own environment; prints what it saw."""

import json
import sys

from alpaca_trade_api import REST, TimeFrame

api = REST("PKTESTTESTTESTTEST01", "secret", base_url=sys.argv[1])
bars = api.get_bars(["SPY", "XOM"], TimeFrame.Day, "2024-05-28", "2024-06-03", adjustment="all")
seen = {
    "account": api.get_account()._raw,
    "clock": api.get_clock()._raw,
    "calendar": [day._raw for day in api.get_calendar("2024-07-03", "2024-07-05")],
    "assets": sorted(asset.symbol for asset in api.list_assets(status="active")),
    "bars": len(bars),
    "closes": dict(bars.df.groupby("symbol")["close"].last()),
}
market = api.submit_order("SPY", qty=3, side="buy", client_order_id="market one")
limit = api.submit_order("XOM", 1, "buy", "limit", "day", limit_price=1.5)
seen |= {
    "market": api.get_order_by_client_order_id("market one").status,
    "open": [order.id for order in api.list_orders()],
    "limit": limit.id,
}
api.cancel_order(limit.id)
seen |= {
    "cancelled": api.get_order(limit.id).status,
    "all": sorted(order.status for order in api.list_orders(status="all", nested=True)),
    "positions": {p.symbol: p.qty for p in api.list_positions()},
    "fills": [[row.order_id == market.id, row.qty] for row in api.get_activities("FILL")],
}
print(json.dumps(seen))
