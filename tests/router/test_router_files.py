"""The text of the emitted files: accepted by HAProxy for every example, and never open to a name or value."""

from __future__ import annotations

import random
import re
import shutil
import subprocess
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import router_plans as plans
import yaml
from haproxy_process import accepts, needs_haproxy, written
from hypothesis import given
from hypothesis import strategies as st

from sky_melange import pipeline
from sky_melange.domain.front_door import request_classes
from sky_melange.domain.plan import Plan
from sky_melange.domain.router import RouterKind, RouterSettings
from sky_melange.domain.workload import LaunchMode, RoutingPolicy, Workload
from sky_melange.errors import InputError
from sky_melange.render import output_files, render_files, router_haproxy, router_litellm, router_sky_yaml
from sky_melange.render.router_haproxy import server_weights, worst_error_fraction
from sky_melange.render.router_names import endpoint_variables

EXAMPLES = sorted((Path(__file__).resolve().parents[2] / "examples").glob("*/workload.yaml"))
CONSTRAINED = sorted((Path(__file__).resolve().parents[2] / "examples" / "constraints").glob("*/workload.yaml"))
HOSTILE = ["x\n    exec", 'a" b', "$(id)", "`id`", "${HOME}", "a;b", "-x", "a b", "A", "ü", "a'b", "", "x" * 300, "a#b"]


def _addresses(plan: Plan, workload: Workload) -> dict[str, str]:
    names = [name for group in plan.groups for name in endpoint_variables(group, workload.launch.mode)]
    return {name: f"127.0.0.1:{9000 + number}" for number, name in enumerate(names)}


@pytest.mark.server
@needs_haproxy
@pytest.mark.parametrize("mode", ["serve", "cluster"])
@pytest.mark.parametrize("policy", ["input_aware", "size_aware", "blind"])
@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.parent.name)
def test_haproxy_accepts_the_files_of_every_example(example: Path, policy: str, mode: str, tmp_path: Path) -> None:
    document = yaml.safe_load(example.read_text(encoding="utf-8"))
    document["routing"] = policy
    document.setdefault("launch", {})["mode"] = mode
    if policy == "blind":
        # One class of requests leaves a single group; two small ones make the router needed.
        document.setdefault("constraints", {})["min_replicas"] = 2
    for path in example.parent.iterdir():
        if path.is_file():
            shutil.copy(path, tmp_path)
    changed = tmp_path / "workload.yaml"
    changed.write_text(yaml.safe_dump(document), encoding="utf-8")
    _accepted(changed, tmp_path)


@pytest.mark.server
@needs_haproxy
@pytest.mark.parametrize("example", CONSTRAINED, ids=lambda path: path.parent.name)
def test_haproxy_accepts_the_files_of_every_constraint(example: Path, tmp_path: Path) -> None:
    _accepted(example, tmp_path)


def _accepted(workload: Path, tmp_path: Path) -> None:
    planned = pipeline.plan_file(workload)
    files = router_haproxy.render(planned.plan, planned.workload)
    if not files:
        pytest.skip("this plan is a single service, which needs no router")
    config = written(files, tmp_path)
    done = accepts(config, _addresses(planned.plan, planned.workload))
    assert (done.returncode, done.stdout.strip()) == (0, "Configuration file is valid"), done.stderr
    assert "WARNING" not in done.stderr


@pytest.mark.server
@needs_haproxy
def test_an_address_that_is_not_given_is_refused(tmp_path: Path) -> None:
    plan, workload = plans.plan(), plans.workload()
    config = written(router_haproxy.render(plan, workload), tmp_path)
    addresses = _addresses(plan, workload)
    assert accepts(config, addresses).returncode == 0
    del addresses["CHAT_L40S_ENDPOINT"]
    assert accepts(config, addresses).returncode != 0


@pytest.mark.parametrize("text", HOSTILE)
@pytest.mark.parametrize("where", ["plan", "group", "model"])
def test_names_that_could_be_configuration_are_refused(where: str, text: str) -> None:
    """workload.yaml cannot hold them; a plan.json that somebody wrote by hand can."""
    plan, workload = plans.plan(), plans.workload()
    if where == "plan":
        plan = replace(plan, name=text)
    elif where == "group":
        plan = replace(plan, groups=(replace(plan.groups[0], name=text), *plan.groups[1:]))
    elif text in ("-x", "A"):
        pytest.skip("no harm in a model of that name") if text == "A" else None
    if where == "model":
        workload = replace(workload, model=replace(workload.model, id=text))
    for renderer in (router_haproxy, router_litellm, router_sky_yaml):
        with pytest.raises(InputError, match="cannot be written into a router's configuration"):
            renderer.render(plan, workload)


@pytest.mark.parametrize("changes", [{"bytes_per_token": float("nan")}, {"bytes_per_token": 0.0}, {"port": 0}])
def test_figures_that_are_none_are_refused(changes: dict[str, Any]) -> None:
    workload = plans.workload(router=RouterSettings(**changes))
    with pytest.raises(InputError, match=r"workload\.router"):
        router_haproxy.render(plans.plan(), workload)


