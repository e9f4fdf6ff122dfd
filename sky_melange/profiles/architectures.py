"""The table of architectures, catalogs/architectures.jsonl: one row for all models of the same sizes.

A row has patterns of ids (regular expressions, which match whole words of the name after the organisation, in any
case), the keys of the public config.json that decide sizes, and where they were read.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache
from typing import Any, Final

from sky_melange.profiles.model_config import ModelConfig, parse_config
from sky_melange.profiles.model_shape import ModelShape, contradiction
from sky_melange.resources import data_path
from sky_melange.untrusted import own_json

_OTHER_SIZES: Final = re.compile(
    r"(?<![a-z0-9])(gguf|eagle\d*|medusa|speculators?|draft|lora|adapters?|mlx|reap|pruned|minitron|embed(ding)?|reranker|"
    r"onnx|assistant|mtp|dflash)(?![a-z0-9])"
)
"""Words of a name that say: made from that model, but not of its sizes, or not a checkpoint that an engine serves."""

_EVERYWHERE: Final = frozenset({"a", "b", "base", "bf", "chat", "fp", "hf", "instruct", "it", "v"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Architecture:
    """A row: `model` is the id that it was read from.

    `remote_code`: its configuration or tokenizer is code that comes with the checkpoint, which engines run only where
    they are told to.
    """

    model: str
    patterns: tuple[str, ...]
    source: str
    config: Mapping[str, Any]
    remote_code: bool = False

    def matches(self, model: str) -> bool:
        """Whether an id is of these sizes, by its name."""
        name = model.rsplit("/", 1)[-1].lower()
        return any(_compiled(pattern).search(name) for pattern in self.patterns)

    def read(self, model: str) -> ModelConfig:
        """The sizes, under the name of a model of this architecture."""
        found = parse_config(self.config, self.model, f"catalogs/architectures.jsonl: {self.model}")
        return ModelConfig(shape=replace(found.shape, model=model), content=self.config)


@cache
def architectures() -> tuple[Architecture, ...]:
    """Every row, in the file's order."""
    with data_path("catalogs", "architectures.jsonl").open(encoding="utf-8") as stream:
        return tuple(_row(own_json(line)) for line in stream)


@cache
def architecture_of(model: str) -> Architecture | None:
    """The row of a model, by its id; None where no row matches, or the sizes contradict the name's own "30B"."""
    exact = next((row for row in architectures() if row.model.lower() == model.lower()), None)
    if exact is not None:
        return exact
    if _OTHER_SIZES.search(model.rsplit("/", 1)[-1].lower()):
        return None
    row = next((row for row in architectures() if row.matches(model)), None)
    if row is None or contradiction(row.read(model).shape, model) is not None:
        return None
    return row


def is_gated(model: str) -> bool:
    """Whether files of a repository are only for those who have accepted its licence (catalogs/gated_models.csv)."""
    return any(pattern.fullmatch(model) for pattern in _gated())


@cache
def _gated() -> tuple[re.Pattern[str], ...]:
    with data_path("catalogs", "gated_models.csv").open(newline="", encoding="utf-8") as stream:
        return tuple(re.compile(row["pattern"], re.IGNORECASE) for row in csv.DictReader(stream))


def nearest(model: str, names: Iterable[str], most: int = 5) -> list[str]:
    """The names that share most words with an id, the best first; none that share no word."""
    words = _words(model)
    ranked = sorted((-len(words & _words(name)), name) for name in names)
    return [name for shared, name in ranked[:most] if shared < 0]


def _words(model: str) -> set[str]:
    return set(re.findall(r"[a-z]+|\d+(?:\.\d+)?", model.rsplit("/", 1)[-1].lower())) - _EVERYWHERE


@cache
def _shape_of(model: str) -> ModelShape | None:
    row = architecture_of(model)
    return None if row is None else row.read(model).shape


class _Known(Mapping[str, ModelShape]):
    """Sizes by model id: every id that a row matches is found, the rows' own are listed."""

    def __getitem__(self, model: str) -> ModelShape:
        shape = _shape_of(model)
        if shape is None:
            raise KeyError(model)
        return shape

    def __iter__(self) -> Iterator[str]:
        return (row.model for row in architectures())

    def __len__(self) -> int:
        return len(architectures())


def known_models() -> Mapping[str, ModelShape]:
    """The sizes of the models of the table, by id."""
    return _Known()


def _row(values: Mapping[str, Any]) -> Architecture:
    return Architecture(**{**values, "patterns": tuple(values["patterns"])})


@cache
def _compiled(pattern: str) -> re.Pattern[str]:
    """When it is needed: an id that is a row's own needs none."""
    return re.compile(f"(?<![a-z0-9.])(?:{pattern})(?![a-z0-9])")
