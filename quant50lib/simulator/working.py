"""The open orders: those of one name, and what all hold back, without adding all up each time."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from decimal import Decimal

from quant50lib.simulator.records import EXACT, ZERO, Order


class Working(dict[str, Order]):
    """Open orders by id, in the order in which they became open.

    What an order holds back changes with the order. So it is summed up for good only when a change
    of the books is over (`settle`); until then it is asked of each order that was put here since.
    """

    def __init__(self, orders: Iterable[Order] = ()) -> None:
        super().__init__()
        self._by_symbol: dict[str, dict[str, Order]] = {}
        self._changed: dict[str, Order] = {}
        self._reserves: dict[str, Decimal] = {}  # of each order as it was settled
        self._total = ZERO  # of the reserves
        for order in orders:
            self.put(order)
        self.settle()

    def put(self, order: Order) -> None:
        """Count the order among the open ones if it is, and no longer if it is not."""
        self._changed[order.id] = order
        if order.is_open:
            self[order.id] = order
            self._by_symbol.setdefault(order.symbol, {})[order.id] = order
        elif self.pop(order.id, None) is not None:
            del self._by_symbol[order.symbol][order.id]

    def of(self, symbol: str) -> Collection[Order]:
        """The open orders of a name."""
        return self._by_symbol.get(symbol, {}).values()

    @property
    def reserved(self) -> Decimal:
        """Buying power that all of them hold back, US dollars."""
        total = self._total
        for name, order in self._changed.items():
            total = EXACT.add(total, order.reserved)
            total = EXACT.subtract(total, self._reserves.get(name, ZERO))
        return total

    def settle(self) -> None:
        """Take the orders that were put here as they are now: they will not change unseen."""
        self._total = self.reserved
        for name, order in self._changed.items():
            self._reserves[name] = order.reserved
        self._changed = {}
