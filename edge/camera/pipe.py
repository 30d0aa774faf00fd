"""Fixed-size records out of a pipe, with a deadline."""

from __future__ import annotations

import contextlib
import fcntl
import os
import select
import time
from dataclasses import dataclass

_PIPE_BYTES = 1 << 20  # larger than the 64 KiB default: fewer wake-ups for a picture of a megabyte
_F_SETPIPE_SZ = 1031


@dataclass(frozen=True)
class PipeEnds:
    """Both ends of a new pipe; the reading end does not block."""

    read: int
    write: int

    def close_read(self) -> None:
        """Close the reading end."""
        os.close(self.read)

    def close_write(self) -> None:
        """Close the writing end here; the child keeps its own."""
        os.close(self.write)


def new_pipe() -> PipeEnds:
    """A pipe with room for a large part of a picture."""
    read, write = os.pipe()
    os.set_blocking(read, False)
    with contextlib.suppress(OSError):  # the system's limit for unprivileged users may be lower; then it stays smaller
        fcntl.fcntl(write, _F_SETPIPE_SZ, _PIPE_BYTES)
    return PipeEnds(read, write)


class PipeReader:
    """Reads records of a size that `expect` states. A record that came in part stays buffered for the next call."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._record = bytearray()
        self._filled = 0
        self.ended = False
        self._poll = select.poll()
        self._poll.register(descriptor, select.POLLIN)

    def expect(self, size: int) -> None:
        """From now on a record has `size` bytes."""
        self._record = bytearray(size)

    def read(self, timeout_s: float) -> bytearray | None:
        """The next record, or None if it is not whole after `timeout_s` or the writer has gone (`ended`)."""
        deadline_s = time.monotonic() + timeout_s
        while self._filled < len(self._record):
            remaining_s = deadline_s - time.monotonic()
            if self.ended or remaining_s <= 0 or not self._poll.poll(remaining_s * 1000):
                return None
            self._take()
        record, self._record, self._filled = self._record, bytearray(len(self._record)), 0
        return record

    def close(self) -> None:
        """Close the reading end."""
        os.close(self._descriptor)

    def _take(self) -> None:
        with memoryview(self._record) as room, contextlib.suppress(BlockingIOError):
            count = os.readv(self._descriptor, [room[self._filled :]])
            self._filled += count
            self.ended = count == 0
