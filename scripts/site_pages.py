"""Hooks of `mkdocs build`: pages made from the program itself, and links that leave docs/.

In a checkout a page links to ../examples/…; the site has those files under repository/. Reference pages are written at
each build, so they are always those of this version.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, Final

import click

from sky_melange.cli import EXIT_CODES, cli
from sky_melange.workload_file import json_schema

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files
    from mkdocs.structure.pages import Page

ROOT: Final = Path(__file__).resolve().parents[1]
DOCS: Final = "docs"
ELSEWHERE: Final = "repository"
LINK: Final = re.compile(r"\]\(([^)\s#:]+)(#[^)\s]*)?\)")
WIDTH: Final = 100
_BOUNDS: Final = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}
_KINDS: Final = {"object": "mapping", "array": "list", "string": "text", "boolean": "true or false", "null": ""}


def commands_page() -> str:
    """`--help` of every command, and the exit codes."""
    parts = ["# Commands and exit codes", f"```text\n{EXIT_CODES.replace(chr(8), '').strip()}\n```"]
    for name, command in _commands("sky-melange", cli):
        context = click.Context(command, info_name=name, terminal_width=WIDTH, max_content_width=WIDTH)
        parts.append(f"## `{name}`\n\n```text\n{command.get_help(context)}\n```")
    return "\n\n".join(parts) + "\n"


def _commands(name: str, command: click.Command) -> Iterator[tuple[str, click.Command]]:
    yield name, command
    if isinstance(command, click.Group):
        context = click.Context(command)
        for child in command.list_commands(context):
            found = command.get_command(context, child)
            assert found is not None
            yield from _commands(f"{name} {child}", found)


def keys_page() -> str:
    """Every key of workload.yaml from the schema that editors use."""
    schema = json_schema()
    rows = [f"| `{key}` | {_cell(values)} | {_cell(words)} |" for key, values, words in _keys(schema, schema, "")]
    head = "# Keys of workload.yaml\n\nThe same for editors: `sky-melange schema > workload.schema.json`.\n\n"
    return head + "\n".join(["| key | value | what it is |", "| --- | --- | --- |", *rows]) + "\n"


def _keys(schema: dict[str, Any], node: dict[str, Any], prefix: str) -> Iterator[tuple[str, str, str]]:
    needed = set(node.get("required", ()))
    for name, part in node.get("properties", {}).items():
        key = f"{prefix}{name}"
        choices = [_resolved(schema, one) for one in _choices(schema, part)]
        # Patterns next to a type are its other spellings, which are in workload.md.
        usual = [one for one in choices if "pattern" not in one] or choices
        values = " or ".join(dict.fromkeys(text for one in usual if (text := _values(one))))
        if "default" in part and part["default"] is not None and not isinstance(part["default"], dict | list):
            values += f"; default: {part['default']}"
        words = part.get("description") or next((one["description"] for one in choices if "description" in one), "")
        yield key, values + ("; needed" if name in needed else ""), words
        for one in choices:
            yield from _keys(schema, one, f"{key}.")
            items = one.get("items")
            if isinstance(items, dict):
                yield from _keys(schema, _resolved(schema, items), f"{key}[].")


def _choices(schema: dict[str, Any], part: dict[str, Any]) -> Iterator[dict[str, Any]]:
    found = _resolved(schema, part)
    several = found.get("anyOf") or found.get("oneOf")
    if several and "properties" not in found:
        for one in several:
            yield from _choices(schema, one)
    else:
        yield found


def _resolved(schema: dict[str, Any], part: dict[str, Any]) -> dict[str, Any]:
    name = part.get("$ref", "").removeprefix("#/$defs/")
    return schema["$defs"][name] | {key: value for key, value in part.items() if key != "$ref"} if name else part


def _values(part: dict[str, Any]) -> str:
    """In words."""
    if "enum" in part:
        return ", ".join(str(value) for value in part["enum"])
    if "const" in part:
        return str(part["const"])
    kind = part.get("type", "")
    if kind in ("number", "integer"):
        bounds = [f"{sign} {part[bound]:,.12g}" for bound, sign in _BOUNDS.items() if bound in part]
        return " ".join([kind, *bounds])
    return _KINDS.get(kind, kind)


def _cell(text: str) -> str:
    return " ".join(text.replace("|", "\\|").replace("<", "&lt;").split())


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds the reference pages, and what pages link to outside docs/."""
    from mkdocs.structure.files import File

    for name, text in (("commands", commands_page()), ("keys", keys_page())):
        files.append(File.generated(config, f"reference/{name}.md", content=text))
    waiting = [ROOT / DOCS / file.src_uri for file in files.documentation_pages() if file.generated_by is None]
    seen: set[Path] = set()
    while waiting:
        page = waiting.pop()
        for target in sorted(_outside(page)):
            if target not in seen:
                seen.add(target)
                files.append(File.generated(config, _site_path(target), abs_src_path=str(target)))
                waiting += [target] if target.suffix == ".md" else []
    return files


def on_page_markdown(markdown: str, page: Page, **_: Any) -> str:
    """Links that leave docs/, or that come from outside it, lead to where the site has their targets."""
    uri = page.file.src_uri
    if page.file.generated_by is not None and not uri.startswith(f"{ELSEWHERE}/"):
        return markdown
    source = ROOT / uri.removeprefix(f"{ELSEWHERE}/") if uri.startswith(f"{ELSEWHERE}/") else ROOT / DOCS / uri

    def moved(match: re.Match[str]) -> str:
        target = (source.parent / match.group(1)).resolve()
        to = os.path.relpath(_site_path(target), PurePosixPath(uri).parent)
        return f"]({to}{match.group(2) or ''})"

    return LINK.sub(moved, markdown)


def _outside(page: Path) -> set[Path]:
    targets = {(page.parent / link).resolve() for link, _ in LINK.findall(page.read_text(encoding="utf-8"))}
    return {target for target in targets if target.is_file() and not target.is_relative_to(ROOT / DOCS)}


def _site_path(target: Path) -> str:
    """Where the site has a file of the repository."""
    if target.is_relative_to(ROOT / DOCS):
        return target.relative_to(ROOT / DOCS).as_posix()
    return f"{ELSEWHERE}/{target.relative_to(ROOT).as_posix()}"
