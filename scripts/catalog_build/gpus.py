"""gpus.csv: datasheet constants by canonical accelerator name.

FLOP/s are dense tensor rates with 32-bit accumulation; where a datasheet prints only the rate with sparsity, half of
it. None: the datasheet does not say, the GPU lacks the format, or the figure is not known for certain.
"""

from __future__ import annotations

import csv
from pathlib import Path

DATASHEET_SOURCE = "aiconfigurator systems/*.yaml at 095f58a51 (2026-08-21)"
GIB = 1024**3

SYSTEMS = {
    "A100-80GB": "a100_sxm",
    "A100-80GB-PCIE": "a100_pcie",
    "A30": "a30",
    "B200": "b200_sxm",
    "B300": "b300_sxm",
    "B60": "b60",
    "GB200": "gb200",
    "GB300": "gb300",
    "H100": "h100_sxm",
    "H100-PCIE": "h100_pcie",
    "H200": "h200_sxm",
    "L4": "l4",
    "L40S": "l40s",
    "RTXPRO6000": "rtx_pro_6000_server",
}
"""Accelerator -> system of the shared datasheet file."""

# accelerator: (memory GiB, bandwidth GB/s, bf16 TFLOP/s, fp8 TFLOP/s, source)
DATASHEETS: dict[str, tuple[float, float | None, float | None, float | None, str]] = {
    "A10": (24, 600, 125, None, "NVIDIA A10 datasheet"),
    "A100": (40, 1555, 312, None, "NVIDIA A100 datasheet (40 GB)"),
    "A100-PCIE": (40, 1555, 312, None, "NVIDIA A100 datasheet (40 GB PCIe)"),
    "A10G": (24, 600, 70, None, "NVIDIA A10G datasheet"),
    "A16": (16, 200, None, None, "NVIDIA A16 datasheet (one of the four GPUs of a board)"),
    "A40": (48, 696, 149.7, None, "NVIDIA A40 datasheet"),
    "GH200": (96, 4000, 989.5, 1979, "NVIDIA GH200 datasheet (96 GB HBM3)"),
    "H100-NVL": (94, 3900, 835.5, 1670.5, "NVIDIA H100 datasheet (NVL)"),
    "H200-NVL": (141, 4800, 835.5, 1670.5, "NVIDIA H200 datasheet (NVL)"),
    "K80": (12, 240, None, None, "NVIDIA Tesla K80 datasheet (one of the two GPUs of a board)"),
    "L40": (48, 864, 181.05, 362, "NVIDIA L40 datasheet"),
    "M4000": (8, 192, None, None, "NVIDIA Quadro M4000 datasheet"),
    "M60": (8, 160, None, None, "NVIDIA Tesla M60 datasheet (one of the two GPUs of a board)"),
    "MI25": (16, 484, None, None, "AMD Radeon Instinct MI25 datasheet"),
    "MI300X": (192, 5300, 1307.4, 2614.9, "AMD Instinct MI300X datasheet"),
    "MI325X": (256, 6000, 1307.4, 2614.9, "AMD Instinct MI325X datasheet"),
    "P100": (16, 732, None, None, "NVIDIA Tesla P100 datasheet (PCIe 16 GB)"),
    "P4": (8, 192, None, None, "NVIDIA Tesla P4 datasheet"),
    "P4000": (8, 243, None, None, "NVIDIA Quadro P4000 datasheet"),
    "RTX3060": (12, 360, None, None, "NVIDIA GeForce RTX 3060 specifications"),
    "RTX3060-Ti": (8, 448, None, None, "NVIDIA GeForce RTX 3060 Ti specifications (GDDR6)"),
    "RTX3070": (8, 448, None, None, "NVIDIA GeForce RTX 3070 specifications"),
    "RTX3080": (10, 760, None, None, "NVIDIA GeForce RTX 3080 specifications (10 GB; some cards have 12)"),
    "RTX3090": (24, 936, 71, None, "NVIDIA Ampere GA102 whitepaper"),
    "RTX4000-Ada": (20, 360, None, None, "NVIDIA RTX 4000 Ada datasheet"),
    "RTX4060-Ti": (16, 288, None, None, "NVIDIA GeForce RTX 4060 Ti specifications (16 GB)"),
    "RTX4070-Ti-Super": (16, 672, None, None, "NVIDIA GeForce RTX 4070 Ti Super specifications"),
    "RTX4090": (24, 1008, 165.2, 330.3, "NVIDIA Ada whitepaper"),
    "RTX5070": (12, 672, None, None, "NVIDIA GeForce RTX 5070 specifications"),
    "RTX5090": (32, 1792, 209.5, 419, "NVIDIA RTX Blackwell whitepaper"),
    "RTX5880-Ada": (48, None, None, None, "NVIDIA RTX 5880 Ada datasheet"),
    "RTX6000": (24, 672, None, None, "NVIDIA Quadro RTX 6000 datasheet"),
    "RTX6000-Ada": (48, 960, 364.2, 728.5, "NVIDIA Ada whitepaper (RTX 6000 Ada)"),
    "RTXA4000": (16, 448, None, None, "NVIDIA RTX A4000 datasheet"),
    "RTXA4500": (20, 640, None, None, "NVIDIA RTX A4500 datasheet"),
    "RTXA5000": (24, 768, None, None, "NVIDIA RTX A5000 datasheet"),
    "RTXA6000": (48, 768, 154.8, None, "NVIDIA RTX A6000 datasheet"),
    "RTXPRO6000-WS": (96, 1792, None, None, "NVIDIA RTX PRO 6000 Blackwell Workstation Edition datasheet"),
    "Radeon Pro V520": (8, 512, None, None, "AMD Radeon Pro V520 specifications"),
    "T4": (16, 320, None, None, "NVIDIA T4 datasheet (no bf16; 65 TFLOP/s in fp16)"),
    "T4g": (16, None, None, None, "AWS EC2 G5g page"),
    "V100": (16, 900, None, None, "NVIDIA V100 datasheet (no bf16; 125 TFLOP/s in fp16)"),
    "V100-32GB": (32, 900, None, None, "NVIDIA V100 datasheet (32 GB; no bf16)"),
}