def test_machines_of_a_hand_written_plan_stay_inside_their_quotes() -> None:
    machine = replace(plans.plan().overhead[0], instance_type='m6i"\nrun: id #', region="us\n- x", cloud="aws: {")
    text = router_sky_yaml.render(plans.plan(overhead=(machine,)), plans.workload())["router.sky.yaml"]
    document = yaml.safe_load(text)
    assert document["resources"]["instance_type"] == machine.instance_type
    assert document["resources"]["infra"] == f"{machine.cloud}/{machine.region}"
    assert set(document) == {"name", "resources", "envs", "file_mounts", "setup", "run"}


@pytest.mark.parametrize("kind", list(RouterKind))
def test_which_files_there_are(kind: RouterKind) -> None:
    files = render_files(plans.plan(), plans.workload(router=RouterSettings(kind=kind)))
    of_routers = {name for name in output_files() if "router" in name}
    assert len(of_routers) == 5
    assert {name for name in files if "router" in name} == (set() if kind is RouterKind.NONE else of_routers)


def test_a_single_service_needs_no_router_but_a_single_group_of_machines_does() -> None:
    single = plans.plan(groups=(plans.group("chat-l4"),))
    assert not router_haproxy.render(single, plans.workload())
    assert router_haproxy.needs_router(single.groups, plans.workload(mode=LaunchMode.CLUSTER))


def test_the_size_of_a_request_is_stated_in_the_file() -> None:
    settings = RouterSettings(bytes_per_token=3.5, envelope_bytes=200)
    text = router_haproxy.render(plans.plan(), plans.workload(router=settings))["router/haproxy.cfg"]
    assert "(bytes of the body - 200 of JSON) / 3.5 bytes a token" in text
    assert "use_backend in-100 if { var(txn.body_bytes) -m int :550 } { nbsrv(in-100) ge 1 }" in text


@pytest.mark.parametrize("policy", [RoutingPolicy.INPUT_AWARE, RoutingPolicy.SIZE_AWARE])
@pytest.mark.parametrize("outputs", [1, 2])
def test_every_size_has_one_backend_the_first_class_that_it_fits_in(policy: RoutingPolicy, outputs: int) -> None:
    """Rules are in the order of rates, which no size may notice."""
    kept = plans.OUTPUT_EDGES[:outputs]
    made = plans.size_aware_routes() if policy is RoutingPolicy.SIZE_AWARE else plans.input_aware_routes()
    rates = random.Random(3)  # noqa: S311 - no secret
    routing = tuple(replace(r, rate_rps=rates.random()) for r in made if r.output_tokens in kept)
    plan, workload = plans.plan(policy, routing=routing), plans.workload(policy)
    text = router_haproxy.render(plan, workload)["router/haproxy.cfg"]
    rules = [line.split(maxsplit=3)[1::2] for line in text.splitlines() if "use_backend " in line and " if " in line]
    usual = [(name, condition) for name, condition in rules if f"nbsrv({name}) ge 1" in condition]
    assert len(usual) == len(request_classes(plan))
    envelope = router_haproxy.envelope_bytes(workload)
    last = text.partition("default_backend ")[2].split()[0]
    limits = [None, -1, 0, *(edge + more for edge in kept for more in (-1, 0, 1)), 10**6]
    for prompt_bytes in (-envelope, 0, 1, *(4 * edge + more for edge in plans.INPUT_EDGES for more in range(3)), 10**6):
        body = envelope + prompt_bytes
        for limit in limits:
            wanted = _first_that_fits(plan, prompt_bytes / 4, limit)
            found = [name for name, condition in usual if _holds(condition, body, limit)]
            assert (found or [last]) == [wanted], (body, limit)
            alive = [name for name, condition in rules if name != f"{last}-last" and _holds(condition, body, limit)]
            assert (alive or [f"{last}-last"])[-1].removesuffix("-last") == wanted


def _first_that_fits(plan: Plan, tokens: float, limit: int | None) -> str:
    """By the words of `request_classes`: the first class that the request fits in, else the last of its kind."""
    classes = request_classes(plan)
    edge = min((e for e in plans.INPUT_EDGES if tokens <= e), default=plans.INPUT_EDGES[-1])
    row = [one for one in classes if one.max_input_tokens == edge]
    known = [one for one in row if one.max_output_tokens is not None]
    if limit is None or not known:
        return next((one for one in row if one.max_output_tokens is None), row[-1]).name
    return next((one for one in known if limit <= (one.max_output_tokens or 0)), known[-1]).name


def _holds(condition: str, body_bytes: int, max_output: int | None) -> bool:
    """An ACL of HAProxy with ranges of whole numbers; a variable that is not set meets none. All servers are up."""
    values = {"body_bytes": body_bytes, "max_output": max_output}
    for negation, name, test in re.findall(r"(!?)\{ var\(txn\.(\w+)\) -m (found|int \S+) \}", condition):
        value, met = values[name], False
        if value is not None and test != "found":
            low, high = test.removeprefix("int ").split(":")
            met = float(low or "-inf") <= value <= float(high or "inf")
        elif value is not None:
            met = True
        if met == bool(negation):
            return False
    return True


