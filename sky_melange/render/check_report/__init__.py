"""The report of `check` in every format: one module each, and one line in `extensions.CHECK_FORMATS`.

All take their figures and words from `words.py`, so that no figure is shown in two ways.
"""
