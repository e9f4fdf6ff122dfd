"""What precision a checkpoint's weights have, from its config.json or from the words of its id."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any, Final

from sky_melange.domain.workload import AUTO_DTYPE, Model
from sky_melange.errors import InputError, MissingDataError, Mistake
from sky_melange.profiles.architectures import Architecture, architecture_of, architectures, nearest
from sky_melange.profiles.model_config import ModelConfig, config_object, parse_config, parse_object
from sky_melange.resources import data_path
from sky_melange.untrusted import read_bytes

SIXTEEN_BITS: Final = ("bfloat16", "float16")
"""What engines make fp8 of while loading."""

_MODELOPT_FILE: Final = "hf_quant_config.json"
_MAX_BYTES: Final = 4 * 1024**2
_MOST_TOKENS: Final = 10**9

_WORDS: Final = (
    ("fp4", "nvfp4|mxfp4|w4a4|fp4"),
    ("fp8", "fp8|f8|w8a8-fp8|fp8-dynamic"),
    ("int8", "w8a8|w8a16|int8|8bit|gptq-int8"),
    ("int4", "awq|gptq|w4a16|int4|4bit|bnb-4bit|autoround"),
    ("bfloat16", "bf16|bfloat16"),
    ("float16", "fp16|float16"),
)
"""Words of ids by the precision that they state; the first that matches holds (`W8A8-FP8`, `GPTQ-Int8`)."""

_WAY_OUT: Final = "write `model.config: config.json` with the model's public configuration, or pass --fetch-config"
_NOTED: Final = "workload.model.sizes"

_LIMIT: Final = "max_position_embeddings"

_OF_THE_WHOLE: Final = ("llama3", "longrope", "su", "mrope", "default")
"""Ways of scaling positions with which `max_position_embeddings` is of the scaled ones already, as engines read it."""

_PLANNED: Final = ("bfloat16", "float16", "fp8", "fp4", "int4")


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """`method` is how the weights were quantised; None: they are not. `basis`: how that is known."""

    dtype: str
    method: str | None
    basis: str


def resolved(model: Model, file: Path, hub: Mapping[str, Any] | None = None) -> Model:
    """The model with what its checkpoint decides filled in: dtype, method of quantisation, sizes that no table has.

    `file` is the workload's, to which `model.config` is relative; `hub` is the config.json of the model's page, where
    it was found.

    Raises InputError for a config that is not understood and for a dtype that the checkpoint does not have, and
    MissingDataError where no dtype is stated and nothing is known of the checkpoint.
    """
    row = architecture_of(model.id)
    own: Mapping[str, Any] | None
    if model.config is not None:
        path = file.parent / model.config
        found = config_object(path)
        source, own = str(path), {**found, **_modelopt(path)}
    else:
        # The table has been checked; of the very model that it was read from, its page can say nothing new.
        is_known = row is not None and row.model.lower() == model.id.lower()
        source, own = f"config.json of {model.id}", None if is_known else hub
    try:
        config = None if own is None else parse_config(own, model.id, source)
    except InputError:
        if model.config is not None or row is None:
            raise
        config, own = None, None
    known = _checkpoint(model.id, row, own, source)
    if known is None and model.dtype == AUTO_DTYPE:
        raise MissingDataError(unknown_model(model.id))
    sizes = None if config is None or own is None or _is_of_table(config, row, model.id) else _noted_text(config, own)
    model = replace(model, sizes=sizes, remote_code=_runs_its_code(row, own))
    if known is None:
        return model
    dtype = known.dtype if model.dtype == AUTO_DTYPE else model.dtype
    fault = _fault(dtype, known)
    if fault is not None:
        raise InputError([Mistake(source=str(file), key="model.dtype", message=fault)])
    return replace(model, dtype=dtype, quantization=known.method)


def _runs_its_code(row: Architecture | None, own: Mapping[str, Any] | None) -> bool:
    """By its row, else by those of its family."""
    if row is not None or own is None:
        return row is not None and row.remote_code
    return any(each.remote_code and each.config["model_type"] == own.get("model_type") for each in architectures())


def noted(model: Model) -> Mapping[str, Any] | None:
    """What `resolved` noted of a config.json in a model, which can be read as that config again."""
    return None if model.sizes is None else parse_object(model.sizes, _NOTED)


def context_limit(model: Model) -> int | None:
    """Input and output tokens beyond which engines do not start the model, by the config.json that it was read from,
    or that is known of its very id (catalogs/context_limits.csv). None where neither says it.
    """
    found = _context_limit(noted(model) or {})
    return _known_limits().get(model.id.lower()) if found is None and model.config is None else found


@cache
def _known_limits() -> dict[str, int]:
    with data_path("catalogs", "context_limits.csv").open(newline="", encoding="utf-8") as stream:
        return {row["model"].lower(): int(row["tokens"]) for row in csv.DictReader(stream)}


def _context_limit(content: Mapping[str, Any]) -> int | None:
    """As engines read it: some ways of scaling positions add to what is stated, others are in it."""
    most, scaling = content.get(_LIMIT), content.get("rope_scaling") or content.get("rope_parameters")
    factor: Any = 1
    if isinstance(scaling, dict):
        kind = scaling.get("rope_type", scaling.get("type", "default"))
        if kind not in _OF_THE_WHOLE:
            factor = scaling.get("factor", 1)
            most = scaling.get("original_max_position_embeddings", most) if kind == "yarn" else most
    tokens, times = _at_least_one(most), _at_least_one(factor)
    return None if tokens is None or times is None else int(tokens * times)


def _at_least_one(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if 1 <= value <= _MOST_TOKENS else None


def _noted_text(config: ModelConfig, own: Mapping[str, Any]) -> str:
    precision = {name: own[name] for name in ("torch_dtype", "dtype") if name in own}
    inner = own.get("text_config") if isinstance(own.get("text_config"), dict) else None
    limit = _context_limit({**own, **(inner or {})})
    precision |= {} if limit is None else {_LIMIT: limit}
    quantized = own.get("quantization_config") or (inner or {}).get("quantization_config")
    if isinstance(quantized, dict):
        # Lists of modules are long, and decide nothing here.
        kept = {name: value for name, value in quantized.items() if not isinstance(value, list)}
        precision["quantization_config"] = kept
    return json.dumps({**config.content, **precision}, sort_keys=True, separators=(",", ":"))


def unknown_model(model: str, way_out: str = _WAY_OUT) -> str:
    """What to write for a model that no table has: the way out first."""
    if re.search(r"(?<![a-z0-9])gguf(?![a-z0-9])", model.lower()):
        return (
            f"{model} holds GGUF files, which the engines that are planned for do not serve well: name the checkpoint "
            "that they were made from"
        )
    near = nearest(model, (row.model for row in architectures()))
    listed = "".join(f"\n  {name}" for name in near)
    return f"{way_out}: the sizes of {model} are not in the table of architectures" + (
        f"; near are{listed}" if listed else ""
    )


def checkpoint_of_id(model: str) -> Checkpoint | None:
    """What the words of an id say, such as `-FP8`; None where they say nothing."""
    name = model.rsplit("/", 1)[-1].lower().replace("_", "-").replace(".", "-")
    for dtype, words in _WORDS:
        found = re.search(f"(?<![a-z0-9])(?:{words})(?![a-z0-9])", name)
        if found is not None:
            method = None if dtype in SIXTEEN_BITS else found[0]
            return Checkpoint(dtype=dtype, method=method, basis=f"its id says {found[0]}")
    return None


def checkpoint_of_config(content: Mapping[str, Any], source: str) -> Checkpoint:
    """What a config.json says. Raises InputError for a method of quantisation that is not understood."""
    parts = [content.get(name) for name in ("text_config", "llm_config")]
    inner: Mapping[str, Any] = next((part for part in parts if isinstance(part, dict)), {})
    quantized = content.get("quantization_config") or inner.get("quantization_config")
    if quantized is None:
        stated = [part.get(key) for part in (content, inner) for key in ("torch_dtype", "dtype")]
        dtype = next((name for name in stated if name in SIXTEEN_BITS), "bfloat16")
        return Checkpoint(dtype=dtype, method=None, basis="its config.json says so")
    method, dtype = _quantized(quantized) if isinstance(quantized, dict) else (None, None)
    if method is None or dtype is None:
        shown = ascii(quantized.get("quant_method") if isinstance(quantized, dict) else quantized)[:60]
        message = (
            f"{shown} is not a method that is understood; want fp8, mxfp4, compressed-tensors, modelopt, awq or gptq"
        )
        raise InputError([Mistake(source=source, key="quantization_config.quant_method", message=message)])
    return Checkpoint(dtype=dtype, method=method, basis=f"its config.json says {method}")


def _quantized(values: Mapping[str, Any]) -> tuple[str | None, str | None]:
    """(method, dtype); None where they are not understood."""
    method = values.get("quant_method")
    algorithm = str(values.get("quant_algo") or "").upper()
    dtype: str | None = None
    if method in ("fp8", "fbgemm_fp8"):
        dtype = "fp8"
    elif method == "mxfp4":
        dtype = "fp4"
    elif method in ("awq", "gptq", "auto-round", "autoround", "bitsandbytes"):
        bits = values.get("bits") or values.get("w_bit") or (4 if values.get("load_in_4bit") else None)
        dtype = {4: "int4", 8: "int8"}.get(bits) if isinstance(bits, int) else "int4" if method == "awq" else None
    elif method == "modelopt" or algorithm:
        method = method or "modelopt"
        dtype = "fp8" if algorithm.startswith("FP8") else "fp4" if "FP4" in algorithm else None
        dtype = dtype or _of_groups(values)
    elif method == "compressed-tensors":
        dtype = _of_groups(values)
    return (method if isinstance(method, str) else None), dtype


def _of_groups(values: Mapping[str, Any]) -> str | None:
    """The precision that most layers' group of a compressed-tensors config states: the narrowest."""
    groups = values.get("config_groups")
    found = set()
    for group in groups.values() if isinstance(groups, dict) else ():
        weights = group.get("weights") if isinstance(group, dict) else None
        if isinstance(weights, dict) and weights.get("num_bits") in (4, 8):
            found.add(("fp" if weights.get("type") == "float" else "int") + str(weights["num_bits"]))
    return min(found, key=lambda dtype: (dtype[-1], dtype), default=None)


