"""Writes catalogs/prices/judged.json: what is believed of the embedded prices, so that no plan has to judge them again.

    python scripts/judge_catalogs.py

Run it after scripts/build_catalogs.py and after any change of a plausibility rule. Same input, same bytes.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

_ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(_ROOT))

from sky_melange.domain.offer import IN_DOUBT  # noqa: E402
from sky_melange.prices.past import FILE, ranges_of  # noqa: E402
from sky_melange.prices.plausibility import judge  # noqa: E402
from sky_melange.prices.records import load_opinions  # noqa: E402
from sky_melange.prices.snapshot import SnapshotSource  # noqa: E402


def document() -> str:
    """The file's text."""
    offers = [offer for catalog in SnapshotSource().read() for offer in catalog.offers]
    judged = judge(offers, load_opinions())
    clouds = sorted({offer.cloud for offer in judged.passed})
    believed = {cloud: ranges_of(offer for offer in judged.passed if offer.cloud == cloud) for cloud in clouds}
    quarantined = {
        entry.offer.name: [entry.offer.price_usd_per_hour, entry.rule, entry.reason]
        for entry in sorted(judged.quarantined, key=lambda entry: entry.offer.sort_key)
    }
    lines = [
        f" {json.dumps(cloud)}: {{\n"
        + ",\n".join(f"  {json.dumps(key)}: {json.dumps(entry)}" for key, entry in sorted(machines.items()))
        + "\n }"
        for cloud, machines in believed.items()
    ]
    quarantined |= {
        offer.name: [offer.price_usd_per_hour, "", offer.provenance.detail.partition(IN_DOUBT)[2]]
        for offer in sorted(judged.passed, key=lambda offer: offer.sort_key)
        if IN_DOUBT in offer.provenance.detail
    }
    refused = [f" {json.dumps(name)}: {json.dumps(verdict)}" for name, verdict in quarantined.items()]
    return (
        '{"believed": {\n'
        + ",\n".join(lines)
        + '\n},\n"quarantined": {\n'
        + ",\n".join(refused)
        + '\n},\n"unconfirmed": '
        + json.dumps(sorted(judged.unconfirmed))
        + "}\n"
    )


if __name__ == "__main__":
    path = _ROOT / "catalogs" / "prices" / FILE
    path.write_text(document(), encoding="utf-8", newline="\n")
    print(f"{path.stat().st_size:>9,} bytes  {path.name}")
