"""How fast the methods are, and what their programs take."""
