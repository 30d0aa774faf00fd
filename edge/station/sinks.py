"""Who else hears of the station: page, MQTT, webhook, metrics, terminal. Rows in a literal table, opened by name.

A sink runs in a thread of its own behind a bounded queue, so a slow or broken one never holds the station up.
"""

from __future__ import annotations

import importlib
import logging
import threading
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from edge.errors import InputError, MissingError
from edge.station.commands import CommandQueue
from edge.station.events import EventRecord
from edge.station.status import StationStatus

MAX_EVENTS = 10_000
Option = str | int | float | bool


class Sink(Protocol):
    """Somebody who is told. All methods are called from one thread, which belongs to this sink; they may be slow."""

    def publish(self, status: StationStatus) -> None:
        """The newest status: after every change of verdict, and about five times a second. Some may be left out."""
        ...

    def event(self, record: EventRecord, change: str) -> None:
        """An event began or changed ("raised", "returned-to-normal", "acknowledged", "began", "ended", ...)."""
        ...

    def close(self) -> None:
        """The station ends; a second call does nothing."""
        ...


@dataclass(frozen=True, slots=True)
class SinkContext:
    """What a sink is given: who we are, how to ask for something, and the newest status at any time."""

    station: str
    options: Mapping[str, Option]
    commands: CommandQueue
    events_folder: Path
    latest: Callable[[], StationStatus]


# name -> "module:class"; each class has `__init__(url: str, context: SinkContext)`, which opens it or raises EdgeError.
SINKS: dict[str, str] = {
    "terminal": "edge.station.terminal:StatusLine",
    "json": "edge.station.terminal:JsonLines",
    "page": "edge.page.sink:PageSink",
    "mqtt": "edge.listeners.mqtt:MqttSink",
    "webhook": "edge.listeners.webhook:WebhookSink",
    "metrics": "edge.listeners.metrics:MetricsFile",
}


def open_sink(name: str, url: str, context: SinkContext) -> QueuedSink:
    """Open the sink `name`. Raises InputError for an unknown name, MissingError if its library is not installed."""
    if name not in SINKS:
        raise InputError(f"no sink {name}", f"there are {', '.join(SINKS)}", "mend [sinks] in the configuration")
    module, class_name = SINKS[name].split(":")
    try:
        opener = getattr(importlib.import_module(module), class_name)
        return QueuedSink(name, opener(url, context))
    except ImportError as error:
        raise MissingError(
            f"sink {name} is not installed", str(error), "pip install 'edge-anomaly[page,fleet]'"
        ) from error


class QueuedSink:
    """A sink in its own thread: the newest status only, events in order (10,000 wait at most, then the oldest go)."""

    def __init__(self, name: str, sink: Sink) -> None:
        self.name, self._sink = name, sink
        self._news = threading.Condition()
        self._status: StationStatus | None = None
        self._events: deque[tuple[EventRecord, str]] = deque(maxlen=MAX_EVENTS)
        self._stopping = False
        self.lost = self.failures = 0
        self._thread = threading.Thread(target=self._run, name=f"sink {name}", daemon=True)
        self._thread.start()

    def publish(self, status: StationStatus) -> None:
        """Tell the newest status; returns at once."""
        with self._news:
            self._status = status
            self._news.notify()

    def event(self, record: EventRecord, change: str) -> None:
        """Tell an event; returns at once."""
        with self._news:
            self.lost += len(self._events) == MAX_EVENTS
            self._events.append((record, change))
            self._news.notify()

    def close(self) -> None:
        """Let it finish what waits, five seconds at most."""
        with self._news:
            self._stopping = True
            self._news.notify()
        self._thread.join(5.0)

    def _run(self) -> None:
        while self._turn():
            pass
        self._guarded(self._sink.close)

    def _turn(self) -> bool:
        with self._news:
            self._news.wait_for(lambda: self._stopping or self._status is not None or bool(self._events))
            events, status = list(self._events), self._status
            self._events.clear()
            self._status = None
            stopping = self._stopping
        for record, change in events:
            self._guarded(lambda r=record, c=change: self._sink.event(r, c))  # type: ignore[misc]
        if status is not None:
            self._guarded(lambda: self._sink.publish(status))
        return not stopping

    def _guarded(self, step: Callable[[], None]) -> None:
        try:
            step()
        except Exception:  # a sink is not trusted; the first failure is logged in full, the rest are counted
            self.failures += 1
            if self.failures == 1:
                logging.getLogger(__name__).exception("sink %s failed", self.name)
