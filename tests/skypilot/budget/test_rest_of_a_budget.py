"""What is spent already: SkyPilot's own clusters and services, and launches that were let in a moment ago."""

from __future__ import annotations

import unicodedata
from typing import Any

import pytest
import yaml
from guard_child import SkyChild, end_child, start_child
from tasks import cluster, gcp_price, service

from sky_melange.skypilot.budget.ledger import Ledger

L4 = {"infra": "gcp", "instance_type": "g2-standard-4", "accelerators": "L4:1"}


@pytest.fixture
def l4(sky: SkyChild) -> float:
    return gcp_price(sky.catalog("gcp"), "g2-standard-4", "L4")


def test_what_runs_is_the_rest_of_the_budget(sky: SkyChild, l4: float) -> None:
    sky.call("cluster", name="old", resources=L4, user="alice", nodes=2)
    sky.write_budgets(users={"*": {"usd_per_hour": round(3.5 * l4, 6)}})
    refused = sky.ask(cluster("new", nodes=2, **L4), request="launch")
    assert not refused["passed"]
    assert f"{1.5 * l4:.4f} of {3.5 * l4:.4f} USD/h, {2 * l4:.4f} being spent" in refused["message"]
    assert sky.ask(cluster("new", nodes=2, **L4), request="launch", user="bob")["passed"]
    assert sky.ask(cluster("new", nodes=1, **L4), request="launch")["passed"]


def test_a_months_budget_holds_the_worst_case_of_every_hour(sky: SkyChild, l4: float) -> None:
    """730 hours of it; of an hourly and a monthly limit both hold."""
    month = round(3.5 * l4 * 730, 2)
    sky.write_budgets(users={"*": {"usd_per_month": month}})
    assert sky.ask(service("three", replicas=3, **L4))["passed"]
    sky.ledger.unlink()
    refused = sky.ask(service("four", replicas=4, **L4))
    assert not refused["passed"]
    assert f"of {month / 730:.4f} USD/h ({month:,.2f} USD per month of 730 hours)" in refused["message"]
    sky.write_budgets(users={"*": {"usd_per_month": month, "usd_per_hour": round(1.5 * l4, 6)}})
    assert not sky.ask(service("two", replicas=2, **L4))["passed"]
    sky.write_budgets(users={"*": {"usd_per_month": month, "usd_per_hour": 1000}})
    assert not sky.ask(service("four", replicas=4, **L4))["passed"]


def test_stopped_clusters_and_those_of_services_cost_nothing_by_themselves(sky: SkyChild, l4: float) -> None:
    sky.call("cluster", name="stopped", resources=L4, user="alice", is_up=False)
    sky.call("cluster", name="chat-1", resources=L4, user="alice", is_managed=True)
    sky.call("cluster", name="sky-serve-controller-12345678", resources=L4, user="alice")
    sky.write_budgets(users={"alice": {"usd_per_hour": round(1.1 * l4, 6)}})
    assert sky.ask(cluster("new", **L4), request="launch")["passed"]


def test_a_service_counts_by_its_yaml_at_its_largest(sky: SkyChild, l4: float) -> None:
    policy = {"min_replicas": 1, "max_replicas": 3, "target_qps_per_replica": 1}
    sky.call("service", name="chat", text=yaml.safe_dump(service("chat", policy=policy, **L4)), user="alice")
    sky.write_budgets(users={"*": {"usd_per_hour": round(3.5 * l4, 6)}})
    answer = sky.ask(service("more", replicas=1, **L4))
    assert not answer["passed"]
    assert f"{3 * l4:.4f} being spent" in answer["message"]


def test_an_update_replaces_and_a_lowered_budget_does_not_hold_up_a_reduction(sky: SkyChild, l4: float) -> None:
    sky.write_budgets(users={"*": {"usd_per_hour": round(4.5 * l4, 6)}})
    up = sky.ask(service("chat", replicas=3, **L4))
    sky.call("service", name="chat", text=up["yaml"], user="alice")
    assert sky.ask(service("chat", replicas=4, **L4), request="serve.update")["passed"]
    assert not sky.ask(service("chat", replicas=5, **L4), request="serve.update")["passed"]
    sky.ledger.unlink()
    sky.write_budgets(users={"*": {"usd_per_hour": 0.01}})
    assert sky.ask(service("chat", replicas=2, **L4), request="serve.update")["passed"]


