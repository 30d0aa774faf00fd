"""The pipeline as a child process: started, watched, killed when it hangs or grows, restarted within a budget.

The station keeps the outputs. So a pipeline that is killed with SIGKILL closes its socket, the station sees that at
once, and FAULT is on the wire before a new pipeline starts (docs/decisions/who-owns-the-wire.md).
"""

from __future__ import annotations

import contextlib
import os
import secrets
import signal
import socket
import subprocess
import sys
from collections import deque
from dataclasses import dataclass
from pathlib import Path

from edge.station.config import SupervisorSection
from edge.station.judge import Fault, FaultKind, FaultSource
from edge.station.pipeline_spec import PipelineSpec

PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
WORD_BUFFER_BYTES = 16_384  # small, so that a pipeline reading a clip cannot run far ahead of the verdict
RESTART_PAUSE_S = 0.2
FAMILY = "EDGE_PIPELINE"
MEMORY_PERIOD_S = 1.0


class RestartBudget:
    """At most `limit` restarts within any `window_s` seconds. Pure."""

    def __init__(self, limit: int, window_s: float) -> None:
        self._limit, self._window_s = limit, window_s
        self._spent_s: deque[float] = deque()

    def allows(self, now_s: float) -> bool:
        """Whether one more restart is allowed now."""
        while self._spent_s and now_s - self._spent_s[0] >= self._window_s:
            self._spent_s.popleft()
        return len(self._spent_s) < self._limit

    def spend(self, now_s: float) -> None:
        """Note one restart."""
        self._spent_s.append(now_s)


@dataclass(frozen=True, slots=True)
class Limits:
    """When a running pipeline is no good any more."""

    stuck_s: float
    start_s: float
    memory_mb: float

    def broken(self, silent_s: float, is_ready: bool, memory_mb: float) -> Fault | None:
        """Why the pipeline must go, None if it may stay. Pure."""
        allowed_s = self.stuck_s if is_ready else self.start_s
        if silent_s > allowed_s:
            return Fault(FaultSource.PIPELINE, FaultKind.ENGINE_STUCK, f"the pipeline was silent for {silent_s:.1f} s")
        if memory_mb > self.memory_mb:
            reason = f"the pipeline took {memory_mb:.0f} MB of memory, limit {self.memory_mb:.0f} MB"
            return Fault(FaultSource.PIPELINE, FaultKind.MEMORY_LIMIT, reason)
        return None


class PipelineProcess:
    """One running child and our ends of its two sockets."""

    def __init__(self, spec: PipelineSpec) -> None:
        self.words, their_words = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.pictures, their_pictures = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        their_words.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, WORD_BUFFER_BYTES)
        self._family = secrets.token_hex(8)
        numbers = (their_words.fileno(), their_pictures.fileno())
        try:
            self._child = subprocess.Popen(
                [sys.executable, "-m", "edge.station.pipeline", *map(str, numbers)],
                stdin=subprocess.PIPE,
                pass_fds=numbers,
                env={**os.environ, "PYTHONPATH": _python_path(), FAMILY: self._family},
            )
        finally:
            their_words.close()
            their_pictures.close()
        assert self._child.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self._child.stdin.write(spec.model_dump_json().encode())
            self._child.stdin.close()

    @property
    def pid(self) -> int:
        """Process id of the pipeline."""
        return self._child.pid

    @property
    def exit_code(self) -> int | None:
        """None while it runs."""
        return self._child.poll()

    def memory_mb(self) -> float:
        """Resident memory now; 0 if it is gone."""
        return memory_mb(self.pid)

    def end(self, patience_s: float) -> int:
        """Close the channel, give it `patience_s` to leave by itself, then kill it; returns its exit code."""
        self.words.close()
        try:
            self._child.wait(patience_s)
        except subprocess.TimeoutExpired:
            self._child.send_signal(signal.SIGKILL)
        with contextlib.suppress(OSError):
            self.pictures.shutdown(socket.SHUT_RDWR)
        code = self._child.wait(10)
        if code != 0:
            end_family(self._family)
        return code


