"""Every fault that a price server, a network or a disk may have: exit code, message, and what is left in the cache."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest
import server as faults
from live import EXTRACTS, NOON, ROOT, SHORT, extract_folder, run, site, state_of, use_site, workload_file
from server import CatalogServer, Fault

from sky_melange.domain.offer import Obtained
from sky_melange.domain.workload import PricePolicy
from sky_melange.prices import FetchLimits, current_book

LATER = NOON + timedelta(hours=5)
ONE_DAY = NOON + timedelta(hours=30)


def _extract(name: str) -> Callable[[], Fault]:
    return lambda: faults.body((EXTRACTS / f"{name}.csv").read_bytes())


FAULTS: dict[str, tuple[Callable[[], Fault], str]] = {
    "no answer": (faults.stall, "no answer within 0.5 s"),
    "stops mid-body": (faults.stall_mid_body, "stopped for 0.5 s"),
    "drips for ever": (lambda: faults.drip(0.05), "not complete after 1.5 s"),
    "truncated body": (faults.truncated, "broke off"),
    "hangs up": (faults.hang_up, "the connection failed"),
    "404": (lambda: faults.status(404), "HTTP 404"),
    "403": (lambda: faults.status(403), "HTTP 403"),
    "429 for ever": (lambda: faults.too_many_requests("0"), "HTTP 429"),
    "429 for an hour": (lambda: faults.too_many_requests("3600"), "HTTP 429"),
    "429 with nonsense": (lambda: faults.too_many_requests("tomorrow, maybe"), "HTTP 429"),
    "500 for ever": (lambda: faults.status(500), "HTTP 500"),
    "escapes for a terminal": (lambda: faults.body(b"\x1b[31mInstanceType\n\x07"), "found ?[31mInstanceType"),
    "304 out of nothing": (lambda: faults.status(304, text=b""), "HTTP 304"),
    "redirect loop": (faults.redirect_loop, "more than 5 redirects"),
    "HTML": (faults.html, "<!DOCTYPE html>"),
    "JSON": (lambda: faults.body(b'{"message": "gone"}'), "no price catalog"),
    "empty": (lambda: faults.body(b""), "lacks InstanceType"),
    "wrong columns": (lambda: faults.body(b"name,cost\nA10,0.01\n"), "lacks InstanceType"),
    "header only (Lambda's)": (_extract("lambda-header-only"), "header and no rows"),
    "header only (Azure's)": (_extract("azure-header-only"), "header and no rows"),
    "only free text rows": (lambda: faults.body(b"\x00" * 1000), "no price catalog"),
    "gzip garbage": (faults.gzip_garbage, "gzip"),
    "gzip bomb": (lambda: faults.gzip_bomb(24 << 20), "larger than 8 MiB"),
    "2 GB announced": (faults.huge, "larger than 8 MiB"),
    "2 GB unannounced": (lambda: faults.huge(with_length=False), "larger than 8 MiB"),
}


@pytest.fixture
def server(tmp_path: Path) -> Iterator[CatalogServer]:
    with CatalogServer(extract_folder(tmp_path / "catalogs")) as server:
        yield server


@pytest.mark.parametrize("name", FAULTS)
def test_a_cloud_with_a_fault_while_others_answer(name: str, server: CatalogServer, tmp_path: Path) -> None:
    """Without a copy the cloud is left out; with one (unless the server says that it has none) the copy is used."""
    make_fault, words = FAULTS[name]
    place = site(tmp_path / "cache", server.url)
    server.fail("lambda", make_fault())
    book = current_book(PricePolicy(), site=place, now=NOON)
    state = state_of(book, "lambda")
    assert state.obtained is Obtained.ABSENT
    assert words in state.problem
    assert state_of(book, "aws").obtained is Obtained.CONFIRMED
    assert {offer.cloud for offer in book.offers} >= {"aws", "gcp"}
    server.heal()
    good = current_book(PricePolicy(), site=place, now=NOON)
    server.fail("lambda", make_fault())
    book = current_book(PricePolicy(), site=place, now=LATER)
    if name in ("404",):
        assert state_of(book, "lambda").obtained is Obtained.ABSENT
    elif name != "304 out of nothing":  # which is, with a copy at hand, the word that it still holds
        assert state_of(book, "lambda").obtained is Obtained.CACHED
        assert state_of(book, "lambda").fetched_at == "2026-06-01T12:00:00Z"
        assert words in state_of(book, "lambda").problem
        kept = [offer for offer in book.offers if offer.cloud == "lambda"]
        assert kept == [offer for offer in good.offers if offer.cloud == "lambda"]


@pytest.mark.parametrize("name", FAULTS)
def test_the_command_with_a_fault_everywhere(
    name: str, server: CatalogServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing in the cache: the snapshot with its dates, exit 0; with a maximum age exit 6. Never a traceback."""
    make_fault, words = FAULTS[name]
    server.fail(faults.EVERY_CLOUD, make_fault())
    use_site(monkeypatch, site(tmp_path / "cache", server.url), NOON)
    result = run("prices", "--cloud", "gcp", "--accelerator", "H100")
    assert result.exit_code == 0, result.stderr
    assert "embedded in this release" in result.stderr
    assert "2026-05-20 (12 days old)" in result.stderr
    assert words in result.stderr
    assert "Traceback" not in result.stderr
    assert "H100" in result.stdout
    strict = run("plan", workload_file(tmp_path, max_age_hours=24), "--no-files")
    assert strict.exit_code == 6
    assert "2026-05-20" in strict.stderr
    assert "Traceback" not in strict.stderr
    assert not list((tmp_path / "cache").rglob("*.catalog"))


