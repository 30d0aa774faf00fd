"""Starts the building process, shows how far it is, and tells why it ended: done, refused, killed, interrupted."""

from __future__ import annotations

import os
import selectors
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from pydantic import ValidationError

from edge.doctor.board import SWAP_COMMAND, memory
from edge.doctor.machine import LiveMachine
from edge.errors import CheckFailed, InputError, one_line
from edge.tensorrt.request import BuildAnswer, BuildRequest, Told, error_from

MIB = 1 << 20
POLL_S = 0.2
PATIENCE_S = 20.0  # for a cancelled build to end by itself
SMALLEST_WORKSPACE, LARGEST_WORKSPACE = 64 * MIB, 4096 * MIB
ADVICE = f"stop the desktop (sudo systemctl isolate multi-user.target), or add swap: {SWAP_COMMAND}"


class Screen(Protocol):
    """Shows a build."""

    def told(self, told: Told) -> None:
        """One line came."""
        ...

    def tick(self) -> None:
        """Called several times a second, also while TensorRT says nothing."""
        ...

    def say(self, line: str) -> None:
        """A line that stays."""
        ...


class Killed(Exception):
    """The building process was ended from outside, or by us because it passed the memory limit."""


@dataclass(frozen=True)
class Limits:
    """`memory_bytes`: the building process is ended when it holds more (None: no limit)."""

    memory_bytes: int | None = None


def available_bytes() -> int:
    """MemAvailable; swap does not count, because a GPU cannot work in it."""
    return memory(LiveMachine(sys.executable))[1]


def workspace_from(available: int) -> int:
    """Half of the free memory, at least 64 MiB and at most 4 GiB."""
    return max(SMALLEST_WORKSPACE, min(available // 2, LARGEST_WORKSPACE))


def build_in_child(request: BuildRequest, screen: Screen, limits: Limits | None = None) -> BuildAnswer:
    """Build; if the process is killed, once more with a quarter of the workspace and the lowest optimisation level.

    Raises what the building process raised; CheckFailed with advice if it was killed twice or crashed;
    KeyboardInterrupt after having ended it.
    """
    limits = limits or Limits()
    try:
        return _attempt(request, screen, limits)
    except Killed as first:
        less = max(SMALLEST_WORKSPACE, request.workspace_bytes // 4)
        screen.say(f"the build was {first}; once more with {less // MIB} MiB workspace and optimisation level 1")
        try:
            return _attempt(
                request.model_copy(update={"workspace_bytes": less, "optimisation_level": 1}), screen, limits
            )
        except Killed as second:
            raise CheckFailed("the build ran out of memory", f"it was {second}, twice", ADVICE) from second


def _attempt(request: BuildRequest, screen: Screen, limits: Limits) -> BuildAnswer:
    receive, send = os.pipe()
    try:
        with _started(request, send) as process:
            os.close(send)
            send = -1
            return _followed(process, receive, screen, limits)
    finally:
        for descriptor in (receive, send):
            if descriptor >= 0:
                os.close(descriptor)
        out = Path(request.out)
        for half_written in out.parent.glob(f".{out.name}.*.tmp"):
            half_written.unlink(missing_ok=True)


@contextmanager
def _started(request: BuildRequest, send: int) -> Iterator[subprocess.Popen[bytes]]:
    """The building process, in a session of its own so that Ctrl-C reaches it through us only; ended on the way out."""
    command = [sys.executable, "-m", "edge.tensorrt.child", str(send)]
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, pass_fds=(send,), start_new_session=True
    )
    try:
        assert process.stdin is not None
        with suppress(BrokenPipeError):
            process.stdin.write(request.model_dump_json().encode())
            process.stdin.close()
        yield process
    finally:
        _end(process)


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(PATIENCE_S)
        except (subprocess.TimeoutExpired, KeyboardInterrupt):
            process.kill()
    process.wait()


def _followed(process: subprocess.Popen[bytes], receive: int, screen: Screen, limits: Limits) -> BuildAnswer:
    last: Told | None = None
    passed = ""
    for told in _lines(receive, screen, lambda: _too_large(process, limits)):
        if isinstance(told, str):
            passed = told
            process.kill()
            continue
        screen.told(told)
        last = told
    code = process.wait()
    if last is not None and last.done is not None:
        return last.done
    if last is not None and last.error is not None:
        raise error_from(last.error)
    if passed or code == -signal.SIGKILL:
        raise Killed(passed or "killed (out of memory)")
    if code in (130, -signal.SIGINT, -signal.SIGTERM):
        raise KeyboardInterrupt
    said = f": {last.says}" if last is not None and last.says else ""
    raise CheckFailed("the building process ended", f"exit code {code}{said}", "use another --precision, or report it")


def _lines(receive: int, screen: Screen, too_large: Callable[[], str]) -> Iterator[Told | str]:
    """Lines as they come, until the other side closes; a text once the process holds too much memory."""
    rest = b""
    with selectors.DefaultSelector() as selector:
        selector.register(receive, selectors.EVENT_READ)
        while True:
            ready = selector.select(POLL_S)
            screen.tick()
            if reason := too_large():
                yield reason
            if not ready:
                continue
            chunk = os.read(receive, 65536)
            if not chunk:
                return
            *whole, rest = (rest + chunk).split(b"\n")
            yield from (told for line in whole if (told := _parsed(line)) is not None)


def _parsed(line: bytes) -> Told | None:
    try:
        return Told.model_validate_json(line)
    except ValidationError:
        return Told(says=one_line(line.decode(errors="replace"))) if line else None


def _too_large(process: subprocess.Popen[bytes], limits: Limits) -> str:
    if limits.memory_bytes is None:
        return ""
    try:
        pages = int(Path(f"/proc/{process.pid}/statm").read_text().split()[1])
    except (OSError, IndexError, ValueError):
        return ""
    held = pages * os.sysconf("SC_PAGE_SIZE")
    return f"ended at {held // MIB} MiB, limit {limits.memory_bytes // MIB} MiB" if held > limits.memory_bytes else ""


def require_memory(available: int, needed: int = 512 * MIB) -> None:
    """Raise InputError if there is so little memory that a build cannot end well."""
    if available < needed:
        raise InputError(
            "too little memory to build an engine",
            f"{available // MIB} MiB are available, {needed // MIB} MiB are needed at least",
            ADVICE,
        )
