"""All checks on one machine, as one report."""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

from edge.doctor import board as boards
from edge.doctor import software
from edge.doctor.finding import Finding, Report
from edge.doctor.machine import Machine
from edge.engine.base import BACKENDS
from edge.manifest import SCHEMA_VERSION
from edge.version import VERSION

MARKS = {"ok": "ok  ", "info": "-   ", "warn": "WARN", "gap": "GAP "}


def examine(machine: Machine, root: str, key: str) -> Report:
    """Run every check. `root` is the installation's folder, `key` the pinned public key's path."""
    board = boards.detect(machine)
    memory, available, swap = boards.memory(machine)
    disk, free = boards.disk(machine, root)
    tried = _trials(machine, board.l4t is not None)
    findings = [boards.jetpack(board), *tried]
    findings += [memory, disk, boards.cameras(machine), boards.serial_ports(machine)]
    findings += [boards.gpio(machine, board), boards.power_mode(machine, board)]
    findings += [boards.pinned_key(machine, key), boards.service(machine)]
    return Report(
        version=VERSION,
        bundle_schema=SCHEMA_VERSION,
        python=platform.python_version(),
        board=board.model,
        l4t=board.l4t,
        jetpack=board.jetpack,
        backends=[name for name in BACKENDS if _runs(name, tried)],
        disk_free_bytes=free,
        memory_available_bytes=available,
        swap_free_bytes=swap,
        findings=findings,
    )


def lines_of(report: Report) -> Iterator[str]:
    """The report as people read it: each gap is followed by the command that mends it."""
    for finding in report.findings:
        yield f"{MARKS[finding.level]} {finding.topic}: {finding.found}"
        if finding.fix:
            yield f"       mend: {finding.fix}"
    count = len(report.gaps)
    yield f"{count} gap{'' if count == 1 else 's'}; back ends that run here: {', '.join(report.backends) or 'none'}"


def _trials(machine: Machine, on_jetson: bool) -> list[Finding]:
    """The trial runs, at once: each is a process of its own."""
    trials: list[Callable[[], Finding]] = [
        lambda: software.tensorrt(machine, on_jetson),
        lambda: software.pycuda(machine, on_jetson),
        lambda: software.onnxruntime(machine),
        lambda: software.openvino(machine),
        lambda: software.signatures(machine),
        lambda: software.opencv(machine),
        lambda: software.gstreamer(machine),
    ]
    with ThreadPoolExecutor(4) as pool:
        return list(pool.map(lambda trial: trial(), trials))


def _runs(backend: str, tried: list[Finding]) -> bool:
    working = {f.topic for f in tried if f.level == "ok"}
    return backend in working and (backend != "tensorrt" or "pycuda" in working)
