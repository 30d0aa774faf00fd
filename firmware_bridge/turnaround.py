"""Whose turn it is on a pair of wires that both ends share (RS-485), pure."""

from __future__ import annotations

from firmware_bridge.address import PortAddress

_LONGEST_ANSWER = 64  # characters: an acknowledgement and one command


class Turnaround:
    """Silence before we speak: after the other end's last byte, and after our own words while it may answer.

    `answers_only` (Modbus slave): we speak only when asked, so nothing needs to be left free for an answer.
    """

    def __init__(self, address: PortAddress, *, answers_only: bool = False) -> None:
        self._address, self._answers_only = address, answers_only
        self._quiet_until = float("-inf")

    def heard(self, now: float) -> None:
        """A byte of the other end arrived."""
        if self._address.half_duplex or self._answers_only:
            self._quiet_until = now + self._address.turnaround_s

    def spoke(self, now: float, characters: int) -> None:
        """We handed `characters` to the port."""
        if self._address.half_duplex and not self._answers_only:
            answer_s = 3 * self._address.turnaround_s + _LONGEST_ANSWER * self._address.character_s
            self._quiet_until = now + characters * self._address.character_s + answer_s

    def silence_s(self, now: float) -> float:
        """How long still to be silent; 0 when we may speak."""
        return max(0.0, self._quiet_until - now)
