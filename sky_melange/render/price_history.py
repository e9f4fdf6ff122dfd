"""Price changes for people and programs."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Sequence

from sky_melange.domain.price_record import PriceChange
from sky_melange.render.money import hourly
from sky_melange.render.text import Breakable, csv_text, new_table, to_text


def select(
    changes: Sequence[PriceChange],
    *,
    accelerator: str | None = None,
    cloud: str | None = None,
    region: str | None = None,
    spot: bool | None = None,
) -> list[PriceChange]:
    """The changes that pass every filter given, in their order."""
    return [
        change
        for change in changes
        if (accelerator is None or change.accelerator == accelerator)
        and (cloud is None or change.cloud == cloud)
        and (region is None or change.region == region)
        and (spot is None or change.use_spot == spot)
    ]


def table(changes: Sequence[PriceChange], *, color: bool) -> str:
    """One line for each machine and change, over all the regions where it was the same; 100 columns."""
    rich_table = new_table()
    for name, justify in (("Seen", "left"), ("Machine", "left"), ("USD/h before", "right"), ("now", "right")):
        rich_table.add_column(name, justify=justify, overflow="fold", ratio=2 if name == "Machine" else None)  # type: ignore[arg-type]
    rich_table.add_column("Change", justify="right")
    rich_table.add_column("Where", overflow="fold", ratio=1)
    for change, regions in merged_regions(changes):
        spot = " spot" if change.use_spot else ""
        machine = (
            f"{change.cloud} {change.instance_type} {change.accelerators_per_instance} × {change.accelerator}{spot}"
        )
        where = regions[0] if len(regions) == 1 else f"{len(regions)} regions"
        rich_table.add_row(
            change.seen_at.replace("T", " ").removesuffix(":00Z").removesuffix("Z")[:16],
            Breakable(machine),
            _price(change.before_usd_per_hour),
            _price(change.after_usd_per_hour),
            _relative(change),
            Breakable(where),
        )
    return to_text(rich_table, color=color)


def to_json(changes: Sequence[PriceChange]) -> str:
    """All changes, one record for each region."""
    document = {"changes": [dataclasses.asdict(change) for change in changes]}
    return json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def to_csv(changes: Sequence[PriceChange]) -> str:
    """One row for each region; an empty price: not on sale."""
    names = [field.name for field in dataclasses.fields(PriceChange)]
    values = ([getattr(change, name) for name in names] for change in changes)
    return csv_text(names, [[str(each).lower() if isinstance(each, bool) else each for each in row] for row in values])


def merged_regions(changes: Sequence[PriceChange]) -> Iterator[tuple[PriceChange, tuple[str, ...]]]:
    """Changes of one machine by the same amount at the same time, once, with all the regions they happened in."""
    groups: dict[PriceChange, list[str]] = {}
    for change in changes:
        groups.setdefault(dataclasses.replace(change, region=""), []).append(change.region)
    for change, regions in groups.items():
        yield change, tuple(sorted(regions))


def _price(usd_per_hour: float | None) -> str:
    return "–" if usd_per_hour is None else hourly(usd_per_hour)


def _relative(change: PriceChange) -> str:
    before, after = change.before_usd_per_hour, change.after_usd_per_hour
    if before is None:
        return "new"
    if after is None:
        return "gone"
    return f"{after / before - 1:+.1%}" if before > 0 else "was free"
