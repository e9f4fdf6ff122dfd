"""How many popular models plan straight away: an id, a preset, one target, and nothing else said.

    python -m benchmarks.coverage [--preset NAME] [--only WORD] [--validate]

Prints the table of docs/profiles.md, one row a model, and how many of the 60 plan, and how many of those on measured or
fitted profiles alone. With `--validate` the launch files of each plan also go through `sky-melange validate`.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final

import yaml

from sky_melange import pipeline
from sky_melange.cli.plan_folder import write_plan_folder
from sky_melange.errors import SkyMelangeError
from sky_melange.pipeline import Planned
from sky_melange.render import render_files

CHOSEN: Final = "2026-11-28"
"""Chosen by hand on that day: of the makers in vLLM's list of supported models, the checkpoints of 2024 to 2026 that
InferenceX, MLPerf Inference and aiconfigurator measure, and the best known of the others. No list of downloads was at
hand. Those that do not plan are left in it."""

MODELS: Final = (
    "meta-llama/Llama-3.1-8B-Instruct",
    "meta-llama/Llama-3.1-70B-Instruct",
    "meta-llama/Llama-3.1-405B-Instruct",
    "meta-llama/Llama-3.2-1B-Instruct",
    "meta-llama/Llama-3.2-3B-Instruct",
    "meta-llama/Llama-3.2-11B-Vision-Instruct",
    "meta-llama/Llama-3.3-70B-Instruct",
    "meta-llama/Llama-4-Scout-17B-16E-Instruct",
    "meta-llama/Llama-4-Maverick-17B-128E-Instruct-FP8",
    "Qwen/Qwen2.5-7B-Instruct",
    "Qwen/Qwen2.5-32B-Instruct",
    "Qwen/Qwen2.5-72B-Instruct",
    "Qwen/Qwen2.5-Coder-32B-Instruct",
    "Qwen/Qwen2.5-VL-7B-Instruct",
    "Qwen/Qwen3-8B",
    "Qwen/Qwen3-32B",
    "Qwen/Qwen3-30B-A3B-Instruct-2507",
    "Qwen/Qwen3-235B-A22B-Instruct-2507-FP8",
    "Qwen/Qwen3-Coder-30B-A3B-Instruct",
    "Qwen/Qwen3-Coder-480B-A35B-Instruct-FP8",
    "Qwen/Qwen3-Next-80B-A3B-Instruct",
    "Qwen/Qwen3-VL-8B-Instruct",
    "Qwen/Qwen3.5-27B",
    "Qwen/Qwen3.5-35B-A3B",
    "Qwen/Qwen3.5-397B-A17B-FP8",
    "deepseek-ai/DeepSeek-V3-0324",
    "deepseek-ai/DeepSeek-V3.1",
    "deepseek-ai/DeepSeek-V3.2",
    "deepseek-ai/DeepSeek-V4-Flash",
    "deepseek-ai/DeepSeek-R1",
    "deepseek-ai/DeepSeek-R1-Distill-Qwen-32B",
    "deepseek-ai/DeepSeek-R1-Distill-Llama-70B",
    "google/gemma-2-9b-it",
    "google/gemma-3-12b-it",
    "google/gemma-3-27b-it",
    "google/gemma-3n-E4B-it",
    "google/gemma-4-26B-A4B-it",
    "google/gemma-4-31B-it",
    "mistralai/Mistral-7B-Instruct-v0.3",
    "mistralai/Mistral-Nemo-Instruct-2407",
    "mistralai/Mistral-Small-24B-Instruct-2501",
    "mistralai/Mistral-Small-3.2-24B-Instruct-2506",
    "mistralai/Devstral-Small-2507",
    "mistralai/Ministral-3-8B-Instruct-2512",
    "mistralai/Mixtral-8x7B-Instruct-v0.1",
    "openai/gpt-oss-20b",
    "openai/gpt-oss-120b",
    "microsoft/phi-4",
    "microsoft/Phi-4-mini-instruct",
    "nvidia/NVIDIA-Nemotron-3-Nano-30B-A3B-BF16",
    "nvidia/Llama-3_3-Nemotron-Super-49B-v1_5",
    "moonshotai/Kimi-K2-Instruct-0905",
    "moonshotai/Kimi-K2.5",
    "zai-org/GLM-4.5-Air",
    "zai-org/GLM-4.6-FP8",
    "zai-org/GLM-5-FP8",
    "MiniMaxAI/MiniMax-M2.5",
    "ibm-granite/granite-4.0-h-small",
    "allenai/Olmo-3-32B-Think",
    "CohereLabs/c4ai-command-a-03-2025",
)


def main() -> int:
    """Plans each, prints; 1 when fewer than 55 of the 60 plan."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--preset", default="azure-conversation-2023")
    parser.add_argument("--only", default="", help="models whose id has this word")
    parser.add_argument("--validate", action="store_true")
    options = parser.parse_args()
    chosen = [model for model in MODELS if options.only in model]
    print("| model | weights | plan | USD/h | throughput |\n| --- | --- | --- | ---: | --- |")
    count = known = 0
    for model in chosen:
        with tempfile.TemporaryDirectory() as home:
            cells = _row(model, options.preset, Path(home), is_validated=options.validate)
        count += len(cells) == 4
        known += len(cells) == 4 and "estimated" not in cells[3]
        print("| " + " | ".join([model, *cells, *[""] * (4 - len(cells))]) + " |", flush=True)
    print(f"\n{count} of {len(chosen)} plan; {known} of them on measured or fitted profiles alone.")
    return 0 if count >= 55 or options.only else 1


def _row(model: str, preset: str, folder: Path, *, is_validated: bool) -> list[str]:
    """Precision, machines, USD per hour and kind of profile of a plan, or the reason why there is none."""
    path = folder / "workload.yaml"
    workload = {
        "version": 1,
        "name": "any",
        "model": {"id": model},
        "slo": {"tpot_ms": 100},
        "traffic": {"request_rate": 1, "preset": preset},
    }
    path.write_text(yaml.safe_dump(workload))
    try:
        planned = pipeline.plan_file(path, folder=folder / "plan")
    except SkyMelangeError as error:
        said = str(error).splitlines()[0].replace(f"{path}: ", "").partition(": the sizes of")[0]
        return ["", f"exit {error.exit_code}: {said[:160]}"]
    cells = _planned(planned)
    if is_validated:
        write_plan_folder(folder / "plan", planned.plan.name, render_files(planned.plan, planned.workload))
        command = [sys.executable, "-m", "sky_melange", "validate", str(folder / "plan")]
        found = subprocess.run(command, capture_output=True, text=True, check=False)
        if found.returncode:
            return ["", f"validate fails: {found.stderr.strip().splitlines()[-1][:160]}"]
    return cells


def _planned(planned: Planned) -> list[str]:
    groups = planned.plan.groups
    machines = " + ".join(
        f"{group.instances} × {group.accelerators_per_instance} {group.accelerator}, TP {group.tensor_parallel}"
        for group in groups
    )
    kinds = " and ".join(sorted({group.profile.kind.value for group in groups}))
    return [planned.workload.model.dtype, machines, f"{planned.plan.cost.total_usd_per_hour:.2f}", kinds]


if __name__ == "__main__":
    sys.exit(main())
