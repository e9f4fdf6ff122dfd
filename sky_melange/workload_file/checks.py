"""Rules that span several keys, or need to know what there is. They read the tree, so that they apply even when the
file breaks the schema elsewhere, and skip whatever has the wrong type: `messages.py` reports that.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from itertools import islice, pairwise
from typing import Final

from sky_melange.domain.own_gpus import OWN_CLOUDS
from sky_melange.domain.price_record import PriceKind
from sky_melange.domain.spelling import did_you_mean, nearest
from sky_melange.domain.workload import SpotUse
from sky_melange.errors import Mistake
from sky_melange.workload_file.adapters import check_adapters
from sky_melange.workload_file.convert import spot_of
from sky_melange.workload_file.nodes import (
    KeyPath,
    MappingNode,
    ScalarNode,
    SequenceNode,
    Unreadable,
    YamlDocument,
    YamlNode,
)
from sky_melange.workload_file.own_gpus import check_own
from sky_melange.workload_file.report import key_path, plural, quote
from sky_melange.workload_file.sections import ALL_CLOUDS, NO_CLOUD
from sky_melange.workload_file.traffic_checks import check_traffic
from sky_melange.workload_file.understood import KnownNames

_PLACES: Final = ("constraints", "max_accelerators_in")

READ_VERSION: Final = 1

_MAX_NAMES: Final = 100
"""Names looked at in one list; the schema refuses longer lists."""

_ACCELERATORS: Final = ("candidates", "accelerators")
_CLOUDS: Final = ("candidates", "clouds")
_REQUIRED_CLOUDS: Final = ("prices", "require_clouds")
_REGIONS: Final = ("candidates", "regions")
_OWN: Final = ("candidates", "own")
_MAX_ACCELERATORS: Final = ("constraints", "max_accelerators")
_HOLDERS: Final[dict[KeyPath, type[YamlNode]]] = {
    _ACCELERATORS: SequenceNode,
    _CLOUDS: SequenceNode,
    _REQUIRED_CLOUDS: SequenceNode,
    _REGIONS: MappingNode,
    _MAX_ACCELERATORS: MappingNode,
    ("model", "id"): ScalarNode,
}
"""What names stand in; where something else stands, that is the mistake."""

_PURCHASE: Final = ("candidates", "purchase")
_SPOT: Final = ("candidates", "spot")
_SECRETS: Final = ("launch", "secrets")
_HISTOGRAM: Final = ("traffic", "histogram")


def version_mistake(document: YamlDocument) -> Mistake | None:
    """What is wrong with `version`, when it is there."""
    node = document.find(("version",))
    if node is None or (isinstance(node, ScalarNode) and isinstance(node.value, Unreadable)):
        return None
    value = node.value if isinstance(node, ScalarNode) else None
    if type(value) is int and value == READ_VERSION:
        return None
    found = f"found {quote(node.text)}" if isinstance(node, ScalarNode) else "found a list or a mapping"
    message = f"this release reads version {READ_VERSION}, {found}; write `version: {READ_VERSION}`"
    if is_newer(document):
        message = f"this release reads version {READ_VERSION}, {found}; update sky-melange to read newer files"
    return _mistake(document, ("version",), message)


def is_newer(document: YamlDocument) -> bool:
    """Whether the file was written for a later release, whose other keys cannot be judged here."""
    node = document.find(("version",))
    return isinstance(node, ScalarNode) and type(node.value) is int and node.value > READ_VERSION


def check_document(document: YamlDocument, known: KnownNames) -> Iterator[Mistake]:
    """Every mistake that the schema cannot express."""
    yield from _check_slo(document)
    yield from _check_budget(document)
    yield from check_traffic(document, known.presets)
    for axis in ("input_tokens", "output_tokens"):
        yield from _check_edges(document, (*_HISTOGRAM, axis))
    yield from _check_weights(document)
    yield from _check_engine_args(document)
    yield from _check_purchase(document)
    for path in (_ACCELERATORS, _CLOUDS, _SECRETS, _PURCHASE, ("model", "dtype")):
        yield from _check_repeated(document, path)
    for region in _names(document, _REGIONS):
        yield from _check_repeated(document, region)
    yield from _check_regions(document, known)
    yield from _check_known(document, known)
    yield from _check_limits(document, known.accelerators, known.clouds)
    yield from check_own(document, known.accelerators)
    yield from check_adapters(document)


def _check_slo(document: YamlDocument) -> Iterator[Mistake]:
    slo = document.find(("slo",))
    if isinstance(slo, MappingNode) and not set(slo.entries) - {"attainment"}:
        message = "give at least one of tpot_ms, ttft_ms, ntpot_ms, for example `slo: {tpot_ms: 40}`"
        yield _mistake(document, ("slo",), message)
    attainment = document.find(("slo", "attainment"))
    if isinstance(slo, MappingNode) and isinstance(attainment, ScalarNode) and attainment.value == "mean":
        for key in slo.entries:
            if key.startswith("p") and key.endswith("_ms"):
                message = "is found by simulation, and `attainment: mean` simulates nothing; leave out one of them"
                yield _mistake(document, ("slo", key), message)


def _check_budget(document: YamlDocument) -> Iterator[Mistake]:
    budget = document.find(("budget",))
    if isinstance(budget, MappingNode) and not budget.entries:
        message = "give usd_per_hour, usd_per_month, or both, for example `budget: {usd_per_hour: 40}`"
        yield _mistake(document, ("budget",), message)


_INSTEAD: Final = {
    "is a secret: name its environment variable as launch.api_key_secret instead": ("--api-key",),
    "is planned: write model.id instead": ("--model", "--model-path"),
    "is planned: write model.dtype instead": ("--dtype", "--quantization", "-q"),
    "is planned: write model.max_model_len instead": ("--max-model-len", "--context-length"),
    "runs code of the model's repository: write `launch.trust_remote_code: true` instead": ("--trust-remote-code",),
    "is what the plan computes for each group: leave it out, and change slo or constraints.max_utilization instead": (
        "--max-num-seqs",
        "--max-running-requests",
    ),
    "is what the profiles are of: leave it out, and name one with another share under profiles.files instead": (
        "--gpu-memory-utilization",
        "--mem-fraction-static",
    ),
    "is the layout that the plan chooses for each group: leave it out, and name profiles of the layouts that you want "
    "under profiles.files instead": (
        *("--tensor-parallel-size", "-tp", "--tp-size", "--tp"),
        *("--data-parallel-size", "-dp", "--dp-size", "--dp", "--attn-dp-size", "--enable-dp-attention"),
        *("--enable-expert-parallel", "-ep", "--ep-size", "--ep", "--expert-parallel-size"),
        *("--pipeline-parallel-size", "-pp", "--pp-size", "--pp", "--nnodes"),
    ),
    "is planned: write model.adapters instead": (
        *("--enable-lora", "--lora-modules", "--lora-paths", "--max-loras", "--max-loras-per-batch"),
        "--max-lora-rank",
    ),
    "is set where an instance holds several replicas: leave it out": ("--load-balance-method",),
    "is where SkyServe and the router look for the replica: leave it out": ("--host", "--port"),
}
"""What to do instead of passing an argument that launch files have, or that contradicts the plan."""

_SHORTEST: Final = 6
"""Letters of a beginning that an engine's parser may take for the whole flag."""


