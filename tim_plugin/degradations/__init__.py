"""Degradations, one file each: how an LQ is made, and which images are consistent with it; and the table of tasks."""
