"""What a station opens beside its pipeline: event store and writer, outputs, sinks. All of it, or nothing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from edge.files import write_atomic
from edge.station.commands import CommandQueue
from edge.station.config import StationConfig
from edge.station.event_writer import Budget, EventWriter
from edge.station.events import EventStore
from edge.station.outputs import Outputs
from edge.station.sinks import QueuedSink, SinkContext, open_sink
from edge.station.status import StationStatus


class StationParts:
    """Opened by `open`, in the order store, outputs, sinks; closed in the order sinks, outputs, store."""

    def __init__(self, config: StationConfig, free: Callable[[Path], float]) -> None:
        self._config = config
        self.commands = CommandQueue()
        self.sinks: list[QueuedSink] = []
        self.store = EventStore(config.events.folder)
        events = config.events
        budget = Budget(events.max_mb * 1e6, events.max_age_days * 86_400, events.min_free_mb * 1e6)
        self.writer = EventWriter(self.store, budget, free)
        try:
            write_atomic(events.folder / "config.json", config.without_secrets().encode())
            self.outputs = Outputs(config.outputs, config.name, self.commands)
        except Exception:
            self.writer.close()
            raise

    def open_sinks(self, latest: Callable[[], StationStatus]) -> None:
        """Open every sink of the configuration; on an error all parts are closed."""
        try:
            for name, url in self._config.sinks.items():
                self.sinks.append(open_sink(name, url, self._context(name, latest)))
        except Exception:
            self.close()
            raise

    def close(self) -> int:
        """Outputs end in the safe state, the store is folded up; returns how many store jobs were lost."""
        for sink in self.sinks:
            sink.close()
        self.outputs.close()
        return self.writer.close()

    def _context(self, name: str, latest: Callable[[], StationStatus]) -> SinkContext:
        options = self._config.sink_options.get(name, {})
        return SinkContext(self._config.name, options, self.commands, self._config.events.folder, latest)
