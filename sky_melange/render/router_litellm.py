"""router/litellm.yaml and the hook beside it, for those who run LiteLLM's proxy."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from sky_melange.domain.front_door import RequestClass, needs_router, request_classes, served_names
from sky_melange.domain.plan import Plan, ReplicaGroup
from sky_melange.domain.workload import Model, Workload
from sky_melange.render.router_names import HOOK_FILE, LITELLM_FILE, check_apart, check_names, endpoint_variables
from sky_melange.resources import package_text

if TYPE_CHECKING:
    import yaml

HOOK_MODULE: Final = "litellm_hook"
MASTER_KEY: Final = "LITELLM_MASTER_KEY"
"""LiteLLM's proxy does not start without one."""


def api_base_variable(endpoint_variable: str) -> str:
    """`CHAT_L40S_ENDPOINT` (host:port) -> `CHAT_L40S_API_BASE` (http://host:port/v1), which LiteLLM reads whole."""
    name, _, number = endpoint_variable.rpartition("_ENDPOINT")
    return f"{name}_API_BASE{number}"


def render(plan: Plan, workload: Workload) -> dict[str, str]:
    """File name -> text; empty when the plan needs no router."""
    if not needs_router(plan.groups, workload):
        return {}
    return _files(f"plan {plan.name}", [(plan, workload)])


def render_fleet(name: str, plans: Sequence[tuple[Plan, Workload]]) -> dict[str, str]:
    """The router of a fleet: LiteLLM picks among the deployments of the model that a request names."""
    variables = [[v for g in plan.groups for v in endpoint_variables(g, each.launch.mode)] for plan, each in plans]
    check_apart(variables, [served_names(workload) for _, workload in plans])
    return _files(f"fleet {name}", plans)


def _files(of: str, plans: Sequence[tuple[Plan, Workload]]) -> dict[str, str]:
    import yaml

    for plan, workload in plans:
        check_names(plan, workload)
    policies = dict.fromkeys(plan.policy.value for plan, _ in plans)
    config = {
        "model_list": [
            entry
            for plan, workload in plans
            for group in plan.groups
            for entry in _deployments(group, workload, request_classes(plan))
        ],
        "router_settings": {
            "routing_strategy": "simple-shuffle",
            "num_retries": 3,
            # One failure takes a deployment out for this long, so that the retry goes to another group.
            "allowed_fails": 0,
            "cooldown_time": 5,
        },
        "litellm_settings": {"callbacks": [f"{HOOK_MODULE}.handler"], "request_timeout": 3600},
        "general_settings": {"master_key": f"os.environ/{MASTER_KEY}"},
    }
    variables = [
        api_base_variable(variable)
        for plan, workload in plans
        for group in plan.groups
        for variable in endpoint_variables(group, workload.launch.mode)
    ]
    header = [
        f"# LiteLLM proxy: the front door of {of}, made by sky-melange. Plan again instead of editing.",
        f"# Routing: {', '.join(policies)}, by token count; litellm_hook.py must lie beside this file.",
        f"# Clients authenticate with {MASTER_KEY}, or keys made with it; what they send does not reach the engines.",
        f"# Start: litellm --config {LITELLM_FILE.rpartition('/')[2]} --port {plans[0][1].router.port}",
        "# The API's addresses come from the environment, as http://host:port/v1:",
        *(f"#   {variable}" for variable in variables),
    ]
    text = yaml.dump(config, Dumper=_dumper(), sort_keys=False, width=120)
    return {LITELLM_FILE: "\n".join(header) + "\n" + text, HOOK_FILE: package_text("router", f"{HOOK_MODULE}.py")}


class _OneLine(dict[str, Any]):
    """A mapping that is written on one line."""


def _dumper() -> type[yaml.SafeDumper]:
    import yaml

    class Dumper(yaml.SafeDumper):
        """Knows `_OneLine`, and writes shared values out instead of aliases."""

        def ignore_aliases(self, data: object) -> bool:  # noqa: ARG002 - PyYAML passes it
            return True

    Dumper.add_representer(
        _OneLine, lambda dumper, value: dumper.represent_mapping("tag:yaml.org,2002:map", value, flow_style=True)
    )
    return Dumper


def _deployments(group: ReplicaGroup, workload: Workload, classes: tuple[RequestClass, ...]) -> list[dict[str, Any]]:
    variables, api_key = endpoint_variables(group, workload.launch.mode), workload.launch.api_key_secret
    table = [
        {
            "max_input_tokens": one.max_input_tokens,
            "max_output_tokens": one.max_output_tokens,
            "share": dict(one.shares).get(group.name, 0.0),
            "spare": _spare_weight(group) if group.name in one.spare else 0.0,
        }
        for one in classes
    ]
    return [
        {
            "model_name": served,
            "litellm_params": {
                "model": f"hosted_vllm/{served}",
                "api_base": f"os.environ/{api_base_variable(variable)}",
                **({} if api_key is None else {"api_key": f"os.environ/{api_key}"}),
                "max_parallel_requests": _limit(group.max_concurrency * group.replicas / len(variables), share),
            },
            "model_info": {
                "id": "-".join([group.name, *_number(number, variables), *_adapter(served, workload)]),
                "sky_melange": {
                    "group": group.name,
                    "tokenizer": workload.model.id,
                    "classes": [_OneLine(entry) for entry in table],
                },
            },
        }
        for served, share in _served(workload.model)
        for number, variable in enumerate(variables, start=1)
    ]


def _served(model: Model) -> list[tuple[str, float]]:
    """The base model, and the adapters, each with its share of the requests."""
    adapters = [(adapter.id, adapter.share) for adapter in model.adapters]
    return [(model.id, max(0.0, 1.0 - math.fsum(share for _, share in adapters))), *adapters]


def _limit(requests: float, share: float) -> int:
    """Of one model's requests on an endpoint: its share of them all, and two standard deviations of a Poisson count.

    LiteLLM limits models by themselves, and has no limit of an endpoint.
    """
    mean = requests * share
    return max(1, min(math.floor(requests), math.ceil(mean + 2 * math.sqrt(mean))))


def _number(number: int, variables: Sequence[str]) -> list[str]:
    return [str(number)] if len(variables) > 1 else []


def _adapter(served: str, workload: Workload) -> list[str]:
    return [] if served == workload.model.id else [served]


def _spare_weight(group: ReplicaGroup) -> float:
    return round(max(1e-3, (1 - group.utilization) * group.replicas), 6)
