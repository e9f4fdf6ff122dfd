"""Plans on damaged catalogs beside plans on the sound ones: none may be cheaper in silence.

    python tests/prices/damage_table.py [--data ../shared/data] [--folder catalogs] [--cloud aws] [--kind "a tenth"]

For every catalog of every folder, every kind of damage, with and without a sound copy from an earlier run, and two
workloads (the quickstart and Llama 3.1 70B) whose candidates are the damaged cloud: plans through a real server and
cache, in two runs. Prints a line for each plan that is more than 2 % cheaper than the truth although no sentence on
stdout names the cloud, and for each true cut of 44 % that is refused; exits with 1 when there is one.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import cache, lru_cache
from pathlib import Path
from typing import Final

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
sys.path.insert(0, str(Path(__file__).parent))

import yaml
from server import CatalogServer, Fault, body, cut, without_length
from test_past_prices import DAMAGES, scaled

from sky_melange.domain.offer import Offer, PriceBook
from sky_melange.domain.profile import Profile
from sky_melange.domain.workload import PricePolicy, Workload
from sky_melange.errors import SkyMelangeError
from sky_melange.pipeline.planning import make_plan
from sky_melange.pipeline.profiling import profiles_for
from sky_melange.pipeline.reading import read
from sky_melange.prices import FetchLimits, PriceSite, current_book
from sky_melange.prices.clouds import LAUNCHABLE_CLOUDS
from sky_melange.prices.hosted import fetch
from sky_melange.render import plan_table

ROOT: Final = Path(__file__).resolve().parents[2]
NOON: Final = datetime(2026, 11, 28, 9, tzinfo=UTC)
LIMITS: Final = FetchLimits(connect_timeout_s=3, read_timeout_s=20, catalog_s=25, contact_s=5, backoff_s=0.02)
FOLDERS: Final = ("catalogs", "catalogs-2024-11", "catalogs-older", "catalogs-windows-prices")
SILENT_FRACTION: Final = 0.98
CUT: Final = "a true cut of 44 %"

CONTENT_KINDS: Final[Mapping[str, Callable[[bytes], bytes | None]]] = {
    **{kind: damage for kind, damage in DAMAGES.items() if kind != "cut off"},
    "six tenths": scaled(0.6),
    CUT: scaled(0.56),
}
TRANSFER_KINDS: Final[Mapping[str, Callable[[bytes], Fault]]] = {
    "cut at 60 % with length": lambda content: body(cut(content, 0.6, rows=False)),
    "cut at 60 % of the rows with length": lambda content: body(cut(content, 0.6, rows=True)),
    "cut at 60 % without length": lambda _: without_length(0.6),
    "cut at 60 % of the rows without length": lambda _: without_length(0.6, rows=True),
}
KINDS: Final = (*CONTENT_KINDS, *TRANSFER_KINDS)
ALL_CLOUDS: Final = "every cloud"
ALL_KINDS: Final = ("a tenth", "a fifth", "tenfold", CUT)


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What a plan costs, USD per hour (None: there is none, for the reason in `stdout`), and what is printed."""

    total_usd_per_hour: float | None
    stdout: str


def workloads(folder: Path) -> dict[str, Path]:
    """The quickstart, and a chat on 70B that any cloud with large GPUs can serve, as files."""
    document = yaml.safe_load((ROOT / "examples" / "means" / "workload.yaml").read_text(encoding="utf-8"))
    large = {
        "version": 1,
        "name": "large",
        "model": {"id": "meta-llama/Llama-3.1-70B-Instruct", "dtype": "bfloat16", "max_model_len": 8192},
        "slo": {"attainment": "mean", "tpot_ms": 80, "ttft_ms": 4000},
        "traffic": {
            "request_rate": 4,
            "histogram": {"source": "t", "input_tokens": [1000, 4000], "output_tokens": [250], "weights": [[3], [1]]},
        },
        "profiles": {"estimate": True},
    }
    document["candidates"] = {}
    document["profiles"] = {"estimate": True}
    found = {}
    for name, content in (("quickstart", document), ("70B", large)):
        found[name] = folder / f"{name}.yaml"
        found[name].write_text(yaml.safe_dump(content), encoding="utf-8")
    return found


