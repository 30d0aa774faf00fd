"""Gives recorded or synthetic pictures the rhythm of a camera."""

from __future__ import annotations

import time


class Pacer:
    """Waits so that pictures leave at `fps`; with `fps` None it never waits. A late reader skips no beat."""

    def __init__(self, fps: float | None) -> None:
        self._period_s = None if fps is None else 1.0 / fps
        self._due_s = time.monotonic()

    def wait(self, timeout_s: float) -> bool:
        """Sleep until the next picture is due, at most `timeout_s`; False if it is not due by then."""
        if self._period_s is None:
            return True
        now_s = time.monotonic()
        remaining_s = self._due_s - now_s
        time.sleep(max(0.0, min(remaining_s, timeout_s)))
        if remaining_s > timeout_s:
            return False
        self._due_s = max(self._due_s, now_s - self._period_s) + self._period_s
        return True
