"""The building process: python -m edge.tensorrt.child MESSAGES_FD, with the request as JSON on standard input.

It is a process of its own so that running out of memory kills it and not the installer, and so that a crash inside
TensorRT leaves a sentence. SIGTERM or SIGINT cancel at TensorRT's next step.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from edge.bundle import open_bundle
from edge.errors import CheckFailed, EdgeError, InputError
from edge.files import write_atomic
from edge.tensorrt.build import BuildCancelled, Job, Watch, build_plan, layer_count
from edge.tensorrt.library import load_library
from edge.tensorrt.request import BuildAnswer, BuildRequest, Told, error_told

CANCELLED = 130
STEP_INTERVAL_S = 0.1


class Lines:
    """Writes lines to the parent. If the parent is gone, the build is cancelled."""

    def __init__(self, descriptor: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._fd, self._clock, self._lock = descriptor, clock, threading.Lock()
        self._last_step = -STEP_INTERVAL_S
        self.stopped = False

    def send(self, told: Told) -> None:
        """One line, whole."""
        line = told.model_dump_json(exclude_none=True).encode() + b"\n"
        with self._lock:
            try:
                while line:
                    line = line[os.write(self._fd, line) :]
            except OSError:
                self.stopped = True

    def watch(self) -> Watch:
        """Progress of a build as lines; steps at most ten times a second."""
        return Watch(
            start=lambda phase, steps: self.send(Told(phase=phase, steps=steps)),
            step=self._step,
            say=lambda text: self.send(Told(says=text)),
        )

    def _step(self, phase: str, number: int) -> bool:
        now = self._clock()
        if now - self._last_step >= STEP_INTERVAL_S:
            self._last_step = now
            self.send(Told(phase=phase, step=number))
        return not self.stopped


def main(arguments: list[str]) -> int:
    """Build what standard input asks for; exit code as in edge.errors, 130 if cancelled."""
    lines = Lines(int(arguments[0]))
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: setattr(lines, "stopped", True))
    _be_killed_first()
    try:
        request = BuildRequest.model_validate_json(sys.stdin.buffer.read())
        lines.send(Told(done=_build(request, lines)))
    except BuildCancelled:
        return CANCELLED
    except EdgeError as error:
        lines.send(error_told(error))
        return error.exit_code
    return 0


def _build(request: BuildRequest, lines: Lines) -> BuildAnswer:
    bundle = open_bundle(Path(request.bundle))
    if bundle.identity != request.identity:
        raise CheckFailed(f"{request.bundle} changed", "it was replaced while the build started", "build again")
    library = load_library(request.library)
    cache = Path(request.timing_cache) if request.timing_cache else None
    job = Job(
        graph=bundle.read(request.graph),
        int8=request.int8,
        weak=request.weak,
        calibration_cache=bundle.read(request.calibration_cache) if request.calibration_cache else None,
        workspace_bytes=request.workspace_bytes,
        optimisation_level=request.optimisation_level,
        timing_cache=_bytes_of(cache) if cache else None,
        target=request.target,
    )
    layers = layer_count(library, job.graph)
    lines.send(Told(layers=layers))
    built = build_plan(library, job, lines.watch())
    if lines.stopped:
        raise BuildCancelled
    if not built.plan:
        raise InputError("TensorRT made an empty plan", "no message", "use another --precision")
    write_atomic(Path(request.out), built.plan)
    if cache is not None and built.timing_cache is not None:
        write_atomic(cache, built.timing_cache)
    return BuildAnswer(bytes=len(built.plan), layers=layers, kept_float=built.kept_float)


def _bytes_of(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""


def _be_killed_first() -> None:
    """Where memory runs out, the kernel shall take this process, not the station."""
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
