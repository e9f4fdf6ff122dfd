"""Text that anyone may have written, in Markdown, XML and workflow commands."""

from __future__ import annotations

import xml.etree.ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sky_melange.render import foreign_text, money


@pytest.mark.slow
@given(value=st.text())
def test_xml_survives_a_parser(value: str) -> None:
    source = f"<a b={foreign_text.xml_attribute(value)}>{foreign_text.xml_text(value)}</a>"
    element = ET.fromstring(source)  # noqa: S314 - our own text
    allowed = foreign_text._NOT_XML.sub("\ufffd", value)
    assert element.get("b") == allowed
    assert (element.text or "") == allowed.replace("\r\n", "\n").replace("\r", "\n")


@given(title=st.text(), message=st.text(), file=st.text())
def test_an_annotation_is_one_line(title: str, message: str, file: str) -> None:
    line = foreign_text.annotation("error", title, message, file)
    assert "\n" not in line
    assert "\r" not in line
    head, _, body = line.removeprefix("::error ").partition("::")
    assert body.replace("%0A", "\n").replace("%0D", "\r").replace("%25", "%") == message
    assert head.count("title=") >= 1


@given(line=st.text())
def test_a_plain_line_is_no_command(line: str) -> None:
    assert not foreign_text.plain(line).strip().startswith(("::", "##["))
    assert "\n" not in foreign_text.plain(line)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a|b", "a\\|b"),
        ("<b>", "\\<b\\>"),
        ("@org/team", "@\u2060org/team"),
        ("https://x.y", "https\u2060://x.y"),
        ("www.x.y", "www\u2060.x.y"),
        ("a\nb", "a b"),
        ("[x](y)", "\\[x\\](y)"),
    ],
)
def test_markdown_is_escaped(text: str, expected: str) -> None:
    assert foreign_text.escape(text) == expected


@given(usd=st.floats(1e-9, 1e9))
def test_unit_costs_keep_four_digits(usd: float) -> None:
    shown = float(money.unit(usd).replace(",", ""))
    assert shown == pytest.approx(usd, rel=6e-4 if usd < 1 else 1e-4)


def test_a_difference_of_nothing_has_no_sign() -> None:
    assert (money.change(0.0), money.change(-1e-9), money.change(1.3)) == ("0.0000", "0.0000", "+1.3000")
    assert (money.monthly_change(-1e-9), money.monthly_change(-1.0)) == ("0.00", "-730.00")
