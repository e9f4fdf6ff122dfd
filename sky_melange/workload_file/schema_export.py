"""JSON Schemas of the files that people write, for editors and other tools."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from pydantic import BaseModel

SCHEMA_ID: Final = "urn:sky-melange:workload:1"
_DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"


_OF_NUMBERS: Final = ("type", "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum")


def json_schema() -> dict[str, object]:
    """JSON Schema (draft 2020-12) of version 1 of workload.yaml, with a description and example of every key.

    What it cannot express (the weights' shape, rising edges, names that exist) only `read_workload` checks.
    """
    from sky_melange.workload_file.schema import WorkloadFile

    return _with_texts(schema_of(WorkloadFile, SCHEMA_ID))


def _with_texts(schema: dict[str, object], key: str = "") -> dict[str, object]:
    """The schema with the texts that the reader takes for numbers and choices."""
    from sky_melange.workload_file.understood import choice_pattern, text_pattern

    found: dict[str, object] = {}
    for name, part in schema.items():
        if isinstance(part, dict) and name in {"properties", "$defs"}:
            found[name] = {inner: _with_texts(each, inner) for inner, each in part.items()}
        elif isinstance(part, dict):
            found[name] = _with_texts(part, key)
        elif isinstance(part, list) and name in {"anyOf", "prefixItems"}:
            found[name] = [_with_texts(each, key) for each in part]
        else:
            found[name] = part
    kind, choices = found.get("type"), found.get("enum", [found.get("const")])
    if kind in {"number", "integer"} and "const" not in found:
        own = {name: found.pop(name) for name in tuple(found) if name in _OF_NUMBERS}
        found["anyOf"] = [own, {"type": "string", "pattern": text_pattern(key, is_whole=kind == "integer")}]
    elif kind == "string" and isinstance(choices, list) and choices != [None]:
        own = {name: found.pop(name) for name in ("enum", "const") if name in found}
        found["anyOf"] = [own, {"pattern": choice_pattern(choices)}]
    return found


def schema_of(file: type[BaseModel], schema_id: str) -> dict[str, object]:
    """The JSON Schema of a file's model; null is allowed nowhere."""
    # pydantic takes longer to import than `--help` to print.
    from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
    from pydantic_core import core_schema

    class WithoutNull(GenerateJsonSchema):
        """A key that is not wanted is left out; the reader refuses null, so the schema does too."""

        def nullable_schema(self, schema: core_schema.NullableSchema) -> JsonSchemaValue:
            return self.generate_inner(schema["schema"])

        def default_schema(self, schema: core_schema.WithDefaultSchema) -> JsonSchemaValue:
            if schema.get("default", ...) is None:
                return self.generate_inner(schema["schema"])
            return super().default_schema(schema)

    return {"$schema": _DIALECT, "$id": schema_id, **file.model_json_schema(schema_generator=WithoutNull)}
