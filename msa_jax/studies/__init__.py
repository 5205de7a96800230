"""Many runs: tables of papers, search, corrupted tests, proofs, timings."""
