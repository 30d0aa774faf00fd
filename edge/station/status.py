"""One immutable picture of the station, made by the station's loop and read by page, MQTT, metrics and terminal."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field

from edge.station.alarm import AlarmState
from edge.station.judge import FaultKind, Verdict

STAGES = ("wait", "preprocess", "health", "engine", "decide", "total")  # total: from the frame's arrival to its verdict


@dataclass(frozen=True, slots=True)
class OutputState:
    """What goes to wire and relay, after every change and every frame. `event` is the newest alarm's number."""

    verdict: Verdict
    active: bool
    acknowledged: bool
    latched: bool
    shelved: bool
    flooded: bool
    fault: FaultKind | None
    score: float
    threshold: float
    frame: int
    uptime_ms: int
    event: int
    alarms: int
    faults: int
    dropped_frames: int


@dataclass(frozen=True, slots=True)
class StageTimes:
    """Latency of one stage over the last frames, in milliseconds."""

    p50_ms: float
    p99_ms: float
    max_ms: float


@dataclass(frozen=True, slots=True)
class LivePicture:
    """The picture people look at: JPEG bytes of the frame and of the heat map in colour. The heat map is coarser."""

    sequence: int
    frame_jpeg: bytes
    heatmap_jpeg: bytes


@dataclass(frozen=True, slots=True)
class StationStatus:
    """What the station knows of itself at `at_s` (time.monotonic) / `wall_s` (Unix time).

    `score` is of the last scored frame, None before it. `trend` holds (age in seconds, score) of recent frames, newest
    last. `faults` maps a source to its reason. `occurrence` numbers the newest alarm (0: none yet).
    """

    station: str
    at_s: float
    wall_s: float
    verdict: Verdict
    alarm: AlarmState
    occurrence: int
    acknowledged: bool
    latched: bool
    shelved: bool
    flooded: bool
    faults: Mapping[str, str]
    score: float | None
    threshold: float | None
    clear_level: float | None
    fps: float
    frames: int
    frames_left_out: int
    restarts: int
    memory_mb: float
    stages: Mapping[str, StageTimes]
    engine: str
    camera: str
    bundle: str
    bundle_identity: str
    model_hash: str
    config_version: str
    uptime_s: float
    note: str = ""
    outputs: Mapping[str, str] = field(default_factory=dict)
    trend: tuple[tuple[float, float], ...] = ()
    picture: LivePicture | None = None


class StageRing:
    """The last latencies of every stage; cheap to add to, sorted only when somebody asks."""

    def __init__(self, size: int = 300) -> None:
        self._rings: dict[str, deque[float]] = {}
        self._size = size

    def add(self, times_ms: Mapping[str, float]) -> None:
        """Take the stages of one frame, in milliseconds."""
        for stage, value in times_ms.items():
            self._rings.setdefault(stage, deque(maxlen=self._size)).append(value)

    def summary(self) -> dict[str, StageTimes]:
        """p50, p99 and maximum of every stage."""
        return {stage: _times(sorted(ring)) for stage, ring in self._rings.items() if ring}


def _times(ordered: list[float]) -> StageTimes:
    last = len(ordered) - 1
    return StageTimes(ordered[last // 2], ordered[round(0.99 * last)], ordered[last])
