"""Asking people about recorded data, without a run."""
