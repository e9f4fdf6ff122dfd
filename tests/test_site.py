"""`mkdocs build --strict` makes the documentation's site, with a reference of this version, from this host alone."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from sky_melange.cli import COMMANDS, EXIT_CODES
from sky_melange.domain.launch_files import KEPT_FILES
from sky_melange.render import output_files
from sky_melange.workload_file import json_schema

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(folder)]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return folder


def page(site: Path, name: str) -> str:
    return (site / name).read_text(encoding="utf-8")


def test_commands_and_exit_codes_are_those_of_the_program(site: Path) -> None:
    text = page(site, "reference/commands.html")
    assert [name for name in COMMANDS if f"sky-melange {name}" not in text] == []
    assert [line for line in EXIT_CODES.splitlines() if line.strip(" \b").split("  ")[-1] not in text] == []


def test_every_key_of_the_schema_is_there(site: Path) -> None:
    text = page(site, "reference/keys.html")
    shown = {key.split(".")[-1] for key in re.findall(r"<code>([\w.\[\]]+)</code>", text)}
    assert set(_names(json_schema())) <= shown


def _names(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        yield from node.get("properties", {})
        for part in node.values():
            yield from _names(part)
    elif isinstance(node, list):
        for part in node:
            yield from _names(part)


def test_every_file_that_is_written_is_explained(site: Path) -> None:
    text = page(site, "files.html")
    assert [name for name in (*output_files(), *KEPT_FILES) if f"<code>{name}</code>" not in text] == []


class _Loaded(HTMLParser):
    """What a browser fetches by itself to show a page."""

    def __init__(self) -> None:
        super().__init__()
        self.addresses: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        if tag != "a":
            self.addresses += [value for name in ("src", "href", "srcset") if (value := values.get(name))]


def test_pages_ask_no_other_host(site: Path) -> None:
    pages = sorted(site.rglob("*.html"))
    assert len(pages) > 40
    for path in pages:
        loaded = _Loaded()
        loaded.feed(path.read_text(encoding="utf-8"))
        assert [address for address in loaded.addresses if re.match(r"(https?:)?//", address)] == [], path
    for path in site.rglob("*.css"):
        assert not re.search(r"(url\(|@import )['\"]?(https?:)?//", path.read_text(encoding="utf-8")), path
    assert "fonts.googleapis" not in "".join(page(site, path.relative_to(site).as_posix()) for path in pages)


def test_links_between_pages_lead_somewhere_without_a_server(site: Path) -> None:
    for path in site.rglob("*.html"):
        if path.name != "404.html":
            for target in re.findall(r'<a [^>]*?href="([^"#:?]+)["#?]', path.read_text(encoding="utf-8")):
                assert (path.parent / target).exists(), f"{path.relative_to(site)}: {target}"