def _checkpoint(model: str, row: Architecture | None, own: Mapping[str, Any] | None, source: str) -> Checkpoint | None:
    """From the checkpoint's own config, else from the words of its id, else from the table."""
    words = checkpoint_of_id(model)
    if own is not None:
        said = checkpoint_of_config(own, source)
        # Some checkpoints state their quantisation in another file; their ids do.
        return words if said.method is None and words is not None and words.method is not None else said
    if row is None:
        return words
    told = checkpoint_of_config(row.config, source)
    return told if row.model.lower() == model.lower() else words or told


def _is_of_table(config: ModelConfig, row: Architecture | None, model: str) -> bool:
    return row is not None and row.read(model).shape == config.shape


def _fault(dtype: str, known: Checkpoint) -> str | None:
    """Why a checkpoint cannot be served at a precision; fp8 is made of 16 bits while loading."""
    own = known.dtype
    if own not in _PLANNED:
        return f"the checkpoint has {own} weights ({known.basis}), which are not planned for; name one of {_listed()}"
    if dtype == own or (dtype in SIXTEEN_BITS and own in SIXTEEN_BITS):
        return None
    if own in SIXTEEN_BITS and dtype == "fp8":
        return None
    return (
        f"the checkpoint has {own} weights ({known.basis}), not {dtype}: leave out dtype, or write the id of a "
        f"checkpoint that has {dtype} weights"
    )


def _listed() -> str:
    return ", ".join(_PLANNED)


def _modelopt(path: Path) -> dict[str, Any]:
    """What NVIDIA's Model Optimizer writes next to the config.json of a folder, under the usual key."""
    file = path / _MODELOPT_FILE
    if not path.is_dir() or not file.exists():
        return {}
    found = parse_object(read_bytes(file, limit_bytes=_MAX_BYTES), str(file)).get("quantization")
    return {"quantization_config": {"quant_method": "modelopt", **found}} if isinstance(found, dict) else {}


def sizes_of(text: str, model: str) -> ModelConfig:
    """The sizes that `resolved` noted in a model. Raises InputError where they were changed into nonsense."""
    return parse_config(parse_object(text, _NOTED), model, _NOTED)