@pytest.fixture(params=["refused", "no such host", "connect timeout"])
def nowhere(request: pytest.FixtureRequest) -> Iterator[tuple[str, str]]:
    with contextlib.ExitStack() as stack:
        yield {
            "refused": lambda: (faults.refused_url(), "connection refused"),
            "no such host": lambda: (faults.UNRESOLVABLE_URL, "the host name is not known"),
            "connect timeout": lambda: (stack.enter_context(faults.connect_timeout_url()), "no connection within"),
        }[request.param]()


def test_no_server_at_all(nowhere: tuple[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    address, words = nowhere
    use_site(monkeypatch, site(tmp_path / "cache", address), NOON)
    plan = run("plan", workload_file(tmp_path), "--no-files")
    assert plan.exit_code == 0, plan.stderr
    assert "2026-05-20 (12 days old)" in plan.stderr
    assert words in plan.stderr
    assert "Traceback" not in plan.stderr
    strict = run("plan", workload_file(tmp_path, max_age_hours=24), "--no-files")
    assert strict.exit_code == 6
    assert words in strict.stderr


def test_no_server_at_all_costs_at_most_three_seconds(nowhere: tuple[str, str], tmp_path: Path) -> None:
    """With the waits of real use, and two addresses to try."""
    from sky_melange.prices import PriceSite

    address, _ = nowhere
    place = PriceSite(cache_folder=tmp_path / "cache", bases=(address, address.replace("http://", "http://x@")))
    current_book(PricePolicy(), site=place, now=NOON, offline=True)  # imports and the reading of files, once
    start = time.perf_counter()
    current_book(PricePolicy(), site=place, now=NOON, offline=True)
    offline_s = time.perf_counter() - start
    start = time.perf_counter()
    book = current_book(PricePolicy(), site=place, now=NOON)
    assert time.perf_counter() - start - offline_s < 3.0
    assert {state.obtained for state in book.states} == {Obtained.SNAPSHOT}


def test_a_name_server_that_never_answers_does_not_hold_up_the_process(tmp_path: Path) -> None:
    """The threads that wait for it are left behind when the answer is printed."""
    program = (
        "import socket, time\n"
        "socket.getaddrinfo = lambda *a, **k: time.sleep(60)\n"
        "from datetime import UTC, datetime\nfrom pathlib import Path\n"
        "from sky_melange.domain.workload import PricePolicy\n"
        "from sky_melange.prices import PriceSite, current_book\n"
        f"place = PriceSite(cache_folder=Path({str(tmp_path)!r}), bases=('http://catalogs.invalid',))\n"
        "def seconds(offline):\n"
        "    start = time.perf_counter()\n"
        "    book = current_book(PricePolicy(), site=place, now=datetime.now(UTC), offline=offline)\n"
        "    assert book.offers\n"
        "    return time.perf_counter() - start\n"
        "seconds(True)\n"
        "print(-seconds(True) + seconds(False))\n"
    )
    start = time.perf_counter()
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert 2 < float(done.stdout) < 3
    assert time.perf_counter() - start < 10


def test_500_then_200(server: CatalogServer, tmp_path: Path) -> None:
    server.fail("lambda", faults.status(500), times=1)
    book = current_book(PricePolicy(), site=site(tmp_path / "cache", server.url), now=NOON)
    assert state_of(book, "lambda").obtained is Obtained.CONFIRMED
    assert [int(seen.status) for seen in server.seen if seen.cloud == "lambda"] == [500, 200]


def test_429_waits_as_long_as_the_server_asks(server: CatalogServer, tmp_path: Path) -> None:
    server.fail("lambda", faults.too_many_requests("1"), times=1)
    start = time.perf_counter()
    book = current_book(PricePolicy(), site=site(tmp_path / "cache", server.url), now=NOON)
    assert time.perf_counter() - start >= 1.0
    assert state_of(book, "lambda").obtained is Obtained.CONFIRMED
    assert [int(seen.status) for seen in server.seen if seen.cloud == "lambda"] == [429, 200]


def test_a_server_that_asks_for_an_hour_is_left_for_the_mirror(server: CatalogServer, tmp_path: Path) -> None:
    with CatalogServer() as busy:
        busy.fail(faults.EVERY_CLOUD, faults.too_many_requests("3600"))
        start = time.perf_counter()
        book = current_book(PricePolicy(), site=site(tmp_path / "cache", busy.url, server.url), now=NOON)
        assert time.perf_counter() - start < 3
        assert {seen.status for seen in busy.seen} == {429}
        assert len([seen for seen in busy.seen if seen.cloud == "aws"]) == 1
    assert state_of(book, "aws").obtained is Obtained.CONFIRMED


@pytest.mark.parametrize("name", [name for name in FAULTS if name not in ("304 out of nothing",)])
def test_the_mirror_helps_against_every_fault(name: str, server: CatalogServer, tmp_path: Path) -> None:
    with CatalogServer(tmp_path / "catalogs") as first:
        first.fail("lambda", FAULTS[name][0]())
        book = current_book(PricePolicy(), site=site(tmp_path / "cache", first.url, server.url), now=NOON)
    assert state_of(book, "lambda").obtained is Obtained.CONFIRMED


def test_https_is_never_left(server: CatalogServer) -> None:
    """An answer that came over http after an https address was asked is thrown away."""
    import requests

    from sky_melange.prices.hosted.session import FetchError, check_answer

    response = requests.Response()
    response.status_code = 200
    response.url = "http://example.com/lambda/vms.csv"
    with pytest.raises(FetchError, match="from https to http"):
        check_answer(response, "https://example.com/lambda/vms.csv")


def test_tls_certificates_are_verified(tmp_path: Path) -> None:
    """A server with a certificate that nobody vouches for is not believed."""
    import ssl

    certificate = tmp_path / "server.pem"
    made = subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj", "/CN=127.0.0.1"),
            *("-addext", "subjectAltName=IP:127.0.0.1", "-keyout", certificate, "-out", tmp_path / "cert.pem"),
        ],
        capture_output=True,
        check=False,
    )
    if made.returncode != 0:
        pytest.skip("needs the program openssl")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "cert.pem", certificate)
    with CatalogServer(extract_folder(tmp_path / "catalogs", "lambda"), tls=context) as server:
        place = site(tmp_path / "cache", server.url, limits=FetchLimits())
        book = current_book(PricePolicy(), site=place, now=NOON)
        assert "certificate" in book.states[0].problem
        assert {state.obtained for state in book.states} == {Obtained.SNAPSHOT}


