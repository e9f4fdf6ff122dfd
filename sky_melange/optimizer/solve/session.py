"""Runs HiGHS or CBC through PuLP within one time limit, and reads the answer without believing its `optimal`."""

from __future__ import annotations

import contextlib
import math
import re
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

with contextlib.suppress(ImportError):
    # Before PuLP, whose own import of it takes Ctrl-C for a package that is missing.
    import highspy
import contextlib
import ctypes
import os
import threading
from collections.abc import Iterator

import pulp

from sky_melange.domain.workload import Formulation, SolverName, SolverSettings
from sky_melange.errors import InputError, NotOptimalError

_LOCK: Final = threading.Lock()


class _CStdout:
    """C's `stdout`, which leads to /dev/null while at least one `discarded` block runs, in whichever thread.

    HiGHS 1.16 prints a banner with its output switched off. What is replaced is C's stream, not file descriptor 1: this
    process may be somebody else's, whose other threads go on writing to the descriptor, and lose nothing.
    """

    def __init__(self) -> None:
        self._blocks = 0
        self._real: int | None = None
        self._stream: ctypes.c_void_p | None = None
        self._null: int | None = None
        try:
            # With another C library `stdout` may be a constant. There the command line's own guard has to do.
            os.confstr("CS_GNU_LIBC_VERSION")
            library = ctypes.CDLL(None)
            library.fopen.restype = ctypes.c_void_p
            self._null = library.fopen(os.fsencode(os.devnull), b"w")
            self._stream = ctypes.c_void_p.in_dll(library, "stdout")
        except (OSError, ValueError, AttributeError):
            self._stream = None

    @contextlib.contextmanager
    def discarded(self) -> Iterator[None]:
        with _LOCK:
            if self._blocks == 0 and self._stream is not None and self._null is not None:
                self._real, self._stream.value = self._stream.value, self._null
            self._blocks += 1
        try:
            yield
        finally:
            with _LOCK:
                self._blocks -= 1
                if self._blocks == 0 and self._stream is not None and self._real is not None:
                    self._stream.value, self._real = self._real, None


c_output_discarded: Final = _CStdout().discarded
"""`with c_output_discarded(): ...`: what C code prints to `stdout` meanwhile goes nowhere."""


