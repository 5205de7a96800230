"""How fast the methods are, and what their programs take; see `bench.__main__`."""
