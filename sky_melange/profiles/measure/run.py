"""Drives one measurement from its journal: measures what is not in it, and adds to it."""

from __future__ import annotations

from functools import partial
from random import Random

from sky_melange.errors import InputError, Mistake
from sky_melange.profiles.measure.client import Client, connect
from sky_melange.profiles.measure.journal import Journal
from sky_melange.profiles.measure.load import run_level
from sky_melange.profiles.measure.preflight import EndpointError, calibrate, check_server, is_alive, warm_up
from sky_melange.profiles.measure.progress import Progress
from sky_melange.profiles.measure.prompts import prompt
from sky_melange.profiles.measure.results import EndKind, LevelFailure, ShapeEnd
from sky_melange.profiles.measure.spec import Endpoint, MeasureSpec, Shape
from sky_melange.profiles.measure.stops import next_step


async def measure(spec: MeasureSpec, endpoint: Endpoint, journal: Journal, progress: Progress) -> None:
    """Measures every shape that the journal has not finished. What is in the journal is never lost.

    Raises:
        EndpointError: the server does not answer, or stopped answering.
        InputError: the server refuses what it is asked, or runs another version than the journal's.

    """
    left = [shape for shape in spec.shapes if shape not in journal.ends]
    if not left:
        return
    async with connect(endpoint, spec.served_model, stall_timeout_s=spec.effort.stall_timeout_s) as client:
        await _know_server(client, spec, journal, progress)
        words = await calibrate(client, spec, [shape.input_tokens for shape in left])
        known = [found for found in words.values() if isinstance(found, int)]
        if known:
            await warm_up(client, known[0], Random(f"{spec.effort.seed} warm-up"))  # noqa: S311 - a load, no secret
        for shape in left:
            found = words[shape.input_tokens]
            if isinstance(found, str):
                end = ShapeEnd(shape=shape, kind=EndKind.REFUSED, reason=found)
                journal.add(end)
                progress.end(end)
            else:
                await _measure_shape(client, spec, shape, found, journal=journal, progress=progress)


async def _know_server(client: Client, spec: MeasureSpec, journal: Journal, progress: Progress) -> None:
    facts = await check_server(client, spec)
    before = journal.server
    if before is None:
        journal.add(facts)
    elif facts.engine_version != before.engine_version:
        message = (
            f"runs {facts.engine_version} now, and {before.engine_version} when the journal was begun; "
            "start the old version, or --restart"
        )
        raise InputError([Mistake(source="--endpoint", message=message)])
    progress.note(f"the server runs {spec.key.engine} {facts.engine_version}")


async def _measure_shape(
    client: Client, spec: MeasureSpec, shape: Shape, words: int, *, journal: Journal, progress: Progress
) -> None:
    """Raises the concurrency until something stops it; every step goes into the journal."""
    while True:
        step = next_step(spec, shape, journal.levels(shape))
        if isinstance(step, ShapeEnd):
            journal.add(step)
            progress.end(step)
            return
        random = Random(f"{spec.effort.seed} {shape} {step}")  # noqa: S311 - a load, no secret
        outcome = await run_level(client, partial(prompt, words, random), shape, step, spec.effort)
        if isinstance(outcome, LevelFailure):
            progress.failure(shape, step, outcome)
            if outcome.suspect and not await is_alive(client, spec):
                raise EndpointError(f"the endpoint stopped answering at {shape}, {step} at once: {outcome.reason}")
            kind = EndKind.REFUSED if outcome.refused else EndKind.FAILED
            end = ShapeEnd(shape=shape, kind=kind, reason=f"at concurrency {step}: {outcome.reason}")
            journal.add(end)
            progress.end(end)
            return
        journal.add(outcome)
        progress.level(outcome)