def _check_engine_args(document: YamlDocument) -> Iterator[Mistake]:
    """Arguments that the launch files have already, or that make the replica another one than was planned."""
    for index, node in enumerate(_items(document, ("launch", "engine_args"))):
        if not isinstance(node, ScalarNode) or not isinstance(node.value, str):
            continue
        name = node.value.partition("=")[0].partition(" ")[0].replace("_", "-")
        for message, flags in _INSTEAD.items():
            if any(flag == name or (len(name) >= _SHORTEST and flag.startswith(name)) for flag in flags):
                yield _mistake(document, ("launch", "engine_args", index), f"{name} {message}")


def _check_edges(document: YamlDocument, path: KeyPath) -> Iterator[Mistake]:
    edges = _items(document, path)
    for index, (before, after) in enumerate(pairwise(_number(edge) for edge in edges), start=1):
        if before is None or after is None or after > before:
            continue
        fault = f"the edge {after:g} is repeated" if after == before else f"the edge {after:g} comes after {before:g}"
        yield _mistake(document, (*path, index), f"{fault}; upper edges must rise strictly")


def _check_weights(document: YamlDocument) -> Iterator[Mistake]:
    path = (*_HISTOGRAM, "weights")
    table = document.find(path)
    if not isinstance(table, SequenceNode):
        return
    yield from _check_shape(document, path, table.items)
    weights = [_number(weight) for row in table.items if isinstance(row, SequenceNode) for weight in row.items]
    if all(weight == 0 for weight in weights) and all(isinstance(row, SequenceNode) for row in table.items):
        yield _mistake(document, path, "every weight is 0; give at least one bucket a positive weight")


