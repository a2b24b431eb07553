"""Honest next-day forecasts of stock returns."""

__version__ = "0.1.0"
