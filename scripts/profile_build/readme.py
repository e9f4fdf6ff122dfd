"""The README beside the profiles."""

from __future__ import annotations

from profile_build.document import Built
from profile_build.measured import ErrorSummary
from profile_build.serving_setup import TOOL, TOOL_VERSION

HEAD = """\
# Profiles

What one replica (one vLLM engine on `tensor_parallel` GPUs) sustains: one JSON file per model x precision x
accelerator x tensor-parallel size, `<model>/<accelerator>-tp<K>-<dtype>-vllm.json`. They are **estimates** by
[{tool}](https://github.com/ai-dynamo/aiconfigurator) {version} from its database of measured GPU kernels
(`SILICON` mode, vLLM backend, aggregated serving), not measurements of a running server. How far such
estimates are from measured servers is in the table below and in `provenance.error` of each file.

## Contents of a file

| key | meaning |
| --- | --- |
| `accelerator`, `tensor_parallel`, `dtype` | SkyPilot's name; GPUs of one replica; precision |
| `engine_version` | the vLLM version that the kernels were measured with |
| `engine_args` | the serving setup that the numbers describe; launch with the same |
| `kv_cache_tokens` | tokens of KV cache that the replica holds, over all its GPUs |
| `points.rows` | one row per operating point, see below |
| `provenance` | tool, database, date, error, licence, and notes on what is not measured or was changed |

| column | unit |
| --- | --- |
| `input_tokens`, `output_tokens` | tokens of each request |
| `concurrency` | requests in the replica at any time |
| `request_rate_rps` | requests/s of the replica: `concurrency / (ttft_s + tpot_s * (output_tokens - 1))` |
| `ttft_s` | seconds from a request's arrival to its first token, waiting for prefill included |
| `tpot_s` | seconds per output token after the first |

A point that does not fit in memory is absent, never zero. `skipped.csv` lists the combinations without a
file and why.

## How they are built

```
python3.11 -m venv PATH/venv
PATH/venv/bin/pip install -r scripts/requirements-profiles.txt
PATH/venv/bin/python scripts/build_profiles.py --date {date} {measured}
```

It takes half a minute on two cores, needs no network and no GPU, and gives the same bytes every time.
`--measured` (repeatable, optional) names tables of measured runs to compare with; without it the errors are
null.

- Serving setup: chunked prefill with at most 8192 tokens per step, decodes included; 0.9 of GPU memory, of
  which the tool keeps 2 % free; bfloat16 KV cache; prefix caching and speculative decoding off.
- `fp8` is 8-bit weights and activations (vLLM `--quantization fp8`), not block-scaled checkpoints.
- A step that prefills carries as many prompt tokens as arrive per step in a steady state, in equal chunks.
- TTFT and TPOT never fall as concurrency rises: a value above that of a higher concurrency is lowered to it.
  Such spikes are outliers in kernel tables; against measured runs this was closer than the tool's own value,
  and raising the later values instead was much worse (B200 fp8: 22 % instead of 11 % TPOT error).
- Where prefill alone limits the rate the tool's TTFT leaves out the wait for it; TTFT is then what Little's
  law leaves at the tool's own request rate.

## Known limits

- Requests of one size in a steady state. No bursts, no queue outside the replica, no mix of sizes.
- TTFT is the weakest figure, often 30 to 70 % off: it depends on how the load generator spaces requests. TPOT
  and request rate are usually within 5 to 25 %.
- The tool's TTFT contains a fixed 0.8 ms per layer for the engine's dispatch, on every accelerator.
- From 2 requests on the tool counts a request's own prefill in TTFT and in TPOT, so the rate of long inputs
  with very short outputs is understated by up to a quarter, and may fall from concurrency 1 to 2.
- Elementwise operations and embeddings have no measured tables: the tool computes them from bandwidth, and
  context attention in part. Each file names their largest share of a step's time.
- No run on L40S or A100-80GB was at hand: the errors given there are those of other accelerators.
- L40S at 4 and 8 GPUs: the measured all-reduce is very slow (PCIe) and may be better on other hosts.
- L4 has no vLLM data in the tool. A100-80GB data is of vLLM 0.14.0, the rest of 0.24.0.
- SXM boards stand for every board of that name; PCIe and NVL variants are slower.

## Errors

Median absolute relative error of the estimate at the measured runs' own sizes and concurrency. Runs: newest
per configuration, one engine, no data parallelism, same precision (an empty precision is the checkpoint's
bfloat16). {left_out}

| profile | KV cache tokens | points | TPOT | TTFT | rate | runs | compared with |
| --- | ---: | ---: | ---: | ---: | ---: | ---: | --- |
"""
TAIL = """
## Licence and attribution

{tool} and its database: Copyright NVIDIA CORPORATION & AFFILIATES, Apache-2.0. These files are derived
from them and are under Apache-2.0 as well. The measured runs used for the errors are published with {tool}
(Apache-2.0); they include data of SemiAnalysis InferenceX (https://github.com/SemiAnalysisAI/InferenceX), which
asks for this attribution. None of the runs is copied here.
"""


def readme_text(entries: list[tuple[Built, ErrorSummary]], date: str, left_out: int | None) -> str:
    """The README for the profiles of one build.

    ``left_out`` counts measured runs that exceed the estimated KV cache, None if none were given.
    """
    if left_out is None:
        sentence, measured = "This build was given no measured runs.", ""
    else:
        sentence = f"{left_out} runs whose requests exceed the estimated KV cache are left out."
        measured = "--measured PATH/measured-serving-runs.csv.gz --measured PATH/inferencex-silicon-refs.csv"
    head = HEAD.format(tool=TOOL, version=TOOL_VERSION, date=date, measured=measured, left_out=sentence).replace(
        " \n", "\n"
    )
    rows = "\n".join(_row(built, error) for built, error in entries)
    return f"{head}{rows}\n{TAIL.format(tool=TOOL)}"


def _row(built: Built, error: ErrorSummary) -> str:
    """One line of the table of errors."""
    figures = (error.tpot_fraction, error.ttft_fraction, error.request_rate_fraction)
    cells = [
        f"`{built.layout.path}`",
        f"{built.kv_cache_tokens:,}",
        str(len(built.grid.points)),
        *("-" if figure is None else f"{figure:.1%}" for figure in figures),
        str(error.runs),
        error.basis,
    ]
    return f"| {' | '.join(cells)} |"
