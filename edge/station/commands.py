"""What people and the plant may ask of a running station. One thread-safe queue brings it to the station's loop."""

from __future__ import annotations

import queue
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Acknowledge:
    """Somebody has seen the alarm, up to number `up_to` (None: all of them)."""

    who: str
    up_to: int | None = None


@dataclass(frozen=True, slots=True)
class ResetAlarm:
    """Release a latched alarm."""

    who: str


@dataclass(frozen=True, slots=True)
class ShelveAlarm:
    """Mask the annunciation for `seconds`; 0 ends it."""

    who: str
    seconds: float


@dataclass(frozen=True, slots=True)
class MarkEvent:
    """Mark event `event` (A17) with one of edge.station.events.MARKS; a false alarm's frame joins the normal set."""

    who: str
    event: str
    mark: str


@dataclass(frozen=True, slots=True)
class InspectPart:
    """A part is in front of the camera: judge it, answer once. `since_s`: only frames captured after it count."""

    trigger: int
    since_s: float


@dataclass(frozen=True, slots=True)
class WantPictures:
    """Somebody is watching: send live pictures until `until_s` (monotonic)."""

    until_s: float


@dataclass(frozen=True, slots=True)
class Stop:
    """End the station in peace."""

    reason: str


Command = Acknowledge | ResetAlarm | ShelveAlarm | MarkEvent | InspectPart | WantPictures | Stop


class CommandQueue:
    """`put` from any thread, `take` from the station's loop. Holds 1000 commands; more are refused (False)."""

    def __init__(self) -> None:
        self._queue: queue.Queue[Command] = queue.Queue(1000)

    def put(self, command: Command) -> bool:
        """Ask for something; False if the station is flooded with commands."""
        try:
            self._queue.put_nowait(command)
        except queue.Full:
            return False
        return True

    def take(self) -> list[Command]:
        """All that was asked since the last call, in order."""
        taken: list[Command] = []
        while True:
            try:
                taken.append(self._queue.get_nowait())
            except queue.Empty:
                return taken
