"""The event loop, compiled: arrivals, router, and replicas that batch continuously. Import it late: numba is slow.

All of it is one file, since numba's cache notices a change only in the file of the function that is called from Python.
Randomness, sizes and times come in as arrays, so the same arrays give the same results.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Final, NamedTuple, TypeVar, cast

import numba
import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Small = NDArray[np.int32]
_F = TypeVar("_F", bound=Callable[..., Any])

ITL_BINS: Final = 2000
ITL_LEAST_S: Final = 1e-5
ITL_PER_E: Final = 100.0
"""Gaps between tokens are counted in bins 1 % wide, from 10 µs on."""

_WAITING: Final = 0
_PREFILL: Final = 1
_HELD: Final = 2
_DECODE: Final = 3
_LEAST_BUDGET: Final = 16
_WINDOW: Final = ITL_BINS + 1
_FOREVER: Final = 1 << 62


def _jit(function: _F) -> _F:
    # The folder is set by whoever imports this (`compiled.py`); without one nothing is kept.
    keep = bool(numba.config.CACHE_DIR) and function.__name__ == "_run"
    return cast(_F, numba.njit(nogil=True, _nrt=False, error_model="numpy", cache=keep)(function))


REQUEST: Final = np.dtype(
    [
        ("arrival_s", "f8"), ("first_s", "f8"), ("last_s", "f8"), ("admitted_s", "f8"), ("paused_s", "f8"),
        ("done_step", "i8"), ("inputs", "i4"), ("outputs", "i4"), ("kind", "i4"), ("group", "i4"),
        ("status", "i4"), ("before", "i4"), ("after", "i4"), ("generated", "i4"), ("position", "i4"),
        ("cached", "i4"),
    ]
)  # fmt: skip
"""A request: given are `arrival_s`, sizes, `kind` (the row of the router's tables; -1: refused), and how many tokens of
its prompt are `cached`: they take memory and are not computed. Written are the
times of its first and last token (-1: not yet) and its group; the rest is the loop's own."""

GROUP: Final = np.dtype(
    [
        ("first_engine", "i8"), ("first_instance", "i8"), ("instances", "i8"), ("ranks", "i8"), ("kv", "f8"),
        ("most", "i8"), ("budget", "i8"), ("limit", "f8"), ("reserves", "i8"), ("burdens", "i8"), ("own_from", "i8"),
        ("most_own", "f8"),
        ("turns", "i8"), ("turn", "i8"), ("in_flight", "i8"), ("flight_s", "f8"), ("early", "f8"),
        ("late", "f8"), ("busy_s", "f8"),
        ("running", "f8"), ("steps", "f8"), ("preempted", "i8"), ("prompt_tokens", "f8"), ("output_tokens", "f8"),
    ]
)  # fmt: skip
"""A group: `instances` of `ranks` replicas; of a replica the tokens of its cache, the `most` that run, and the tokens
of a step; `limit` in flight before requests go elsewhere. `reserves`: a request's whole cache is taken at once.
`burdens`, `own_from`, `most_own`: see `_step_s`. `turns`: instances in turn instead of the least busy. The rest is
counted: requests in flight · seconds in both halves of the window, replicas busy · seconds, requests running · seconds
in it; steps, preemptions and tokens in all."""

BASE: Final = 0
CONTEXT: Final = 1
PROMPT: Final = 2
SQUARE: Final = 3
"""Columns of `Laws.steps[group, requests running]`, see `law.StepLaw`."""

_ENGINE: Final = np.dtype(
    [
        ("key", "f8"), ("start", "f8"), ("duration", "f8"), ("context", "f8"), ("kv", "f8"),
        ("burden", "f8"), ("own", "f8"), ("place", "i8"), ("group", "i8"), ("instance", "i8"),
        ("step", "i8"), ("length", "i8"), ("mixed", "i8"),
        ("running", "i8"), ("held", "i8"), ("prefilling", "i8"), ("waiting", "i8"), ("ends", "i8"), ("holds", "i8"),
        ("oldest", "i8"), ("newest", "i8"), ("prefill_head", "i8"), ("wait_head", "i8"), ("wait_tail", "i8"),
    ]
)  # fmt: skip
"""A replica: when its segment ends (`key`, at `place` of the heap of events), began, how many steps it has; the tokens
of its running requests and of its cache; what held requests and all requests add to a step, as prompt tokens; counts;
the sizes of its two heaps; its lists."""


class Router(NamedTuple):
    """Kinds of requests: groups in order of preference (the planned ones first), and the share of each group."""

    order: Small
    planned: Small
    known: Small
    shares: Floats
    credit: Floats


class Laws(NamedTuple):
    """By group: times of steps and of first tokens, see `World`."""

    steps: Floats
    firsts: Floats
    knots: Floats


class World(NamedTuple):
    """All that the loop works on: arrays of `REQUEST` by rising arrival, `GROUP`, and `_ENGINE`.

    `firsts[group, requests running, knot]`: the least TTFT of prompts of `knots[group]` tokens. `flight`: requests in
    flight by instance. `gaps`: tokens by the time since the token before, in bins; then their sum
    in seconds, and the window (from, to) in which things are counted. `events`: replicas as a heap, and its size last.
    `ends`, `holds`: of each replica, requests that decode by their last step, and held ones by when their first token
    is due.
    """

    requests: Any
    groups: Any
    laws: Floats
    firsts: Floats
    knots: Floats
    engines: Any
    flight: Ints
    gaps: Floats
    events: Ints
    ends: Ints
    ends_request: Small
    holds: Floats
    holds_request: Small


@_jit
def _is_before(s: Any, one: int, other: int) -> bool:
    return bool(s[one].key < s[other].key or (s[one].key == s[other].key and one < other))


@_jit
def _up(s: Any, heap: Ints, i: int) -> None:
    e = heap[i]
    while i > 0:
        parent = (i - 1) >> 1
        other = heap[parent]
        if not _is_before(s, e, other):
            break
        heap[i] = other
        s[other].place = i
        i = parent
    heap[i] = e
    s[e].place = i


@_jit
def _down(s: Any, heap: Ints, i: int) -> None:
    size = heap[-1]
    e = heap[i]
    while True:
        child = 2 * i + 1
        if child >= size:
            break
        if child + 1 < size and _is_before(s, heap[child + 1], heap[child]):
            child += 1
        other = heap[child]
        if not _is_before(s, other, e):
            break
        heap[i] = other
        s[other].place = i
        i = child
    heap[i] = e
    s[e].place = i


@_jit
def _schedule(s: Any, heap: Ints, e: int, time: float) -> None:
    """The heap of events holds replicas; its last entry is its size."""
    before = s[e].key
    s[e].key = time
    if s[e].place < 0:
        i = heap[-1]
        heap[i] = e
        heap[-1] = i + 1
        _up(s, heap, i)
    elif time < before:
        _up(s, heap, s[e].place)
    else:
        _down(s, heap, s[e].place)


@_jit
def _unschedule(s: Any, heap: Ints, e: int) -> None:
    i = s[e].place
    if i < 0:
        return
    s[e].place = -1
    heap[-1] -= 1
    last = heap[heap[-1]]
    if last != e:
        heap[i] = last
        s[last].place = i
        _up(s, heap, i)
        _down(s, heap, s[last].place)


@_jit
def _step_s(w: World, e: int) -> float:
    """Seconds of the next step, if no prompt is computed in it.

    A profile's TPOT holds I/O prompt tokens a step for each of N requests, one's own among them. In a replica a request
    meets the prompts of the others alone, so from `own_from` requests on the mean I/O of those that run is added. And
    while a first token is not due (`_hold`), no prompt follows it: with `burdens` its I/O is added meanwhile. Both only
    keep to what was measured, so I/O counts up to `most_own` there: no request waits for its own prompt to decode.
    """
    s = w.engines
    n = s[e].running
    law = w.laws[s[e].group, n]
    tokens = s[e].burden
    if n >= w.groups[s[e].group].own_from:
        tokens += s[e].own / n
    return float(law[BASE] + law[CONTEXT] * s[e].context + law[PROMPT] * tokens)


@_jit
def _own(w: World, e: int, r: int) -> float:
    """Prompt tokens of a request for each token of its answer."""
    q = w.requests
    return float(min((q[r].inputs - q[r].cached) / q[r].outputs, w.groups[w.engines[e].group].most_own))


@_jit
def _count_own(w: World, e: int, r: int, sign: float) -> None:
    """A request begins (1) or ceases (-1) to decode or to be held."""
    s = w.engines
    # Nothing is left of rounding once the replica is empty.
    s[e].own = s[e].own + sign * _own(w, e, r) if s[e].running > 0 else 0.0


@_jit
def _first_s(w: World, group: int, n: int, tokens: int) -> float:
    """The profile's TTFT with `n` running, linear between the knots and beyond the last."""
    knots, firsts = w.knots[group], w.firsts[group, n]
    if tokens <= knots[0]:
        return float(firsts[0])
    k = 1
    while k < len(knots) - 1 and knots[k] < tokens:
        k += 1
    share = (tokens - knots[k - 1]) / (knots[k] - knots[k - 1])
    return float(firsts[k - 1] + share * (firsts[k] - firsts[k - 1]))


@_jit
def _hold(w: World, e: int, r: int, due: float) -> None:
    """A first token that is not due yet."""
    q, s = w.requests, w.engines
    q[r].status = _HELD
    s[e].held += 1
    if w.groups[s[e].group].burdens:
        s[e].burden += _own(w, e, r)
    _push(w.holds[e], w.holds_request[e], s[e].holds, due, r)
    s[e].holds += 1


@_jit
def _unhold(w: World, e: int, i: int) -> int:
    """Takes entry `i` out of the held ones; returns the request."""
    s = w.engines
    r = w.holds_request[e, i]
    _remove(w.holds[e], w.holds_request[e], s[e].holds, i)
    s[e].holds -= 1
    s[e].held -= 1
    if s[e].holds == 0:
        s[e].burden = 0.0
    elif w.groups[s[e].group].burdens:
        s[e].burden -= _own(w, e, r)
    return int(r)


@_jit
def _push(keys: Any, requests: Any, size: int, key: Any, request: int) -> None:
    """Onto a heap of `size` entries that has room for one more."""
    i = size
    while i > 0:
        parent = (i - 1) >> 1
        if keys[parent] <= key:
            break
        keys[i] = keys[parent]
        requests[i] = requests[parent]
        i = parent
    keys[i] = key
    requests[i] = request


@_jit
def _remove(keys: Any, requests: Any, size: int, i: int) -> None:
    """Takes entry `i` out of a heap of `size` entries."""
    key, request = keys[size - 1], requests[size - 1]
    size -= 1
    if i == size:
        return
    while i > 0 and keys[(i - 1) >> 1] > key:
        parent = (i - 1) >> 1
        keys[i] = keys[parent]
        requests[i] = requests[parent]
        i = parent
    while True:
        child = 2 * i + 1
        if child >= size:
            break
        if child + 1 < size and keys[child + 1] < keys[child]:
            child += 1
        if keys[child] >= key:
            break
        keys[i] = keys[child]
        requests[i] = requests[child]
        i = child
    keys[i] = key
    requests[i] = request


@_jit
def _index(requests: Any, size: int, request: int) -> int:
    for i in range(size):
        if requests[i] == request:
            return i
    return -1


@_jit
def _count_flight(w: World, group: int, now: float, change: int) -> None:
    """Requests in flight · seconds, in the two halves of the window."""
    g, gaps = w.groups, w.gaps
    start, end = gaps[_WINDOW], gaps[_WINDOW + 1]
    middle = 0.5 * (start + end)
    last = g[group].flight_s
    n = float(g[group].in_flight)
    g[group].early += n * max(0.0, min(now, middle) - max(last, start))
    g[group].late += n * max(0.0, min(now, end) - max(last, middle))
    g[group].flight_s = now
    g[group].in_flight += change


@_jit
def _count_gaps(gaps: Floats, now: float, gap_s: float, tokens: float) -> None:
    if tokens <= 0 or now < gaps[_WINDOW] or now > gaps[_WINDOW + 1]:
        return
    i = int(math.log(max(gap_s, ITL_LEAST_S) / ITL_LEAST_S) * ITL_PER_E)
    gaps[min(i, ITL_BINS - 1)] += tokens
    gaps[ITL_BINS] += gap_s * tokens


@_jit
def _wait(w: World, e: int, r: int, first: bool) -> None:
    q, s = w.requests, w.engines
    q[r].status = _WAITING
    s[e].waiting += 1
    if s[e].wait_head < 0:
        s[e].wait_head = r
        s[e].wait_tail = r
        q[r].after = -1
    elif first:
        q[r].after = s[e].wait_head
        s[e].wait_head = r
    else:
        q[s[e].wait_tail].after = r
        q[r].after = -1
        s[e].wait_tail = r


@_jit
def _leave(w: World, e: int, r: int) -> None:
    """Out of the list of running requests."""
    q, s = w.requests, w.engines
    before, after = q[r].before, q[r].after
    if before >= 0:
        q[before].after = after
    else:
        s[e].oldest = after
    if after >= 0:
        q[after].before = before
    else:
        s[e].newest = before
    s[e].running -= 1


@_jit
def _held_tokens(w: World, group: int, r: int) -> int:
    """KV cache that a request takes when it is admitted."""
    q = w.requests
    return int(q[r].inputs + (q[r].outputs if w.groups[group].reserves else q[r].generated))


@_jit
def _preempt(w: World, e: int, now: float) -> None:
    """The request that was admitted last gives its memory back, and computes its tokens again later."""
    q, s, g = w.requests, w.engines, w.groups
    r = s[e].newest
    group = s[e].group
    g[group].preempted += 1
    if q[r].status == _PREFILL:
        s[e].prefilling -= 1
        s[e].kv -= q[r].inputs + q[r].generated
        if s[e].prefill_head == r:
            s[e].prefill_head = -1
    elif q[r].status == _HELD:
        s[e].context -= q[r].inputs
        s[e].kv -= q[r].inputs
        _unhold(w, e, _index(w.holds_request[e], s[e].holds, r))
        _count_own(w, e, r, -1.0)
    else:
        so_far = q[r].outputs - (q[r].done_step - s[e].step)
        s[e].context -= q[r].inputs + so_far - 1
        s[e].kv -= q[r].inputs + so_far - 1
        q[r].generated = so_far
        q[r].paused_s = now
        _count_own(w, e, r, -1.0)
        i = _index(w.ends_request[e], s[e].ends, r)
        _remove(w.ends[e], w.ends_request[e], s[e].ends, i)
        s[e].ends -= 1
    q[r].position = 0
    _leave(w, e, r)
    _wait(w, e, r, True)


@_jit
def _complete(w: World, e: int, r: int, now: float) -> None:
    q, s, g = w.requests, w.engines, w.groups
    group = s[e].group
    q[r].last_s = now
    s[e].context -= q[r].inputs + q[r].outputs - 1
    s[e].kv -= q[r].inputs + q[r].outputs - (0 if g[group].reserves else 1)
    g[group].output_tokens += q[r].outputs
    _leave(w, e, r)
    _count_own(w, e, r, -1.0)
    w.flight[s[e].instance] -= 1
    _count_flight(w, group, now, -1)


@_jit
def _decode(w: World, e: int, r: int, now: float) -> None:
    """The first token (of this stay) is out; the rest follow, one a step."""
    q, s = w.requests, w.engines
    q[r].status = _DECODE
    if q[r].generated == 0:
        q[r].first_s = now
    else:
        _count_gaps(w.gaps, now, now - q[r].paused_s, 1.0)
    q[r].done_step = s[e].step + q[r].outputs - q[r].generated - 1
    if q[r].done_step == s[e].step:
        _complete(w, e, r, now)
    else:
        _push(w.ends[e], w.ends_request[e], s[e].ends, q[r].done_step, r)
        s[e].ends += 1


@_jit
def _release(w: World, e: int, now: float) -> None:
    """First tokens whose time has come, to the nearest step."""
    s = w.engines
    while s[e].holds > 0 and w.holds[e, 0] <= now + 0.5 * _step_s(w, e):
        _decode(w, e, _unhold(w, e, 0), now)


@_jit
def _end_segment(w: World, e: int, now: float) -> None:
    q, s, g = w.requests, w.engines, w.groups
    group = s[e].group
    k = s[e].length
    n = s[e].running
    decoding = n - s[e].held - s[e].prefilling
    s[e].step += k
    grown = k * decoding
    s[e].context += grown
    if not g[group].reserves:
        s[e].kv += grown
    if k > 0:
        inside = max(0.0, min(now, w.gaps[_WINDOW + 1]) - max(s[e].start, w.gaps[_WINDOW]))
        g[group].busy_s += inside
        g[group].running += inside * n
        g[group].steps += k
        _count_gaps(w.gaps, now, s[e].duration / k, float(grown))
    s[e].length = 0
    if s[e].mixed:
        s[e].mixed = 0
        r = s[e].prefill_head
        while r >= 0 and q[r].position >= q[r].inputs + q[r].generated:
            after = q[r].after
            s[e].prefilling -= 1
            s[e].context += q[r].inputs + q[r].generated
            _count_own(w, e, r, 1.0)
            law = _first_s(w, group, n, q[r].inputs - q[r].cached)
            if q[r].generated == 0 and q[r].admitted_s + law > now:
                _hold(w, e, r, q[r].admitted_s + law)
            else:
                _decode(w, e, r, now)
            r = after
        s[e].prefill_head = r
    while s[e].ends > 0 and w.ends[e, 0] <= s[e].step:
        r = w.ends_request[e, 0]
        _remove(w.ends[e], w.ends_request[e], s[e].ends, 0)
        s[e].ends -= 1
        _complete(w, e, r, now)
    _release(w, e, now)


@_jit
def _fits(w: World, e: int) -> bool:
    """Whether the first waiting request can be admitted."""
    s, g = w.engines, w.groups
    r = s[e].wait_head
    if r < 0:
        return False
    group = s[e].group
    if s[e].running >= g[group].most:
        return False
    need = _held_tokens(w, group, r)
    return bool(s[e].running == 0 or s[e].kv + need <= g[group].kv)


@_jit
def _steps_until(a: float, b: float, seconds: float) -> int:
    """The fewest steps k with k·a + b·k·(k − 1)/2 ≥ seconds; at least 1."""
    if b <= 1e-12 * a:
        k = math.ceil(seconds / a)
    else:
        half = a - 0.5 * b
        k = math.ceil((math.sqrt(half * half + 2.0 * b * seconds) - half) / b)
    k = max(k, 1)
    while k > 1 and (k - 1) * a + 0.5 * b * (k - 1) * (k - 2) >= seconds:
        k -= 1
    while k * a + 0.5 * b * k * (k - 1) < seconds:
        k += 1
    return k


@_jit
def _admit(w: World, e: int, now: float) -> int:
    """The first waiting request begins to run."""
    q, s = w.requests, w.engines
    r = s[e].wait_head
    s[e].wait_head = q[r].after
    s[e].waiting -= 1
    s[e].kv += _held_tokens(w, s[e].group, r)
    q[r].status = _PREFILL
    q[r].position = q[r].cached
    q[r].admitted_s = now
    q[r].after = -1
    q[r].before = s[e].newest
    if s[e].newest >= 0:
        q[s[e].newest].after = r
    else:
        s[e].oldest = r
    s[e].newest = r
    s[e].running += 1
    s[e].prefilling += 1
    if s[e].prefill_head < 0:
        s[e].prefill_head = r
    return int(r)


@_jit
def _fill_step(w: World, e: int, now: float) -> tuple[float, float]:
    """Prompt tokens of the next step: first what is begun, then of requests that fit in the cache; see `law.StepLaw`.

    Where decoding alone would overflow the cache, requests are put back first, and none is admitted.
    """
    q, s, g = w.requests, w.engines, w.groups
    group = s[e].group
    is_short = False
    if not g[group].reserves:
        while s[e].running > 1 and s[e].kv + s[e].running - s[e].held - s[e].prefilling > g[group].kv:
            _preempt(w, e, now)
            is_short = True
    budget = max(_LEAST_BUDGET, g[group].budget - (s[e].running - s[e].held - s[e].prefilling))
    prompts, square = 0.0, 0.0
    r = s[e].prefill_head
    while budget > 0:
        if r < 0:
            if is_short or not _fits(w, e):
                break
            r = _admit(w, e, now)
        part = min(budget, q[r].inputs + q[r].generated - q[r].position)
        prompts += part
        square += part * (2.0 * q[r].position + part)
        q[r].position += part
        budget -= part
        if q[r].position >= q[r].inputs + q[r].generated:
            r = q[r].after
    return prompts, square


@_jit
def _begin_segment(w: World, e: int, now: float) -> None:
    """Schedules the end of what comes next: a step with prompts, or decoding until something ends."""
    s, g = w.engines, w.groups
    group = s[e].group
    prompts, square = _fill_step(w, e, now)
    decoding = s[e].running - s[e].held - s[e].prefilling
    n = s[e].running
    s[e].start = now
    a = _step_s(w, e)
    if prompts > 0:
        s[e].mixed = 1
        s[e].length = 1
        s[e].duration = a + w.laws[group, n, PROMPT] * prompts + w.laws[group, n, SQUARE] * square
        g[group].prompt_tokens += prompts
    elif decoding > 0:
        b = w.laws[group, n, CONTEXT] * decoding
        k = w.ends[e, 0] - s[e].step
        if not g[group].reserves:
            k = min(k, max(1, int((g[group].kv - s[e].kv) / decoding)))
        if s[e].holds > 0:
            k = min(k, _steps_until(a, b, max(0.0, w.holds[e, 0] - 0.5 * a - now)))
        s[e].length = k
        s[e].duration = k * a + 0.5 * b * k * (k - 1)
    elif s[e].holds > 0:
        s[e].duration = max(0.0, w.holds[e, 0] - now)
    else:
        _unschedule(s, w.events, e)
        return
    _schedule(s, w.events, e, now + s[e].duration)


@_jit
def _interrupt(w: World, e: int, now: float) -> None:
    """A request came to wait: it is admitted at the next step's end, if it can be."""
    s = w.engines
    if s[e].place < 0:
        _begin_segment(w, e, now)
    elif s[e].waiting == 1 and not s[e].mixed and _fits(w, e):
        if s[e].length == 0:
            s[e].duration = max(0.0, now - s[e].start)
            _schedule(s, w.events, e, now)
        elif s[e].length > 1:
            group = s[e].group
            n = s[e].running
            a = _step_s(w, e)
            b = w.laws[group, n, CONTEXT] * (n - s[e].held - s[e].prefilling)
            k = _steps_until(a, b, now - s[e].start)
            if k < s[e].length:
                s[e].length = k
                s[e].duration = k * a + 0.5 * b * k * (k - 1)
                _schedule(s, w.events, e, s[e].start + s[e].duration)


@_jit
def _group_of(w: World, router: Router, kind: int) -> int:
    """By share in turn; but while a planned group is full, the first in order that is not."""
    g = w.groups
    planned = router.planned[kind]
    for i in range(planned):
        full = router.order[kind, i]
        if g[full].in_flight >= g[full].limit:
            for j in range(router.known[kind]):
                other = router.order[kind, j]
                if g[other].in_flight < g[other].limit:
                    return int(other)
            break
    best = router.order[kind, 0]
    for i in range(planned):
        group = router.order[kind, i]
        router.credit[kind, group] += router.shares[kind, group]
        if router.credit[kind, group] > router.credit[kind, best]:
            best = group
    router.credit[kind, best] -= 1.0
    return int(best)


@_jit
def _engine_in(w: World, group: int) -> int:
    """The instance with the fewest requests in flight (or the next in turn), and in it the least busy replica."""
    s, g = w.engines, w.groups
    count = g[group].instances
    first = g[group].first_instance
    offset = g[group].turn
    g[group].turn = offset + 1 if offset + 1 < count else 0
    best = offset
    if not g[group].turns:
        least = _FOREVER
        for i in range(count):
            instance = offset + i
            if instance >= count:
                instance -= count
            if w.flight[first + instance] < least:
                least = w.flight[first + instance]
                best = instance
    w.flight[first + best] += 1
    ranks = g[group].ranks
    e = g[group].first_engine + best * ranks
    if ranks == 1:
        return int(e)
    chosen = e
    for rank in range(1, ranks):
        other = e + rank
        if 4 * s[other].waiting + s[other].running < 4 * s[chosen].waiting + s[chosen].running:
            chosen = other
    return int(chosen)


@_jit
def _arrive(w: World, group: int, r: int, now: float) -> int:
    """A request waits in the replica that it is sent to."""
    w.requests[r].arrival_s = now
    w.requests[r].group = group
    e = _engine_in(w, group)
    _count_flight(w, group, now, 1)
    _wait(w, e, r, False)
    return e


@_jit
def _follow(w: World, arrived: int, closed: int, now: float) -> int:
    """In a closed loop: requests take the place of those that are done; returns how many."""
    count = 0
    while arrived + count < len(w.requests) and w.groups[0].in_flight < closed:
        _arrive(w, 0, arrived + count, now)
        count += 1
    return count


@_jit
def _run(w: World, router: Router, until: int, closed: int) -> float:
    q, s, g = w.requests, w.engines, w.groups
    n = len(q)
    now, arrived, served = 0.0, 0, 0
    while True:
        # Requests complete in any order; all before `served` have.
        while served < until and (q[served].kind < 0 or q[served].last_s >= 0.0):
            served += 1
        if served >= until:
            break
        e = w.events[0] if w.events[-1] > 0 else -1
        if closed > 0:
            is_arrival = arrived < n and g[0].in_flight < closed
        else:
            is_arrival = arrived < n and (e < 0 or q[arrived].arrival_s < s[e].key)
        if is_arrival:
            r = arrived
            arrived += 1
            if q[r].kind < 0:
                continue
            if closed > 0:
                e = _arrive(w, 0, r, now)
            else:
                now = q[r].arrival_s
                e = _arrive(w, _group_of(w, router, q[r].kind), r, now)
            _interrupt(w, e, now)
        elif e < 0:
            break
        else:
            now = s[e].key
            _end_segment(w, e, now)
            arrived += _follow(w, arrived, closed, now)
            _begin_segment(w, e, now)
    for group in range(len(g)):
        _count_flight(w, group, now, 0)
    return now


def run(  # noqa: PLR0913 - the arrays of one run
    requests: Any, groups: Any, laws: Laws, router: Router, gaps: Floats, *, until: int, closed: int = 0
) -> float:
    """Serves the requests; ends when all before number `until` are served. Returns the time of the end.

    `closed`: so many requests are in a fleet of one replica at any time, each followed by the next; 0: they come when
    they come. `gaps`: see `World`.
    """
    replicas = groups["instances"] * groups["ranks"]
    groups["first_engine"] = np.cumsum(replicas) - replicas
    groups["first_instance"] = np.cumsum(groups["instances"]) - groups["instances"]
    count, most = int(replicas.sum()), int(groups["most"].max())
    engines = np.zeros(count, _ENGINE)
    engines["group"] = np.repeat(np.arange(len(groups)), replicas)
    engines["instance"] = np.repeat(
        np.arange(groups["instances"].sum()), np.repeat(groups["ranks"], groups["instances"])
    )
    for name in ("place", "oldest", "newest", "prefill_head", "wait_head", "wait_tail"):
        engines[name] = -1
    for name in ("before", "after", "group"):
        requests[name] = -1
    for name in ("first_s", "last_s"):
        requests[name] = -1.0
    world = World(
        requests=requests,
        groups=groups,
        laws=laws.steps,
        firsts=laws.firsts,
        knots=laws.knots,
        engines=engines,
        flight=np.zeros(int(groups["instances"].sum()), np.int64),
        gaps=gaps,
        events=np.zeros(count + 1, np.int64),
        ends=np.zeros((count, most), np.int64),
        ends_request=np.zeros((count, most), np.int32),
        holds=np.zeros((count, most)),
        holds_request=np.zeros((count, most), np.int32),
    )
    return float(_run(world, router, until, closed))


def is_ready() -> bool:
    """Whether the loop is compiled in this process."""
    return bool(getattr(_run, "signatures", ()))
