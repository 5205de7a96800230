"""Answers -> numbers: metrics, baselines, intervals, tests of differences."""
