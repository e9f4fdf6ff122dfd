"""Catalogs that are no catalogs, or only in part: an error with file and line, or rows counted as damaged."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from sky_melange.errors import InputError
from sky_melange.prices.source import CatalogOffers

ReadContent = Callable[[bytes, str], CatalogOffers]
HEADER = b"InstanceType,AcceleratorName,AcceleratorCount,Price,SpotPrice,Region\n"
ROW = b"g6.xlarge,L4,1,0.8,0.3,us-east-1\n"


@pytest.mark.parametrize(
    ("content", "line", "words"),
    [
        (b"", 1, "lacks InstanceType"),
        (b"<!DOCTYPE html><html><body>404</body></html>", 1, "<!DOCTYPE html>"),
        (b'{"message": "not found"}', 1, "no price catalog"),
        (b"InstanceType,Region\n", 1, "lacks AcceleratorName, AcceleratorCount, Price"),
        (b"InstanceType,AcceleratorName,AcceleratorCount,Price,Price,Region\n", 1, "repeats Price"),
        (HEADER + ROW + b"g6\xff.xlarge,L4,1,0.8,0.3,us-east-1\n", 3, "not UTF-8"),
        (b"\x1f\x8b\x08\x00garbage", 1, "not UTF-8"),
        (HEADER + b'"' + b"x" * 1_000_001 + b'",L4,1,0.8,0.3,us-east-1\n', 2, "not a CSV file"),
    ],
)
def test_no_catalog_names_file_and_line(content: bytes, line: int, words: str, read_content: ReadContent) -> None:
    with pytest.raises(InputError) as raised:
        read_content(content, "aws")
    (mistake,) = raised.value.mistakes
    assert (mistake.source, mistake.line) == ("aws.csv", line)
    assert words in mistake.message
    assert raised.value.exit_code == 2


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (b"g6.xlarge,L4,1,0.8\n", "fields of the header"),
        (b"g6.xlarge,L4,1,0.8,0.3,us-east-1,V1\n", "fields of the header"),
        (b"g6.xlarge,L4,1,cheap,0.3,us-east-1\n", "not a number"),
        (b"g6.xlarge,L4,1,-0.8,0.3,us-east-1\n", "not a number"),
        (b"g6.xlarge,L4,1,nan,0.3,us-east-1\n", "not a number"),
        (b"g6.xlarge,L4,1,inf,0.3,us-east-1\n", "not a number"),
        (b"g6.xlarge,L4,one,0.8,0.3,us-east-1\n", "not a number"),
        (b"g6.xlarge,L4,0,0.8,0.3,us-east-1\n", "count is zero"),
        (b"g6.xlarge,L4,,0.8,0.3,us-east-1\n", "count is zero"),
        (b"g6.xlarge,L4,0.5,0.8,0.3,us-east-1\n", "a fraction"),
        (b"g6.xlarge,L4,1,,,us-east-1\n", "no price"),
        (b"g6.xlarge,L4,1,0.8,0.3,\n", "no region"),
    ],
)
def test_damaged_row_is_counted_and_the_rest_is_read(row: bytes, reason: str, read_content: ReadContent) -> None:
    catalog = read_content(HEADER + b"g6.2xlarge,L4,1,1.0,0.4,us-east-1\n" + row, "aws")
    assert {offer.instance_type for offer in catalog.offers} == {"g6.2xlarge"}
    (skipped,) = catalog.skipped
    assert reason in skipped.reason
    assert (skipped.cloud, skipped.rows) == ("aws", 1)


def test_truncated_body_loses_only_its_last_row(
    extract_bytes: Callable[[str], bytes], read_content: ReadContent
) -> None:
    content = extract_bytes("aws")
    catalog = read_content(content[:-40], "aws")
    assert [rows.rows for rows in catalog.skipped if "fields of the header" in rows.reason] == [1]


def test_byte_order_mark_and_blank_lines_are_nothing(read_content: ReadContent) -> None:
    assert read_content(b"\xef\xbb\xbf" + HEADER + b"\n" + ROW + b"\n", "aws") == read_content(HEADER + ROW, "aws")


@pytest.mark.parametrize("name", [b"g6\x1b[31m.xlarge", b"g6\x07", b"g6\xe2\x80\xae"])
def test_names_with_control_characters_are_counted_and_left_out(name: bytes, read_content: ReadContent) -> None:
    catalog = read_content(HEADER + ROW + name + b",L4,1,0.1,0.05,us-east-1\n", "aws")
    assert {offer.instance_type for offer in catalog.offers} == {"g6.xlarge"}
    assert [rows.reason for rows in catalog.skipped] == ["control characters in a name"]