def test_replicas_that_no_update_has_replaced_count(sky: SkyChild, l4: float) -> None:
    """SkyServe keeps them until the newest version is ready, which may be never."""
    old, new = service("chat", replicas=4, **L4), service("chat", replicas=1, **L4)
    sky.call("versions", name="chat", versions=[old, new], user="alice")
    sky.write_budgets(users={"*": {"usd_per_hour": round(6.5 * l4, 6)}})
    answer = sky.ask(cluster("more", nodes=2, **L4), request="launch")
    assert f"{1.5 * l4:.4f} of {6.5 * l4:.4f} USD/h, {5 * l4:.4f} being spent" in answer["message"]
    third = sky.ask(service("chat", replicas=3, **L4), request="serve.update")
    assert f"costs up to {7 * l4:.4f} USD/h" in third["message"]
    assert f"+ {4 * l4:.4f} USD/h of replicas that earlier updates have not replaced" in third["message"]
    sky.write_budgets(users={"*": {"usd_per_hour": 0.01}})
    assert sky.ask(service("chat", replicas=1, **L4), request="serve.update")["passed"]


def test_a_service_that_is_scaled_counts_the_larger_of_before_and_after(sky: SkyChild, l4: float) -> None:
    """Until SkyServe has drained and stopped what it does not need any more, or started what it needs."""
    five, two = service("chat", replicas=5, **L4), service("chat", replicas=2, **L4)
    sky.write_budgets(users={"*": {"usd_per_hour": round(5.5 * l4, 6)}})

    def spent() -> str:
        return str(sky.ask(cluster("more", nodes=6, **L4), request="launch")["message"])

    sky.call("request", request_id="down", status="RUNNING")
    sky.call("service", name="chat", text=yaml.safe_dump(five), user="alice")
    assert sky.ask(two, request="serve.update", request_id="down")["passed"]
    assert f"{5 * l4:.4f} being spent" in spent(), "the update is asked for"
    sky.call("service", name="chat", text=yaml.safe_dump(two), user="alice")
    sky.call("replicas", name="chat", count=5)
    sky.call("request", request_id="down", status="SUCCEEDED")
    assert f"{5 * l4:.4f} being spent" in spent(), "the update is taken, and replicas are drained"
    sky.call("service", name="chat", text=yaml.safe_dump(two), user="alice")
    sky.call("replicas", name="chat", count=2)
    assert f"{2 * l4:.4f} being spent" in spent()
    sky.call("request", request_id="up", status="RUNNING")
    assert sky.ask(five, request="serve.update", request_id="up")["passed"]
    assert f"{5 * l4:.4f} being spent" in spent(), "the update is asked for, and nothing has started"


def test_what_others_took_at_night_is_missing_in_the_morning(sky: SkyChild, l4: float) -> None:
    """A schedule counts by what runs: its budget must hold its busiest hour beside everything else."""
    sky.write_budgets(users={"*": {"usd_per_hour": round(5.5 * l4, 6)}})
    two, five = service("chat", replicas=2, **L4), service("chat", replicas=5, **L4)
    sky.call("service", name="chat", text=yaml.safe_dump(two), user="alice")
    sky.call("cluster", name="batch", resources=L4, user="alice", nodes=2)
    refused = sky.ask(five, request="serve.update")
    assert not refused["passed"]
    assert f"{2 * l4:.4f} being spent" in refused["message"]


def test_an_update_keeps_the_label_that_runs(sky: SkyChild) -> None:
    """SkyServe restarts every replica when anything outside `service:` changes."""
    sky.write_budgets(users={"*": {"usd_per_hour": 100}})
    labelled = service("chat", replicas=1, **L4)
    labelled["resources"]["labels"] = {"team": "x", "sky-melange-micro-usd-per-hour": "123"}
    sky.call("service", name="chat", text=yaml.safe_dump(labelled), user="alice")
    plain = service("chat", replicas=2, **L4)
    plain["resources"]["labels"] = {"team": "x"}
    answer = sky.ask(plain, request="serve.update")
    assert answer["labels"] == [{"team": "x", "sky-melange-micro-usd-per-hour": "123"}]
    sky.call("service", name="chat", text=yaml.safe_dump(service("chat", replicas=1, **L4)), user="alice")
    assert sky.ask(service("chat", replicas=2, **L4), request="serve.update")["labels"] == [None]


