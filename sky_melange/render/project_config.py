"""`.sky.yaml`, SkyPilot's configuration of a project: it places SkyServe's controller where the plan priced it."""

from __future__ import annotations

import json

from sky_melange.domain.launch_files import PROJECT_CONFIG_FILE
from sky_melange.domain.own_gpus import infra_of
from sky_melange.domain.plan import CONTROLLER_PURPOSE, Plan
from sky_melange.domain.workload import Workload

_TEXT = """\
# SkyPilot reads this file from the folder that `sky` is called in. It places SkyServe's controller on the machine that
# the plan priced; a controller that runs already stays where it is.
serve:
  controller:
    resources:
      infra: {infra}
      instance_type: {instance_type}
"""


def render(plan: Plan, _workload: Workload) -> dict[str, str]:
    """File name -> YAML text; empty where there is no controller, or none whose price is known."""
    machine = next((machine for machine in plan.overhead if machine.purpose == CONTROLLER_PURPOSE), None)
    if machine is None or not machine.instance_type:
        return {}
    infra = json.dumps(infra_of(machine.cloud, machine.region), ensure_ascii=False)
    instance_type = json.dumps(machine.instance_type, ensure_ascii=False)
    return {PROJECT_CONFIG_FILE: _TEXT.format(infra=infra, instance_type=instance_type)}
