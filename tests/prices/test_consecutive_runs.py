"""A fault that lands in the cache: what the second and the third run make of it, and what heals it."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from live import site
from property_examples import mostly_slow
from server import CatalogServer
from test_past_prices import DAMAGES, embedded, scaled

from sky_melange.domain.offer import IN_DOUBT, PriceBook
from sky_melange.domain.workload import PricePolicy
from sky_melange.prices import current_book

CLOUDS = ("lambda", "runpod", "seeweb", "verda")
MORNING = datetime(2026, 11, 28, 9, tzinfo=UTC)

ODD_ROW = b"odd row\n"
"""No offer: it changes the bytes of a catalog and none of its prices."""


def with_new_machines(content: bytes, cloud: str) -> bytes:
    """A catalog with each machine twice, as one that came after this release too: nothing embedded judges it."""
    header, *rows = content.decode().splitlines(keepends=True)
    at = header.split(",").index("InstanceType")
    later = []
    for row in rows:
        cells = row.split(",")
        cells[at] += "-later" if cloud != "runpod" else "_LATER"
        later.append(",".join(cells))
    return "".join((header, *rows, *later)).encode()


TRUTH = {cloud: with_new_machines(embedded(cloud), cloud) for cloud in CLOUDS}


@pytest.fixture(scope="module")
def server() -> Iterator[CatalogServer]:
    with CatalogServer() as running:
        yield running


Run = Callable[..., PriceBook]


@pytest.fixture
def run(server: CatalogServer, tmp_path: Path) -> Run:
    """Prices of a moment: `catalogs` replace what the server has, `at` is minutes after the first run."""
    for cloud, content in TRUTH.items():
        server.put(cloud, content)

    def book(at: float = 0, *, offline: bool = False, **catalogs: bytes) -> PriceBook:
        for cloud, content in catalogs.items():
            server.put(cloud, content)
        now = MORNING + timedelta(minutes=at)
        return current_book(PricePolicy(), site=site(tmp_path, server.url), now=now, offline=offline)

    return book


def prices(book: PriceBook, cloud: str) -> dict[str, float]:
    return {offer.name: offer.price_usd_per_hour for offer in book.offers if offer.cloud == cloud}


def in_silence(book: PriceBook, cloud: str) -> dict[str, float]:
    return {
        offer.name: offer.price_usd_per_hour
        for offer in book.offers
        if offer.cloud == cloud and IN_DOUBT not in offer.provenance.detail and offer.name not in book.unconfirmed
    }


def changed(content: bytes) -> bytes:
    return content + ODD_ROW


def faults(kind: str) -> dict[str, bytes]:
    return {cloud: DAMAGES[kind](content) or b"" for cloud, content in TRUTH.items()}


@pytest.mark.parametrize("kind", mostly_slow(DAMAGES))
def test_what_was_not_believed_is_no_witness(kind: str, run: Run) -> None:
    first = run()
    truth = {cloud: prices(first, cloud) for cloud in CLOUDS}
    fault = faults(kind)
    for at, catalogs in enumerate([fault, fault, {c: changed(content) for c, content in fault.items()}, fault], 1):
        for book in (run(at, **catalogs), run(at, offline=True)):
            for cloud in CLOUDS:
                silent = in_silence(book, cloud)
                cheaper = {n: (p, truth[cloud].get(n)) for n, p in silent.items() if p < 0.98 * truth[cloud].get(n, p)}
                assert not cheaper, f"run {at}: {cheaper}"
    healed = run(10, **TRUTH)
    for cloud in CLOUDS:
        assert truth[cloud].items() <= prices(healed, cloud).items(), "healed at once"


@pytest.mark.parametrize("kind", mostly_slow(["a tenth", "a fifth", "three tenths", "tenfold"], "a tenth"))
def test_the_believed_price_stays_for_days(kind: str, run: Run) -> None:
    truth = prices(run(), "lambda")
    fault = DAMAGES[kind](TRUTH["lambda"]) or b""
    for day in range(1, 40, 13):
        content = fault if day % 2 else changed(fault)
        assert prices(run(day * 1440, **{"lambda": content}), "lambda") == truth, f"day {day}"
    assert prices(run(41 * 1440, offline=True), "lambda") == truth


@pytest.mark.slow
def test_what_two_faults_agree_on_is_not_believed(run: Run) -> None:
    """Half, half of that, and again: each is a fall that a market can make, and no two of them are."""
    truth = prices(run(), "verda")
    run(1, verda=scaled(0.45)(TRUTH["verda"]) or b"")
    run(2, verda=scaled(0.2)(TRUTH["verda"]) or b"")
    again = run(3, verda=scaled(0.09)(TRUTH["verda"]) or b"")
    assert prices(again, "verda") == truth


@pytest.mark.slow
def test_a_fault_that_came_first_does_not_refuse_the_truth(run: Run, server: CatalogServer) -> None:
    fault = DAMAGES["a tenth"](TRUTH["lambda"]) or b""
    run(0, **{"lambda": fault})
    run(1, **{"lambda": changed(fault)})
    healed = prices(run(2, **{"lambda": TRUTH["lambda"]}), "lambda")
    listed = {name: price for name, price in healed.items() if "-later" not in name}
    assert listed == {n: p for n, p in prices(run(3), "lambda").items() if "-later" not in n}
    assert listed["lambda/us-east-1/gpu_1x_a10"] == 1.29
    assert healed["lambda/us-east-1/gpu_1x_a10-later"] == 1.29


def test_a_real_rise_is_the_witness_of_the_next_fall(run: Run) -> None:
    run()
    dearer = scaled(1.9)(TRUTH["lambda"]) or b""
    believed = prices(run(1, **{"lambda": dearer}), "lambda")
    assert believed["lambda/us-east-1/gpu_1x_a10"] == pytest.approx(1.29 * 1.9)
    fault = scaled(1.9 * 0.2)(TRUTH["lambda"]) or b""
    assert prices(run(2, **{"lambda": fault}), "lambda") == believed


@pytest.mark.slow
def test_a_cut_is_reported_in_every_run(run: Run) -> None:
    run()
    cut = scaled(0.56)(TRUTH["lambda"]) or b""
    for at, content in enumerate([cut, cut, changed(cut)], 1):
        book = run(at * 1440, **{"lambda": content})
        for name in ("gpu_1x_a10", "gpu_1x_a10-later"):
            (offer,) = [o for o in book.offers if o.name == f"lambda/us-east-1/{name}"]
            assert offer.price_usd_per_hour == pytest.approx(1.29 * 0.56)
            assert "lambda asks 44% less than before" in offer.provenance.detail
            assert "2026-11-28" in offer.provenance.detail or "embedded" in offer.provenance.detail


def _sealed(document: object) -> bytes:
    value = json.dumps(document).encode()
    return b"sky-melange catalog 1 " + hashlib.sha256(value).hexdigest().encode() + b"\n" + value


def _poisoned(document: dict[str, Any]) -> dict[str, Any]:
    for regions in document["machines"].values():
        for rows in regions.values():
            for row in rows:
                if row:
                    row[0], row[1] = row[0] / 10, row[1] / 10
    return document


DAMAGED_WITNESSES: list[Callable[[bytes], bytes]] = [
    lambda content: content[:-1],
    lambda content: content.replace(b"1.29", b"0.13"),
    lambda _: b"",
    lambda _: _sealed([]),
    lambda _: _sealed({"day": "2026-11-28", "machines": {"a": {"b": [[1, 2, 3]]}}}),
    lambda _: _sealed({"day": "2026-11-28", "machines": {"a": {"b": [None]}}}),
    lambda _: _sealed({"day": 7, "machines": {"a": {"b": [[float("nan"), 1, "", True], None]}}}),
    lambda _: b"sky-melange catalog 1 " + hashlib.sha256(b"[" * 9999).hexdigest().encode() + b"\n" + b"[" * 9999,
    lambda content: _sealed(_poisoned(json.loads(content.partition(b"\n")[2]))),
]


@pytest.mark.slow
def test_a_damaged_witness_lets_no_fault_win(run: Run, tmp_path: Path) -> None:
    """Whatever stands in the cache, the embedded prices judge; and the truth is believed again."""
    truth = {n: p for n, p in prices(run(), "lambda").items() if "-later" not in n}
    (path,) = (tmp_path / "believed-1").glob("lambda-*")
    sound = path.read_bytes()
    fault = DAMAGES["a tenth"](TRUTH["lambda"]) or b""
    for at, change in enumerate(DAMAGED_WITNESSES, 1):
        path.write_bytes(change(sound))
        content = changed(fault) if at % 2 else fault
        found = prices(run(at, **{"lambda": content}), "lambda")
        assert {n: p for n, p in found.items() if n in truth} == truth
    healed = prices(run(99, **{"lambda": TRUTH["lambda"]}), "lambda")
    assert {n: p for n, p in healed.items() if n in truth} == truth


def test_a_folder_that_cannot_be_written_is_reported(run: Run, tmp_path: Path) -> None:
    (tmp_path / "believed-1").write_text("a file where the folder should be")
    book = run()
    assert prices(book, "lambda")
    assert any("could not be noted" in remark for remark in book.remarks)
