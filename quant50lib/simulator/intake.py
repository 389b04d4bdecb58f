"""Taking orders in: from a request that was checked to an order, with its legs, in the books."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

from quant50lib.simulator.corporate import Corporate
from quant50lib.simulator.order_form import OrderRequest
from quant50lib.simulator.records import Order, Side, identifier
from quant50lib.simulator.validation import Terms, check_account


class Intake(Corporate):
    """New orders of one account."""

    holding = False  # set by a fault: an order taken in is acknowledged, and goes no further

    def submit(self, request: OrderRequest) -> Order:
        """Take an order in; in a session it is worked at once, after the acknowledgement.

        Raises
        ------
        Refusal
            As Alpaca would refuse it.
        """
        terms = check_account(self, request)
        with self.change():
            return self._accept(request, terms)

    def _accept(self, request: OrderRequest, terms: Terms) -> Order:
        order = self.make(request, terms)
        order.legs = [leg.id for leg in self._make_legs(request, order)]
        self.acknowledge(order)
        if not self.holding:
            self.begin(order)
        self.touch(order)
        return order

    def acknowledge(self, order: Order) -> None:
        """The first status: in its hours as the rules say, else accepted for the next ones."""
        inside = self.in_hours(order)
        order.move(self.rules.acknowledge if inside else "accepted", order.created_at)

    def begin(self, order: Order) -> None:
        """An order taken in within its hours goes live and is looked at."""
        if not self.in_hours(order):
            return
        if order.status != "new":
            order.move("new", self.stamp())
        self.touch(order)
        for each in (order, *self.legs_of(order)):
            self.look(each)

    def make(self, request: OrderRequest, terms: Terms) -> Order:
        """An order in the books that has no status yet."""
        at, seq = self.stamp(), self._number()
        made = identifier("order", self.rules.seed, self.account.created_at, seq)
        session = self.first_session(request.extended_hours)
        force = request.time_in_force
        order = Order(
            seq=seq,
            id=made,
            client_order_id=request.client_order_id or identifier("client", made),
            symbol=request.symbol,
            side=request.side,
            qty=request.qty,
            notional=request.notional,
            session=session,
            reserve_price=terms.reserve_price,
            created_at=at,
            submitted_at=at,
            updated_at=at,
            expires_at=self.end_of_life(force, session, request.extended_hours),
            wanted=request.qty,
            kind=request.kind,
            time_in_force=force,
            limit_price=request.limit_price,
            stop_price=request.stop_price,
            trail_price=request.trail_price,
            trail_percent=request.trail_percent,
            extended_hours=request.extended_hours,
            order_class=request.order_class,
            position_intent=terms.position_intent,
            asset_id=self.prices.asset_id(request.symbol),
        )
        self.orders[order.id] = self.by_client_id[order.client_order_id] = order
        self.touch(order)
        return order

    def _make_legs(self, request: OrderRequest, entry: Order) -> list[Order]:
        """Take-profit and stop-loss, held; an oco is its own take-profit and watches the loss."""
        exits, oco = [], request.order_class == "oco"
        if request.take_profit is not None and not oco:
            exits.append(replace(request, kind="limit", limit_price=request.take_profit))
        if request.stop_loss is not None:
            stop, limit = request.stop_loss.stop_price, request.stop_loss.limit_price
            kind = "stop" if limit is None else "stop_limit"
            exits.append(replace(request, kind=kind, limit_price=limit, stop_price=stop))
        side: Side = request.side if oco else ("sell" if request.side == "buy" else "buy")
        return [self._make_leg(replace(each, side=side), entry, armed=oco) for each in exits]

    def _make_leg(self, request: OrderRequest, entry: Order, *, armed: bool) -> Order:
        price = request.limit_price or request.stop_price or Decimal(0)
        terms = Terms(price, f"{request.side}_to_close")
        leg = self.make(replace(request, client_order_id=None), terms)
        leg.parent, leg.armed = entry.id, armed
        leg.move("held", leg.created_at)
        return leg
