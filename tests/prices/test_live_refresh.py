"""Refreshing from a real server: what is transferred, kept, noticed and planned with."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from live import NOON, SHORT, extract_folder, obtained, price_of, run, site, state_of, use_site, workload_file
from server import CatalogServer, Seen, body, gzipped, redirect_to, refused_url, status

from sky_melange.domain.offer import Obtained
from sky_melange.domain.workload import PricePolicy
from sky_melange.errors import InputError, PriceSourceError
from sky_melange.prices import PriceHistory, PriceSite, current_book, warnings_of

LATER = NOON + timedelta(hours=5)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[CatalogServer]:
    with CatalogServer(extract_folder(tmp_path / "catalogs")) as server:
        yield server


def _statuses(server: CatalogServer, cloud: str) -> list[int]:
    return [int(seen.status) for seen in server.seen if seen.cloud == cloud]


def _bodies(seen: list[Seen]) -> set[str]:
    return {answer.cloud for answer in seen if answer.status == 200 and answer.body_bytes}


def test_catalogs_are_fetched_once_and_then_only_confirmed(server: CatalogServer, tmp_path: Path) -> None:
    place = site(tmp_path / "cache", server.url)
    first = current_book(PricePolicy(), site=place, now=NOON)
    assert state_of(first, "lambda").obtained is Obtained.CONFIRMED
    server.forget()
    second = current_book(PricePolicy(), site=place, now=LATER)
    assert not _bodies(server.seen)
    assert _statuses(server, "lambda") == [304]
    assert [(o.name, o.price_usd_per_hour) for o in second.offers] == [
        (o.name, o.price_usd_per_hour) for o in first.offers
    ]
    assert {o.provenance.fetched_at for o in first.offers} == {"2026-06-01T12:00:00Z"}
    assert {o.provenance.fetched_at for o in second.offers} == {"2026-06-01T17:00:00Z"}


@pytest.mark.slow
def test_the_replay_changes_the_plan_and_the_history_names_it(
    shared_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The whole real catalogs: older ones first, then newer ones, then the same again."""
    with CatalogServer(shared_data / "catalogs-older") as server:
        place = PriceSite(cache_folder=tmp_path / "cache", bases=(server.url,))
        use_site(monkeypatch, place, NOON)
        workload = workload_file(tmp_path)
        before = run("plan", workload, "--no-files", "--format", "json")
        assert before.exit_code == 0, before.stderr
        server.serve(shared_data / "catalogs")
        # What did not change between the two sets: hyperbolic … are new, the others all differ but one copied here.
        server.put("seeweb", (shared_data / "catalogs-older" / "seeweb" / "vms.csv").read_bytes())
        server.forget()
        use_site(monkeypatch, place, LATER)
        after = run("plan", workload, "--no-files", "--format", "json")
        assert after.exit_code == 0, after.stderr
        assert _statuses(server, "seeweb") == [304]
        assert "lambda" in _bodies(server.seen)
        old, new = json.loads(before.stdout), json.loads(after.stdout)
        assert old["cost"] != new["cost"]
        assert old["inputs"]["prices_sha256"] != new["inputs"]["prices_sha256"]
        server.forget()
        history = run("prices", "--history", "--cloud", "lambda", "--accelerator", "A10")
        assert not _bodies(server.seen)
    (line,) = [line for line in history.stdout.splitlines() if "gpu_1x_a10" in line]
    assert "0.8600" in line
    assert "1.2900" in line
    assert "+50.0%" in line
    assert "17 regions" in line


