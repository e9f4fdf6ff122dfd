"""What the plugin's routes answer for a plan, made from its plan.json."""

from __future__ import annotations

from typing import Any


def stored_plan(plan: dict[str, Any], shown: dict[str, Any]) -> dict[str, Any]:
    """What GET plans/{id} answers. The figures of the heat map are made up; they hold every kind of cell."""
    grid = plan["workload"]["traffic"]["grid"]
    inputs, outputs = grid["input_edges"], grid["output_edges"]
    groups = []
    for number, group in enumerate(plan["groups"]):
        figures = [
            [round(4e6 / (i + 8 * o) * (1 + number * 0.4 * (o < 200) - number * 0.3 * (o > 200)), 2) for o in outputs]
            for i in inputs
        ]
        figures[-1][-1] = None
        figures[-1][0] = 0.0 if number else None
        groups.append({"group": group["name"], "accelerator": group["accelerator"], "requests_per_usd": figures})
    return {
        "id": "p1",
        "name": "chat in production",
        "owner": "ada",
        "created_at": "2026-06-01T10:00:00Z",
        "updated_at": "2026-06-02T10:00:00Z",
        "plan": plan,
        "figures": shown,
        "requests_per_usd": {"input_edges": inputs, "output_edges": outputs, "groups": groups},
    }


def listed(stored: dict[str, Any]) -> dict[str, Any]:
    """Its line in GET plans."""
    plan = stored["plan"]
    kept = {key: stored[key] for key in ("id", "name", "owner", "created_at", "updated_at")}
    return {
        **kept,
        "model": plan["model"]["id"],
        "usd_per_hour": plan["cost"]["total_usd_per_hour"],
        "usd_per_month": plan["unit_costs"]["usd_per_month"],
        "worst_case_usd_per_hour": plan["cost"]["worst_case_usd_per_hour"],
        "priced_at": "2026-05-07",
        "groups": len(plan["groups"]),
        "replicas": sum(group["instances"] * group["replicas_per_instance"] for group in plan["groups"]),
    }