def test_a_cluster_that_runs_may_be_used_again(sky: SkyChild, l4: float) -> None:
    sky.call("cluster", name="mine", resources=L4, user="alice", nodes=2)
    sky.call("cluster", name="asleep", resources=L4, user="alice", nodes=2, is_up=False)
    sky.write_budgets(users={"*": {"usd_per_hour": round(2.5 * l4, 6)}})
    assert sky.ask(cluster("mine", nodes=2, **L4), request="launch", options={"cluster_name": "mine"})["passed"]
    answer = sky.ask(cluster("asleep", **L4), request="launch", options={"cluster_name": "asleep"})
    assert not answer["passed"]
    assert f"costs up to {2 * l4:.4f} USD/h" in answer["message"]


def test_workspaces_and_prefixes(sky: SkyChild, l4: float) -> None:
    sky.write_budgets(
        workspaces={"research": {"usd_per_hour": round(2.5 * l4, 6)}},
        prefixes={"chat-": {"usd_per_hour": round(1.5 * l4, 6)}},
    )
    assert sky.ask(service("a", replicas=2, **L4), workspace="research")["passed"]
    over = sky.ask(service("b", replicas=1, **L4), workspace="research", user="bob")
    assert "the budget workspaces.'research'" in over["message"]
    assert sky.ask(service("b", replicas=9, **L4), workspace="elsewhere", user="bob")["passed"]
    assert sky.ask(service("chat-a", replicas=1, **L4), user="carl")["passed"]
    plan = sky.ask(cluster("chat-router", **L4), request="launch", user="dora")
    assert "the budget prefixes.'chat-'" in plan["message"]


def test_a_plan_is_held_as_a_whole_by_its_prefix(sky: SkyChild, l4: float) -> None:
    sky.write_budgets(prefixes={"chat-": {"usd_per_hour": round(3.5 * l4, 6)}})
    passed = [sky.ask(service(f"chat-{group}", replicas=1, **L4))["passed"] for group in "abcd"]
    assert passed == [True, True, True, False]


def test_a_named_budget_is_the_users_own(sky: SkyChild, l4: float) -> None:
    sky.write_budgets(users={"*": {"usd_per_hour": 0}, "alice": {"usd_per_hour": round(1.5 * l4, 6)}})
    assert sky.ask(cluster("a", **L4), request="launch")["passed"]
    assert not sky.ask(cluster("b", **L4), request="launch")["passed"]
    assert not sky.ask(cluster("c", **L4), request="launch", user="bob")["passed"]


@pytest.mark.parametrize("name", ["José", "Łukasz Żółw", "山田 太郎", "محمد", "שרה", "👩", "O'Brien; DROP TABLE", "#"])
def test_names_of_every_script_have_budgets(sky: SkyChild, l4: float, name: str) -> None:
    """However a name is put together: an identity provider may send `e` and an accent for `é`."""
    sky.write_budgets(users={"*": {"usd_per_hour": 0}, name: {"usd_per_hour": round(1.5 * l4, 6)}})
    assert sky.ask(cluster("a", **L4), request="launch", user=unicodedata.normalize("NFD", name))["passed"]
    refused = sky.ask(cluster("b", nodes=2, **L4), request="launch", user=name)
    assert "the budget users." in refused["message"]


def test_warn_says_so_and_lets_it_pass(sky: SkyChild) -> None:
    sky.write_budgets(mode="warn", users={"*": {"usd_per_hour": 0.1}})
    answer = sky.ask(service())
    assert answer["passed"]
    assert "costs up to" in answer["said"]
    assert answer["labels"][0]["sky-melange-micro-usd-per-hour"].isdigit()
    sky.write_budgets(mode="warn", users={"*": {"usd_per_hour": 0.1, "mode": "enforce"}})
    assert not sky.ask(service("other"))["passed"]


@pytest.mark.parametrize(
    "request_name", ["validate", "optimize", "exec", "serve.launch_controller", "jobs.launch_controller"]
)
def test_what_starts_nothing_and_controllers_pass_without_a_budgets_file(sky: SkyChild, request_name: str) -> None:
    sky.budgets.unlink(missing_ok=True)
    answer = sky.ask(cluster(), request=request_name)
    assert answer["passed"], answer["message"]
    assert answer["labels"] == [None]


