"""Writes a service into SkyPilot's state: `serve_state_of.py NAME FILE`.

FILE lists the YAML of each version; every version but the newest has the replicas that it states, each on a cluster.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import yaml


def main(name: str, file: str) -> None:
    write_service(name, yaml.safe_load(Path(file).read_text(encoding="utf-8")), user=os.environ["SKYPILOT_USER_ID"])


def write_service(name: str, versions: list[dict[str, Any]], *, user: str) -> None:
    import sky
    from sky.serve import serve_state

    status = serve_state.ServiceStatus.READY
    serve_state.add_service(name, 1, "", "", "round_robin", status, False, False, 1, "", user_hash=user)
    for version, config in enumerate(versions, start=1):
        task = sky.Task.from_yaml_config(dict(config))
        serve_state.add_or_update_version(name, version, task.service, yaml.safe_dump(config))
        if version < len(versions):
            for number in range(task.service.min_replicas):
                write_replica(name, version * 100 + number, version, next(iter(task.resources)))


def write_replica(service: str, replica_id: int, version: int, resources: Any) -> None:
    from sky import backends, global_user_state
    from sky.serve import replica_managers, serve_state

    cluster = f"{service}-{replica_id}"
    handle = backends.CloudVmRayResourceHandle(
        cluster_name=cluster,
        cluster_name_on_cloud=cluster,
        cluster_yaml=None,
        launched_nodes=1,
        launched_resources=resources,
    )
    global_user_state.add_or_update_cluster(cluster, handle, None, ready=True, is_managed=True)
    info = replica_managers.ReplicaInfo(
        replica_id=replica_id,
        cluster_name=cluster,
        replica_port="8000",
        is_spot=False,
        location=None,
        version=version,
        resources_override=None,
    )
    serve_state.add_or_update_replica(service, replica_id, info)


if __name__ == "__main__":
    main(*sys.argv[1:])