class Table:
    """Plans of one set of sound catalogs, and of what damage makes of them.

    What is the same in many rows is done once: reading the bytes of a catalog, and planning on the same prices.
    """

    def __init__(self, catalogs: Mapping[str, bytes], folder: Path) -> None:
        self._catalogs = catalogs
        self._folder = folder
        self._workloads = {name: read(path) for name, path in workloads(folder).items()}
        self._sound = folder / "sound"
        self._profiles: dict[str, list[Profile]] = {}
        self._found: dict[object, Found] = {}

    def failures(self, clouds: Iterable[str], kinds: Iterable[str]) -> Iterator[str]:
        """A line for each plan that is wrong. `clouds` may have `ALL_CLOUDS`."""
        kinds = tuple(kinds)
        with CatalogServer() as server, reading_once():
            self._serve(server)
            book = current_book(PricePolicy(), site=self._site(server, self._sound), now=NOON)
            for name, workload in self._workloads.items():
                self._profiles.setdefault(name, list(profiles_for(workload, book, self._folder)))
            for cloud in clouds:
                truth = self._plans(server, self._sound, cloud, 0)
                for kind in kinds:
                    if cloud == ALL_CLOUDS and kind not in ALL_KINDS:
                        continue
                    for has_copy in (True, False):
                        yield from self._failures(server, cloud, kind, truth, has_copy=has_copy)

    def _failures(
        self, server: CatalogServer, cloud: str, kind: str, truth: Mapping[str, Found], *, has_copy: bool
    ) -> Iterator[str]:
        cache = self._folder / "cache"
        shutil.rmtree(cache, ignore_errors=True)
        if has_copy:
            shutil.copytree(self._sound, cache)
        self._serve(server)
        for each in self._catalogs if cloud == ALL_CLOUDS else [cloud]:
            if kind in CONTENT_KINDS:
                server.put(each, damaged(kind, self._catalogs[each]))
            else:
                server.fail(each, TRANSFER_KINDS[kind](self._catalogs[each]))
        for run in (1, 2):
            for name, found in self._plans(server, cache, cloud, run).items():
                label = f"{cloud}, {kind}, {'with' if has_copy else 'without'} an earlier copy, run {run}, {name}"
                fault = wrong(found, truth[name], cloud, self._catalogs, is_cut=kind == CUT and has_copy)
                if fault:
                    yield f"{label}: {fault}"

    def _serve(self, server: CatalogServer) -> None:
        server.heal()
        server.serve()
        for cloud, content in self._catalogs.items():
            server.put(cloud, content)

    @staticmethod
    def _site(server: CatalogServer, cache: Path) -> PriceSite:
        return PriceSite(cache_folder=cache, bases=(server.url,), limits=LIMITS)

    def _plans(self, server: CatalogServer, cache: Path, cloud: str, run: int) -> dict[str, Found]:
        clouds = None if cloud == ALL_CLOUDS else (cloud,)
        book = current_book(
            PricePolicy(), site=self._site(server, cache), now=NOON + timedelta(minutes=run), clouds=clouds
        )
        same = _of_the_day(book)
        found = {}
        for name, workload in self._workloads.items():
            if (name, same) not in self._found:
                self._found[name, same] = self._plan(name, workload, book, clouds)
            found[name] = self._found[name, same]
        return found

    def _plan(self, name: str, workload: Workload, book: PriceBook, clouds: tuple[str, ...] | None) -> Found:
        workload = replace(workload, candidates=replace(workload.candidates, clouds=clouds))
        try:
            plan = make_plan(workload, book, self._profiles[name], workload_digest="0" * 64).plan
        except SkyMelangeError as error:
            return Found(total_usd_per_hour=None, stdout=str(error))
        text = plan_table.render(plan, workload, color=False)
        return Found(total_usd_per_hour=plan.cost.total_usd_per_hour, stdout=" ".join(text.split()))


