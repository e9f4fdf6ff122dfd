"""`sky-melange mcp`, driven by the official SDK's client over stdin and stdout."""

from __future__ import annotations

import asyncio
import importlib.util
import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from sky_melange import api
from sky_melange.cli import cli, mcp

if os.environ.get("SKY_MELANGE_REQUIRE_MCP"):
    assert importlib.util.find_spec("mcp") is not None

needs_sdk = pytest.mark.skipif(importlib.util.find_spec("mcp") is None, reason="needs the extra `mcp`")
WORKLOAD = Path(__file__).resolve().parents[2] / "examples" / "means" / "workload.yaml"


def asked(calls: Mapping[str, Mapping[str, Any]]) -> tuple[set[str], dict[str, tuple[bool, str]]]:
    """Names of the tools, and by call whether it is an error and its text, of the program itself."""
    from mcp import Client, StdioServerParameters

    async def talk() -> tuple[set[str], dict[str, tuple[bool, str]]]:
        program = "from sky_melange.cli import main; main()"
        parameters = StdioServerParameters(
            command=sys.executable, args=["-c", program, "mcp", "--offline"], env=dict(os.environ)
        )
        async with Client(parameters) as client:
            names = {tool.name for tool in (await client.list_tools()).tools}
            answers = {}
            for key, arguments in calls.items():
                result = await client.call_tool(key.partition(" ")[0], dict(arguments))
                answers[key] = (bool(result.is_error), "".join(part.text for part in result.content))  # type: ignore[union-attr]
            return names, answers

    return asyncio.run(talk())


@needs_sdk
def test_tools_answer_as_the_command_line_does(tmp_path: Path) -> None:
    folder = tmp_path / "plan"
    planned = CliRunner(mix_stderr=False).invoke(cli, ["plan", str(WORKLOAD), "--offline", "--out", str(folder)])
    assert planned.exit_code == 0, planned.stderr
    text = WORKLOAD.read_text(encoding="utf-8")
    names, answers = asked(
        {
            "plan": {"workload": text},
            "plan broken": {"workload": "version: 1\nnam: chat\n"},
            "explain": {"workload": text},
            "check": {"plan": str(folder), "max_usd_per_hour": 0.01},
            "check missing": {"plan": str(tmp_path / "nowhere")},
            "prices": {"accelerator": "H100", "spot": False},
            "prices unknown": {"accelerator": "H1000"},
            "schema": {},
        }
    )
    assert names == {"plan", "explain", "check", "prices", "schema"}
    assert {key for key, (is_error, _) in answers.items() if is_error} == {
        "plan broken",
        "check missing",
        "prices unknown",
    }
    said = {key: text for key, (_, text) in answers.items()}
    total = json.loads((folder / "plan.json").read_text(encoding="utf-8"))["cost"]["total_usd_per_hour"]
    document = json.loads(said["plan"].partition("```json\n")[2].removesuffix("```\n"))
    assert document["cost"]["total_usd_per_hour"] == total
    assert f"USD {total:.2f} per hour" in said["plan"]
    assert "did you mean" in said["plan broken"]
    assert json.loads(said["explain"])["total_usd_per_hour"] == total
    assert json.loads(said["check"])["verdict"] == "fail"
    assert "nowhere" in said["check missing"]
    cheapest = api.prices(accelerator="H100", spot=False, offline=True).offers[0]
    assert json.loads(said["prices"])["offers"][0]["usd_per_hour"] == cheapest.price_usd_per_hour
    assert "H1000" in said["prices unknown"]
    assert "properties" in json.loads(said["schema"])


def test_without_the_sdk_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mcp.importlib.util, "find_spec", lambda name: None)
    result = CliRunner(mix_stderr=False).invoke(cli, ["mcp"])
    assert (result.exit_code, result.stdout) == (5, "")
    assert "extra `mcp`" in result.stderr
