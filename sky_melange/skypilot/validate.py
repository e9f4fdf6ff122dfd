"""`sky-melange validate`: hold a plan folder against SkyPilot's own schema, task, service check and optimizer."""

from __future__ import annotations

import difflib
import re
import shlex
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cache
from itertools import pairwise
from types import MappingProxyType
from typing import Any, Final

from sky_melange.domain.fleet import SharedEngine, SharedMachine
from sky_melange.domain.machine import Machine
from sky_melange.domain.offer import Offer
from sky_melange.domain.own_gpus import OWN_CLOUDS
from sky_melange.domain.plan import ReplicaGroup
from sky_melange.domain.scaling import ReplicaPolicy
from sky_melange.domain.workload import LaunchMode
from sky_melange.plan_file import PlanDocument
from sky_melange.plan_file.fleet import FleetDocument
from sky_melange.render.skypilot_yaml import replica_policies
from sky_melange.resources import shipped_rows
from sky_melange.skypilot.launch_files import read_launch_files, read_texts, sections
from sky_melange.skypilot.offline import observe_offline
from sky_melange.skypilot.seed_catalogs import offer_of, seed_catalogs
from sky_melange.skypilot.verdict import Check, GroupVerdict, judge, judge_mode

_REQUIREMENT: Final = re.compile(r"\b(vllm|sglang)==([0-9][\w.+-]*)")
_PROGRAMS: Final = {"vllm": "/vllm-env/bin/vllm", "sglang": "/sglang-env/bin/python"}
_BEFORE_ARGUMENTS: Final = 3
"""Words from the program to the first argument: `vllm serve MODEL`, `python -m MODULE`."""

_FUNCTION: Final = re.compile(r"replica$|port_[0-9]+(\(\))?$")
"""What stands after the end of a function: a call of it, or the next."""

_DEVICES: Final = re.compile(r"^ *port_([0-9]+)\(\) *\{\s+export CUDA_VISIBLE_DEVICES=([0-9,]*)$", re.MULTILINE)

_SHORT_LEVEL: Final = re.compile(r"-O=?\w+")
"""vLLM's optimisation level, written as compilers do."""

DEFAULT_TIMEOUT_S: Final = 60.0


def validate_plan(
    document: PlanDocument, offers: Sequence[Offer] | None = None, *, timeout_s: float = DEFAULT_TIMEOUT_S
) -> tuple[GroupVerdict, ...]:
    """One verdict per replica group of the plan, in its order, on the file beside it.

    SkyPilot reads every launch file and picks machines for it, offline, in a temporary home, from catalogs seeded
    with the plan's machines and decoys around them. With `offers`, their prices are what the catalogs hold, so a
    plan with another price fails.

    Raises InputError for a launch file that cannot be read, MissingDataError without SkyPilot, CheckFailedError after
    `timeout_s`. Needs no credentials and writes nothing outside a temporary folder.
    """
    plan, workload = document.plan, document.workload
    yamls = read_launch_files(document)
    policies = replica_policies(plan, workload)
    return _verdicts(plan.whole_groups, yamls, policies, workload.launch.mode, offers, timeout_s)


def validate_machines(
    document: FleetDocument,
    plans: Sequence[PlanDocument],
    offers: Sequence[Offer] | None = None,
    *,
    timeout_s: float = DEFAULT_TIMEOUT_S,
) -> tuple[GroupVerdict, ...]:
    """The same of the launch files of machines that the workloads of a fleet share."""
    machines = document.plan.machines
    yamls = read_texts(document.path, [(machine.name, machine.file) for machine in machines])
    groups = [_as_group(machine, plans) for machine in machines]
    verdicts = _verdicts(groups, yamls, {}, LaunchMode.CLUSTER, offers, timeout_s)
    return tuple(
        replace(verdict, checks=(*verdict.checks, _gpu_check(machine.engines, text)))
        for verdict, machine, text in zip(verdicts, machines, yamls, strict=True)
    )


def engine_checks(launch_file: str) -> tuple[Check, ...]:
    """A check for each engine that a launch file starts as ours do; none of other files."""
    try:
        task = sections(launch_file)
    except ValueError:
        return ()
    found = dict.fromkeys(_REQUIREMENT.findall(str(task.get("setup"))))
    commands = {key: list(_arguments(key[0], task.get("run"))) for key in found}
    return tuple(_check(engine, version, each) for (engine, version), each in commands.items() if each)


@cache
def recorded_flags() -> Mapping[tuple[str, str], Mapping[str, str]]:
    """(engine, version) -> flag -> what it takes: `none`, `value` or `optional`."""
    flags: dict[tuple[str, str], dict[str, str]] = {}
    for row in shipped_rows("catalogs", "engine_flags.csv"):
        flags.setdefault((row["engine"], row["version"]), {})[row["flag"]] = row["takes"]
    return MappingProxyType(flags)


def faults_of(arguments: Sequence[str], flags: Mapping[str, str], of: str) -> Iterator[str]:
    """What the engine would refuse: flags that it does not have, values that are missing or belong to none."""
    wants: str | None = None
    is_open = False
    for argument in arguments:
        if not _is_flag(argument):
            if not is_open:
                yield f"{_shown(argument)} is the value of no flag"
            wants = None
            continue
        if wants is not None:
            yield f"{wants} needs a value"
        wants, is_open = None, False
        if _SHORT_LEVEL.fullmatch(argument):
            continue
        written, equals, _ = argument.partition("=")
        name = _known_name(written, flags)
        if name is None:
            near = difflib.get_close_matches(written, flags, n=1)
            yield f"{_shown(written)} is not a flag of {of}{f'; near is {near[0]}' if near else ''}"
            is_open = True
        elif flags[name] == "none" and equals:
            yield f"{written} takes no value"
        elif flags[name] != "none":
            is_open = not equals
            wants = written if flags[name] == "value" and not equals else None
    if wants is not None:
        yield f"{wants} needs a value"


