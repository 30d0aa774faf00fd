"""The other end of the alarm wire: a receiver on a kernel pseudo-terminal that can be pulled out and put back."""

from __future__ import annotations

import errno
import os
import select
import threading
import time
import tty
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from firmware_bridge.link import Link, LinkSettings
from firmware_bridge.messages import AlarmRaised, Command, Fault, Message, Role, StationState, TriggerResult, Verdict
from firmware_bridge.wire import wire_named

Kind = TypeVar("Kind", bound=Message)


@dataclass(frozen=True)
class Heard:
    """One message and when it was whole, time.monotonic()."""

    at_s: float
    message: Message


class Plc:
    """Listens at `path`, a link that names the serial port for the station. `acks=False`: it never answers."""

    def __init__(self, path: Path, wire: str = "cobs", *, acks: bool = True) -> None:
        self.path, self._acks = path, acks
        self._lock = threading.Lock()
        self._link = Link(wire_named(wire), LinkSettings(role=Role.RECEIVER, one_way=not acks), run=0xABCDE)
        self.heard: list[Heard] = []
        self.last_byte_s = 0.0
        self._master: int | None = None
        self._slave: int | None = None
        self.plug()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def plug(self) -> None:
        """Put the cable in: a new pseudo-terminal under the same name."""
        with self._lock:
            self._master, self._slave = os.openpty()
            tty.setraw(self._slave)
            os.set_blocking(self._master, False)
            self.path.unlink(missing_ok=True)
            self.path.symlink_to(os.ttyname(self._slave))
            self._link.connected(time.monotonic())

    def unplug(self) -> None:
        """Pull the cable."""
        with self._lock:
            self.path.unlink(missing_ok=True)
            self._link.disconnected(time.monotonic())
            for end in (self._master, self._slave):
                if end is not None:
                    os.close(end)
            self._master = self._slave = None

    def send(self, command: Command) -> None:
        """Say something to the station, with repetition until it answers."""
        with self._lock:
            self._link.offer(command, time.monotonic())

    def send_raw(self, data: bytes) -> None:
        """Put any bytes on the wire."""
        with self._lock:
            assert self._master is not None
            os.write(self._master, data)

    def all(self, kind: type[Kind]) -> list[Kind]:
        """Every message of this kind so far."""
        with self._lock:
            return [h.message for h in self.heard if isinstance(h.message, kind)]

    def states(self) -> list[tuple[float, StationState]]:
        """Every state with its time."""
        with self._lock:
            return [(h.at_s, h.message) for h in self.heard if isinstance(h.message, StationState)]

    def alarms(self) -> list[int]:
        """Numbers of the alarms, in the order of their arrival, each as often as it was delivered."""
        return [alarm.event for alarm in self.all(AlarmRaised)]

    def wait(
        self, verdict: Verdict, timeout_s: float = 60.0, fault: Fault | None = None, since_s: float = 0.0
    ) -> float:
        """When this verdict (with this fault) was first said after `since_s`; fails if it is not said in time."""

        def found() -> float | None:
            for at_s, state in self.states():
                if at_s >= since_s and state.verdict is verdict and fault in (None, state.fault):
                    return at_s
            return None

        return self.until(found, timeout_s, f"{verdict.name} {fault.name if fault else ''}")

    def answer(self, trigger: int, timeout_s: float = 60.0) -> TriggerResult:
        """The answer to one trigger."""
        return self.until(
            lambda: next((r for r in self.all(TriggerResult) if r.trigger == trigger), None), timeout_s, "an answer"
        )

    def until(self, found: Callable[[], Kind | None] | Callable[[], float | None], timeout_s: float, what: str):  # type: ignore[no-untyped-def]
        """Poll until `found` gives something."""
        end_s = time.monotonic() + timeout_s
        while time.monotonic() < end_s:
            if (value := found()) is not None:
                return value
            time.sleep(0.005)
        raise AssertionError(f"waited {timeout_s} s for {what}; heard last: {self.states()[-3:]}")

    def close(self) -> None:
        """Stop listening."""
        self._stop.set()
        self._thread.join(5)
        if self._master is not None:
            self.unplug()

    def _run(self) -> None:
        while not self._stop.is_set():
            with self._lock:
                master = self._master
            if master is None:
                time.sleep(0.005)
                continue
            select.select([master], [], [], 0.005)
            with self._lock:
                self._turn()

    def _turn(self) -> None:
        if self._master is None:
            return
        now_s = time.monotonic()
        try:
            data = os.read(self._master, 65536)
            self.last_byte_s = now_s
            self._link.receive(data, now_s)
            self.heard += [Heard(now_s, message) for message in self._link.take()]
        except BlockingIOError:
            pass
        except OSError as error:
            if error.errno != errno.EIO:
                raise
        frames, _ = self._link.poll(now_s)
        for frame in frames if self._acks else []:
            os.write(self._master, frame)
