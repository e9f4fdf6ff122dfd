"""Hook of LiteLLM's proxy: sends each request to a replica group by its token count and the plan's shares.

Made by sky-melange, which puts it beside `litellm.yaml`. Every deployment there carries, in `model_info.sky_melange`,
the name of its group and its part in each class of requests; LiteLLM offers the deployments that are not cooling down,
and this hook keeps those of one group. Retries and cooldown stay LiteLLM's own.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Mapping, Sequence
from typing import Any

import litellm
from litellm.integrations.custom_logger import CustomLogger

_log = logging.getLogger("sky_melange")
_KEY = "sky_melange"


class SmoothShares:
    """Deals out turns so that after any number of them each name had its share, to within one turn."""

    def __init__(self) -> None:
        self._credit: dict[str, float] = {}

    def next(self, shares: Mapping[str, float]) -> str:
        """The name whose turn it is. `shares` are positive; they need not sum to 1."""
        total = sum(shares.values())
        for name, share in shares.items():
            self._credit[name] = self._credit.get(name, 0.0) + share / total
        chosen = max(sorted(shares), key=lambda name: self._credit[name])
        self._credit[chosen] -= 1.0
        return chosen


class GroupRouter(CustomLogger):  # type: ignore[misc]
    """Keeps the deployments of one group."""

    def __init__(self) -> None:
        super().__init__()
        self._turns: dict[tuple[Any, ...], SmoothShares] = {}
        self._tokenizers: dict[str, Any] = {}

    async def async_filter_deployments(
        self,
        model: str,
        healthy_deployments: list[dict[str, Any]],
        messages: list[Any] | None,
        request_kwargs: dict[str, Any] | None = None,
        parent_otel_span: Any = None,  # noqa: ARG002 - LiteLLM passes it
    ) -> list[dict[str, Any]]:
        """The deployments of the group whose turn it is; none where no group that is up can serve the request."""
        by_group: dict[str, list[dict[str, Any]]] = {}
        for deployment in healthy_deployments:
            info = (deployment.get("model_info") or {}).get(_KEY)
            if info is None:
                return healthy_deployments
            by_group.setdefault(info["group"], []).append(deployment)
        if not by_group:
            return healthy_deployments
        tables = {group: members[0]["model_info"][_KEY] for group, members in by_group.items()}
        request = request_kwargs or {}
        first = next(iter(tables.values()))
        input_tokens = await asyncio.to_thread(self._input_tokens, first["tokenizer"], messages, request)
        place = class_of(first["classes"], input_tokens, _max_output_tokens(request))
        shares = {group: table["classes"][place]["share"] for group, table in tables.items()}
        planned = {group: share for group, share in shares.items() if share > 0}
        spare = {group: float(table["classes"][place]["spare"]) for group, table in tables.items()}
        candidates = planned or {group: weight for group, weight in spare.items() if weight > 0}
        if not candidates:
            return []
        turns = self._turns.setdefault((model, place, bool(planned)), SmoothShares())
        return by_group[turns.next(candidates)]

    def _input_tokens(self, tokenizer: str, messages: list[Any] | None, request: Mapping[str, Any]) -> int:
        """By the model's own tokenizer; by LiteLLM's choice where that cannot be loaded."""
        if tokenizer not in self._tokenizers:
            self._tokenizers[tokenizer] = _load_tokenizer(tokenizer)
        own = self._tokenizers[tokenizer]
        if messages:
            tools = request.get("tools")
            return int(litellm.token_counter(model=tokenizer, custom_tokenizer=own, messages=messages, tools=tools))
        text = request.get("prompt") or request.get("input") or ""
        if isinstance(text, list) and text and isinstance(text[0], int):
            return len(text)
        text = text if isinstance(text, str) else "\n".join(str(part) for part in text)
        return int(litellm.token_counter(model=tokenizer, custom_tokenizer=own, text=text))


def class_of(classes: Sequence[Mapping[str, Any]], input_tokens: int, max_output_tokens: int | None) -> int:
    """The first class that a request fits in; what is larger than all goes to the last of its kind."""
    edges = sorted({one["max_input_tokens"] for one in classes if one["max_input_tokens"] is not None})
    row = next((edge for edge in edges if input_tokens <= edge), edges[-1] if edges else None)
    places = [place for place, one in enumerate(classes) if one["max_input_tokens"] == row]
    bounded = [place for place in places if classes[place]["max_output_tokens"] is not None]
    unbounded = [place for place in places if classes[place]["max_output_tokens"] is None]
    if not bounded or (max_output_tokens is None and unbounded):
        return unbounded[0]
    if max_output_tokens is None:
        return bounded[-1]
    return next((p for p in bounded if max_output_tokens <= classes[p]["max_output_tokens"]), bounded[-1])


def _max_output_tokens(request: Mapping[str, Any]) -> int | None:
    for key in ("max_completion_tokens", "max_tokens"):
        value = request.get(key)
        if isinstance(value, int) and not isinstance(value, bool):
            return value
    return None


def _load_tokenizer(name: str) -> Any:
    try:
        return litellm.create_pretrained_tokenizer(name, auth_token=os.environ.get("HF_TOKEN"))
    except Exception as error:  # noqa: BLE001 - whatever a download may raise; requests must go on
        _log.warning("the tokenizer of %s cannot be loaded (%s): another one counts, within some percent", name, error)
        return None


handler = GroupRouter()
