"""What `profiles show` does with --against and --plot."""

from __future__ import annotations

from pathlib import Path

import click

from sky_melange.cli.atomic_file import write_atomically
from sky_melange.domain.comparison import Comparison
from sky_melange.domain.profile import Profile
from sky_melange.domain.workload import Slo
from sky_melange.errors import InputError, Mistake
from sky_melange.profiles.lookup import Wanted, find
from sky_melange.render.heat_map import HeatMap


def check_plot(path: Path | None) -> None:
    """Before any work: is it a kind of file that can be drawn, in a folder that is there?

    Raises InputError when not, or when a PNG is wanted and matplotlib is missing.
    """
    if path is None:
        return
    if path.suffix.lower() not in (".png", ".html"):
        raise InputError([Mistake(source="--plot", message=f"want a .png or .html file, found {path.name!r}")])
    if path.is_dir() or not path.parent.is_dir():
        problem = f"{path} is a folder" if path.is_dir() else f"there is no folder {path.parent}"
        raise InputError([Mistake(source="--plot", message=problem)])
    if path.suffix.lower() == ".png":
        from sky_melange.render.heat_map import require_matplotlib

        require_matplotlib()


def write_plot(path: Path, plot: HeatMap) -> None:
    """As the ending says."""
    if path.suffix.lower() == ".png":
        from sky_melange.render.heat_map import png

        write_atomically(path, png(plot))
    else:
        from sky_melange.render.heat_map import page

        write_atomically(path, page(plot))
    click.echo(f"Wrote {path}", err=True)


def compared(
    profile: Profile, accelerator: str, tensor_parallel: int | None, slo: Slo, *, kind: str | None, extrapolate: bool
) -> Comparison:
    """A profile against the preferred one of another accelerator, same model, engine, precision and layout.

    Raises MissingDataError when there is no such profile, or no embedded price of one of the two.
    """
    from sky_melange.prices import cheapest_replica, load_snapshot
    from sky_melange.profiles.grid import compare

    key = profile.key
    other = find(
        Wanted(
            model=key.model,
            accelerator=accelerator,
            tensor_parallel=tensor_parallel,
            engine=key.engine,
            dtype=key.dtype,
            layout=key.layout,
            kind=kind,
        )
    )
    if other.key == key:
        message = f"is the same {accelerator}; name another, or other GPUs with --against-tensor-parallel"
        raise InputError([Mistake(source="--against", message=message)])
    offers = load_snapshot().offers
    own, others = (cheapest_replica(offers, one.key.accelerator, one.key.tensor_parallel) for one in (profile, other))
    return compare((profile, own), (other, others), slo, extrapolate=extrapolate)