def test_a_client_with_the_same_config_is_left_to_the_server(sky: SkyChild) -> None:
    sky.write_budgets(users={"*": {"usd_per_hour": 0}})
    assert sky.ask(service(), at_client_side=True)["passed"]


def test_a_dry_run_is_weighed_and_reserves_nothing(sky: SkyChild, l4: float) -> None:
    sky.write_budgets(users={"*": {"usd_per_hour": round(1.5 * l4, 6)}})
    for _ in range(2):
        assert sky.ask(cluster("a", **L4), request="launch", options={"dryrun": True})["passed"]
    assert not sky.ask(cluster("a", nodes=2, **L4), request="launch", options={"dryrun": True})["passed"]
    assert sky.ask(cluster("b", **L4), request="launch")["passed"]


def test_a_launch_that_failed_gives_its_share_back(sky: SkyChild, l4: float) -> None:
    sky.write_budgets(users={"*": {"usd_per_hour": round(1.5 * l4, 6)}})
    for status, is_free in (("RUNNING", False), ("FAILED", True)):
        name, request_id = f"svc-{status.lower()}", f"request-{status}"
        sky.call("request", request_id=request_id, status="RUNNING", service_name=name)
        assert sky.ask(service("yaml-name", replicas=1, **L4), request_id=request_id)["passed"]
        sky.call("request", request_id=request_id, status=status, service_name=name)
        assert sky.ask(service("next", replicas=1, **L4), options=None)["passed"] is is_free
        sky.ledger.unlink()


def test_the_name_is_what_was_asked_for_not_what_the_yaml_says(sky: SkyChild) -> None:
    sky.write_budgets(prefixes={"chat-": {"usd_per_hour": 0.1}})
    sky.call("request", request_id="named", status="RUNNING", service_name="chat-prod")
    answer = sky.ask(service("innocent"), request_id="named")
    assert not answer["passed"]
    assert "service 'chat-prod'" in answer["message"]


@pytest.mark.parametrize("name", ["SKY_MELANGE_BUDGETS", "HOME", "SKY_RUNTIME_DIR", "IS_SKYPILOT_JOB_CONTROLLER"])
def test_no_client_chooses_the_budgets(sky: SkyChild, name: str) -> None:
    sky.write_budgets(users={"*": {"usd_per_hour": 1000}})
    sky.call("request", request_id=f"brings-{name}", status="RUNNING", env_vars={name: "/elsewhere"})
    answer = sky.ask(service(), request_id=f"brings-{name}")
    assert not answer["passed"]
    assert f"the request sets {name}, which only the server may" in answer["message"]


def test_of_many_threads_only_as_many_pass_as_the_budget_holds(sky: SkyChild, l4: float) -> None:
    sky.write_budgets(users={"*": {"usd_per_hour": round(3.5 * l4, 6)}})
    asked = [{"text": yaml.safe_dump(service(f"s{number}", replicas=1, **L4))} for number in range(8)]
    answers = sky.call("race", asked=asked)
    assert sum(answer["passed"] for answer in answers) == 3, answers


def test_two_servers_that_race_for_the_last_of_a_budget(sky: SkyChild, l4: float) -> None:
    """Two processes over one home, asked at the same time, again and again."""
    sky.write_budgets(users={"*": {"usd_per_hour": round(1.5 * l4, 6)}})
    other = start_child(sky.home)
    try:
        other.call("reset")
        for attempt in range(50):
            for number, child in enumerate((sky, other)):
                write(child, text=yaml.safe_dump(service(f"s{attempt}-{number}", replicas=1, **L4)))
            answers = [read(child) for child in (sky, other)]
            assert sorted(answer["passed"] for answer in answers) == [False, True], answers
            sky.ledger.unlink()
    finally:
        end_child(other)


def write(child: SkyChild, **asked: Any) -> None:
    import json

    assert child.process.stdin is not None
    child.process.stdin.write(json.dumps({"op": "ask", **asked}) + "\n")
    child.process.stdin.flush()


def read(child: SkyChild) -> dict[str, Any]:
    import json

    assert child.process.stdout is not None
    answer: dict[str, Any] = json.loads(child.process.stdout.readline())
    return answer


