"""What a prefix cache would have found of a log's prompts."""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

from sky_melange.domain.trace import PrefixCache, PrefixHits
from sky_melange.errors import InputError, Mistake
from sky_melange.traces.request_log import RequestLog
from sky_melange.untrusted import json_or_none

MOST_BLOCKS: Final = 50_000_000
"""Of a log; they are counted one by one."""

MOST_REPLICAS: Final = 10_000


def parse_prefix_cache(text: str) -> PrefixCache:
    """`400000` tokens, or `400000x4` for four replicas. Raises InputError for anything else."""
    tokens, _, replicas = text.partition("x")
    if not (_is_count(tokens) and (replicas == "" if "x" not in text else _is_count(replicas))):
        message = f"want tokens of a replica's KV cache such as 400000, or 400000x4 for 4 replicas, found {text[:40]!r}"
        raise InputError([Mistake(source="--prefix-cache", message=message)])
    cache = PrefixCache(tokens=int(tokens), replicas=int(replicas or 1))
    if cache.replicas > MOST_REPLICAS:
        message = f"want at most {MOST_REPLICAS:,} replicas, found {cache.replicas:,}"
        raise InputError([Mistake(source="--prefix-cache", message=message)])
    return cache


def prefix_hits(log: RequestLog, cache: PrefixCache) -> PrefixHits:
    """Requests go to the replicas in turn, as a router sends them that knows no prompts.

    Each keeps the blocks that it used last. Of a prompt the blocks from its beginning that are there are found, and at
    least one token is computed. Raises InputError for blocks that are no list of ids, too many, or without times.
    """
    if log.blocks is None or log.times_s is None:
        message = "has no times, so nobody knows which prompts came before: --prefix-cache cannot measure it"
        raise InputError([Mistake(source=log.source, message=message)])
    most = cache.tokens // log.block_tokens
    kept: list[OrderedDict[int | str, None]] = [OrderedDict() for _ in range(cache.replicas)]
    found = seen = 0
    for row, (text, inputs) in enumerate(zip(log.blocks, log.inputs.tolist(), strict=True)):
        blocks = _ids(text, log.source, row)
        seen += len(blocks)
        if seen > MOST_BLOCKS:
            message = f"has more than {MOST_BLOCKS:,} blocks of prompts; cut out a part with --since and --until"
            raise InputError([Mistake(source=log.source, message=message)])
        own = kept[row % cache.replicas]
        hits = next((place for place, block in enumerate(blocks) if block not in own), len(blocks))
        found += min(hits * log.block_tokens, inputs - 1)
        # The end of a prompt goes first when memory is short.
        for block in reversed(blocks):
            own[block] = None
            own.move_to_end(block)
        while len(own) > most:
            own.popitem(last=False)
    return PrefixHits(cache=cache, fraction=found / int(log.inputs.sum()))


def _ids(text: str | None, source: str, row: int) -> list[int | str]:
    ids = json_or_none(text or "")
    if not isinstance(ids, list) or not all(isinstance(each, int | str) for each in ids):
        message = f"request {row + 1:,} by time: want a list of block ids such as [0, 1], found {str(text)[:40]!r}"
        raise InputError([Mistake(source=source, key="hash_ids", message=message)])
    return ids


def _is_count(text: str) -> bool:
    return text.isascii() and text.isdecimal() and len(text) <= 12 and int(text) > 0
