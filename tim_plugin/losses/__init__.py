"""Losses for BasicSR over the distances of ``imle``."""