def test_managed_jobs_count_until_they_end(sky: SkyChild, l4: float) -> None:
    sky.write_budgets(users={"*": {"usd_per_hour": round(2.5 * l4, 6)}})
    job = sky.call("job", name="train", text=yaml.safe_dump(cluster("train", nodes=2, **L4)), user="alice")
    refused = sky.ask(cluster("next", **L4), request="jobs.launch")
    sky.call("job_ended", job_id=job)
    assert not refused["passed"]
    assert f"{2 * l4:.4f} being spent" in refused["message"]
    assert "job 'next'" in refused["message"]
    assert sky.ask(cluster("next", **L4), request="jobs.launch")["passed"]


def test_a_running_job_counts_whatever_stands_under_service(sky: SkyChild, l4: float) -> None:
    sky.write_budgets(users={"*": {"usd_per_hour": round(1.5 * l4, 6)}})
    job = sky.call("job", name="train", text=yaml.safe_dump(service("train", replicas=0, **L4)), user="alice")
    refused = sky.ask(cluster("next", **L4), request="jobs.launch")
    sky.call("job_ended", job_id=job)
    assert f"{l4:.4f} being spent" in refused["message"]


def test_jobs_of_one_name_add_up(sky: SkyChild, l4: float) -> None:
    sky.write_budgets(prefixes={"sweep": {"usd_per_hour": round(2.5 * l4, 6)}})
    passed = []
    for number in range(3):
        sky.call("request", request_id=f"sweep-{number}", status="RUNNING")
        passed.append(sky.ask(cluster("sweep", **L4), request="jobs.launch", request_id=f"sweep-{number}")["passed"])
    assert passed == [True, True, False]


def test_a_pool_counts_its_workers(sky: SkyChild, l4: float) -> None:
    pool = {"name": "workers", "resources": L4, "pool": {"workers": 3}}
    sky.write_budgets(users={"*": {"usd_per_hour": round(3.5 * l4, 6)}})
    answer = sky.ask(pool)
    assert answer["passed"], answer["message"]
    assert not sky.ask(service("more", replicas=1, **L4))["passed"]
    over = sky.ask({**pool, "pool": {"workers": 4}}, request="serve.update")
    assert "pool 'workers' costs up to" in over["message"]


def test_who_claims_to_be_a_controller_is_believed_only_where_there_is_one(sky: SkyChild) -> None:
    """Any client may say so: `is_launched_by_sky_serve_controller` is a field of what it posts."""
    sky.write_budgets(users={"*": {"usd_per_hour": 0.1}})
    for request in ("serve.launch_replica", "jobs.launch_cluster"):
        assert not sky.ask(cluster(**L4), request=request, is_consolidated=False)["passed"]
    assert sky.ask(cluster(**L4), request="serve.launch_replica")["passed"]


def test_many_updates_leave_one_line_in_the_ledger(sky: SkyChild) -> None:
    sky.write_budgets(users={"*": {"usd_per_hour": 1000}})
    sky.call("service", name="chat", text=yaml.safe_dump(service("chat", replicas=1, **L4)), user="alice")
    for number in range(4):
        sky.call("request", request_id=f"update-{number}", status="RUNNING", service_name="chat")
        asked = service("chat", replicas=number + 1, **L4)
        assert sky.ask(asked, request="serve.update", request_id=f"update-{number}", workspace="research")["passed"]
        sky.call("request", request_id=f"update-{number}", status="SUCCEEDED", service_name="chat")
    assert sky.ask(cluster("other", **L4), request="launch")["passed"]
    assert [entry.spending.name for entry in Ledger.at(sky.ledger).read()] == ["chat", "other"]


def test_a_service_counts_in_the_workspace_that_it_was_launched_in(sky: SkyChild, l4: float) -> None:
    sky.write_budgets(workspaces={"*": {"usd_per_hour": round(1.5 * l4, 6)}})
    sky.call("request", request_id="launched", status="RUNNING", service_name="chat")
    up = sky.ask(service("chat", replicas=1, **L4), request_id="launched", workspace="research")
    sky.call("service", name="chat", text=up["yaml"], user="alice")
    sky.call("request", request_id="launched", status="SUCCEEDED", service_name="chat")
    assert not sky.ask(cluster("next", **L4), request="launch", workspace="research")["passed"]
    assert sky.ask(cluster("next", **L4), request="launch")["passed"]
