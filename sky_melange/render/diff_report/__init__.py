"""What changed between two plans, in every format: one module each, and one line in `extensions.DIFF_FORMATS`."""
