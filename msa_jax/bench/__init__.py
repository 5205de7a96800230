"""How fast the methods are, and how far from what they need; see `bench.__main__`."""