@pytest.mark.parametrize("kind", [RouterKind.HAPROXY, RouterKind.LITELLM])
def test_scripts_of_the_task_are_bash(kind: RouterKind) -> None:
    workload = plans.workload(router=RouterSettings(kind=kind))
    document = yaml.safe_load(router_sky_yaml.render(plans.plan(), workload)["router.sky.yaml"])
    for key in ("setup", "run"):
        done = subprocess.run(["bash", "-n"], input=document[key], text=True, capture_output=True, check=False)
        assert (done.returncode, done.stderr) == (0, "")
    wanted = {"HF_TOKEN", "LITELLM_MASTER_KEY"} if kind is RouterKind.LITELLM else set()
    assert set(document.get("secrets", {})) == wanted


def test_an_empty_address_stops_the_task_with_its_name(tmp_path: Path) -> None:
    document = yaml.safe_load(router_sky_yaml.render(plans.plan(), plans.workload())["router.sky.yaml"])
    (tmp_path / "router").mkdir()
    environment = {"HOME": str(tmp_path), "PATH": "/usr/bin:/bin:/usr/sbin", "CHAT_L4_ENDPOINT": "127.0.0.1:1"}
    done = subprocess.run(
        ["bash", "-c", document["run"]], env=environment, capture_output=True, text=True, check=False, timeout=20
    )
    assert done.returncode == 1
    assert "CHAT_L40S_ENDPOINT is empty: launch with --env CHAT_L40S_ENDPOINT=HOST:PORT" in done.stderr


@given(
    st.lists(st.floats(min_value=1e-6, max_value=1.0), min_size=1, max_size=6),
    st.lists(st.integers(min_value=1, max_value=8), min_size=6, max_size=6),
)
def test_weights_are_within_a_point_of_the_shares(parts: list[float], counts: list[int]) -> None:
    whole = sum(parts)
    shares = [(f"g{number}", part / whole) for number, part in enumerate(parts)]
    servers = {name: count for (name, _), count in zip(shares, counts, strict=False)}
    weights = server_weights(shares, servers)
    assert all(1 <= weight <= 256 for weight in weights.values())
    assert worst_error_fraction(weights, shares, servers) <= 0.02
    if max(counts[: len(parts)]) == 1:
        assert worst_error_fraction(weights, shares, servers) <= 0.01


@pytest.mark.parametrize("policy", list(RoutingPolicy))
def test_classes_cover_every_bucket_with_its_own_shares(policy: RoutingPolicy) -> None:
    plan = plans.plan(policy)
    classes = request_classes(plan)
    assert sum(one.rate_rps for one in classes) == pytest.approx(sum(route.rate_rps for route in plan.routing))
    for route in plan.routing:
        found = next(
            one
            for one in classes
            if (one.max_input_tokens in (None, route.input_tokens))
            and (one.max_output_tokens == route.output_tokens or policy is not RoutingPolicy.SIZE_AWARE)
        )
        assert dict(found.shares) == {name: share for name, share in route.shares if share > 0}
        assert set(found.spare) == set(route.can_serve) - set(dict(found.shares))


def test_a_class_spills_only_to_what_serves_all_of_its_buckets() -> None:
    routes = list(plans.input_aware_routes())
    # The long answers of small requests are more than the large group can do.
    routes[1] = replace(routes[1], can_serve=(plans.SMALL, plans.MIDDLE))
    classes = {one.name: one for one in request_classes(plans.plan(routing=tuple(routes)))}
    assert classes["in-100"].spare == ()
    assert classes["in-1000"].spare == ()
    assert classes["in-4000"].spare == (plans.MIDDLE,)


@pytest.mark.server
@needs_haproxy
def test_a_grid_of_ten_thousand_buckets_is_a_configuration_of_a_few_backends(tmp_path: Path) -> None:
    shares = ({plans.SMALL: 1.0}, {plans.MIDDLE: 1.0}, {plans.MIDDLE: 0.3, plans.LARGE: 0.7}, {plans.LARGE: 1.0})
    buckets = {(i, o): shares[(i + o) % 4] for i in range(1, 101) for o in range(1, 101)}
    policy = RoutingPolicy.SIZE_AWARE
    plan, workload = plans.plan(policy, routing=plans.routes(buckets)), plans.workload(policy)
    config = written(router_haproxy.render(plan, workload), tmp_path)
    text = config.read_text(encoding="utf-8")
    # The four kinds of shares, and requests of each input that do not state their answer's limit.
    assert text.count("\nbackend ") <= 4 + 100
    assert accepts(config, _addresses(plan, workload)).returncode == 0


def _variables(text: str) -> Iterable[str]:
    return [line.split("${")[1].split("}")[0] for line in text.splitlines() if "    server " in line]


def test_every_group_of_the_plan_is_a_server_somewhere() -> None:
    text = router_haproxy.render(plans.plan(), plans.workload())["router/haproxy.cfg"]
    assert set(_variables(text)) == {"CHAT_L4_ENDPOINT", "CHAT_L40S_ENDPOINT", "CHAT_H100_ENDPOINT"}
