"""Measurements, each beside what a user would run instead, as ratios within one run."""
