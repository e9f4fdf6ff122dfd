"""Importers of other tools' throughput figures. Adding one is one module and one line here."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from sky_melange.profiles.importers.aibrix_benchmark import import_aibrix_benchmark
from sky_melange.profiles.importers.aibrix_profile import import_aibrix_profile
from sky_melange.profiles.importers.guidellm import import_guidellm
from sky_melange.profiles.importers.melange import import_melange
from sky_melange.profiles.importers.request import Imported, ImportRequest
from sky_melange.profiles.importers.table import import_table
from sky_melange.profiles.importers.vllm_bench import import_vllm_bench

__all__ = ["IMPORTERS", "ImportRequest", "Imported"]

Importer = Callable[[ImportRequest], Imported]

IMPORTERS: Final[Mapping[str, Importer]] = {
    "aibrix-benchmark": import_aibrix_benchmark,
    "aibrix-profile": import_aibrix_profile,
    "guidellm": import_guidellm,
    "melange": import_melange,
    "table": import_table,
    "vllm-bench": import_vllm_bench,
}
"""Every importer by the name of its format."""
