"""SkyPilot's own API server in local mode: a temporary home, no credentials, no network, clouds enabled by pretence.

    with api_server(home, plugins=[...], config={...}, catalogs=catalogs_of(["L4", "A100"])) as server:
        server.get("/api/health"); server.run("-c", "import sky; ...")

What a test gives here is what a user writes: plugins.yaml, config.yaml, environment variables.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import requests
import yaml
from kept_between_runs import with_compiled_simulator

COMMAND_TIMEOUT_S = 300.0
START_TIMEOUT_S = 240.0
_HERE = Path(__file__).resolve().parent
_DEAD_END = "http://127.0.0.1:9"
_FAKE_CLOUDS = "fake_clouds.FakeClouds"


def _free_port() -> int:
    """A port whose companion is free too: SkyPilot's queue of requests listens on one that follows from it."""
    while True:
        with socket.socket() as probe, socket.socket() as companion:
            probe.bind(("127.0.0.1", 0))
            port: int = probe.getsockname()[1]
            with contextlib.suppress(OSError):
                companion.bind(("127.0.0.1", 50000 + (11 + port - 46580) % 10000))
                return port


@dataclass(slots=True, kw_only=True)
class ApiServer:
    """One server and its clients. `clouds` count as enabled; None leaves SkyPilot's own check, which finds none.

    `plugins` and `config` are the contents of `.sky/plugins.yaml`'s list and of `.sky/config.yaml`, `environment` is
    added to that of the server and the clients, `catalogs` is CSV text by path below catalogs/v8/.
    """

    home: Path
    plugins: Sequence[Mapping[str, Any]] = ()
    config: Mapping[str, Any] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)
    clouds: Sequence[str] | None = ("aws", "gcp", "lambda")
    catalogs: Mapping[str, str] = field(default_factory=dict)
    port: int = field(default_factory=_free_port)
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def log(self) -> str:
        """What the server printed so far."""
        path = self.home / "server.log"
        return path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""

    def write_settings(self) -> None:
        """The files of `.sky/`, anew."""
        with_compiled_simulator(self.home / "melange-cache")
        sky = self.home / ".sky"
        sky.mkdir(parents=True, exist_ok=True)
        fake = [] if self.clouds is None else [{"class": _FAKE_CLOUDS, "parameters": {"clouds": list(self.clouds)}}]
        plugins = [*fake, *(dict(plugin) for plugin in self.plugins)]
        if plugins:
            (sky / "plugins.yaml").write_text(yaml.safe_dump({"plugins": plugins}), encoding="utf-8")
        if self.config:
            (sky / "config.yaml").write_text(yaml.safe_dump(dict(self.config)), encoding="utf-8")
        for path, text in self.catalogs.items():
            target = sky / "catalogs" / "v8" / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(text, encoding="utf-8")

    def start(self) -> None:
        """Returns when the server answers; AssertionError with its log when it ends or does not in time."""
        self.write_settings()
        command = [sys.executable, "-u", "-m", "sky.server.server", "--host=127.0.0.1", f"--port={self.port}"]
        with (self.home / "server.log").open("ab") as log:
            self.process = subprocess.Popen(
                command,
                env={**self.variables(), "IS_SKYPILOT_SERVER": "true"},
                cwd=self.home,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        deadline = time.monotonic() + START_TIMEOUT_S
        while not self.is_healthy():
            if self.process.poll() is not None or time.monotonic() > deadline:
                self.stop()
                raise AssertionError(f"the API server did not come up:\n{self.log[-6000:]}")
            time.sleep(0.2)

    def stop(self) -> None:
        """End the server and its children, by their ids, whoever started it."""
        roots = {pid for pid in _listeners(self.port) if pid is not None}
        if self.process is not None:
            roots.add(self.process.pid)
        family: list[psutil.Process] = []
        for pid in roots:
            with contextlib.suppress(psutil.NoSuchProcess):
                root = psutil.Process(pid)
                family += [*root.children(recursive=True), root]
        for process in family:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.send_signal(signal.SIGKILL)
        psutil.wait_procs(family, timeout=30)
        if self.process is not None:
            self.process.wait(timeout=30)
            self.process = None

    def wait_until_idle(self) -> None:
        """Returns when SkyPilot's own start is over: its processes take less than a tenth of a processor."""
        assert self.process is not None
        deadline = time.monotonic() + START_TIMEOUT_S
        before = _processor_s(self.process.pid)
        while True:
            time.sleep(1.0)
            now = _processor_s(self.process.pid)
            if now - before < 0.1:
                return
            assert time.monotonic() < deadline, "the API server does not come to rest"
            before = now

    def restart(self) -> None:
        """The same home and port."""
        self.stop()
        self.start()

    def is_healthy(self) -> bool:
        try:
            return self.get("/api/health", timeout=5.0).status_code == 200
        except requests.RequestException:
            return False

    def request(
        self, method: str, path: str, *, user: str | None = None, timeout: float = 120.0, **options: Any
    ) -> requests.Response:
        """One HTTP request. `user` is the name that an authenticating proxy in front of the server would state."""
        headers = {**options.pop("headers", {}), **({} if user is None else {"X-Auth-Request-Email": user})}
        with requests.Session() as session:
            session.trust_env = False
            return session.request(method, f"{self.url}{path}", headers=headers, timeout=timeout, **options)

    def get(self, path: str, **options: Any) -> requests.Response:
        return self.request("GET", path, **options)

    def post(self, path: str, **options: Any) -> requests.Response:
        return self.request("POST", path, **options)

    def delete(self, path: str, **options: Any) -> requests.Response:
        return self.request("DELETE", path, **options)

    def melange(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """The command line, as this server's user."""
        return self.run("-m", "sky_melange", *arguments)

    def run(self, *arguments: str, environment: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
        """Python with these arguments, in this home; SkyPilot's SDK in it talks to this server."""
        return subprocess.run(
            [sys.executable, *arguments],
            env={**self.variables(), **(environment or {})},
            cwd=self.home,
            capture_output=True,
            text=True,
            timeout=COMMAND_TIMEOUT_S,
            check=False,
        )

    def variables(self) -> dict[str, str]:
        """The environment of the server and of its clients: nothing of the user's, and proxies that lead nowhere."""
        names = ("PATH", "LANG", "TMPDIR", "LD_LIBRARY_PATH", "PYTHONPYCACHEPREFIX")
        kept = {name: os.environ[name] for name in names if name in os.environ}
        paths = [str(_HERE), *(str(Path(entry).resolve()) for entry in sys.path)]
        proxies = dict.fromkeys(("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"), _DEAD_END)
        return {
            **kept,
            **proxies,
            "NO_PROXY": "127.0.0.1,localhost",
            "no_proxy": "127.0.0.1,localhost",
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{kept.get('PATH', '')}",
            "PYTHONPATH": os.pathsep.join(paths),
            "HOME": str(self.home),
            "SKY_RUNTIME_DIR": str(self.home),
            "SKYPILOT_API_SERVER_LOCAL_PORT": str(self.port),
            "SKYPILOT_DISABLE_USAGE_COLLECTION": "1",
            "AWS_EC2_METADATA_DISABLED": "true",
            "SKY_MELANGE_CATALOG_URL": _DEAD_END,
            "SKY_MELANGE_CACHE_DIR": str(self.home / "melange-cache"),
            "HF_TOKEN": "hf_x",
            "VLLM_API_KEY": "key-x",
            **self.environment,
        }


def _processor_s(pid: int) -> float:
    """Processor seconds of a process and its descendants so far."""
    total = 0.0
    for process in [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]:
        with contextlib.suppress(psutil.NoSuchProcess):
            total += sum(process.cpu_times()[:2])
    return total


@contextlib.contextmanager
def api_server(home: Path, **settings: Any) -> Iterator[ApiServer]:
    """A server that answers, ended at the end. `settings` are the fields of ApiServer."""
    server = ApiServer(home=home, **settings)
    try:
        server.start()
        yield server
    finally:
        server.stop()


def catalogs_of(accelerators: Sequence[str], clouds: Sequence[str] = ("aws", "gcp", "lambda")) -> dict[str, str]:
    """SkyPilot's catalogs with the shipped snapshot's machines for these accelerators (and those without any)."""
    from sky_melange.prices import load_snapshot
    from sky_melange.skypilot.seed_catalogs import seed_catalogs

    offers = [
        offer
        for offer in load_snapshot().offers
        if offer.cloud in clouds and (not offer.accelerator or offer.accelerator in accelerators)
    ]
    seeded = seed_catalogs([offer for offer in offers if offer.accelerator], offers)
    return {path: _without_decoys(text) for path, text in seeded.items()}


def _without_decoys(csv: str) -> str:
    """What validation puts around each machine has made-up prices."""
    return "".join(line for line in csv.splitlines(keepends=True) if "decoy" not in line.lower())


def _listeners(port: int) -> set[int | None]:
    connections = psutil.net_connections("tcp")
    return {entry.pid for entry in connections if entry.laddr and entry.laddr.port == port and entry.status == "LISTEN"}
