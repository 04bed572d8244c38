"""Intervals, aggregates and agreement as pure functions."""
