"""Degradations: how an LQ comes about, and which images agree with it. One file each."""
