"""Data sets made from nothing: the built-in ones, and twins of published ones."""
