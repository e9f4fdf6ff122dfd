"""Options of `profiles measure` and `profiles import`: text to values, with every mistake collected."""

from __future__ import annotations

import difflib
import itertools
import math
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Final

from sky_melange.domain.units import ms_to_s
from sky_melange.domain.workload import Slo
from sky_melange.errors import Mistake

if TYPE_CHECKING:
    from sky_melange.profiles.measure import Shape

_MOST_TOKENS: Final = 10_000_000
_MOST_SIZES: Final = 64
_MOST_CONCURRENCY: Final = 16_384
_LEAST_OUTPUT: Final = 2
_LEAST_MS: Final = 0.001
_MOST_MS: Final = 1e9


def shape_grid(text: str | None, mistakes: list[Mistake]) -> tuple[Shape, ...]:
    """`25,500x25,250` -> every pair, by input then output. Outputs are at least 2: one token has no TPOT."""
    from sky_melange.profiles.measure import DEFAULT_GRID, Shape

    inputs_text, cross, outputs_text = (DEFAULT_GRID if text is None else text).lower().partition("x")
    if not cross:
        mistakes.append(Mistake(source="--grid", message=f"want INPUTSxOUTPUTS such as {DEFAULT_GRID}, found {text!r}"))
        return ()
    inputs = rising_numbers(inputs_text, "--grid", 1, _MOST_TOKENS, mistakes)
    outputs = rising_numbers(outputs_text, "--grid", _LEAST_OUTPUT, _MOST_TOKENS, mistakes)
    return tuple(Shape(input_tokens=i, output_tokens=o) for i in inputs for o in outputs)


def concurrency_list(text: str | None, mistakes: list[Mistake]) -> tuple[int, ...]:
    """`1,2,4` -> rising numbers of requests at once."""
    from sky_melange.profiles.measure import DEFAULT_CONCURRENCIES

    if text is None:
        return DEFAULT_CONCURRENCIES
    return rising_numbers(text, "--concurrency", 1, _MOST_CONCURRENCY, mistakes)


def rising_numbers(text: str, option: str, least: int, most: int, mistakes: list[Mistake]) -> tuple[int, ...]:
    """Whole numbers between commas, strictly rising; empty, with the mistake noted, when they are not."""
    words = text.split(",")
    if not all(word.strip().isascii() and word.strip().isdigit() and len(word) < 20 for word in words):
        mistakes.append(Mistake(source=option, message=f"want whole numbers between commas, found {text[:80]!r}"))
        return ()
    numbers = tuple(int(word) for word in words)
    message = ""
    if len(numbers) > _MOST_SIZES:
        message = f"want at most {_MOST_SIZES} numbers, found {len(numbers)}"
    elif any(later <= earlier for earlier, later in itertools.pairwise(numbers)):
        message = f"want strictly rising numbers, found {text[:80]!r}"
    elif numbers[0] < least or numbers[-1] > most:
        message = f"want numbers from {least} to {most}, found {text[:80]!r}"
    if message:
        mistakes.append(Mistake(source=option, message=message))
        return ()
    return numbers


def slo_of(options: Mapping[str, Any], mistakes: list[Mistake]) -> Slo | None:
    """The latency targets of --tpot-ms, --ttft-ms and --ntpot-ms; None when none is given."""
    values: dict[str, float | None] = {}
    for name in ("tpot", "ttft", "ntpot"):
        value_ms: float | None = options[f"{name}_ms"]
        if value_ms is not None and not (math.isfinite(value_ms) and _LEAST_MS <= value_ms <= _MOST_MS):
            message = f"want milliseconds from {_LEAST_MS:g} to {_MOST_MS:g}, found {value_ms:g}"
            mistakes.append(Mistake(source=f"--{name}-ms", message=message))
        values[f"{name}_s"] = None if value_ms is None else ms_to_s(value_ms)
    found = Slo(tpot_s=values["tpot_s"], ttft_s=values["ttft_s"], ntpot_s=values["ntpot_s"])
    return None if found == Slo() else found


def name_and_value(texts: Iterable[str], option: str, mistakes: list[Mistake]) -> dict[str, str]:
    """`NAME=VALUE` each; a leading `--` of the name is dropped."""
    found: dict[str, str] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        name = name.removeprefix("--")
        if not equals or not name or not all(part.isprintable() for part in (name, value)):
            mistakes.append(Mistake(source=option, message=f"want NAME=VALUE, found {text[:80]!r}"))
        elif name in found:
            mistakes.append(Mistake(source=option, message=f"{name} is given twice"))
        found[name] = value
    return found


def unknown_accelerator(name: str) -> str | None:
    """What to say when SkyPilot knows no such accelerator, with the nearest that it knows; None when it does."""
    from sky_melange.prices import known_accelerators

    known = known_accelerators()
    if name in known:
        return None
    by_fold = {entry.casefold(): entry for entry in known}
    near = difflib.get_close_matches(name.casefold(), list(by_fold), n=1)
    suggestion = f"; did you mean {by_fold[near[0]]}?" if near else f"; there are: {', '.join(known)}"
    return f"there is no accelerator {name!r}{suggestion}"
