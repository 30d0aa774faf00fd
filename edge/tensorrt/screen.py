"""A build on the screen: a bar on a terminal, a line every ten seconds in a log."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import TextIO

from edge.tensorrt.request import Told

LINE_INTERVAL_S = 10.0
WIDTH = 30
# Seconds per layer on an Orin, optimisation level 3, without a timing cache; a rule of thumb from public reports
# (an FP16 detection network: 1421 s on an Orin NX).
SECONDS_PER_LAYER = (0.5, 4.0)


def expected_minutes(layers: int) -> str:
    """How long a first build may take, in words."""
    low, high = (max(1, round(layers * s / 60)) for s in SECONDS_PER_LAYER)
    return f"about {low} to {high} minutes" if high > low else f"about {high} minute{'s' if high > 1 else ''}"


class BuildScreen:
    """Shows the outermost phase that has steps, with the time since the start."""

    def __init__(
        self,
        out: TextIO | None = None,
        clock: Callable[[], float] = time.monotonic,
        last_seconds: float | None = None,
    ) -> None:
        self._out, self._clock, self._last_seconds = out or sys.stdout, clock, last_seconds
        self._terminal = self._out.isatty()
        self._start, self._shown_at = clock(), clock()
        self._phase, self._step, self._steps = "starting", 0, 0

    def told(self, told: Told) -> None:
        """Take in what the building process said."""
        if told.layers is not None:
            self.say(f"{told.layers} layers; {self._expectation(told.layers)}; Ctrl-C leaves nothing half-written")
        elif told.steps is not None and told.phase is not None:
            self._phase, self._step, self._steps = told.phase, 0, told.steps
        elif told.step is not None and told.phase == self._phase:
            self._step = told.step + 1
        elif told.says is not None:
            self.say(f"TensorRT: {told.says}")

    def tick(self) -> None:
        """Redraw the bar; in a log, a line every ten seconds."""
        now = self._clock()
        if self._terminal:
            self._out.write(f"\r\x1b[K{self._bar(now)}")
            self._out.flush()
        elif now - self._shown_at >= LINE_INTERVAL_S:
            self._shown_at = now
            self._out.write(f"{self._words(now)}\n")
            self._out.flush()

    def say(self, line: str) -> None:
        """A line that stays, above the bar."""
        self._out.write(f"\r\x1b[K{line}\n" if self._terminal else f"{line}\n")
        self._out.flush()

    def clear(self) -> None:
        """Take the bar away."""
        if self._terminal:
            self._out.write("\r\x1b[K")
            self._out.flush()

    def _expectation(self, layers: int) -> str:
        if self._last_seconds is not None:
            return f"the last build of this kind took {self._last_seconds:.0f} s"
        return f"a first build on a Jetson takes {expected_minutes(layers)}"

    def _words(self, now: float) -> str:
        seconds = int(now - self._start)
        return f"building, {seconds // 60}:{seconds % 60:02d}, {self._phase} {self._step}/{self._steps}"

    def _bar(self, now: float) -> str:
        full = WIDTH * min(self._step, self._steps) // self._steps if self._steps else 0
        return f"[{'#' * full}{'.' * (WIDTH - full)}] {self._words(now)}"[:110]
