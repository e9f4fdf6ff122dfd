"""AIBrix GPU-optimizer profiles: the largest request rate per size within the targets that the file states.

`tputs[output][input]` requests/s, 0 where no rate met the targets; `indexes` are [outputs, inputs] in tokens.
"""

from __future__ import annotations

from typing import Any, Final

from sky_melange.domain.profile import MatrixForm, ProfileKind, StatedTarget
from sky_melange.errors import InputError, Mistake
from sky_melange.profiles.importers.matrices import RateRows, check_shape, edges, rate_rows
from sky_melange.profiles.importers.melange import stated_target
from sky_melange.profiles.importers.reading import Fields, Mistakes, epoch_date, quote, read_json
from sky_melange.profiles.importers.request import Imported, ImportRequest, Stated, imported

_PERCENTILES: Final = (0, 50, 90, 99)
_FOREIGN: Final = {"tput": "requests/s", "tt": "tokens/s", "tpat": "latency ÷ all tokens"}


def import_aibrix_profile(request: ImportRequest) -> Imported:
    """Older files state no targets: then the options must. Raises InputError with file and field of every mistake."""
    if len(request.paths) != 1:
        raise InputError([Mistake(source="aibrix-profile", message="want exactly one file")])
    path = request.paths[0]
    mistakes = Mistakes()
    content = read_json(path)
    if not isinstance(content, dict):
        raise InputError([Mistake(source=str(path), message="want a JSON object")])
    fields = Fields(content, mistakes, str(path))
    deployment = fields.text("gpu", required=True) or ""
    by_output = rate_rows(fields.get("tputs"), str(path), "tputs", mistakes)
    outputs, inputs = _indexes(fields, str(path), mistakes)
    check_shape(by_output, outputs, inputs, str(path), names=("output", "input"), mistakes=mistakes)
    latencies = None
    if fields.get("e2e") is not None:
        latencies = rate_rows(fields.get("e2e"), str(path), "e2e", mistakes)
        check_shape(latencies, outputs, inputs, str(path), names=("output", "input"), mistakes=mistakes)
    target = _target(fields, request, mistakes)
    date = epoch_date(fields.number("created", required=False))
    mistakes.stop()
    form = MatrixForm(
        input_edges=inputs,
        output_edges=outputs,
        request_rates_rps=_transposed(by_output),
        target=target,
        request_latencies_s=None if latencies is None else _transposed(latencies),
    )
    simulated = is_simulated(deployment)
    stated = Stated(
        source=f"AIBrix profile of {deployment}",
        kind=ProfileKind.ESTIMATED if simulated else ProfileKind.MEASURED,
        date=date,
        simulated=simulated,
    )
    details = {"deployment": deployment, **fields.rest()}
    return imported(request, stated, form, details=details, warnings=_warnings(target))


def is_simulated(name: str) -> bool:
    """Whether AIBrix's own naming says that the engine was a simulator."""
    return "simulator" in name.casefold()


def _warnings(target: StatedTarget) -> tuple[str, ...]:
    if target.percentile is None and target.e2e_s is None:
        return ()
    return (
        f"its target is {target}, which no workload can ask for: planning will refuse the profile. "
        "Import the benchmark lines instead (aibrix-benchmark) at a target of your own",
    )


def _indexes(fields: Fields, source: str, mistakes: Mistakes) -> tuple[tuple[int, ...], tuple[int, ...]]:
    value = fields.get("indexes")
    if not isinstance(value, list) or len(value) != 2:
        mistakes.add(source, "want [[output tokens…], [input tokens…]]", key="indexes")
        return (), ()
    return tuple(edges(part, source, f"indexes[{i}]", mistakes) for i, part in enumerate(value))  # type: ignore[return-value]


def _target(fields: Fields, request: ImportRequest, mistakes: Mistakes) -> StatedTarget:
    """The file's own targets; the options' when it has none."""
    slos = fields.get("slos")
    if slos is None:
        return stated_target(request, mistakes)
    if not isinstance(slos, dict):
        fields.mistake("slos", f"want an object, found {quote(slos)}")
        return StatedTarget()
    if request.slo is not None:
        mistakes.add("--ntpot-ms", "(or --tpot-ms, --ttft-ms) may not be given: the file states its own target")
    known = {"percentile", "e2e", "ttft", "tpot"}
    for name in sorted(set(slos) - known):
        meaning = _FOREIGN.get(name)
        fields.mistake(f"slos.{name}", f"a target on {meaning} has no equal here" if meaning else "is not known")
    percentile = slos.get("percentile", 0)
    if percentile not in _PERCENTILES or isinstance(percentile, bool):
        fields.mistake("slos.percentile", f"want one of {_PERCENTILES}, found {quote(percentile)}")
    limits = {f"{name}_s": _limit(slos, name, fields) for name in ("e2e", "ttft", "tpot")}
    if not any(limits.values()):
        fields.mistake("slos", "states no target")
    return StatedTarget(percentile=percentile or None, **limits)


def _limit(slos: dict[str, Any], name: str, fields: Fields) -> float | None:
    value = slos.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < 1e6:
        fields.mistake(f"slos.{name}", f"want seconds above 0, found {quote(value)}")
        return None
    return float(value)


def _transposed(rows: RateRows) -> RateRows:
    return tuple(zip(*rows, strict=True))
