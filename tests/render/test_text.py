"""Where long names break in a narrow cell."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sky_melange.render.text import Breakable, break_line, counted, new_table, to_text


@pytest.mark.parametrize(
    ("text", "width", "lines"),
    [
        ("lambda/us-east-1/gpu_1x_b200_sxm6", 40, ["lambda/us-east-1/gpu_1x_b200_sxm6"]),
        ("lambda/us-east-1/gpu_1x_b200_sxm6", 26, ["lambda/us-east-1/", "gpu_1x_b200_sxm6"]),
        ("lambda/us-east-1/gpu_1x_b200_sxm6", 12, ["lambda/", "us-east-1/", "gpu_1x_b200_", "sxm6"]),
        ("aws us-east-1", 12, ["aws", "us-east-1"]),
        ("oci af-johannesburg-1", 15, ["oci af-", "johannesburg-1"]),
        ("1\u00a0×\u00a0a, 1\u00a0×\u00a0b/c-d/e", 12, ["1\u00a0×\u00a0a,", "1\u00a0×\u00a0b/c-d/e"]),
        ("a, bcd/efg", 7, ["a,", "bcd/efg"]),
        ("Standard_ND96isr_H100_v5", 17, ["Standard_ND96isr_", "H100_v5"]),
        ("x" * 7, 3, ["xxx", "xxx", "x"]),
        ("", 5, [""]),
    ],
)
def test_lines_end_at_blanks_and_else_where_a_name_has_parts(text: str, width: int, lines: list[str]) -> None:
    assert break_line(text, width) == lines


@given(st.text(alphabet="ab /_-,\u00e9", max_size=60), st.integers(1, 30))
def test_every_line_fits_and_nothing_is_lost(text: str, width: int) -> None:
    lines = break_line(text, width)
    # A blank may hang over the end of a line, where it is cut off when the text is made.
    assert all(len(line.rstrip()) <= width for line in lines)
    assert "".join(lines).replace(" ", "") == text.replace(" ", "")


def test_a_table_shows_what_is_counted_on_one_line() -> None:
    table = new_table(expand=False)
    table.add_column("Without it", width=20)
    table.add_row(Breakable(f"{counted(1, 'lambda/us-east-1/gpu_1x')}, {counted(2, 'aws/us-east-1/g6')}"))
    assert to_text(table, color=False).splitlines()[2:] == [
        "1 × lambda/",
        "us-east-1/gpu_1x,",
        "2 × aws/us-east-1/g6",
    ]
