"""One run and its folder: what is written while it trains, and read when it ended."""
