"""Records the flags of the engines' servers in catalogs/engine_flags.csv, read from the source in their wheels.

    python scripts/record_engine_flags.py vllm-0.33.0-*.whl sglang-0.5.23-*.whl

Nothing is imported or run. A flag `takes` no value (`none`), one or more (`value`), or one that may be left out
(`optional`).
"""

from __future__ import annotations

import ast
import csv
import sys
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

CATALOG: Final = Path(__file__).resolve().parent.parent / "catalogs" / "engine_flags.csv"

VLLM_PARSERS: Final = ("vllm/engine/arg_utils.py", "vllm/entrypoints/common/cli_args.py")
SGLANG_FIELDS: Final = "sglang/srt/arg_groups/fields/"
SGLANG_PARSER: Final = "sglang/srt/server_args.py"
FRONTEND: Final = ("BaseFrontendArgs", "FrontendArgs")

Annotations = Mapping[tuple[str, str], str]
"""(class, field) -> its annotation."""


def main(paths: list[str]) -> None:
    """Writes the list of the wheels that are named."""
    rows = []
    for path in map(Path, paths):
        engine, version = path.name.split("-")[:2]
        with zipfile.ZipFile(path) as wheel:
            found = dict(sorted((vllm_flags if engine == "vllm" else sglang_flags)(wheel)))
        rows += [(engine, version, flag, takes) for flag, takes in found.items()]
        print(f"{engine} {version}: {len(found)} flags", file=sys.stderr)
    with CATALOG.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(("engine", "version", "flag", "takes"))
        writer.writerows(sorted(rows))


def vllm_flags(wheel: zipfile.ZipFile) -> Iterator[tuple[str, str]]:
    """Arguments are made from the fields of configuration classes; boolean ones have a `--no-` form too."""
    annotations: dict[tuple[str, str], str] = {}
    for name in wheel.namelist():
        if name in VLLM_PARSERS or (name.startswith("vllm/config/") and name.endswith(".py")):
            annotations.update(annotations_of(tree_of(wheel, name)))
    for (owner, field), annotation in annotations.items():
        if owner in FRONTEND:
            yield from spread("--" + field.replace("_", "-"), annotation)
    for name in VLLM_PARSERS:
        tree = tree_of(wheel, name)
        classes = {
            node.targets[0].id: node.value.args[0].id
            for node in ast.walk(tree)
            if isinstance(node, ast.Assign)
            and isinstance(node.targets[0], ast.Name)
            and isinstance(node.value, ast.Call)
            and isinstance(node.value.func, ast.Name)
            and node.value.func.id == "get_kwargs"
            and isinstance(node.value.args[0], ast.Name)
        }
        for names, keywords, starred in arguments_of(tree):
            annotation = ""
            for node in ast.walk(starred) if starred is not None else ():
                if isinstance(node, ast.Subscript) and isinstance(node.value, ast.Name) and node.value.id in classes:
                    annotation = annotations[classes[node.value.id], ast.literal_eval(node.slice)]
            for flag in names:
                yield from [(flag, takes_of(keywords))] if starred is None else spread(flag, annotation)


def sglang_flags(wheel: zipfile.ZipFile) -> Iterator[tuple[str, str]]:
    """Arguments are made from annotated fields, `A[type, help or Arg(...)]`; some are added by hand."""
    for name in wheel.namelist():
        if not (name.startswith(SGLANG_FIELDS) and name.endswith(".py")):
            continue
        for node in ast.walk(tree_of(wheel, name)):
            if not (isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name)):
                continue
            if not (isinstance(node.annotation, ast.Subscript) and isinstance(node.annotation.slice, ast.Tuple)):
                continue
            kind, meta = node.annotation.slice.elts[:2]
            keywords = {k.arg: k.value for k in meta.keywords if k.arg} if isinstance(meta, ast.Call) else {}
            if isinstance(meta, ast.Call) and ast.unparse(meta.func) != "Arg":
                continue
            if "no_cli" in keywords and ast.literal_eval(keywords["no_cli"]):
                continue
            own = keywords.get("cli_name")
            first = ast.literal_eval(own) if own is not None else "--" + node.target.id.replace("_", "-")
            aliases = ast.literal_eval(keywords["aliases"]) if "aliases" in keywords else []
            both = "BooleanOptionalAction" in ast.unparse(keywords["action"]) if "action" in keywords else False
            is_switch = ast.unparse(kind) in {"bool", "Optional[bool]"} and "type_parser" not in keywords
            takes = takes_of(keywords) if {"action", "nargs"} & set(keywords) else "none" if is_switch else "value"
            for flag in (first, *aliases):
                yield flag, takes
                if both:
                    yield "--no-" + flag.removeprefix("--"), "none"
    for names, keywords, _ in arguments_of(tree_of(wheel, SGLANG_PARSER)):
        yield from ((flag, takes_of(keywords)) for flag in names)


def spread(flag: str, annotation: str) -> Iterator[tuple[str, str]]:
    """A flag of vLLM by the type of its field."""
    words = {part.strip() for part in annotation.replace("[", "|").replace("]", "|").split("|")} - {"", "None"}
    if words == {"bool", "str"}:
        yield flag, "optional"
    elif "bool" in words:
        yield flag, "none"
        if flag.startswith("--"):
            yield "--no-" + flag.removeprefix("--"), "none"
    else:
        yield flag, "value"


def takes_of(keywords: Mapping[str, ast.expr]) -> str:
    """What `add_argument` says of the value."""
    action = ast.unparse(keywords["action"]) if "action" in keywords else ""
    if "BooleanOptionalAction" in action or "store_true" in action or "StoreTrue" in action or "count" in action:
        return "none"
    nargs = keywords.get("nargs")
    return "optional" if isinstance(nargs, ast.Constant) and nargs.value == "?" else "value"


def arguments_of(tree: ast.AST) -> Iterator[tuple[list[str], dict[str, ast.expr], ast.expr | None]]:
    """(flags, keywords, what is spread into the keywords) of each `add_argument` with constant names."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "add_argument":
            constants = [str(arg.value) for arg in node.args if isinstance(arg, ast.Constant)]
            names = [name for name in constants if name.startswith("-")]
            keywords = {keyword.arg: keyword.value for keyword in node.keywords if keyword.arg}
            yield names, keywords, next((keyword.value for keyword in node.keywords if keyword.arg is None), None)


def annotations_of(tree: ast.AST) -> Iterator[tuple[tuple[str, str], str]]:
    """Of each class in a module."""
    for owner in ast.walk(tree):
        if not isinstance(owner, ast.ClassDef):
            continue
        for node in owner.body:
            if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
                yield (owner.name, node.target.id), ast.unparse(node.annotation)


def tree_of(wheel: zipfile.ZipFile, name: str) -> ast.AST:
    """The syntax of a module."""
    return ast.parse(wheel.read(name))


if __name__ == "__main__":
    main(sys.argv[1:])
