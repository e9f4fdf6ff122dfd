"""nginx as replicas that answer any request at once, with a small JSON, and in other processes as a plain proxy."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

_CONFIG = """\
worker_processes {workers};
daemon off;
error_log {folder}/error.log;
pid {folder}/nginx.pid;
events {{ worker_connections 4096; }}
http {{
  access_log off;
  client_body_temp_path {folder}/body;
  proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi;
  scgi_temp_path {folder}/scgi;
  client_body_buffer_size 256k;
  keepalive_requests 1000000;
  {servers}
}}
"""
_SERVER = """\
server {{ listen 127.0.0.1:{port} backlog=4096 reuseport; default_type application/json;
    location / {{ return 200 '{{"object": "chat.completion", "replica": {number}}}'; }} }}
"""
_PROXY = """\
upstream first {{ server 127.0.0.1:{to}; keepalive 64; keepalive_requests 1000000; }}
server {{ listen 127.0.0.1:{port} backlog=4096 reuseport;
    location / {{ proxy_pass http://first; proxy_http_version 1.1; proxy_set_header Connection ""; }} }}
"""


def program() -> str | None:
    """Where nginx is, if it is."""
    return shutil.which("nginx", path="/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin")


def free_port() -> int:
    """A port of loopback that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def replicas(folder: Path, count: int) -> Iterator[list[int]]:
    """Runs nginx until the block ends; yields a port a replica."""
    ports = [free_port() for _ in range(count)]
    servers = "\n".join(_SERVER.format(port=port, number=number) for number, port in enumerate(ports))
    with _nginx(folder / "replicas", servers, ports):
        yield ports


@contextlib.contextmanager
def plain_proxy(folder: Path, to: int) -> Iterator[tuple[int, int]]:
    """Runs nginx as a proxy of a port until the block ends; yields its own port, and the process."""
    port = free_port()
    with _nginx(folder / "proxy", _PROXY.format(port=port, to=to), [port]) as process:
        yield port, process


@contextlib.contextmanager
def _nginx(folder: Path, servers: str, ports: list[int]) -> Iterator[int]:
    folder.mkdir()
    config = folder / "nginx.conf"
    text = _CONFIG.format(folder=folder, servers=servers, workers=len(os.sched_getaffinity(0)))
    config.write_text(text, encoding="utf-8")
    process = subprocess.Popen([program() or "nginx", "-p", str(folder), "-c", str(config)], stderr=subprocess.DEVNULL)
    try:
        for port in ports:
            wait_for(port)
        yield process.pid
    finally:
        process.terminate()
        process.wait(10)


def wait_for(port: int, timeout_s: float = 10.0) -> None:
    """Until something listens there."""
    deadline = time.monotonic() + timeout_s
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.02)
        else:
            return
