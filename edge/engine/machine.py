"""Which machine this is: what a timing depends on, and what a benchmark must state."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import os
import platform
from pathlib import Path

PACKAGES = ("onnxruntime", "openvino", "tensorrt", "numpy", "edge-anomaly")


def usable_cpus() -> int:
    """CPUs that this process may use (its affinity mask), at least 1."""
    try:
        return max(1, len(os.sched_getaffinity(0)))
    except AttributeError:  # not Linux
        return max(1, os.cpu_count() or 1)


def describe_machine() -> dict[str, str]:
    """Board, processor, CPUs, memory, kernel, Python and versions of the back ends; absent packages are left out."""
    found = {
        "board": _first_line("/proc/device-tree/model") or platform.machine(),
        "processor": _processor(),
        "cpus": str(usable_cpus()),
        "memory_mb": str(_memory_mb()),
        "kernel": platform.release(),
        "python": platform.python_version(),
    }
    return found | {name: version for name in PACKAGES if (version := _version(name))}


def machine_fingerprint() -> str:
    """SHA-256 over what a measured engine choice depends on; another kernel patch or memory size does not change it."""
    stable = {k: v for k, v in describe_machine().items() if k not in ("kernel", "memory_mb")}
    return hashlib.sha256(json.dumps(stable, sort_keys=True).encode()).hexdigest()


def rss_mb() -> float:
    """Resident memory of this process in MB (10^6 bytes); 0.0 where /proc is absent."""
    fields = _first_line("/proc/self/statm").split()
    return int(fields[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6 if len(fields) > 1 else 0.0


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(errors="replace").splitlines()
    except OSError:
        return platform.processor() or "unknown"
    wanted = ("model name", "Processor", "CPU part")
    return next((line.split(":", 1)[1].strip() for key in wanted for line in lines if line.startswith(key)), "unknown")


def _memory_mb() -> int:
    fields = _first_line("/proc/meminfo").split()
    return int(fields[1]) * 1024 // 1_000_000 if len(fields) > 1 else 0


def _first_line(path: str) -> str:
    try:
        return Path(path).read_text(errors="replace").split("\n")[0].strip("\0 ")
    except OSError:
        return ""


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None
