"""An embedded twin of Alpaca's paper account on loopback, for any Alpaca client.

It shares no code with the desk that it judges, apart from the exchange calendar.
"""
