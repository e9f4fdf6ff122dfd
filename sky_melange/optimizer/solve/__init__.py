"""The integer program, and how it is solved. Only this package and `why`, which solves again, import PuLP."""
