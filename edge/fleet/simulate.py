"""Many stations against a real broker: each is the very listener that a station uses, fed with made-up events."""

from __future__ import annotations

import json
import multiprocessing
import time
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Barrier

from edge.fleet.watcher import Watcher
from edge.listeners.address import Credentials, broker_at
from edge.listeners.mqtt import MqttSink
from edge.station.alarm import AlarmState
from edge.station.commands import CommandQueue
from edge.station.events import EventRecord
from edge.station.judge import Verdict
from edge.station.sinks import Option, SinkContext
from edge.station.status import StageTimes, StationStatus

PATIENCE_S = 30.0
START_S = 120.0
PER_PROCESS = 100


@dataclass(frozen=True, slots=True)
class Simulated:
    """What came of it. `messages`: events that arrived; `repeated`: those that arrived more than once."""

    stations: int
    sent: int
    arrived: int
    repeated: int
    seconds: float

    @property
    def lost(self) -> int:
        """Events that never arrived."""
        return self.sent - self.arrived

    @property
    def rate(self) -> float:
        """Events per second, from the first one sent to the last one that arrived."""
        return (self.arrived + self.repeated) / self.seconds


class Counter:
    """Counts events by their message id."""

    def __init__(self) -> None:
        self.ids: set[str] = set()
        self.repeated = 0
        self.last_s = time.monotonic()

    def heard(self, topic: str, payload: bytes) -> None:
        """Take one event."""
        message_id = json.loads(payload)["message_id"]
        self.repeated += message_id in self.ids
        self.ids.add(message_id)
        self.last_s = time.monotonic()


def simulate(url: str, stations: int, events: int, options: dict[str, Option], folder: Path) -> Simulated:
    """Run `stations` listeners that send `events` events each, as fast as they go. `folder` takes their outboxes."""
    counter = Counter()
    watcher = Watcher(broker_at(url), credentials(options), counter.heard, kinds="event")
    context = multiprocessing.get_context("spawn")
    parts = [range(n, min(n + PER_PROCESS, stations)) for n in range(0, stations, PER_PROCESS)]
    begin = context.Barrier(len(parts) + 1)
    workers = [context.Process(target=_work, args=(url, part, events, options, folder, begin)) for part in parts]
    try:
        for worker in workers:
            worker.start()
        begin.wait(START_S)
        began_s = counter.last_s = time.monotonic()
        while len(counter.ids) < stations * events and time.monotonic() - counter.last_s < PATIENCE_S:
            time.sleep(0.02)
        seconds = counter.last_s - began_s
        for worker in workers:
            worker.join(PATIENCE_S)
    finally:
        for worker in workers:
            worker.kill()
        watcher.close()
    return Simulated(stations, stations * events, len(counter.ids), counter.repeated, max(seconds, 1e-6))


def _work(url: str, part: range, events: int, options: dict[str, Option], folder: Path, begin: Barrier) -> None:
    """The stations of one process: a process can watch a thousand sockets and files, and each station has six."""
    sinks = [_sink(url, n, options, folder) for n in part]
    begin.wait(START_S)
    _send(sinks, events)
    end_s = time.monotonic() + PATIENCE_S
    while any(sink.outbox.count for sink in sinks) and time.monotonic() < end_s:
        time.sleep(0.05)
    for sink in sinks:
        sink.close()


def credentials(options: dict[str, Option]) -> Credentials:
    """The credentials in options of [sink_options.mqtt]."""
    files = [Path(str(options[name])) if name in options else None for name in ("ca_file", "cert_file", "key_file")]
    return Credentials(str(options.get("username", "")), str(options.get("password", "")), *files)


def _sink(url: str, number: int, options: dict[str, Option], folder: Path) -> MqttSink:
    status = _status(f"simulated-{number:03}")
    own = {**options, "outbox": str(folder / f"{number}.db"), "discovery": False}
    context = SinkContext(status.station, own, CommandQueue(), folder, lambda: status)
    sink = MqttSink(url, context)
    verdicts = (Verdict.OK, Verdict.OK, Verdict.OK, Verdict.ALARM, Verdict.FAULT)
    verdict = verdicts[number % len(verdicts)]
    faults = {"camera": "camera lost: simulated"} if verdict is Verdict.FAULT else {}
    sink.publish(replace(status, verdict=verdict, faults=faults))
    return sink


def _send(sinks: list[MqttSink], events: int) -> None:
    for number in range(1, events + 1):
        record = EventRecord(
            id=f"A{number}", kind="alarm", number=number, began_at=time.time(), score=9.0, threshold=6.0
        )
        for sink in sinks:
            sink.event(record, "raised")


def _status(station: str) -> StationStatus:
    return StationStatus(
        station=station,
        at_s=time.monotonic(),
        wall_s=time.time(),
        verdict=Verdict.OK,
        alarm=AlarmState.NORMAL,
        occurrence=0,
        acknowledged=True,
        latched=False,
        shelved=False,
        flooded=False,
        faults={},
        score=2.0,
        threshold=6.0,
        clear_level=5.5,
        fps=30.0,
        frames=0,
        frames_left_out=0,
        restarts=0,
        memory_mb=200.0,
        stages={"engine": StageTimes(6.0, 7.0, 8.0)},
        engine="simulated",
        camera="simulated",
        bundle="simulated",
        bundle_identity="",
        model_hash="",
        config_version="",
        uptime_s=0.0,
    )