HEADER = (
    "accelerator",
    "memory_gib",
    "memory_bandwidth_bytes_per_s",
    "bf16_flop_per_s",
    "fp8_flop_per_s",
    "source",
)


def gpu_rows(datasheet: Path) -> list[tuple[str, ...]]:
    """Rows of gpus.csv with its header, sorted by accelerator."""
    with datasheet.open(encoding="utf-8", newline="") as file:
        systems = {row["system"]: row for row in csv.DictReader(file)}
    rows = [_from_system(accelerator, systems[system]) for accelerator, system in SYSTEMS.items()]
    rows += [_from_datasheet(accelerator) for accelerator in DATASHEETS]
    return [HEADER, *sorted(rows)]


def _from_system(accelerator: str, row: dict[str, str]) -> tuple[str, ...]:
    return (
        accelerator,
        _plain(float(row["memory_bytes"]) / GIB),
        row["memory_bandwidth_bytes_per_s"],
        row["bf16_flops"],
        row["fp8_flops"],
        f"{DATASHEET_SOURCE}: {row['system']}",
    )


def _from_datasheet(accelerator: str) -> tuple[str, ...]:
    memory_gib, bandwidth, bf16, fp8, source = DATASHEETS[accelerator]
    return (accelerator, _plain(memory_gib), _scaled(bandwidth, 9), _scaled(bf16, 12), _scaled(fp8, 12), source)


def _scaled(value: float | None, exponent: int) -> str:
    return "" if value is None else str(round(value * 10**exponent))


def _plain(value: float) -> str:
    return f"{value:.4f}".rstrip("0").rstrip(".")
