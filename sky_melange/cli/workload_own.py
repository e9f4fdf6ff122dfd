"""`sky-melange workload own`."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING

import click

from sky_melange.domain.own_gpus import infra_fault
from sky_melange.errors import InputError, Mistake

if TYPE_CHECKING:
    from sky_melange.skypilot.launch.sdk import SkyPilot


def connect() -> SkyPilot:
    """SkyPilot, as the user has set it up."""
    from sky_melange.skypilot.launch.sdk import SkyPilot

    return SkyPilot()


@click.command(
    name="own",
    short_help="List your clusters' GPUs for candidates.own.",
    epilog="Example: sky-melange workload own k8s/prod-cluster ssh/lab --usd-per-gpu-hour 0.35",
)
@click.argument("places", nargs=-1, required=True, metavar="INFRA...")
@click.option(
    "--usd-per-gpu-hour",
    type=click.FloatRange(min=0, max=100_000),
    required=True,
    help="What one GPU costs for an hour in which it is used; nobody but you knows.",
)
@click.option(
    "--format",
    "output_format",
    type=click.Choice(["yaml", "json"]),
    default="yaml",
    show_default=True,
    help="Lines for workload.yaml, or JSON for programs.",
)
def command(*, places: tuple[str, ...], usd_per_gpu_hour: float, output_format: str) -> None:
    """Ask SkyPilot which GPUs INFRA (k8s/CONTEXT or ssh/POOL) has, and print them for the workload's file.

    All GPUs of nodes that are ready count, in use or not: take away those that others need.
    """
    from sky_melange.skypilot.launch.sdk import own_nodes

    if not math.isfinite(usd_per_gpu_hour):
        raise InputError([Mistake(source="--usd-per-gpu-hour", message="must be a number of USD, such as 0.35, or 0")])
    faults = [(place, fault) for place in places if (fault := infra_fault(place))]
    if faults:
        raise InputError([Mistake(source=place, message=fault) for place, fault in faults])
    cloud = connect()
    entries = []
    for place in dict.fromkeys(places):
        found, left_out = own_nodes(place, cloud.nodes(place), usd_per_gpu_hour)
        entries += found
        for reason in left_out:
            click.echo(f"Left out of {place}: {reason}", err=True)
        if not found:
            click.echo(f"{place} has no GPU that a plan could use.", err=True)
    listed = [
        {
            "infra": each.gpus.infra,
            "accelerator": each.gpus.accelerator,
            "per_node": each.gpus.per_node,
            "nodes": each.gpus.nodes,
            "usd_per_gpu_hour": each.gpus.usd_per_gpu_hour,
            "vcpus": each.gpus.vcpus,
            "memory_gib": each.gpus.memory_gib,
        }
        for each in entries
    ]
    if output_format == "json":
        shown = [{**entry, "free_gpus": each.free_gpus} for entry, each in zip(listed, entries, strict=True)]
        click.echo(json.dumps({"own": shown}, indent=2))
        return
    click.echo("candidates:\n  own:" if listed else "candidates: {own: []}")
    for entry, each in zip(listed, entries, strict=True):
        known = ", ".join(f"{key}: {json.dumps(value)}" for key, value in entry.items() if value is not None)
        free = "" if each.free_gpus is None else f"   # {each.free_gpus} of {each.gpus.gpus} GPUs are free now"
        click.echo(f"  - {{{known}}}{free}")