def _check_shape(document: YamlDocument, path: KeyPath, rows: list[YamlNode]) -> Iterator[Mistake]:
    row_count = len(_items(document, (*_HISTOGRAM, "input_tokens")))
    column_count = len(_items(document, (*_HISTOGRAM, "output_tokens")))
    widths = [len(row.items) if isinstance(row, SequenceNode) else None for row in rows]
    expected = f"expected {plural(row_count, 'row')} × {plural(column_count, 'column')}"
    if row_count and column_count and len(rows) == column_count and set(widths) == {row_count} != {column_count}:
        found = f"{plural(len(rows), 'row')} × {plural(row_count, 'column')}"
        message = f"the table is turned: {found}, {expected}: one row per input edge, one column per output edge"
        yield _mistake(document, path, message)
        return
    if row_count and len(rows) != row_count:
        found = f"{plural(len(rows), 'row')} × {_widths(widths)}"
        yield _mistake(document, path, f"{found} found, {expected}: one row per input edge (input_tokens)")
    for index, width in enumerate(widths):
        if column_count and width is not None and width != column_count:
            message = f"{plural(width, 'column')} found in this row, {expected}: one column per output edge"
            yield _mistake(document, (*path, index), f"{message} (output_tokens)")


def _widths(widths: list[int | None]) -> str:
    known = sorted({width for width in widths if width is not None})
    if not known:
        return "0 columns"
    return plural(known[0], "column") if len(known) == 1 else f"{known[0]} to {known[-1]} columns"


def _check_repeated(document: YamlDocument, path: KeyPath) -> Iterator[Mistake]:
    first_lines: dict[str, int] = {}
    for place, name in islice(_names(document, path).items(), _MAX_NAMES):
        if name in first_lines:
            shown = "this entry" if path == _SECRETS else quote(name)
            yield _mistake(document, place, f"{shown} is listed twice, first on line {first_lines[name]}; remove one")
        first_lines.setdefault(name, document.line_of(place))


def _check_purchase(document: YamlDocument) -> Iterator[Mistake]:
    """`spot` and `purchase` say the same, where both say something."""
    kinds, node = set(_names(document, _PURCHASE).values()), document.find(_SPOT)
    spot = node.value if isinstance(node, ScalarNode) else None
    if spot not in set(SpotUse) or not kinds or not kinds <= set(PriceKind):
        return
    wanted = spot_of([PriceKind(kind) for kind in kinds])
    if spot != wanted:
        message = f"is {spot}, but candidates.purchase says {wanted}: leave out spot, which purchase replaces"
        yield _mistake(document, _SPOT, message)


def _check_regions(document: YamlDocument, known: KnownNames) -> Iterator[Mistake]:
    clouds = list(_names(document, _CLOUDS).values())
    if clouds == [NO_CLOUD] and not _items(document, _OWN):
        message = "leaves nothing to plan with: state GPUs that you have under candidates.own, or name clouds"
        yield _mistake(document, _CLOUDS, message)
    if clouds in ([], [ALL_CLOUDS]):
        return
    if known.clouds is not None:
        # A mistyped cloud is one mistake, where it is listed; its regions are as they should be.
        clouds += filter(None, [nearest(cloud, known.clouds) for cloud in clouds[:_MAX_NAMES]])
    for place, cloud in islice(_names(document, _REGIONS).items(), _MAX_NAMES):
        if cloud not in clouds:
            message = f"the cloud {quote(cloud)} is not in candidates.clouds: add it there, or remove its regions"
            yield _mistake(document, place, message)


