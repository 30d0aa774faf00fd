"""From scores to one condition, "this looks anomalous": k-of-n frames, hysteresis, delays. Pure: scores and time in.

The terms are those of OPC UA Part 9 / ISA-18.2: a vote over frames and an on-delay raise the condition, a deadband and
an off-delay keep it from flickering at the limit.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class DecisionRules:
    """How scores become a condition.

    The condition begins when `k` of the last `n` frames score above `threshold` and this has lasted `on_delay_s`. It
    ends when `n` frames in a row score at or below `clear_level` and this has lasted `off_delay_s`. `deadband` is in
    units of `spread`, the standard deviation of the scores of normal frames.
    """

    threshold: float
    spread: float
    k: int = 2
    n: int = 3
    deadband: float = 0.5
    on_delay_s: float = 0.0
    off_delay_s: float = 0.0

    @property
    def clear_level(self) -> float:
        """Score at or below which a frame counts towards the end of the condition."""
        return self.threshold - self.deadband * self.spread


class Vote:
    """The condition over time. Every call gets the monotonic time; nothing here reads a clock."""

    def __init__(self, rules: DecisionRules) -> None:
        if not 1 <= rules.k <= rules.n:
            raise ValueError(f"k of n needs 1 <= k <= n, got {rules.k} of {rules.n}")
        self.rules = rules
        self.active = False
        self._scores: deque[float] = deque(maxlen=rules.n)
        self._since_s: float | None = None  # since when the window speaks for the other state

    def see(self, score: float, now_s: float) -> bool:
        """Take the score of one fresh frame; return whether the condition holds. Raises ValueError if not finite."""
        if not math.isfinite(score):
            raise ValueError(f"score {score} is not finite")
        self._scores.append(score)
        wants_change = self._wants_end() if self.active else self._wants_begin()
        self._since_s = (now_s if self._since_s is None else self._since_s) if wants_change else None
        delay_s = self.rules.off_delay_s if self.active else self.rules.on_delay_s
        if self._since_s is not None and now_s - self._since_s >= delay_s:
            self.active, self._since_s = not self.active, None
        return self.active

    def forget(self) -> None:
        """Blindness: what was seen before it must not vote with what is seen after. The condition stays as it was."""
        self._scores.clear()
        self._since_s = None

    def _wants_begin(self) -> bool:
        return sum(s > self.rules.threshold for s in self._scores) >= self.rules.k

    def _wants_end(self) -> bool:
        whole = len(self._scores) == self.rules.n
        return whole and all(s <= self.rules.clear_level for s in self._scores)
