"""How far a measurement is, and how long the rest will take."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final, Protocol

from sky_melange.domain.units import s_to_ms
from sky_melange.profiles.measure.results import LevelFailure, LevelResult, ShapeEnd
from sky_melange.profiles.measure.spec import MeasureSpec, Shape

_SECONDS_PER_MINUTE: Final = 60
_MINUTES_PER_HOUR: Final = 60


class Findings(Protocol):
    """What is known so far."""

    @property
    def ends(self) -> Mapping[Shape, ShapeEnd]:
        """Finished shapes."""

    def levels(self, shape: Shape) -> Sequence[LevelResult]:
        """Measured levels of a shape, by rising concurrency."""


class Progress:
    """Writes one line an event; `say` prints it."""

    def __init__(self, spec: MeasureSpec, findings: Findings, say: Callable[[str], None]) -> None:
        self._spec = spec
        self._findings = findings
        self._say = say

    def note(self, text: str) -> None:
        """Anything worth a line."""
        self._say(text)

    def level(self, level: LevelResult) -> None:
        """A level was measured."""
        errors = f", {level.error_count} of {level.error_count + level.completed} failed" if level.error_count else ""
        self._say(
            f"{self._place(level.shape)} {level.shape}, {level.concurrency} at once: "
            f"{level.request_rate_rps:.4g} req/s, TTFT {s_to_ms(level.ttft_s.mean):.1f} ms, "
            f"TPOT {s_to_ms(level.tpot_s.mean):.2f} ms{errors}{self._left()}"
        )

    def failure(self, shape: Shape, concurrency: int, failure: LevelFailure) -> None:
        """A level gave no figures."""
        self._say(f"{self._place(shape)} {shape}, {concurrency} at once: no figures: {failure.reason}")

    def end(self, end: ShapeEnd) -> None:
        """A shape is finished."""
        self._say(f"{self._place(end.shape)} {end.shape}: finished: {end.reason}")

    def _place(self, shape: Shape) -> str:
        return f"[{self._spec.shapes.index(shape) + 1}/{len(self._spec.shapes)}]"

    def _left(self) -> str:
        seconds, is_bound = seconds_left(self._spec, self._findings)
        return f"; {'up to ' if is_bound else ''}{duration(seconds)} left"


def seconds_left(spec: MeasureSpec, findings: Findings) -> tuple[float, bool]:
    """An estimate of the rest, s, and whether it supposes that nothing stops a shape early.

    A shape takes as long as the finished ones did per output token, since decoding is most of a request's latency.
    While none is finished, every concurrency of the list is taken to last as long as the latest one.
    """
    spent_s = {shape: sum(level.elapsed_s for level in findings.levels(shape)) for shape in spec.shapes}
    finished = [shape for shape in findings.ends if spent_s.get(shape)]
    if finished:
        per_token_s = sum(spent_s[shape] for shape in finished) / sum(shape.output_tokens for shape in finished)
    else:
        levels = [level for shape in spec.shapes for level in findings.levels(shape)]
        if not levels:
            return 0.0, True
        per_token_s = levels[-1].elapsed_s * len(spec.concurrencies) / levels[-1].shape.output_tokens
    open_shapes = [shape for shape in spec.shapes if shape not in findings.ends]
    left_s = sum(max(0.0, per_token_s * shape.output_tokens - spent_s[shape]) for shape in open_shapes)
    return left_s, not finished


def duration(seconds: float) -> str:
    """For people: `about 40 s`, `about 12 min`, `about 2 h 5 min`."""
    minutes = round(seconds / _SECONDS_PER_MINUTE)
    if minutes < 2:
        return f"about {round(seconds)} s"
    if minutes < 2 * _MINUTES_PER_HOUR:
        return f"about {minutes} min"
    return f"about {minutes // _MINUTES_PER_HOUR} h {minutes % _MINUTES_PER_HOUR} min"
