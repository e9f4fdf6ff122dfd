"""Every key of a workload that is text has been looked at: it is refused on a server, or it leads nowhere."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from sky_melange.errors import InputError
from sky_melange.skypilot.plugin.refuse import REFUSED_KEYS, check_plan_document, check_workload_text
from sky_melange.workload_file.schema import WorkloadFile

HARMLESS = {
    "launch.api_key_secret",
    "traffic.where",
    "traffic.model_column",
    "traffic.columns.bytes",
    "name",
    "model.id",
    "model.adapters.id",
    "model.checkpoints",
    "model.profile_as",
    "candidates.own.infra",
    "candidates.own.accelerator",
    "traffic.histogram.source",
    "traffic.preset",
    "traffic.columns.input",
    "traffic.columns.output",
    "traffic.columns.time",
    "traffic.buckets",
    "traffic.hours.time_zone",
    "traffic.hours.sizes.name",
    "candidates.accelerators",
    "candidates.clouds",
    "candidates.regions",
    "constraints.max_accelerators",
    "constraints.max_accelerators_in",
    "prices.require_clouds",
    "prices.trust",
    "prices.discounts.cloud",
    "prices.discounts.accelerator",
    "prices.discounts.instance_type",
    "launch.engine_args",
    "launch.secrets",
}
"""Names that are looked up in what ships, compared, or written out. `columns` and `buckets` concern logs, which are
refused. A new key of free text belongs here or into REFUSED_KEYS."""


def _texts(schema: dict[str, Any], definitions: dict[str, Any], path: tuple[str, ...] = ()) -> Iterator[str]:
    """Dotted paths of free text, lists and values of mappings included; enumerations are not free."""
    if "$ref" in schema:
        schema = definitions[schema["$ref"].rsplit("/", 1)[1]]
    for part in (*schema.get("anyOf", ()), *schema.get("allOf", ())):
        yield from _texts(part, definitions, path)
    if schema.get("type") == "string" and not {"enum", "const"} & set(schema):
        yield ".".join(path)
    if schema.get("patternProperties") or schema.get("propertyNames"):
        yield ".".join(path)
    for key in ("items", "additionalProperties"):
        if isinstance(schema.get(key), dict):
            yield from _texts(schema[key], definitions, path)
    for name, entry in schema.get("properties", {}).items():
        yield from _texts(entry, definitions, (*path, name))


def test_every_key_of_text_is_decided() -> None:
    schema = WorkloadFile.model_json_schema()
    found = set(_texts(schema, schema["$defs"]))
    refused = {".".join(path) for path in REFUSED_KEYS}
    assert found >= HARMLESS
    leading_somewhere = {"constraints.keep.plan" if key == "constraints.keep" else key for key in refused}
    assert found - HARMLESS == leading_somewhere


@pytest.mark.parametrize("path", REFUSED_KEYS, ids=".".join)
def test_each_is_refused_in_every_spelling(path: tuple[str, ...]) -> None:
    section, *between, key = path
    for entry in (
        f"{{{key}: x}}",
        f"{{{key}: [x]}}",
        f'{{"{key}": {{a: 1}}}}',
        f"{{? {key} : ''}}",
        f"{{other: 1, {key}: 0}}",
    ):
        inner = entry
        for name in reversed(between):
            inner = f"{{{name}: {inner}}}"
        for text in (f"{section}: {inner}\n", f'{{"{section}": {inner}}}', f"? {section}\n: {inner}\n"):
            with pytest.raises(InputError) as caught:
                check_workload_text(text, source="workload.yaml")
            assert [mistake.key for mistake in caught.value.mistakes] == [".".join(path)], text


def test_no_files_are_no_files() -> None:
    check_workload_text("profiles:\n  files: []\n", source="workload.yaml")


@pytest.mark.parametrize("document", [None, [], "x", 1, {"workload": []}, {"workload": {"prices": "x"}}])
def test_what_is_no_plan_is_left_to_the_reader(document: object) -> None:
    check_plan_document(document, source="plan.json")