def test_plan_json_holds_the_day_and_not_the_time(
    server: CatalogServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_site(monkeypatch, site(tmp_path / "cache", server.url), NOON)
    first = run("plan", workload_file(tmp_path), "--no-files", "--format", "json")
    use_site(monkeypatch, site(tmp_path / "cache", server.url), LATER)
    second = run("plan", workload_file(tmp_path), "--no-files", "--format", "json")
    assert first.exit_code == second.exit_code == 0, first.stderr
    assert first.stdout == second.stdout
    assert {group["price"]["fetched_at"] for group in json.loads(first.stdout)["groups"]} == {"2026-06-01"}


def test_offline_takes_the_last_good_copy_and_asks_nobody(server: CatalogServer, tmp_path: Path) -> None:
    place = site(tmp_path / "cache", server.url)
    online = current_book(PricePolicy(), site=place, now=NOON)
    server.forget()
    book = current_book(PricePolicy(), site=place, now=LATER, offline=True)
    assert server.seen == []
    assert book.offers == online.offers
    assert state_of(book, "gcp").obtained is Obtained.CACHED
    (old, absent) = warnings_of(book, LATER)
    assert "2026-06-01T12:00:00Z (5 hours old)" in old
    assert absent.startswith("LEFT OUT: cudo, do, fluidstack")


def test_offline_without_any_copy_takes_the_snapshot(tmp_path: Path) -> None:
    book = current_book(PricePolicy(), site=site(tmp_path / "none"), now=NOON, offline=True)
    assert {state.obtained for state in book.states} == {Obtained.SNAPSHOT}
    (warning,) = warnings_of(book, NOON)
    assert "2026-05-20 (12 days old)" in warning
    assert "unknown date" in warning
    assert not (tmp_path / "none").exists()


def test_a_cloud_that_is_taken_down_is_left_out(server: CatalogServer, tmp_path: Path) -> None:
    """An old copy of a catalog that is no longer published is no price: nobody sells at it."""
    place = site(tmp_path / "cache", server.url)
    current_book(PricePolicy(), site=place, now=NOON)
    server.fail("lambda", status(404))
    book = current_book(PricePolicy(), site=place, now=LATER)
    assert state_of(book, "lambda").obtained is Obtained.ABSENT
    assert not [offer for offer in book.offers if offer.cloud == "lambda"]
    assert any("LEFT OUT" in line and "lambda" in line and "404" in line for line in warnings_of(book, LATER))


def test_a_cloud_that_fails_is_served_from_its_copy(server: CatalogServer, tmp_path: Path) -> None:
    place = site(tmp_path / "cache", server.url)
    first = current_book(PricePolicy(), site=place, now=NOON)
    server.fail("lambda", status(503))
    book = current_book(PricePolicy(), site=place, now=LATER)
    assert book.offers == tuple(
        sorted(
            [o for o in first.offers if o.cloud == "lambda"] + [o for o in book.offers if o.cloud != "lambda"],
            key=lambda offer: offer.sort_key,
        )
    )
    assert state_of(book, "lambda").fetched_at == "2026-06-01T12:00:00Z"
    (line,) = [line for line in warnings_of(book, LATER) if "lambda" in line]
    assert "5 hours old" in line
    assert "HTTP 503" in line


def test_the_mirror_serves_what_the_first_address_does_not(server: CatalogServer, tmp_path: Path) -> None:
    book = current_book(PricePolicy(), site=site(tmp_path / "cache", refused_url(), server.url), now=NOON)
    assert state_of(book, "lambda").obtained is Obtained.CONFIRMED
    assert "refused" not in state_of(book, "lambda").problem
    with CatalogServer() as broken:
        broken.fail("*", status(404))
        book = current_book(PricePolicy(), site=site(tmp_path / "second", broken.url, server.url), now=NOON)
        assert state_of(book, "aws").obtained is Obtained.CONFIRMED


def test_a_redirect_is_followed_and_its_target_revalidated(server: CatalogServer, tmp_path: Path) -> None:
    with CatalogServer() as front:
        front.fail("lambda", redirect_to(f"{server.url}/lambda/vms.csv"))
        place = site(tmp_path / "cache", front.url)
        first = current_book(PricePolicy(), site=place, now=NOON)
        second = current_book(PricePolicy(), site=place, now=LATER)
    assert state_of(first, "lambda").obtained is Obtained.CONFIRMED
    assert state_of(second, "lambda").fetched_at == "2026-06-01T17:00:00Z"
    assert _statuses(server, "lambda") == [200, 304]


def test_compressed_catalogs_are_read_and_kept(server: CatalogServer, tmp_path: Path) -> None:
    plain = current_book(PricePolicy(), site=site(tmp_path / "plain", server.url), now=NOON)
    server.fail("*", gzipped())
    place = site(tmp_path / "cache", server.url)
    assert current_book(PricePolicy(), site=place, now=NOON).offers == plain.offers
    assert current_book(PricePolicy(), site=place, now=NOON, offline=True).offers == plain.offers


def test_a_server_without_etags_still_leaves_a_copy(tmp_path: Path) -> None:
    content = (extract_folder(tmp_path / "catalogs", "lambda") / "lambda" / "vms.csv").read_bytes()
    with CatalogServer() as server:
        server.fail("lambda", lambda handler, _: handler.answer(200, content, {"Date": "no date at all"}))
        place = site(tmp_path / "cache", server.url)
        current_book(PricePolicy(), site=place, now=NOON)
    book = current_book(PricePolicy(), site=place, now=LATER)
    assert state_of(book, "lambda").obtained is Obtained.CACHED
    assert state_of(book, "lambda").fetched_at == "2026-06-01T12:00:00Z"


def test_no_store_is_obeyed_and_said(tmp_path: Path) -> None:
    content = (extract_folder(tmp_path / "catalogs", "lambda") / "lambda" / "vms.csv").read_bytes()
    with CatalogServer() as server:
        server.fail("lambda", lambda handler, _: handler.answer(200, content, {"Cache-Control": "no-store"}))
        book = current_book(PricePolicy(), site=site(tmp_path / "cache", server.url), now=NOON)
    assert state_of(book, "lambda").obtained is Obtained.CONFIRMED
    assert any("no-store" in line for line in warnings_of(book, NOON))


def test_maximum_age_decides_between_warning_and_exit_6(
    server: CatalogServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = site(tmp_path / "cache", server.url)
    current_book(PricePolicy(), site=place, now=NOON)
    server.fail("*", status(503))
    use_site(monkeypatch, place, LATER)
    assert run("plan", workload_file(tmp_path, max_age_hours=6), "--no-files").exit_code == 0
    tight = run("plan", workload_file(tmp_path, max_age_hours=4), "--no-files")
    assert tight.exit_code == 6
    assert "max_age_hours (4 hours)" in tight.stderr
    assert "5 hours old" in tight.stderr
    assert "Traceback" not in tight.stderr
    assert tight.stdout == ""


def test_clouds_beyond_the_limit_are_left_out_when_others_are_fresh(server: CatalogServer, tmp_path: Path) -> None:
    place = site(tmp_path / "cache", server.url)
    current_book(PricePolicy(), site=place, now=NOON)
    server.fail("lambda", status(503))
    book = current_book(PricePolicy(max_age_hours=4), site=place, now=LATER)
    assert state_of(book, "lambda").too_old
    assert not [offer for offer in book.offers if offer.cloud == "lambda"]
    assert [offer for offer in book.offers if offer.cloud == "aws"]
    assert any("too old to be used" in line for line in warnings_of(book, LATER))
    with pytest.raises(PriceSourceError, match="lambda"):
        current_book(PricePolicy(max_age_hours=4), site=place, now=LATER, clouds=["lambda"])


def test_a_catalog_that_shrank_does_not_take_the_place_of_the_last_good_one(
    server: CatalogServer, tmp_path: Path
) -> None:
    place = site(tmp_path / "cache", server.url)
    first = current_book(PricePolicy(), site=place, now=NOON)
    lines = (server.content_of("lambda") or b"").splitlines(keepends=True)
    server.put("lambda", b"".join([lines[0], *lines[-3:]]))
    book = current_book(PricePolicy(), site=place, now=LATER)
    assert "shrank" in state_of(book, "lambda").problem
    assert [o.name for o in book.offers if o.cloud == "lambda"] == [o.name for o in first.offers if o.cloud == "lambda"]
    a_week_later = NOON + timedelta(days=8)
    book = current_book(PricePolicy(), site=place, now=a_week_later)
    assert state_of(book, "lambda").obtained is Obtained.CONFIRMED


def test_a_damaged_copy_is_no_copy(server: CatalogServer, tmp_path: Path) -> None:
    place = site(tmp_path / "cache", server.url)
    current_book(PricePolicy(), site=place, now=NOON)
    for path in (tmp_path / "cache").rglob("*.catalog"):
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 1
        path.write_bytes(content)
    server.forget()
    book = current_book(PricePolicy(), site=place, now=LATER)
    assert _statuses(server, "lambda") == [200]
    assert all(seen.if_none_match is None for seen in server.seen)
    assert state_of(book, "lambda").obtained is Obtained.CONFIRMED


def test_history_survives_a_half_written_line(server: CatalogServer, tmp_path: Path) -> None:
    place = site(tmp_path / "cache", server.url)
    extract_folder(tmp_path / "older", older=["lambda"])
    server.serve(tmp_path / "older")
    current_book(PricePolicy(), site=place, now=NOON)
    server.serve(tmp_path / "catalogs")
    current_book(PricePolicy(), site=place, now=LATER)
    history = PriceHistory(tmp_path / "cache")
    changes = history.read()
    assert {change.cloud for change in changes} == {"lambda"}
    path = tmp_path / "cache" / "history-1.jsonl"
    whole = path.read_bytes()
    path.write_bytes(whole + b'{"cloud": "aws", "reg')
    assert history.read() == changes
    history.add(changes[:1])
    path.write_bytes(path.read_bytes() + b"\xff[1]\n" + b"[" * 100_000 + b"\n")
    assert history.read() == changes


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("ftp://example.com/x", "https://"),
        ("example.com", "https://"),
        ("http://", "names no host"),
        ("http://example.com:99999999/", "no URL"),
        ("http://[::1", "no URL"),
        ("https://example.com/x?y", "without ?"),
    ],
)
def test_bad_addresses_are_named(address: str, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SKY_MELANGE_CATALOG_URL", address)
    result = run("prices", "--cloud", "lambda")
    assert result.exit_code == 2
    assert result.stderr.startswith("Error: SKY_MELANGE_CATALOG_URL:")
    assert words in result.stderr
    with pytest.raises(InputError, match=r"prices\.base_url"):
        current_book(PricePolicy(base_url=address), site=site(tmp_path), now=NOON)


def test_the_workload_may_name_the_address(server: CatalogServer, tmp_path: Path) -> None:
    book = current_book(PricePolicy(base_url=server.url), site=site(tmp_path / "cache"), now=NOON)
    assert price_of(book, "lambda/us-east-1/gpu_1x_a10") == 1.29


def test_a_password_in_the_address_is_never_shown(server: CatalogServer, tmp_path: Path) -> None:
    address = server.url.replace("http://", "http://user:hunter2@")
    server.fail("aws", status(500))
    book = current_book(PricePolicy(), site=site(tmp_path / "cache", address), now=NOON)
    assert state_of(book, "lambda").obtained is Obtained.CONFIRMED
    shown = [*warnings_of(book, NOON), *(offer.provenance.detail for offer in book.offers)]
    assert not [text for text in shown if "hunter2" in text]


def test_twenty_slow_answers_take_little_longer_than_one(tmp_path: Path) -> None:
    import time

    with CatalogServer(extract_folder(tmp_path / "catalogs"), delay_s=0.1) as server:
        start = time.perf_counter()
        book = current_book(PricePolicy(), site=site(tmp_path / "cache", server.url), now=NOON)
        taken_s = time.perf_counter() - start
    assert len(obtained(book)) == 19
    assert taken_s < 1.5


def test_wrong_prices_are_quarantined_in_live_catalogs_too(shared_data: Path, tmp_path: Path) -> None:
    """Confirmed long after the price lists were made: what is far below them is still not believed."""
    now = NOON + timedelta(days=400)
    with CatalogServer(shared_data / "catalogs") as server:
        place = PriceSite(cache_folder=tmp_path / "cache", bases=(server.url,))
        book = current_book(PricePolicy(), site=place, now=now)
        trusted = current_book(PricePolicy(trust=("gcp/us-central1",)), site=place, now=now)
    rules = {entry.offer.name: entry.rule for entry in book.quarantined}
    assert rules["gcp/us-central1/a3-highgpu-8g"] == "source_disagreement"
    assert rules["gcp/us-central1/a2-ultragpu-1g"] == "source_disagreement"
    assert rules["runpod/CA/1x_L40S_SECURE:spot"] == "spot_above_on_demand"
    assert all(offer.cloud != "mithril" for offer in book.offers)
    assert not [offer for offer in book.offers if offer.cloud == "vast" and offer.use_spot]
    assert "gcp/us-central1/a3-highgpu-1g" in {offer.name for offer in trusted.offers}


def test_short_waits_are_only_for_tests() -> None:
    assert PriceSite(cache_folder=Path()).limits.contact_s + 0.5 < 3
    assert SHORT.tries == PriceSite(cache_folder=Path()).limits.tries


def test_a_body_may_change_to_another_with_the_same_prices(server: CatalogServer, tmp_path: Path) -> None:
    place = site(tmp_path / "cache", server.url)
    current_book(PricePolicy(), site=place, now=NOON)
    lines = (server.content_of("lambda") or b"").splitlines(keepends=True)
    server.fail("lambda", body(b"".join([lines[0], *reversed(lines[1:])])))
    current_book(PricePolicy(), site=place, now=LATER)
    assert PriceHistory(tmp_path / "cache").read() == ()