@cache
def damaged(kind: str, content: bytes) -> bytes:
    """A catalog with one kind of damage to what it says."""
    return CONTENT_KINDS[kind](content) or b""


@contextmanager
def reading_once() -> Iterator[None]:
    """The same bytes of the same catalog, confirmed at the same time, are read once."""
    original = fetch.read_copy
    fetch.read_copy = lru_cache(maxsize=200)(original)
    try:
        yield
    finally:
        fetch.read_copy = original


def _of_the_day(book: PriceBook) -> object:
    """What a plan can depend on: it holds the days of prices, and no times."""

    def dated(offer: Offer) -> Offer:
        return replace(offer, provenance=offer.provenance.dated())

    return (
        tuple(dated(offer) for offer in book.offers),
        tuple(replace(entry, offer=dated(entry.offer)) for entry in book.quarantined),
        tuple(replace(each, last_known=tuple(dated(offer) for offer in each.last_known)) for each in book.missing),
        book.notes,
        book.unconfirmed,
    )


def wrong(found: Found, truth: Found, cloud: str, catalogs: Iterable[str], *, is_cut: bool) -> str:
    """What is wrong with a plan on damaged prices; "" when nothing is."""
    if found.total_usd_per_hour is None or truth.total_usd_per_hour is None:
        return ""
    quotient = found.total_usd_per_hour / truth.total_usd_per_hour
    if is_cut and quotient > 0.99:
        return f"the cut was refused: {found.total_usd_per_hour:.4f} instead of {truth.total_usd_per_hour:.4f}"
    named = catalogs if cloud == ALL_CLOUDS else [cloud]
    doubts = found.stdout.partition("! Prices in doubt (")[2].partition(")")[0]
    head = found.stdout.partition("per hour")[0] if found.stdout.startswith("NO PRICES") else ""
    if quotient < SILENT_FRACTION and not any(name in doubts + head for name in named):
        return f"{found.total_usd_per_hour:.4f} instead of {truth.total_usd_per_hour:.4f} without a word on {cloud}"
    return ""


def folders(data: Path, names: Iterable[str]) -> Iterator[tuple[str, dict[str, bytes], list[str]]]:
    """Sound catalogs by folder, and the clouds that are the folder's own.

    Older catalogs lie beside the newest of the other clouds, whose rows are those of the folder of the newest.
    """

    def of(name: str) -> dict[str, bytes]:
        paths = sorted((data / name).glob("*/vms.csv"))
        found = {path.parent.name.split("-")[0]: path.read_bytes() for path in paths}
        return {cloud: content for cloud, content in found.items() if cloud in LAUNCHABLE_CLOUDS}

    newest = of("catalogs")
    for name in names:
        found = of(name)
        yield name, found if name in ("catalogs", "catalogs-2024-11") else {**newest, **found}, list(found)


def main() -> int:
    """Prints what is wrong; the exit status says whether anything is."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data")
    parser.add_argument("--folder", action="append")
    parser.add_argument("--cloud", action="append")
    parser.add_argument("--kind", action="append")
    options = parser.parse_args()
    failures = 0
    for name, catalogs, own in folders(options.data, options.folder or FOLDERS):
        with tempfile.TemporaryDirectory() as folder:
            table = Table(catalogs, Path(folder))
            for cloud in options.cloud or [*own, ALL_CLOUDS]:
                start = time.process_time()
                found = list(table.failures([cloud], options.kind or KINDS))
                failures += len(found)
                seconds = time.process_time() - start
                head = f"{name}: {cloud}: {len(found)} failures ({seconds:.0f} s of a core)"
                sys.stdout.write("\n  ".join([head, *found]) + "\n")
                sys.stdout.flush()
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