def _as_group(machine: SharedMachine, plans: Sequence[PlanDocument]) -> ReplicaGroup:
    """The whole machine as what SkyPilot is asked for."""
    engine = machine.engines[0]
    groups = (group for plan in plans if plan.plan.name == engine.workload for group in plan.plan.groups)
    group = next(group for group in groups if group.name == engine.group)
    return replace(
        group,
        name=machine.name,
        file=machine.file,
        instances=1,
        accelerators_per_instance=machine.accelerators_per_instance,
        price_usd_per_hour=machine.price_usd_per_hour,
        disk_gb=machine.disk_gb,
        part=None,
    )


def _verdicts(
    groups: Sequence[ReplicaGroup],
    yamls: Sequence[str],
    policies: Mapping[str, ReplicaPolicy],
    mode: LaunchMode,
    offers: Sequence[Offer] | None,
    timeout_s: float,
) -> tuple[GroupVerdict, ...]:
    if not groups:
        return ()
    own = sorted({(group.cloud, group.region) for group in groups if group.cloud in OWN_CLOUDS})
    catalogs = seed_catalogs([offer_of(group) for group in groups], offers)
    observations = observe_offline(catalogs=catalogs, own=own, yamls=yamls, timeout_s=timeout_s)
    on_sale = None if offers is None else frozenset(offer.machine for offer in offers)
    return tuple(
        GroupVerdict(
            group=group.name,
            file=group.file,
            checks=(
                *judge(group, observation, policies.get(group.name)),
                judge_mode(mode, observation),
                *_offer_checks(group, on_sale),
                *engine_checks(text),
            ),
        )
        for group, observation, text in zip(groups, observations, yamls, strict=True)
    )


def _offer_checks(group: ReplicaGroup, on_sale: frozenset[Machine] | None) -> tuple[Check, ...]:
    if on_sale is None:
        return ()
    if group.price.is_own:
        where = "candidates.own" if group.price.is_of_own_gpus else "prices.overrides"
        return (Check(name="offer", passed=True, detail=f"by your own list ({where})"),)
    known = group.machine in on_sale
    spot = "spot " if group.use_spot else ""
    machine = f"{spot}{group.instance_type} with {group.accelerators_per_instance} x {group.catalog_accelerator}"
    place = "/".join(filter(None, (group.cloud, group.region, group.zone)))
    detail = f"the price book {'has' if known else 'does not have'} {machine} in {place}"
    return (Check(name="offer", passed=known, detail=detail),)


def _gpu_check(engines: Sequence[SharedEngine], launch_file: str) -> Check:
    """Whether the engines that share a machine start on the GPUs that are planned for their ports."""
    run = str(sections(launch_file).get("run"))
    found: dict[int, str] = {}
    for port, gpus in _DEVICES.findall(run):
        found.setdefault(int(port), gpus)
    faults = [
        f"port {each.port} ({each.group}): planned GPUs {','.join(map(str, each.gpus))}, the file has "
        f"{found.get(each.port, 'none')}"
        for each in engines
        if found.get(each.port) != ",".join(map(str, each.gpus))
    ]
    taken = Counter(gpu for gpus in found.values() for gpu in gpus.split(","))
    faults += [f"{count} engines start on GPU {gpu}" for gpu, count in sorted(taken.items()) if count > 1]
    return Check(name="gpus", passed=not faults, detail="; ".join(faults) or "each engine has its own, as planned")


def _check(engine: str, version: str, commands: Sequence[Sequence[str]]) -> Check:
    flags = recorded_flags().get((engine, version))
    if flags is None:
        known = ", ".join(" ".join(key) for key in sorted(recorded_flags()))
        detail = f"the flags of {engine} {version} are not recorded, so nothing is known of them; recorded are {known}"
        return Check(name="engine_flags", passed=False, detail=detail)
    faults = [fault for arguments in commands for fault in faults_of(arguments, flags, f"{engine} {version}")]
    detail = "; ".join(dict.fromkeys(faults)) or f"all are flags of {engine} {version}"
    return Check(name="engine_flags", passed=not faults, detail=detail)


def _known_name(written: str, flags: Mapping[str, str]) -> str | None:
    """The flag that a parser takes a word for: `_` for `-`, keys of a value after a dot, an unambiguous beginning."""
    name = written.partition(".")[0].replace("_", "-") if written.startswith("--") else written
    if name in flags:
        return name
    longer = [flag for flag in flags if name.startswith("--") and flag.startswith(name)]
    return longer[0] if len(longer) == 1 else None


def _is_flag(argument: str) -> bool:
    return re.match(r"--?[A-Za-z]", argument) is not None


def _arguments(engine: str, run: Any) -> Iterator[list[str]]:
    """The arguments after the model of each command that starts the engine, as the shell would pass them."""
    try:
        words = shlex.split(str(run).replace("\\\n", " "), comments=True)
    except ValueError:
        return
    for place, word in enumerate(words):
        if word.endswith(_PROGRAMS[engine]):
            rest = words[place + _BEFORE_ARGUMENTS :]
            # The end of the function that a command stands in.
            ends = [index for index, pair in enumerate(pairwise(rest)) if pair[0] == "}" and _FUNCTION.match(pair[1])]
            yield rest[: ends[0]] if ends else rest


def _shown(word: str) -> str:
    return ascii(word[:60])
