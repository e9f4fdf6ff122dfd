"""Helpers of `scripts/fit_profiles.py` and `benchmarks/profile_accuracy.py`; not part of the installed package."""
