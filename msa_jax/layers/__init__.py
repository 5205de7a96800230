"""Blocks of networks that two methods or more are made of."""
