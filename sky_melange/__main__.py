"""`python -m sky_melange`."""

from __future__ import annotations

from sky_melange.cli import main

main()
