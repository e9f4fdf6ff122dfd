"""One GPU of a Mélange solver file: `gpu_info[GPU].tputs`, [input bucket][output bucket], requests/s.

The file states neither its bucket edges nor its latency target; the options must.
"""

from __future__ import annotations

from typing import Any

from sky_melange.domain.profile import MatrixForm, ProfileKind, StatedTarget
from sky_melange.errors import InputError, Mistake
from sky_melange.profiles.importers.matrices import check_shape, rate_rows
from sky_melange.profiles.importers.reading import Mistakes, compact, read_json
from sky_melange.profiles.importers.request import Imported, ImportRequest, Stated, imported


def import_melange(request: ImportRequest) -> Imported:
    """Needs --input-edges, --output-edges, a target such as --ntpot-ms, and --entry when there are several GPUs.

    Raises InputError with file and field of every mistake.
    """
    if len(request.paths) != 1:
        raise InputError([Mistake(source="melange", message="want exactly one file")])
    path = request.paths[0]
    source = str(path)
    mistakes = Mistakes()
    content = read_json(path)
    gpus = content.get("gpu_info") if isinstance(content, dict) else None
    if not isinstance(gpus, dict) or not gpus:
        mistakes.add(source, "want an object with an entry per GPU", key="gpu_info")
        raise mistakes.error()
    name = request.entry or (next(iter(gpus)) if len(gpus) == 1 else request.accelerator)
    entry = gpus.get(name) if name is not None else None
    if not isinstance(entry, dict):
        mistakes.add("--entry", f"the file has no GPU {name!r}; it has: {', '.join(sorted(map(str, gpus)))[:200]}")
        raise mistakes.error()
    rows = rate_rows(entry.get("tputs"), source, f"gpu_info.{name}.tputs", mistakes)
    for option, value in (("--input-edges", request.input_edges), ("--output-edges", request.output_edges)):
        if value is None:
            mistakes.add(option, "is needed: the file does not say which request sizes its buckets are")
    target = stated_target(request, mistakes)
    inputs, outputs = request.input_edges or (), request.output_edges or ()
    check_shape(rows, inputs, outputs, source, names=("input", "output"), mistakes=mistakes)
    mistakes.stop()
    form = MatrixForm(input_edges=inputs, output_edges=outputs, request_rates_rps=rows, target=target)
    stated = Stated(source="Mélange solver file", kind=ProfileKind.PUBLISHED)
    return imported(request, stated, form, details=_details(content, str(name), entry))


def stated_target(request: ImportRequest, mistakes: Mistakes) -> StatedTarget:
    """The latency target that the options state."""
    if request.slo is None:
        message = "is needed (or --tpot-ms, --ttft-ms): the file does not say at which target its rates were found"
        mistakes.add("--ntpot-ms", message)
        return StatedTarget()
    return StatedTarget(tpot_s=request.slo.tpot_s, ttft_s=request.slo.ttft_s, ntpot_s=request.slo.ntpot_s)


def _details(content: dict[str, Any], name: str, entry: dict[str, Any]) -> dict[str, Any]:
    """What else the file says; the other GPUs by name only."""
    kept = {key: compact(value) for key, value in entry.items() if key != "tputs"}
    rest = {key: compact(value) for key, value in content.items() if key != "gpu_info"}
    return {"entry": name, **kept, **rest, "other_entries": sorted(set(map(str, content["gpu_info"])) - {name})}
