"""Prints how much code there is, as the table of docs/architecture.md; `--write` puts it there.

Lines are all lines of a file. A function is any `def`, methods and inner ones included, without its decorators.
Comments are lines with a `#` comment; docstrings are not counted as such.
"""

from __future__ import annotations

import ast
import io
import statistics
import sys
import tokenize
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[1] / "sky_melange"
PAGE = PACKAGE.parent / "docs" / "architecture.md"
HEAD = ("part", "modules", "lines", "functions", "median lines of a function", "comments per 100 lines")


@dataclass(frozen=True)
class Count:
    """What one module, or several together, come to."""

    modules: int
    lines: int
    function_lines: tuple[int, ...]
    comments: int

    def row(self, name: str) -> tuple[str, ...]:
        """As the table shows it."""
        median = f"{statistics.median(self.function_lines):g}" if self.function_lines else "–"
        comments = f"{100 * self.comments / self.lines:.1f}" if self.lines else "–"
        return (name, str(self.modules), f"{self.lines:,}", f"{len(self.function_lines):,}", median, comments)


def count(text: str) -> Count:
    """Of the text of one module."""
    functions = (node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))
    comments = {
        token.start[0]
        for token in tokenize.generate_tokens(io.StringIO(text).readline)
        if token.type == tokenize.COMMENT
    }
    return Count(
        modules=1,
        lines=len(text.splitlines()),
        function_lines=tuple((node.end_lineno or node.lineno) - node.lineno + 1 for node in functions),
        comments=len(comments),
    )


def together(counts: Iterable[Count]) -> Count:
    """The sum."""
    all_counts = list(counts)
    return Count(
        modules=sum(one.modules for one in all_counts),
        lines=sum(one.lines for one in all_counts),
        function_lines=tuple(lines for one in all_counts for lines in one.function_lines),
        comments=sum(one.comments for one in all_counts),
    )


def table(package: Path) -> Iterator[str]:
    """The lines of the table in Markdown: a row for each folder of the package, its own modules, and all together."""
    parts: dict[str, list[Count]] = {}
    for path in sorted(package.rglob("*.py")):
        inner = path.relative_to(package).parts
        part = f"`{inner[0]}/`" if len(inner) > 1 else "its own modules"
        parts.setdefault(part, []).append(count(path.read_text(encoding="utf-8")))
    rows = [together(parts[part]).row(part) for part in sorted(parts)]
    rows.append(together(one for counts in parts.values() for one in counts).row("all"))
    yield f"| {' | '.join(HEAD)} |"
    yield "| --- |" + " ---: |" * (len(HEAD) - 1)
    yield from (f"| {' | '.join(row)} |" for row in rows)


def page_with(page: str, lines: Iterable[str]) -> str:
    """The page with these lines in the place of its table."""
    start = page.index(f"| {HEAD[0]} | {HEAD[1]} |")
    return page[:start] + "\n".join(lines) + page[page.index("\n\n", start) :]


if __name__ == "__main__":
    if "--write" in sys.argv[1:]:
        PAGE.write_text(page_with(PAGE.read_text(encoding="utf-8"), table(PACKAGE)), encoding="utf-8")
    else:
        sys.stdout.writelines(f"{line}\n" for line in table(PACKAGE))
