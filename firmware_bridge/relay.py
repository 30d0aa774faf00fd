"""The alarm relay, pure: energised while healthy, dropped for all else; and the proof that its line moves.

A cut wire, a dead process and a power cut look like an alarm, because the relay needs power to say "good".
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from firmware_bridge.errors import NotProven
from firmware_bridge.line import OutputLine
from firmware_bridge.messages import Verdict

PINMUX_HINT = (
    "check the wiring; on JetPack 6 and later the pin must be set to GPIO in the pinmux first: "
    "run `jetson-gpio-pinmux-lookup PIN`, then apply the device-tree overlay it names and reboot"
)


@dataclass(frozen=True, slots=True)
class RelaySettings:
    """`min_pulse_s`: shortest time that the relay stays dropped. `life_period_s`: full period of the life toggle.

    0 switches the toggle off; then a level that stands still means nothing, so prefer the toggle where the receiver
    can watch it (it trips after two periods without a change).
    """

    min_pulse_s: float = 0.1
    life_period_s: float = 0.0


class AlarmRelay:
    """Level of the output for each verdict and moment. It starts dropped."""

    def __init__(self, settings: RelaySettings | None = None) -> None:
        self._settings = settings or RelaySettings()
        self._dropped_at: float | None = None
        self._healthy_since: float | None = None

    def step(self, verdict: Verdict, now: float) -> bool:
        """True: energise. Call it with each verdict and at least twice per life period; `now` is monotonic."""
        if verdict is not Verdict.OK:
            if self._healthy_since is not None:
                self._dropped_at = now
            self._healthy_since = None
            return False
        if self._healthy_since is None:
            if self._dropped_at is not None and now - self._dropped_at < self._settings.min_pulse_s:
                return False
            self._healthy_since = now
        return self._beat(now - self._healthy_since)

    def _beat(self, healthy_s: float) -> bool:
        half_s = self._settings.life_period_s / 2
        return half_s <= 0 or int(healthy_s / half_s) % 2 == 0


@dataclass(frozen=True, slots=True)
class Proof:
    """What the self-test showed. `evidence` "register" proves the chip, not the pin; "loop-back" proves the pin."""

    evidence: str
    toggles: int

    def __str__(self) -> str:
        rest = "" if self.evidence == "loop-back" else " (the chip's own word; wire a loop-back line to prove the pin)"
        return f"the output moved {self.toggles} times, seen by {self.evidence}{rest}"


def prove(
    line: OutputLine, toggles: int = 3, pulse_s: float = 0.01, sleep: Callable[[float], None] = time.sleep
) -> Proof:
    """Toggle `line` and read it back each time; it ends inactive. Raises NotProven when it does not follow.

    The pulses are short (`pulse_s`), so that a receiver with a 20 ms input filter does not take them for "healthy".
    """
    try:
        for level in [False, *[True, False] * toggles]:
            line.set(level)
            sleep(pulse_s)
            _compare(line, level)
    finally:
        line.set(False)
    return Proof(line.evidence, 2 * toggles)


def _compare(line: OutputLine, level: bool) -> None:
    if line.read() is not level:
        raise NotProven("the alarm output", f"set to {int(level)}, read back {int(not level)}", PINMUX_HINT)
