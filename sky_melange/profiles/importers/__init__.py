"""Importers of other tools' throughput figures: one module each, and one line in `extensions.IMPORTERS`."""

from __future__ import annotations

from sky_melange.profiles.importers.request import Imported, ImportRequest

__all__ = ["ImportRequest", "Imported"]
