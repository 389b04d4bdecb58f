"""Quant50: the daily desk of a 50-asset quantitative portfolio.

Read `contracts` first: it declares every table and every stage. A stage notebook reads tables,
calls pure functions of `services`, and writes tables; `pipeline` runs the notebooks and seals what
they did; `adapters` touch the world.
"""

__version__ = "0.1.0"
