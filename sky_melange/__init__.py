"""sky-melange: the cheapest mix of GPUs that serves a language model's traffic within its latency targets."""

from __future__ import annotations

__version__ = "0.1.0"
