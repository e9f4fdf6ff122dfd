"""Helpers of ``scripts/build_profiles.py``; a development tool, not part of the installed package."""