@pytest.mark.parametrize("kind", ["a file in its place", "no room"])
def test_a_cache_folder_that_cannot_be_written(
    kind: str, server: CatalogServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = tmp_path / "cache"
    if kind == "no room":

        def full(_: int) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(os, "fsync", full)
    else:
        cache.write_text("not a folder")
    use_site(monkeypatch, site(cache, server.url), NOON)
    result = run("plan", workload_file(tmp_path), "--no-files")
    assert result.exit_code == 0, result.stderr
    assert "cannot be written" in result.stderr
    assert "Traceback" not in result.stderr
    assert "OLD PRICES" not in result.stderr
    assert not list(tmp_path.rglob(".new-*"))


def test_a_read_only_cache_folder(server: CatalogServer, tmp_path: Path) -> None:
    """As a user whom the permissions bind, root or not: copies in it are read, and nothing else changes."""
    cache = tmp_path / "cache"
    current_book(PricePolicy(), site=site(cache, server.url), now=NOON)
    for path in [*cache.rglob("*"), cache]:
        path.chmod(0o555 if path.is_dir() else 0o444)
    for folder in (tmp_path, *tmp_path.parents):
        if folder.stat().st_uid == os.getuid() and folder.stat().st_mode & 0o055 != 0o055:
            folder.chmod(folder.stat().st_mode | 0o055)
    program = (
        "import os, sys\n"
        "from datetime import UTC, datetime\nfrom pathlib import Path\n"
        "import requests, cachecontrol\n"
        "from sky_melange.domain.workload import PricePolicy\n"
        "from sky_melange.prices import PriceSite, current_book, load_snapshot\n"
        "import sky_melange.prices.hosted.fetch, sky_melange.prices.hosted.store\n"
        "load_snapshot()\n"
        "os.getuid() or os.setuid(65534)\n"
        f"place = PriceSite(cache_folder=Path({str(cache)!r}), bases=({server.url!r},))\n"
        "book = current_book(PricePolicy(), site=place, now=datetime(2026, 6, 2, tzinfo=UTC))\n"
        "print([s.obtained.value for s in book.states if s.cloud == 'lambda'])\n"
        "print([s.not_kept for s in book.states if s.cloud == 'lambda'])\n"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "['confirmed']" in done.stdout
    assert "Permission denied" in done.stdout
    assert [seen.status for seen in server.seen if seen.cloud == "lambda"] == [200, 304]
    for path in [cache, *cache.rglob("*")]:
        path.chmod(0o755)


PROGRAM = """
import sys
from datetime import UTC, datetime
from pathlib import Path
from sky_melange.domain.workload import PricePolicy
from sky_melange.prices import PriceSite, current_book
place = PriceSite(cache_folder=Path(sys.argv[1]), bases=(sys.argv[2],))
for turn in range(int(sys.argv[3])):
    book = current_book(PricePolicy(), site=place, now=datetime(2026, 6, 2, turn % 24, tzinfo=UTC))
    assert len(book.offers) > 100, len(book.offers)
    print([s.obtained.value for s in book.states if s.cloud == "lambda"][0], flush=True)
"""


def _cheaper(folder: Path) -> Path:
    """Catalogs in which Lambda and Nebius ask other prices."""
    extract_folder(folder)
    for cloud, now, then in (("lambda", b"1.29", b"0.86"), ("nebius", b"2.95", b"3.50")):
        path = folder / cloud / "vms.csv"
        path.write_bytes(path.read_bytes().replace(now, then))
    return folder


def _refreshing(cache: Path, url: str, turns: int) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", PROGRAM, str(cache), url, str(turns)]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_processes_refreshing_at_once(server: CatalogServer, tmp_path: Path) -> None:
    """While the catalogs change under them: each sees whole catalogs, and so does whoever comes after."""
    older = _cheaper(tmp_path / "older")
    runs = [_refreshing(tmp_path / "cache", server.url, 4) for _ in range(3)]
    for turn in range(12):
        server.serve(older if turn % 2 else tmp_path / "catalogs")
        time.sleep(0.15)
    ends = [(process.communicate(timeout=60), process.returncode) for process in runs]
    assert all(code == 0 for _, code in ends), ends
    assert {line for (stdout, _), _ in ends for line in stdout.split()} == {"confirmed"}
    book = current_book(PricePolicy(), site=site(tmp_path / "cache", server.url), now=LATER, offline=True)
    assert state_of(book, "lambda").obtained is Obtained.CACHED
    assert not list((tmp_path / "cache").rglob(".new-*"))


def test_killed_during_a_refresh(server: CatalogServer, tmp_path: Path) -> None:
    """kill -9 at several moments: the cache stays readable, with whole catalogs and nothing newer than its data."""
    older = _cheaper(tmp_path / "older")
    cache = tmp_path / "cache"
    current_book(PricePolicy(), site=site(cache, server.url), now=NOON)
    server.delay_s = 0.02
    for delay_s in (0.35, 0.45, 0.5, 0.55, 0.6, 0.7, 0.8):
        server.serve(
            older
            if server.content_of("lambda") != (older / "lambda" / "vms.csv").read_bytes()
            else tmp_path / "catalogs"
        )
        process = _refreshing(cache, server.url, 50)
        time.sleep(delay_s)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        book = current_book(PricePolicy(), site=site(cache, server.url), now=ONE_DAY, offline=True)
        for cloud in ("aws", "gcp", "lambda", "azure"):
            assert state_of(book, cloud).obtained is Obtained.CACHED
            assert [offer for offer in book.offers if offer.cloud == cloud]
    book = current_book(PricePolicy(), site=site(cache, server.url, limits=SHORT), now=ONE_DAY)
    assert state_of(book, "lambda").obtained is Obtained.CONFIRMED