def _check_known(document: YamlDocument, known: KnownNames) -> Iterator[Mistake]:
    kinds = (
        ("accelerator", known.accelerators, (_ACCELERATORS, _MAX_ACCELERATORS)),
        ("cloud", known.clouds, (_CLOUDS, _REGIONS, _REQUIRED_CLOUDS)),
        ("model", known.models, (("model", "id"),)),
    )
    for noun, names, paths in kinds:
        for path in paths if names is not None else ():
            if not isinstance(document.find(path), _HOLDERS[path]):
                continue
            for place, name in islice(_names(document, path).items(), _MAX_NAMES):
                if names is not None and name not in names:
                    near = did_you_mean(name, sorted(names), f"known {noun}s")
                    if noun == "cloud" and name in (*OWN_CLOUDS, "k8s"):
                        near = ": GPUs that you have are stated under candidates.own"
                    yield _mistake(document, place, f"unknown {noun} {quote(name)}{near}")


def _names(document: YamlDocument, path: KeyPath) -> dict[KeyPath, str]:
    """Where each name stands: the items of a list, the keys of a mapping, or a single value."""
    node = document.find(path)
    if isinstance(node, MappingNode):
        return {(*path, key): key for key in node.entries}
    nodes: dict[KeyPath, YamlNode] = {path: node} if isinstance(node, ScalarNode) else {}
    nodes.update({(*path, index): item for index, item in enumerate(_items(document, path))})
    return {
        place: item.value
        for place, item in nodes.items()
        if isinstance(item, ScalarNode) and isinstance(item.value, str)
    }


def _items(document: YamlDocument, path: KeyPath) -> list[YamlNode]:
    node = document.find(path)
    return node.items if isinstance(node, SequenceNode) else []


def _number(node: YamlNode) -> float | None:
    if not isinstance(node, ScalarNode) or isinstance(node.value, bool | str | Unreadable):
        return None
    return node.value


def _mistake(document: YamlDocument, path: KeyPath, message: str) -> Mistake:
    return Mistake(source=document.source, line=document.line_of(path), key=key_path(path), message=message)


def _check_limits(
    document: YamlDocument, accelerators: Collection[str] | None, clouds: Collection[str] | None
) -> Iterator[Mistake]:
    """Names in `max_accelerators_in`, and what `objective: most_traffic` needs."""
    yield from _check_places(document, accelerators, clouds)
    yield from _check_objective(document)


def _check_places(
    document: YamlDocument, accelerators: Collection[str] | None, clouds: Collection[str] | None
) -> Iterator[Mistake]:
    places = document.find(_PLACES)
    if not isinstance(places, MappingNode):
        return
    for place in islice(places.entries, _MAX_NAMES):
        cloud = place.partition("/")[0]
        known = () if clouds is None else (*clouds, *OWN_CLOUDS)
        if known and cloud not in known:
            yield _unknown(document, (*_PLACES, place), "cloud", cloud, known)
        names = document.find((*_PLACES, place))
        if accelerators is None or not isinstance(names, MappingNode):
            continue
        for name in islice(names.entries, _MAX_NAMES):
            if name not in accelerators:
                yield _unknown(document, (*_PLACES, place, name), "accelerator", name, accelerators)


def _check_objective(document: YamlDocument) -> Iterator[Mistake]:
    objective = document.find(("objective",))
    if not isinstance(objective, ScalarNode) or objective.value != "most_traffic":
        return
    if not isinstance(document.find(("budget",)), MappingNode):
        message = "most_traffic needs a budget to stay within: write `budget: {usd_per_hour: 40}`"
        yield _mistake(document, ("objective",), message)
    formulation = document.find(("solver", "formulation"))
    if isinstance(formulation, ScalarNode) and formulation.value == "sliced":
        message = "most_traffic does not support the sliced formulation: remove it, or the objective"
        yield _mistake(document, ("solver", "formulation"), message)


def _unknown(document: YamlDocument, path: KeyPath, noun: str, name: str, known: Collection[str]) -> Mistake:
    message = f"unknown {noun} {quote(name)}{did_you_mean(name, sorted(known), f'known {noun}s')}"
    return _mistake(document, path, message)
