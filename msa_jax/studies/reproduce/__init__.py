"""A table of a paper in one command: docs/tables.md."""
