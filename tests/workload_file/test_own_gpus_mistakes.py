"""`candidates.own`: what is wrong with a list of GPUs that one has."""

from __future__ import annotations

from collections.abc import Callable

import pytest

MistakesIn = Callable[..., list[str]]
OWN = "{infra: k8s/prod, accelerator: H100, per_node: 8, nodes: 4, usd_per_gpu_hour: 0.3}"
KNOWN = {"known_accelerators": ["L4", "H100"], "known_clouds": ["aws", "gcp"]}


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("nodes: 4", "nodes: 0", "own[0].nodes: must be at least 1, found the number 0"),
        ("nodes: 4, ", "", "own[0].nodes: is missing"),
        ("per_node: 8", "per_node: 0", "own[0].per_node: must be at least 1, found the number 0"),
        ("per_node: 8", "per_node: 65", "own[0].per_node: must be at most 64"),
        ("0.3}", "-1}", "own[0].usd_per_gpu_hour: must be at least 0, found the number -1"),
        ("0.3}", ".nan}", "own[0].usd_per_gpu_hour: must be a finite number"),
        ("0.3}", "0.3, memory_gib: 0}", "own[0].memory_gib: must be greater than 0"),
        ("usd_per_gpu_hour", "usd_per_hour", "own[0].usd_per_hour: unknown key; did you mean 'usd_per_gpu_hour'?"),
        ("H100", "H1000", "own[0].accelerator: unknown accelerator 'H1000'; did you mean 'H100'?"),
        ("H100", "[H100]", "own[0].accelerator: want text such as `H100`, found a list"),
        ("k8s/prod", "aws/us-east-1", "own[0].infra: must begin with k8s/ or ssh/"),
        ("k8s/prod", "k8s/a//b", "own[0].infra: must have no empty part"),
        ("k8s/prod", "k8s/ssh-lab", "write ssh/lab"),
        ("k8s/prod", '"k8s/a\\tb"', "own[0].infra: must be"),
        ("k8s/prod", "'k8s/*'", "own[0].infra: must name one place"),
        (OWN, "5", "own[0]: want a mapping such as `{infra: k8s/prod-cluster"),
        (f"[{OWN}]", "5", "own: want a list such as `[{infra: k8s/prod-cluster"),
        (
            OWN,
            f"{OWN}, {OWN.replace('k8s', 'kubernetes')}",
            "own[1].infra: kubernetes/prod with H100 is candidates.own[0]",
        ),
        (
            "own:",
            "accelerators: [L4], own:",
            "own[0].accelerator: 'H100' is not in candidates.accelerators: add it there",
        ),
        (f"own: [{OWN}]", "clouds: none", "candidates.clouds: leaves nothing to plan with"),
        ("own:", "clouds: [kubernetes], own:", "unknown cloud 'kubernetes': GPUs that you have are stated under"),
        ("own:", "clouds: [all, aws], own:", "unknown cloud 'all'"),
        ("own:", "clouds: none, regions: {aws: [x]}, own:", "the cloud 'aws' is not in candidates.clouds"),
    ],
)
def test_each_mistake_is_told(mistakes_in: MistakesIn, good: str, old: str, new: str, expected: str) -> None:
    text = f"candidates: {{own: [{OWN}]}}"
    assert old in text
    found = mistakes_in(good + text.replace(old, new) + "\n", **KNOWN)
    assert any(expected in each for each in found), found


@pytest.mark.parametrize("key", ["own", "clouds: none, own", "clouds: all, regions: {aws: [us-east-1]}, own"])
def test_a_good_list_is_read(mistakes_in: MistakesIn, good: str, key: str) -> None:
    with pytest.raises(pytest.fail.Exception, match="DID NOT RAISE"):
        mistakes_in(good + f"candidates: {{{key}: [{OWN}]}}\n", **KNOWN)


def test_all_at_once(mistakes_in: MistakesIn, good: str) -> None:
    bad = "{infra: x, accelerator: T5, per_node: 0, nodes: 0, usd_per_gpu_hour: -1}"
    found = mistakes_in(good + f"candidates: {{own: [{bad}]}}\n", **KNOWN)
    assert len(found) == 5
