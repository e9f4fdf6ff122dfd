"""Summaries of NVIDIA's GenAI-Perf (`…_genai_perf.json`), one run a file.

The layout is that of genai-perf 0.0.16, genai_perf/export_data/json_exporter.py
(github.com/triton-inference-server/perf_analyzer): AIPerf's metrics without its versions; the load in
`input_config.perf_analyzer.stimulus`, in older versions in `input_config.concurrency`. It counts no failures.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from sky_melange.domain.profile import ProfileKind
from sky_melange.profiles.importers.aiperf import metrics_run, positive, rest, several_servers, summary
from sky_melange.profiles.importers.reading import nested
from sky_melange.profiles.importers.request import Imported, ImportRequest
from sky_melange.profiles.importers.runs import Findings, import_runs


def import_genai_perf(request: ImportRequest) -> Imported:
    """Means over the run. Raises InputError with file and field."""
    findings = Findings()
    for path in request.paths:
        content = summary(path, findings.mistakes, tool="GenAI-Perf")
        if content is None:
            continue
        if "aiperf_version" in content:
            findings.mistakes.add(str(path), "is AIPerf's: import it as `aiperf`", key="aiperf_version")
            continue
        config = nested(content, "input_config")
        run = metrics_run(content, str(path), _concurrency(config), findings.mistakes)
        if run is not None:
            findings.runs.append(replace(run, unusable=several_servers(config)))
        for name in ("model_names", "model"):
            models = config.get(name)
            for model in models if isinstance(models, list) else []:
                findings.says("model", model if isinstance(model, str) else None)
        findings.others.append(rest(content))
    return import_runs(request, findings, source="GenAI-Perf", kind=ProfileKind.MEASURED)


def _concurrency(config: Mapping[str, Any]) -> float | None:
    """The concurrency that was held; None where a request rate was."""
    stimulus = nested(config, "perf_analyzer", "stimulus")
    return positive(stimulus.get("concurrency")) or positive(config.get("concurrency"))
