"""The JSON Schema says what the reader does, as far as a schema can."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import jsonschema
import pytest
import yaml

from sky_melange.domain.workload import Constraints
from sky_melange.workload_file import json_schema
from sky_melange.workload_file.schema import WorkloadFile
from sky_melange.workload_file.schema_lookup import flow

MistakesIn = Callable[..., list[str]]


@pytest.fixture(scope="module")
def validator() -> jsonschema.Draft202012Validator:
    schema = json_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


def test_its_head() -> None:
    schema = json_schema()
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert schema["$id"] == "urn:sky-melange:workload:1"
    assert schema["title"] == "sky-melange workload"
    assert json.loads(json.dumps(schema)) == schema


def _objects(schema: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield schema
    yield from (definition for definition in schema["$defs"].values() if definition["type"] == "object")


def test_every_key_has_a_description_and_an_example() -> None:
    whole: Any = json_schema()
    for section in _objects(whole):
        assert section["additionalProperties"] is False
        for key, schema in section["properties"].items():
            # pydantic leaves out what the referenced section says in the same words.
            section_name = schema.get("$ref", "").removeprefix("#/$defs/")
            described = schema.get("description") or whole["$defs"][section_name]["description"]
            assert described.endswith("."), key
            assert schema.get("examples"), key
            assert "null" not in json.dumps(schema), key


def test_defaults_are_shown() -> None:
    definitions: Any = json_schema()["$defs"]
    constraints = definitions["ConstraintsSection"]["properties"]
    assert constraints["min_replicas"]["default"] == Constraints().min_replicas
    assert definitions["SloSection"]["properties"]["attainment"]["default"] == 0.99
    assert "default" not in constraints["max_groups"]


def test_it_accepts_what_the_reader_accepts(validator: jsonschema.Draft202012Validator, good: str) -> None:
    validator.validate(yaml.safe_load(good))


def test_examples_are_valid(validator: jsonschema.Draft202012Validator, good: str) -> None:
    structure = yaml.safe_load(good)
    for name, field in WorkloadFile.model_fields.items():
        for example in field.examples or ():
            if name != "traffic":
                structure[name] = example
    validator.validate(structure)
    assert yaml.safe_load(flow(structure)) == structure


@pytest.mark.parametrize(
    "addition",
    [
        {"modle": 1},
        {"version": 2},
        {"name": "My_Chat"},
        {"slo": {}},
        {"slo": {"tpot_ms": None}},
        {"slo": {"tpot_ms": "1,500"}},
        {"model": {"dtype": "bfloat16"}},
        {"model": {"id": "a/b", "dtype": "bf32"}},
        {"traffic": {"request_rate": -1}},
        {"candidates": {"accelerators": ["L4", "L4"]}},
        {"candidates": {"accelerators": []}},
        {"candidates": {"spot": True}},
        {"constraints": {"max_utilization": 1.1}},
        {"constraints": {"max_accelerators": {"H100": -1}}},
        {"constraints": {"max_accelerators": {"a b": 1}}},
        {"candidates": {"regions": {"a b": ["x"]}}},
        {"budget": None},
        {"launch": {"secrets": ["HF_TOKEN=abc"]}},
        {"launch": {"engine_args": [7]}},
        {"routing": "fast"},
    ],
)
def test_it_rejects_what_the_reader_rejects(
    validator: jsonschema.Draft202012Validator, mistakes_in: MistakesIn, good: str, addition: dict[str, Any]
) -> None:
    structure = yaml.safe_load(good) | addition
    assert not validator.is_valid(structure)
    assert mistakes_in(yaml.dump(structure))