_CBC_BOUND: Final = re.compile(r"^(?:Lower|Upper) bound:\s+(\S+)", re.MULTILINE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """`status`: `optimal` (within the gap asked for), `feasible`, `infeasible` or `unknown`. `bound`: on the objective.

    None: the solver has none. The variables of the model hold the values of an optimal or feasible answer.
    """

    status: str
    bound: float | None


class Session:
    """Settings, and the seconds left of their time limit over as many models as an answer takes.

    `work`: how many more times HiGHS may ask whether to go on, which it does at every node and many times between;
    None: any number. Unlike seconds it is the same on a busy machine. CBC, which asks nobody, has the seconds alone.
    `bound`: that of the last model. `is_late`: the clock ended something that work would have ended later.
    """

    def __init__(self, settings: SolverSettings, *, time_limit_s: float | None = None, work: int | None = None) -> None:
        self.settings: Final = settings
        self.left_s = settings.time_limit_s if time_limit_s is None else time_limit_s
        self.work = work
        self.bound: float | None = None
        self.is_late = False

    @property
    def slices(self) -> int | None:
        """Slices a bucket; None where it may be divided in any proportion."""
        return self.settings.slices if self.settings.formulation is Formulation.SLICED else None

    @property
    def is_over(self) -> bool:
        """Whether nothing is left."""
        return self.left_s <= 0 or self.work == 0

    def solve(self, lp: pulp.LpProblem, *, gap: float | None = None, gap_absolute: float = 0.0) -> Outcome:
        """Solves within what is left of the time; `gap` overrides the relative one of the settings.

        Raises NotOptimalError when nothing is left.
        """
        if self.is_over:
            raise NotOptimalError(self.too_late())
        relative = self.settings.mip_gap if gap is None else gap
        if self.settings.name is SolverName.CBC:
            outcome = _cbc(lp, self.left_s, relative, gap_absolute)
        else:
            watch = None if self.work is None else _Watch(self.work)
            outcome = _highs(lp, self.left_s, relative, gap_absolute, watch)
            self.work = None if watch is None else watch.left
        self.left_s -= lp.solutionTime
        self.bound = outcome.bound
        return outcome

    def solve_linear(self, lp: pulp.LpProblem) -> bool:
        """Solves a model without whole numbers by HiGHS, whose duals PuLP reads; whether there is an optimum."""
        _run_highs(lp, max(self.left_s, 1.0), 0.0, 0.0)
        self.left_s -= lp.solutionTime
        return bool(lp.sol_status == pulp.LpSolutionOptimal)

    def too_late(self) -> str:
        """What to say when the time has passed without a plan."""
        return f"no plan was found within the time limit of {self.settings.time_limit_s:g} s; raise it"


class _Watch:
    """Counts how often HiGHS asks whether to go on, and stops it when nothing is left."""

    def __init__(self, left: int) -> None:
        self.left = left

    def ask(self, _kind: object, _message: str, _out: object, answer: Any, _data: object) -> None:
        """HiGHS's callback."""
        self.left = max(0, self.left - 1)
        answer.user_interrupt = self.left == 0


def _run_highs(
    lp: pulp.LpProblem, time_limit_s: float, gap: float, gap_absolute: float, watch: _Watch | None = None
) -> None:
    """One thread and a fixed seed, so that the same model gives the same answer."""
    watched = {}
    if watch is not None:
        kinds = [highspy.cb.HighsCallbackType.kCallbackMipInterrupt]
        watched = {"callbackTuple": (watch.ask, None), "callbacksToActivate": kinds}
    solver = pulp.HiGHS(
        msg=False, threads=1, timeLimit=time_limit_s, gapRel=gap, gapAbs=gap_absolute, random_seed=0, **watched
    )
    with c_output_discarded():
        lp.solve(solver)


def _highs(lp: pulp.LpProblem, time_limit_s: float, gap: float, gap_absolute: float, watch: _Watch | None) -> Outcome:
    _run_highs(lp, time_limit_s, gap, gap_absolute, watch)
    info = lp.solverModel.getInfo()
    bound = float(info.mip_dual_bound) * (-1 if lp.sense == pulp.LpMaximize else 1)
    # An interrupted search without a plan is `feasible` to PuLP.
    status = "unknown" if math.isinf(info.objective_function_value) and _status(lp) == "feasible" else _status(lp)
    return Outcome(status=status, bound=bound if abs(bound) < 1e30 else None)


def _cbc(lp: pulp.LpProblem, time_limit_s: float, gap: float, gap_absolute: float) -> Outcome:
    """CBC as a program: the one that PuLP brings, or `cbc` on the PATH. Its bound stands in its log alone.

    Its preprocessing is off: with it, the CBC 2.10 that PuLP brings calls wrong answers optimal.
    """
    bundled = Path(pulp.apis.coin_api.pulp_cbc_path)
    with tempfile.TemporaryDirectory(prefix="sky-melange-") as folder:
        log = Path(folder) / "cbc.log"
        solver = pulp.COIN_CMD(
            path=str(bundled) if bundled.exists() else None,
            msg=False,
            timeLimit=time_limit_s,
            gapRel=gap,
            gapAbs=gap_absolute,
            options=["preprocess off", "randomSeed 1", "randomCbcSeed 1"],
            logPath=str(log),
        )
        if not solver.available():
            raise InputError("solver.name is cbc, but there is no program `cbc` here; install it, or use highs")
        lp.solve(solver)
        text = log.read_text(encoding="utf-8", errors="replace")
    status = _status(lp)
    if status == "optimal":
        value = float(pulp.value(lp.objective))
        return Outcome(status=status, bound=_stated_bound(text) if _CBC_BOUND.search(text) else value)
    return Outcome(status=status, bound=_stated_bound(text))


def _stated_bound(log: str) -> float | None:
    found = _CBC_BOUND.search(log)
    try:
        return None if found is None else float(found.group(1))
    except ValueError:
        return None


def _status(lp: pulp.LpProblem) -> str:
    if lp.sol_status in (pulp.LpSolutionInfeasible, pulp.LpSolutionUnbounded):
        return "infeasible"
    return {pulp.LpSolutionOptimal: "optimal", pulp.LpSolutionIntegerFeasible: "feasible"}.get(lp.sol_status, "unknown")
