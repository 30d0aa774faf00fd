"""What a terminal shows of a station: a live line where people look, plain lines or JSON where programs read."""

from __future__ import annotations

import json
import shutil
import sys
from dataclasses import asdict
from typing import TextIO

from edge.errors import one_line
from edge.station.events import EventRecord
from edge.station.judge import Verdict
from edge.station.sinks import SinkContext
from edge.station.status import StationStatus

COLOURS = {Verdict.OK: "30;42", Verdict.ALARM: "97;41", Verdict.FAULT: "30;43", Verdict.STARTING: "97;44"}
JSON_PERIOD_S = 1.0


class StatusLine:
    """On a terminal one line that is written over; elsewhere one line per change of verdict. Events get their own."""

    def __init__(self, url: str, context: SinkContext, out: TextIO | None = None) -> None:
        self._out = out or sys.stdout
        self._live = self._out.isatty()
        self._verdict: Verdict | None = None
        self._introduced = self._closed = False

    def publish(self, status: StationStatus) -> None:
        """See edge.station.sinks.Sink."""
        if status.engine and not self._introduced:
            self._introduced = True
            self._line(f"bundle {status.bundle} {status.bundle_identity[:12]}, {status.engine}")
            self._line(f"camera {status.camera}; {status.note}")
        if self._live:
            self._over(status)
        elif status.verdict is not self._verdict:
            self._line(described(status))
        self._verdict = status.verdict

    def event(self, record: EventRecord, change: str) -> None:
        """See edge.station.sinks.Sink."""
        self._line(f"{record.id} {change}: {_what(record)}")

    def close(self) -> None:
        """End the live line."""
        if self._live and not self._closed:
            self._out.write("\n")
            self._out.flush()
        self._closed = True

    def _over(self, status: StationStatus) -> None:
        width = shutil.get_terminal_size().columns
        word = f" {status.verdict.name:8} "
        rest = one_line(described(status))[len(status.verdict.name) : max(0, width - 4)]
        self._out.write(f"\r\x1b[K\x1b[{COLOURS[status.verdict]}m{word}\x1b[0m{rest[: max(0, width - len(word) - 1)]}")
        self._out.flush()

    def _line(self, text: str) -> None:
        self._out.write(("\r\x1b[K" if self._live else "") + one_line(text) + "\n")
        self._out.flush()


class JsonLines:
    """One object per second, per change of verdict and per event, on standard output."""

    def __init__(self, url: str, context: SinkContext, out: TextIO | None = None) -> None:
        self._out = out or sys.stdout
        self._verdict: Verdict | None = None
        self._said_s = float("-inf")
        self._unsaid: StationStatus | None = None

    def publish(self, status: StationStatus) -> None:
        """See edge.station.sinks.Sink."""
        if status.verdict is self._verdict and status.at_s - self._said_s < JSON_PERIOD_S:
            self._unsaid = status
            return
        self._verdict, self._said_s, self._unsaid = status.verdict, status.at_s, None
        self._say({"type": "status", **as_json(status)})

    def event(self, record: EventRecord, change: str) -> None:
        """See edge.station.sinks.Sink."""
        self._say({"type": "event", "change": change, **asdict(record)})

    def close(self) -> None:
        """Say the last status, if it was not said yet."""
        if self._unsaid is not None:
            self._say({"type": "status", **as_json(self._unsaid)})
            self._unsaid = None

    def _say(self, values: dict[str, object]) -> None:
        self._out.write(json.dumps(values) + "\n")
        self._out.flush()


def as_json(status: StationStatus) -> dict[str, object]:
    """The status as plain values, without pictures and trend; times in seconds, latencies in milliseconds."""
    values = {name: getattr(status, name) for name in status.__slots__ if name not in ("picture", "trend", "stages")}
    stages = {name: asdict(times) for name, times in status.stages.items()}
    return {**values, "verdict": status.verdict.value, "alarm": status.alarm.value, "stages": stages}


def described(status: StationStatus) -> str:
    """The status in one line of plain words."""
    if status.faults:
        return f"{status.verdict.name} {'; '.join(status.faults.values())}"
    if status.score is None or status.threshold is None:
        return f"{status.verdict.name} {status.note}"
    engine = status.stages.get("engine")
    latency = f", engine {engine.p50_ms:.1f} ms" if engine else ""
    left_out = f", {status.frames_left_out} left out" if status.frames_left_out else ""
    return (
        f"{status.verdict.name} score {status.score:.4g} of {status.threshold:.4g}, {status.fps:.1f} FPS{latency}"
        f"{left_out}, camera healthy, alarm {status.occurrence} {status.alarm.value}"
    )


def _what(record: EventRecord) -> str:
    if record.kind == "fault":
        return record.reason
    return f"score {record.score:.4g} over {record.threshold:.4g}, frame {record.frame}, {record.latency_ms:.1f} ms"
