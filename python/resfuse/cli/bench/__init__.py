"""Engines beside one another: processes that take turns, and figures from the raw timings."""
