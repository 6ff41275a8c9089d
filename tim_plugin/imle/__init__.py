"""Conditional IMLE as functions of tensors, callables and generators; nothing here knows an option file or BasicSR."""
