"""Hyper-parameter search on validation; the command is `__main__`."""
