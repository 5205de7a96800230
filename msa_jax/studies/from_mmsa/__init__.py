"""What `from_mmsa` does: MMSA's configurations and trained networks, as ours."""
