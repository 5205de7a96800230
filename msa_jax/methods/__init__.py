"""The methods, one file each; `make` picks one by its config."""
