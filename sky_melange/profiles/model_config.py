"""Reads a model's sizes from its Hugging Face `config.json`, or refuses: nothing is guessed, nothing is downloaded.

A family is a `model_type` whose layers are understood (config_sizes.py). Another one is refused by its name, and so is
a key that may change sizes and was not read. Layers for speculation (MTP) are not counted: engines load them on
request.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from sky_melange.errors import InputError, Mistake
from sky_melange.profiles.config_keys import ConfigKeys
from sky_melange.profiles.config_sizes import FAMILIES, Sizes
from sky_melange.profiles.model_shape import ModelShape, contradiction
from sky_melange.untrusted import decoded, parse_json, read_bytes

_MAX_BYTES: Final = 4 * 1024**2

_TEXT_PARTS: Final = ("text_config", "llm_config", "language_config")


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelConfig:
    """What a config.json says: sizes, and the keys that they were read from, as JSON that reads the same again."""

    shape: ModelShape
    content: Mapping[str, object]

    @property
    def text(self) -> str:
        """The keys on one line, sorted."""
        return json.dumps(self.content, sort_keys=True, separators=(",", ":"))


def read_model_config(path: Path, model: str) -> ModelShape:
    """The sizes of the model whose `config.json` is at `path`, or in the folder `path`; `model` is its name.

    Raises InputError naming the file and every key that is missing, wrong or not understood.
    """
    return read_config_file(path, model).shape


def read_config_file(path: Path, model: str) -> ModelConfig:
    """The same, with the keys that were read."""
    return parse_config(config_object(path), model, str(path / "config.json" if path.is_dir() else path))


def config_object(path: Path) -> dict[str, object]:
    """The object in a config.json, or in that of a checkpoint's folder. Raises InputError."""
    if path.is_dir():
        if not (path / "config.json").exists():
            raise _wrong(path, "has no config.json; give the folder of a checkpoint, or the file itself")
        path = path / "config.json"
    elif path.suffix == ".gguf":
        message = "is a GGUF file; give the config.json of the checkpoint that it was made from"
        raise _wrong(path, message)
    content = read_bytes(path, limit_bytes=_MAX_BYTES)
    if content.startswith(b"GGUF"):
        raise _wrong(path, "is a GGUF file; give the config.json of the checkpoint that it was made from")
    return parse_object(content, str(path))


def parse_object(content: bytes | str, source: str) -> dict[str, object]:
    """The object that JSON text is. Raises InputError."""
    found = parse_json(content if isinstance(content, str) else decoded(content, source), source)
    if not isinstance(found, dict):
        raise _wrong(source, "want a JSON object, as config.json is")
    return found


def parse_config(content: Mapping[str, object], model: str, source: str) -> ModelConfig:
    """The sizes that an object says. Raises InputError."""
    if "model_type" not in content and {"dim", "n_layers"} <= set(content):
        raise _wrong(source, "is Mistral's params.json; give the config.json next to it")
    top = ConfigKeys(content, {}, source, "")
    part = next((name for name in _TEXT_PARTS if content.get(name) is not None), None)
    inner = content if part is None else top.part(part)
    top.stop()
    if inner is None:
        raise _wrong(source, "want an object", key=str(part))
    prefix = "" if part is None else f"{part}."
    kind = _model_type(top, inner, prefix, source)
    family = FAMILIES[kind]
    keys = ConfigKeys(inner, family.defaults, source, prefix)
    shape = Sizes(keys, top, kind, family, part is not None).shape(model)
    keys.refuse_unread(kind)
    keys.stop()
    doubt = contradiction(shape, model)
    if doubt is not None:
        raise _wrong(source, f"{doubt}; model_type {kind} may have a key that is not understood", key="model_type")
    read: dict[str, object] = {"model_type": kind, **keys.used()}
    if part is not None:
        read = {**top.used(), "model_type": content.get("model_type"), part: read}
    return ModelConfig(shape=shape, content=read)


def _model_type(top: ConfigKeys, inner: Mapping[str, object], prefix: str, source: str) -> str:
    """The family's name: that of the language model, where the config is of more than one."""
    own, outer = inner.get("model_type"), top.get("model_type")
    known = [str(name) for name in (own, outer) if isinstance(name, str)]
    for name in known:
        for tried in (name, f"{name}_text"):
            if tried in FAMILIES:
                return tried
    if not known:
        raise _wrong(source, "is missing; it names the family of the model, such as llama", key=prefix + "model_type")
    message = (
        f"{known[0]!r} is not among the families whose sizes are understood; measure the model (sky-melange profiles "
        f"measure) and name its profiles under profiles.files. Understood are {', '.join(sorted(FAMILIES))}"
    )
    raise _wrong(source, message, key=prefix + "model_type")


def _wrong(source: Path | str, message: str, key: str = "") -> InputError:
    return InputError([Mistake(source=str(source), key=key, message=message)])
