"""Metrics for BasicSR's ``val: metrics``."""
