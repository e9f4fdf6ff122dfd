"""`profiles measure --emit-sky`: one SkyPilot job per candidate GPU that starts vLLM and measures it, and a script.

The same jobs give the same bytes. The profile comes back with rsync, over the SSH host that SkyPilot makes.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from sky_melange.domain.engine import ENGINES, PORT
from sky_melange.domain.plan import LEAST_DISK_GB
from sky_melange.render.engine_command import DTYPE_FLAGS, dtype_flags
from sky_melange.render.templates import template_environment

SCRIPT: Final = "measure.sh"
DTYPES: Final = tuple(DTYPE_FLAGS)
IDLE_MINUTES: Final = 60
"""Until SkyPilot takes a finished machine down by itself: time to fetch, and a bound on what forgetting costs."""

_NOT_IN_NAME: Final = re.compile(r"[^a-z0-9]+")
_LONGEST_NAME: Final = 40


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasureJob:
    """One candidate: `count` GPUs with tensor parallelism over all of them.

    `package` is what pip is asked for; `wheel` the name of a wheel beside the files instead. `max_model_len` and
    `max_num_seqs` let the engine take every shape and concurrency of the grid. `measure_options` (name, value) go
    to `sky-melange profiles measure` as they are. `infra` None: wherever it is cheapest.
    """

    model: str
    accelerator: str
    count: int
    dtype: str
    max_model_len: int
    max_num_seqs: int
    package: str
    measure_options: tuple[tuple[str, str], ...]
    engine_args: Mapping[str, str] = field(default_factory=dict)
    secrets: tuple[str, ...] = ()
    infra: str | None = None
    wheel: str | None = None
    is_quantized: bool = False
    """Whether the checkpoint is, and says how."""
    disk_gb: int = LEAST_DISK_GB

    @property
    def cluster(self) -> str:
        """A name that SkyPilot and the clouds accept: letters, digits and hyphens."""
        model = _slug(self.model.rsplit("/", 1)[-1])[:_LONGEST_NAME].strip("-")
        return f"measure-{model}-{_slug(self.accelerator)}-{self.count}"

    @property
    def file(self) -> str:
        """The job's file."""
        return f"{self.cluster}.yaml"

    @property
    def log_file(self) -> str:
        """The engine's log, fetched with the profile."""
        return f"{self.cluster}.vllm.log"

    @property
    def profile_file(self) -> str:
        """The profile."""
        return f"{_slug(self.accelerator)}-tp{self.count}-{self.dtype}-vllm.json"


def render(jobs: Sequence[MeasureJob]) -> dict[str, str]:
    """File name -> text: a YAML per job, and the script that runs them all."""
    files = {job.file: _render_job(job) for job in jobs}
    secret_options = _secret_options(jobs[0].secrets) if jobs else ""
    files[SCRIPT] = (
        template_environment(is_launch_file=True)
        .get_template("measure.sh.j2")
        .render(jobs=jobs, secret_options=secret_options)
    )
    return files


def _render_job(job: MeasureJob) -> str:
    template = template_environment(is_launch_file=True).get_template("measure.yaml.j2")
    package = f'"$HOME"/sky-melange-wheel/{shlex.quote(job.wheel)}' if job.wheel else shlex.quote(job.package)
    text: str = template.render(
        job=job,
        script=SCRIPT,
        launch_command=f"sky launch -c {job.cluster} {job.file}{_secret_options(job.secrets)}",
        package=package,
        disk_size_gb=job.disk_gb,
        idle_minutes=IDLE_MINUTES,
        engine=ENGINES["vllm"],
        port=PORT,
        serve_arguments=_serve_arguments(job),
        measure_arguments=_measure_arguments(job),
    )
    return text.rstrip("\n") + "\n"


def _serve_arguments(job: MeasureJob) -> list[str]:
    """Loopback only: nobody else may load the server while it is measured. Prefix caching has nothing to find."""
    flags = [
        "--host 127.0.0.1",
        f"--port {PORT}",
        *dtype_flags(job.dtype, is_quantized=job.is_quantized),
        f"--tensor-parallel-size {job.count}",
        f"--max-model-len {job.max_model_len}",
        f"--max-num-seqs {job.max_num_seqs}",
    ]
    return flags + [
        f"{shlex.quote(f'--{name}')} {shlex.quote(value)}" for name, value in sorted(job.engine_args.items())
    ]


def _measure_arguments(job: MeasureJob) -> list[str]:
    pairs = [
        ("--endpoint", f"http://127.0.0.1:{PORT}"),
        ("--model", job.model),
        ("--accelerator", job.accelerator),
        ("--tensor-parallel", str(job.count)),
        ("--dtype", job.dtype),
        ("--engine", "vllm"),
        *(("--engine-arg", f"{name}={value}") for name, value in sorted(job.engine_args.items())),
        *job.measure_options,
        ("--out", job.profile_file),
    ]
    return [f"{option} {shlex.quote(value)}" for option, value in pairs]


def _secret_options(secrets: Sequence[str]) -> str:
    return "".join(f" --secret {shlex.quote(name)}" for name in secrets)


def _slug(text: str) -> str:
    return _NOT_IN_NAME.sub("-", text.lower()).strip("-")
