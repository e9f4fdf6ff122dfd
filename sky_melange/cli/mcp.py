"""`sky-melange mcp`: plan, check, prices and explain as tools for assistants, over stdin and stdout."""

from __future__ import annotations

import importlib.util
import json
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from sky_melange import __version__
from sky_melange.errors import MissingDataError, SkyMelangeError

if TYPE_CHECKING:
    from mcp.server import MCPServer

_ONE_AT_A_TIME: Final = threading.Lock()
_INSTRUCTIONS: Final = (
    "Finds the cheapest GPUs that serve a language model's traffic within its latency targets. A workload is the text "
    "of a workload.yaml (`schema` has its JSON Schema). Nothing is launched or written but a cache of prices."
)
_MOST_OFFERS: Final = 50


@click.command(name="mcp", epilog="Example: sky-melange mcp --offline")
@click.option("--offline", is_flag=True, help="Use no network, whatever a call asks for.")
def command(*, offline: bool) -> None:
    """Serve plan, check, prices and explain to assistants by the Model Context Protocol, over stdin and stdout.

    Needs the extra `mcp`. Files are read with the rights of whoever starts it.
    """
    if importlib.util.find_spec("mcp") is None:
        raise MissingDataError("this installation lacks the protocol: install sky-melange with its extra `mcp`")
    server(offline=offline).run("stdio")


def server(*, offline: bool) -> MCPServer[Any]:
    """The tools."""
    from mcp.server import MCPServer

    found: MCPServer[Any] = MCPServer("sky-melange", version=__version__, instructions=_INSTRUCTIONS, log_level="ERROR")

    @found.tool()
    def plan(workload: str, simulate: bool = True) -> str:
        """The cheapest plan for a workload.yaml, given as its text: the answer in Markdown, then plan.json.

        `simulate`: find the cheapest plan that holds slo.attainment in simulation; without it, by means alone.
        """
        from sky_melange import api
        from sky_melange.render import plan_table

        with _turn(), _file(workload) as path:
            result = api.plan(path, offline=offline, simulate=simulate)
        return f"{plan_table.render_markdown(result.plan, result.workload)}\n```json\n{result.json}```\n"

    @found.tool()
    def explain(workload: str) -> str:
        """Why the cheapest plan is what it is, as JSON: what binds, and the prices and rates at which it changes."""
        from sky_melange import api
        from sky_melange.render.plan_json import explanation_document

        with _turn(), _file(workload) as path:
            explanation = api.plan(path, offline=offline, explain=True).plan.explanation
        return "null" if explanation is None else _text(explanation_document(explanation))

    @found.tool()
    def check(plan: str, max_usd_per_hour: float | None = None, max_usd_per_month: float | None = None) -> str:
        """A committed plan (the path of its plan.json or folder) against today's prices and budgets, as JSON."""
        from sky_melange import api
        from sky_melange.render.check_report import render_json

        with _turn():
            report = api.check(
                plan, max_usd_per_hour=max_usd_per_hour, max_usd_per_month=max_usd_per_month, offline=offline
            )
        return render_json(report)

    @found.tool()
    def prices(accelerator: str, cloud: str | None = None, spot: bool | None = None) -> str:
        """What a GPU (such as H100 or A100-80GB) costs, the cheapest offers first, each with its date, as JSON."""
        from sky_melange import api

        with _turn():
            listed = api.prices(accelerator=accelerator, cloud=cloud, spot=spot, offline=offline)
        offers = [
            {
                "cloud": offer.cloud,
                "region": offer.region,
                "instance_type": offer.instance_type,
                "accelerators": offer.accelerators_per_instance,
                "spot": offer.use_spot,
                "usd_per_hour": offer.price_usd_per_hour,
                "dated": offer.provenance.data_date,
                "source": offer.provenance.source,
            }
            for offer in listed.offers[:_MOST_OFFERS]
        ]
        left_out = len(listed.offers) - len(offers)
        return _text({"offers": offers, "offers_left_out": left_out, "warnings": list(listed.warnings)})

    @found.tool()
    def schema() -> str:
        """The JSON Schema of workload.yaml: every key with what it means."""
        from sky_melange.workload_file import json_schema

        return _text(json_schema())

    return found


@contextmanager
def _turn() -> Iterator[None]:
    """One call at a time; an error of ours is the tool's answer, and not a crash of the server."""
    from mcp.server.mcpserver.exceptions import ToolError

    try:
        with _ONE_AT_A_TIME:
            yield
    except SkyMelangeError as error:
        raise ToolError(f"{error} (exit code {error.exit_code})") from None


@contextmanager
def _file(workload: str) -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "workload.yaml"
        path.write_text(workload, encoding="utf-8", newline="\n")
        yield path


def _text(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
