"""Honest next-day forecasts of stock returns."""

__version__ = "0.2.0"
