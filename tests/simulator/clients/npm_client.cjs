// A day with @alpacahq/alpaca-trade-api 4; prints what it saw.
const { trading, marketData } = require("@alpacahq/alpaca-trade-api");

const keys = { basePath: process.argv[2], keyId: "PKTESTTESTTESTTEST01", secret: "secret" };
const desk = new trading.Configuration(keys);
const data = new marketData.Configuration(keys);

async function day() {
  const orders = new trading.OrdersApi(desk);
  const span = { start: new Date("2024-07-03"), end: new Date("2024-07-05") };
  const page = await new marketData.StockApi(data).stockBars({
    symbols: "SPY,XOM",
    timeframe: "1Day",
    start: new Date("2024-05-28"),
    end: new Date("2024-06-03T12:00:00Z"),
    adjustment: "all",
    feed: "sip",
  });
  const seen = {
    account: await new trading.AccountsApi(desk).getAccount(),
    clock: await new trading.ClockApi(desk).legacyClock(),
    calendar: await new trading.CalendarApi(desk).legacyCalendar(span),
    assets: (await new trading.AssetsApi(desk).getV2Assets({ status: "active" }))
      .map((asset) => asset.symbol)
      .sort(),
    bars: Object.values(page.bars).flat().length,
    closes: Object.fromEntries(Object.entries(page.bars).map(([s, rows]) => [s, rows.at(-1).c])),
  };
  const common = { side: "buy", timeInForce: "day" };
  const market = await orders.postOrder({
    postOrderRequest: { ...common, symbol: "SPY", qty: "3", type: "market", clientOrderId: "market one" },
  });
  const limit = await orders.postOrder({
    postOrderRequest: { ...common, symbol: "XOM", qty: "1", type: "limit", limitPrice: "1.5" },
  });
  seen.market = (await orders.getOrderByClientOrderId({ clientOrderId: "market one" })).status;
  seen.open = (await orders.getAllOrders({})).map((order) => order.id);
  seen.limit = limit.id;
  await orders.deleteOrderByOrderID({ orderId: limit.id });
  seen.cancelled = (await orders.getOrderByOrderID({ orderId: limit.id })).status;
  seen.all = (await orders.getAllOrders({ status: "all", nested: true }))
    .map((order) => order.status)
    .sort();
  const held = await new trading.PositionsApi(desk).getAllOpenPositions();
  seen.positions = Object.fromEntries(held.map((p) => [p.symbol, p.qty]));
  const activities = new trading.AccountActivitiesApi(desk);
  const fills = await activities.getAccountActivities({ category: "trade_activity" });
  seen.fills = fills.map((row) => [row.orderId === market.id, row.qty]);
  return seen;
}

day().then(
  // its timers keep node alive for half a minute
  (seen) => process.stdout.write(JSON.stringify(seen), () => process.exit(0)),
  async (error) => {
    console.error(error, error.response && (await error.response.text().catch(() => "")));
    process.exitCode = 1;
  },
);
