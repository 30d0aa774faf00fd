"""Lines without hardware, under the rules of the real ones. They keep their whole history, with times.

`fake://relay` as output and `fake://relay` as input are two ends of one wire. `?stuck=0` or `?stuck=1` is a pin that
never moves: set succeeds, and the level does not change, as behind a wrong pinmux.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import pairwise

from firmware_bridge.errors import AddressError, BusyDevice, MissingDevice
from firmware_bridge.line import LineAddress


@dataclass(slots=True)
class Wire:
    """What both ends of a fake line share. `history`: (monotonic seconds, level), the start included."""

    level: bool = False
    rises: int = 0
    driven: bool = False
    pulled_out: bool = False
    history: list[tuple[float, bool]] = field(default_factory=list)
    moved: threading.Condition = field(default_factory=threading.Condition)

    def drive(self, level: bool, now: float) -> None:
        """The electrical level changes; one that stays is no transition."""
        with self.moved:
            if level != self.level or not self.history:
                self.history.append((now, level))
            self.rises += level and not self.level
            self.level = level
            self.moved.notify_all()

    def levels(self) -> list[bool]:
        """The whole history without its times."""
        return [level for _, level in self.history]


_WIRES: dict[str, Wire] = {}


def wire(name: str) -> Wire:
    """The wire behind `fake://NAME`, made on first use."""
    return _WIRES.setdefault(name, Wire())


def forget_all() -> None:
    """Cut every fake wire, for the next test."""
    _WIRES.clear()


class FakeOutput:
    """The driving end."""

    def __init__(self, address: LineAddress, clock: Callable[[], float] = time.monotonic) -> None:
        if address.stuck not in ("", "0", "1"):
            raise AddressError(f"line {address.url}", "stuck is neither 0 nor 1", "write ?stuck=0 or ?stuck=1")
        self._address, self._clock, self._wire = address, clock, wire(address.line)
        if self._wire.driven:
            raise BusyDevice(f"line {address.url}", "it is driven already", "close the other output first")
        self._wire.driven, self._open = True, True
        self._drive(False)

    @property
    def evidence(self) -> str:
        """See OutputLine."""
        return "loop-back" if self._address.readback else "register"

    def set(self, level: bool) -> None:
        """See OutputLine."""
        _check(self._address, self._wire, self._open)
        self._drive(level)

    def read(self) -> bool:
        """See OutputLine."""
        _check(self._address, self._wire, self._open)
        seen = wire(self._address.readback) if self._address.readback else self._wire
        return seen.level != self._address.active_low

    def close(self) -> None:
        """See OutputLine."""
        if self._open:
            self._drive(False)
            self._open = self._wire.driven = False

    def _drive(self, level: bool) -> None:
        electrical = level != self._address.active_low
        stuck = self._address.stuck
        self._wire.drive(stuck == "1" if stuck else electrical, self._clock())


class FakeInput:
    """The watching end."""

    def __init__(self, address: LineAddress) -> None:
        self._address, self._wire, self._open = address, wire(address.line), True
        self._seen = self._count()

    def read(self) -> bool:
        """See InputLine."""
        _check(self._address, self._wire, self._open)
        return self._is_active()

    def wait_rise(self, timeout_s: float) -> bool:
        """See InputLine."""
        _check(self._address, self._wire, self._open)
        with self._wire.moved:
            rose = self._wire.moved.wait_for(self._rose, timeout_s)
            self._seen = self._count()
        return rose

    def close(self) -> None:
        """See InputLine."""
        self._open = False

    def _rose(self) -> bool:
        return self._count() != self._seen

    def _count(self) -> int:
        """Rises of the active level: falls of the electrical one when active low."""
        if not self._address.active_low:
            return self._wire.rises
        levels = self._wire.levels()
        return sum(before and not after for before, after in pairwise(levels))

    def _is_active(self) -> bool:
        return self._wire.level != self._address.active_low


def open_output(address: LineAddress) -> FakeOutput:
    """See firmware_bridge.line.open_output."""
    return FakeOutput(address)


def open_input(address: LineAddress) -> FakeInput:
    """See firmware_bridge.line.open_input."""
    return FakeInput(address)


def _check(address: LineAddress, joined: Wire, is_open: bool) -> None:
    if joined.pulled_out or not is_open:
        why = "the chip is gone" if joined.pulled_out else "the line is closed"
        raise MissingDevice(f"line {address.url}", why, "connect the chip and open the line again")
