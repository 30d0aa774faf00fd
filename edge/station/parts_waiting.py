"""Announced parts that wait for their one answer. Pure: time comes in."""

from __future__ import annotations


class PartsWaiting:
    """Each part is answered once: by its frame, or with FAULT when `within_s` is over."""

    def __init__(self, within_s: float) -> None:
        self.within_s = within_s
        self._asked_s: dict[int, float] = {}

    def __contains__(self, part: int) -> bool:
        return part in self._asked_s

    def announce(self, part: int, now_s: float) -> None:
        """A part is in front of the camera."""
        self._asked_s[part] = now_s

    def answered(self, part: int, now_s: float) -> float | None:
        """Take the part off; how long it waited, or None if it was answered before or never announced."""
        asked_s = self._asked_s.pop(part, None)
        return None if asked_s is None else now_s - asked_s

    def late(self, now_s: float) -> list[int]:
        """Parts whose time is over; they stay until `answered`."""
        return [part for part, asked_s in self._asked_s.items() if now_s - asked_s >= self.within_s]
