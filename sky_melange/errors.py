"""Every error that this package raises on purpose, each with its process exit code.

    SkyMelangeError                exit 1
    ├── InputError                 exit 2   a file or argument is wrong: what, where, what to write instead
    ├── CheckFailedError           exit 3   a check did not hold
    ├── InfeasibleError            exit 4   no plan serves the traffic
    ├── MissingDataError           exit 5   a price or a profile is missing
    ├── PriceSourceError           exit 6   no price source could be reached, nothing fresh enough is cached
    └── NotOptimalError            exit 7   not proven optimal within the time limit

Anything else that escapes is a bug, and exits 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar


@dataclass(frozen=True, slots=True, kw_only=True)
class Mistake:
    """One thing wrong with an input: where it is, what it is, and what to do.

    `line` counts from 1; None where the input has no lines (an argument, an environment variable).
    """

    source: str
    message: str
    key: str = ""
    line: int | None = None

    def __str__(self) -> str:
        where = self.source if self.line is None else f"{self.source}:{self.line}"
        return f"{where}: {self.key}: {self.message}" if self.key else f"{where}: {self.message}"


class SkyMelangeError(Exception):
    """Base class; `exit_code` is what the command line exits with."""

    exit_code: ClassVar[int] = 1


class InputError(SkyMelangeError):
    """A file, argument or environment variable is invalid. Lists every mistake found, not only the first."""

    exit_code = 2

    def __init__(self, mistakes: Sequence[Mistake] | str) -> None:
        self.mistakes: tuple[Mistake, ...] = () if isinstance(mistakes, str) else tuple(mistakes)
        text = mistakes if isinstance(mistakes, str) else "\n".join(str(mistake) for mistake in mistakes)
        super().__init__(text)


class CheckFailedError(SkyMelangeError):
    """A check did not hold: over budget, drifted, or a file edited by hand."""

    exit_code = 3


class InfeasibleError(SkyMelangeError):
    """No plan serves the traffic within the targets; the message names the buckets and the reasons."""

    exit_code = 4


class MissingDataError(SkyMelangeError):
    """A price or profile is not known; the message lists what there is."""

    exit_code = 5


class PriceSourceError(SkyMelangeError):
    """No price source could be reached and nothing fresh enough is cached."""

    exit_code = 6


class NotOptimalError(SkyMelangeError):
    """The solver did not prove optimality within its limits, and the caller required it."""

    exit_code = 7
