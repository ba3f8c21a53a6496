"""The machine that a figure was measured on, in words."""

from __future__ import annotations

import os
import platform
from pathlib import Path

CPUINFO = Path("/proc/cpuinfo")
_VECTORS = {"avx512f": "AVX-512", "avx2": "AVX2", "asimd": "NEON"}  # flag -> name, the widest first
_DOTS = ("avx512_vnni", "avx_vnni", "asimddp")  # int8 dot products: what the time of a w8a8 graph depends on


def host() -> str:
    """Name the processor, its vector units as far as the system tells, and the cores this process may use."""
    fields = _cpuinfo()
    name = fields.get("model name") or platform.processor() or platform.machine()
    flags = (fields.get("flags") or fields.get("Features", "")).split()
    vector = next((name for flag, name in _VECTORS.items() if flag in flags), "")
    dots = "int8 dot products" if any(flag in flags for flag in _DOTS) else ""
    return ", ".join(filter(None, (name, vector, dots, f"{cores()} cores", platform.system())))


def _cpuinfo() -> dict[str, str]:
    """Return the fields of the last processor; empty off Linux."""
    if not CPUINFO.exists():
        return {}
    lines = [line.partition(":") for line in CPUINFO.read_text(encoding="utf-8", errors="replace").splitlines()]
    return {key.strip(): value.strip() for key, colon, value in lines if colon}


def cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
