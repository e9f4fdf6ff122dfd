"""SkyServe's own autoscaler, driven by a clock of ours: reads cases as JSON from stdin, prints what it decides.

A case: the YAML of a service, the times of its requests, the intervals to decide in, and how long replicas start.
"""

from __future__ import annotations

import json
import os
import sys
import time
from types import SimpleNamespace
from typing import Any

import yaml

INTERVAL_S = 20


def main() -> None:
    answer = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    with answer:
        json.dump([decisions(**case) for case in json.load(sys.stdin)], answer)


def decisions(text: str, times_s: list[float], intervals: int, startup_s: float) -> list[list[int]]:
    """After each decision: the target, replicas that are ready, replicas that have machines and are not going."""
    import sky
    from sky.serve import autoscalers, serve_state, serve_utils

    task = sky.Task.from_yaml_config(yaml.safe_load(text))
    serve_utils.validate_service_task(task, pool=False)
    spec = task.service
    scaler = autoscalers.Autoscaler.from_spec("chat", spec)
    replicas: list[SimpleNamespace] = [replica(serve_state, number, 0.0) for number in range(spec.min_replicas)]
    next_id, done, found = len(replicas), 0, []
    for number in range(1, intervals + 1):
        now_s = float(number * INTERVAL_S)
        time.time = lambda now_s=now_s: now_s
        # The load balancer tells the times of its requests as often as the controller decides.
        until = next((index for index in range(done, len(times_s)) if times_s[index] > now_s), len(times_s))
        scaler.collect_request_information({"timestamps": times_s[done:until]})
        done = until
        for each in replicas:
            each.is_ready = each.ready_s <= now_s
            each.status = serve_state.ReplicaStatus.READY if each.is_ready else serve_state.ReplicaStatus.STARTING
        for decision in scaler.generate_scaling_decisions(replicas, [1]):
            if decision.operator is autoscalers.AutoscalerDecisionOperator.SCALE_UP:
                replicas.append(replica(serve_state, next_id, now_s + startup_s))
                next_id += 1
            else:
                replicas = [each for each in replicas if each.replica_id != decision.target]
        ready = sum(each.ready_s <= now_s for each in replicas)
        found.append([scaler.get_final_target_num_replicas(), ready, len(replicas)])
    return found


def replica(serve_state: Any, number: int, ready_s: float) -> SimpleNamespace:
    return SimpleNamespace(
        replica_id=number,
        ready_s=ready_s,
        version=1,
        is_terminal=False,
        is_ready=False,
        status=serve_state.ReplicaStatus.STARTING,
        status_property=SimpleNamespace(unrecoverable_failure=lambda: False),
        cluster_name=f"chat-{number}",
    )


if __name__ == "__main__":
    main()
