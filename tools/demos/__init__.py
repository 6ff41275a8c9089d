"""Demos: a whole road in minutes on a CPU, without a download."""
