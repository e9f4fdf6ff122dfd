"""The list `model.adapters` of workload.yaml: keys, ranges, its way into `domain.Adapter`, and its rules."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Final

from pydantic import Field

from sky_melange.domain.adapter import RANKS, Adapter
from sky_melange.domain.workload import Model
from sky_melange.errors import Mistake
from sky_melange.workload_file.field_types import MODEL_ID, Section
from sky_melange.workload_file.nodes import MappingNode, ScalarNode, SequenceNode, YamlDocument
from sky_melange.workload_file.report import quote

_SUMS_DIFFER: Final = 1e-9


class AdapterSection(Section):
    """A LoRA adapter of the model, served by the same replicas."""

    id: str = Field(
        pattern=MODEL_ID,
        max_length=200,
        description="Hugging Face id of the adapter; requests ask for it by this name.",
        examples=["acme/llama-3.1-8b-sql"],
    )
    share: float = Field(gt=0, le=1, description="The part of all requests that is for it.", examples=[0.3])
    rank: int = Field(ge=1, le=RANKS[-1], description="Rank of its matrices (`r` of its config).", examples=[16])


def to_adapters(sections: Collection[AdapterSection]) -> tuple[Adapter, ...]:
    """The adapters, in the order of the file."""
    return tuple(Adapter(id=each.id, share=float(each.share), rank=each.rank) for each in sections)


def adapter_mistakes(model: Model) -> Iterator[tuple[str, str]]:
    """(key within `model`, what is wrong) of what the schema cannot express."""
    seen = {model.id: "the model itself"}
    for index, adapter in enumerate(model.adapters):
        if adapter.id in seen:
            yield f"adapters[{index}].id", f"{quote(adapter.id)} is {seen[adapter.id]} already: name each once"
        seen.setdefault(adapter.id, f"adapters[{index}]")
    total = sum(adapter.share for adapter in model.adapters)
    if total > 1 + _SUMS_DIFFER:
        yield "adapters", f"the shares add up to {total:.9g}; they are parts of all requests, so write at most 1"
    if model.adapters and model.adapter_overhead is None:
        yield (
            "adapters",
            "how much longer engines take with adapters must be said: measure it, or write `adapter_overhead: 0.5` "
            "(docs/howto/adapters.md has what others measured)",
        )
    if not model.adapters and model.adapter_overhead is not None:
        yield "adapter_overhead", "is of adapters, and there are none: list them, or leave it out"


def check_adapters(document: YamlDocument) -> Iterator[Mistake]:
    """What is wrong with the list, as far as its entries have the types that they should."""
    section, listed = document.find(("model",)), document.find(("model", "adapters"))
    if not isinstance(section, MappingNode):
        return
    name, overhead = _value(section.entries, "id"), _value(section.entries, "adapter_overhead")
    if listed is not None and not isinstance(listed, SequenceNode):
        return
    found = []
    for entry in () if listed is None else listed.items:
        entries = entry.entries if isinstance(entry, MappingNode) else {}
        own, share = _value(entries, "id"), _value(entries, "share")
        if not isinstance(own, str) or not isinstance(share, (int, float)):
            return
        found.append(Adapter(id=own, share=float(share), rank=1))
    model = Model(
        id=name if isinstance(name, str) else "",
        dtype="",
        adapters=tuple(found),
        adapter_overhead=None if overhead is None else 0.0,
    )
    for place, message in adapter_mistakes(model):
        head, _, rest = place.partition("[")
        path = ("model", head, int(rest.split("]")[0]), "id") if rest else ("model", head)
        yield document.mistake(path, message)


def _value(entries: Mapping[str, object], key: str) -> object:
    node = entries.get(key)
    return node.value if isinstance(node, ScalarNode) else None
