"""Benchmarks: two ways of doing the same thing, alternated in one process, and the counts that explain the ratio."""
