"""Writes catalogs/hosted_prices.csv and catalogs/carbon_intensity.csv from planner data of chimeraforge 0.76.0 (MIT).

python scripts/build_hosted_and_carbon.py FOLDER     with its api_pricing.json and carbon_intensity.json

A hosted price is kept for the very model of Hugging Face that is served, and for no other: the table below is by hand.
Left out: models that have no weights to run (Anthropic's), and DeepSeek V4 Flash, whose id is not known.
"""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Final

CATALOGS: Final = Path(__file__).resolve().parents[1] / "catalogs"

MODELS: Final = {
    "meta-llama/Llama-3.3-70B-Instruct": ("together", "llama-3.3-70b"),
    "Qwen/Qwen2.5-7B-Instruct": ("together", "qwen2.5-7b-turbo"),
    "meta-llama/Meta-Llama-3-8B-Instruct": ("together", "llama-3-8b-lite"),
    "openai/gpt-oss-20b": ("together", "gpt-oss-20b"),
    "openai/gpt-oss-120b": ("together", "gpt-oss-120b"),
    "Qwen/Qwen3-235B-A22B-Instruct-2507": ("together", "qwen3-235b-a22b-fp8"),
    "Qwen/Qwen3-235B-A22B-Instruct-2507-FP8": ("together", "qwen3-235b-a22b-fp8"),
    "google/gemma-3n-E4B-it": ("together", "gemma-3n-e4b"),
}


def hosted_rows(data: dict[str, Any]) -> Iterable[Sequence[object]]:
    """One row a model and provider."""
    yield "model", "provider", "served_as", "usd_per_million_input", "usd_per_million_output", "dated", "source"
    for model, (provider, key) in sorted(MODELS.items()):
        seller = data["providers"][provider]
        entry = seller["models"][key]
        prices = entry["input_per_1m"], entry["output_per_1m"]
        yield model, seller["display_name"], entry["name"], *prices, seller["captured_at"], seller["source_url"]


def carbon_rows(data: dict[str, Any], countries: set[str]) -> Iterable[Sequence[object]]:
    """Of the countries that regions of clouds are in."""
    yield "country", "name", "grams_co2e_per_kwh", "year"
    for country in sorted(countries):
        entry = data["regions"][country]
        yield country, entry["name"], entry["gco2e_per_kwh"], entry["year"]


def write(name: str, rows: Iterable[Sequence[object]]) -> None:
    """The file, with LF line ends."""
    with (CATALOGS / name).open("w", newline="", encoding="utf-8") as stream:
        csv.writer(stream, lineterminator="\n").writerows(rows)


def main(folder: Path) -> None:
    """Both files."""
    with (CATALOGS / "region_countries.csv").open(newline="", encoding="utf-8") as stream:
        countries = {row["country"] for row in csv.DictReader(stream)}
    write("hosted_prices.csv", hosted_rows(json.loads((folder / "api_pricing.json").read_text(encoding="utf-8"))))
    write("carbon_intensity.csv", carbon_rows(json.loads((folder / "carbon_intensity.json").read_text()), countries))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