class Supervisor:
    """Keeps one pipeline running. The station's loop calls `check` often and tells it of every word that it hears."""

    def __init__(self, spec: PipelineSpec, rules: SupervisorSection) -> None:
        self._spec = spec
        self._limits = Limits(rules.stuck_s, rules.start_s, rules.memory_mb)
        self._budget = RestartBudget(rules.restarts, rules.restart_window_s)
        self.process: PipelineProcess | None = None
        self.restarts = 0
        self.is_ready = self.was_ready = False
        self.memory_mb = 0.0
        self._heard_s = self._weighed_s = self._start_at_s = 0.0

    def start(self, now_s: float) -> PipelineProcess:
        """Start the pipeline now."""
        spec = self._spec.model_copy(update={"again": self.was_ready})
        self.process = PipelineProcess(spec)
        self._heard_s, self.is_ready = now_s, False
        return self.process

    def heard(self, now_s: float) -> None:
        """A word came from the pipeline."""
        self._heard_s = now_s

    def ready(self) -> None:
        """The pipeline has proven itself; from now on silence is measured by `stuck_s`."""
        self.is_ready = self.was_ready = True

    def check(self, now_s: float) -> Fault | None:
        """Why the running pipeline must be ended, None if it may go on or none is running."""
        if self.process is None:
            return None
        if now_s - self._weighed_s >= MEMORY_PERIOD_S:
            self._weighed_s, self.memory_mb = now_s, self.process.memory_mb()
        return self._limits.broken(now_s - self._heard_s, self.is_ready, self.memory_mb)

    def lost(self, now_s: float) -> str:
        """The pipeline closed its channel: reap it, plan the next start; returns how it ended."""
        code = self._end(0.5)
        self._start_at_s = now_s + RESTART_PAUSE_S
        return f"killed by signal {-code}" if code < 0 else f"ended with code {code}"

    def kill(self, now_s: float) -> None:
        """End the pipeline by force and plan the next start."""
        self._end(0.0)
        self._start_at_s = now_s + RESTART_PAUSE_S

    def try_restart(self, now_s: float) -> PipelineProcess | Fault | None:
        """The new pipeline; or the fault that the budget is spent; or None if it is not time yet."""
        if self.process is not None or now_s < self._start_at_s:
            return None
        if not self._budget.allows(now_s):
            return Fault(
                FaultSource.PIPELINE,
                FaultKind.RESTART_BUDGET_SPENT,
                "the pipeline failed too often; it is tried again later",
            )
        self._budget.spend(now_s)
        self.restarts += 1
        return self.start(now_s)

    def close(self) -> None:
        """End the pipeline in peace, or by force after three seconds."""
        self._end(3.0)

    def _end(self, patience_s: float) -> int:
        process, self.process = self.process, None
        self.memory_mb = 0.0
        return 0 if process is None else process.end(patience_s)


def end_family(mark: str) -> None:
    """Kill what a pipeline that was killed left behind, such as a capture process that still holds the camera.

    Its descendants are known by a mark in their environment, which they inherit wherever they are reparented to.
    """
    wanted = f"{FAMILY}={mark}".encode()
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if wanted in (process / "environ").read_bytes().split(b"\0"):
                os.kill(int(process.name), signal.SIGKILL)


def memory_mb(pid: int) -> float:
    """Resident memory of a process in MB; 0 if it is gone."""
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    except (OSError, IndexError):
        return 0.0
    return pages * PAGE_BYTES / 1e6


def _python_path() -> str:
    """The child must find the same `edge` as we did, whatever the working folder is."""
    here = str(Path(__file__).parents[2])
    return os.pathsep.join(filter(None, (here, os.environ.get("PYTHONPATH", ""))))
