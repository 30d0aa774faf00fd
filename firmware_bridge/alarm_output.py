"""The thread that owns the alarm line: verdict in, relay level out, dropped by itself when nobody speaks any more."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from firmware_bridge.errors import BridgeError
from firmware_bridge.line import OutputLine
from firmware_bridge.messages import Verdict
from firmware_bridge.relay import AlarmRelay, Proof, RelaySettings, prove

TICK_S = 0.01


class AlarmOutput:
    """Arms `line` (self-test first; raises NotProven and never energises when it fails) and follows `update`.

    Drops the relay when `update` was not called for `stale_s`: a stuck program must not read as "good". Thread-safe.
    """

    def __init__(
        self,
        line: OutputLine,
        settings: RelaySettings | None = None,
        stale_s: float = 1.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._line, self._relay, self._stale_s, self._clock = line, AlarmRelay(settings), stale_s, clock
        try:
            self.proof: Proof = prove(line)
        except BaseException:
            line.close()
            raise
        self._lock = threading.Lock()
        self._verdict, self._told_at, self._error = Verdict.STARTING, clock(), ""
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="alarm output", daemon=True)
        self._thread.start()

    def update(self, verdict: Verdict) -> None:
        """The newest verdict, at least once per `stale_s`. Sets the line before it returns."""
        with self._lock:
            self._verdict, self._told_at = verdict, self._clock()
            self._apply()

    @property
    def error(self) -> str:
        """Why the line cannot be trusted: empty while each level that was set reads back. Stays until closed."""
        return self._error

    def close(self) -> None:
        """Drop the relay and give the line back. May be called again."""
        self._stopping.set()
        self._thread.join(timeout=5)
        with self._lock:
            self._line.close()

    def _run(self) -> None:
        while not self._stopping.wait(TICK_S):
            with self._lock:
                self._apply()

    def _apply(self) -> None:
        if self._stopping.is_set():
            return
        now = self._clock()
        verdict = self._verdict if now - self._told_at <= self._stale_s and not self._error else Verdict.FAULT
        level = self._relay.step(verdict, now)
        try:
            self._line.set(level)
            if self._line.read() is not level:
                self._error = f"set to {int(level)}, read back {int(not level)}"
        except BridgeError as error:
            self._error = str(error)
