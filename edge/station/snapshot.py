"""What the station counts about itself, and the two views made of it: for the outputs, and for people."""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass, field

from edge.station.channel import Ready, Scored
from edge.station.judge import Judge
from edge.station.status import STAGES, LivePicture, OutputState, StageRing, StationStatus

TREND = 300
NO_NUMBER = float("nan")


@dataclass
class Counters:
    """Mutable figures that the station's loop keeps."""

    started_s: float
    frames: int = 0
    frames_left_out: int = 0
    late_frames: int = 0
    last_frame: int = 0
    stages: StageRing = field(default_factory=StageRing)
    trend: deque[tuple[float, float]] = field(default_factory=lambda: deque(maxlen=TREND))
    picture: LivePicture | None = None

    def take(self, word: Scored, now_s: float) -> None:
        """Count one frame that is about to be judged."""
        self.frames += 1
        self.frames_left_out = word.left_out
        self.last_frame = word.sequence
        self.trend.append((now_s, word.score))

    def judged(self, word: Scored, now_s: float) -> None:
        """Its verdict is out, on relay and wire if it changed anything."""
        total_ms = 1000 * (now_s - word.captured_at_s)
        times_ms = (*word.stages_ms, total_ms - sum(word.stages_ms), total_ms)
        self.stages.add(dict(zip(STAGES, times_ms, strict=True)))

    def fps(self, now_s: float) -> float:
        """Judged frames per second over the last frames; 0 when none came for two seconds."""
        recent = [at_s for at_s, _ in self.trend if now_s - at_s <= 2.0]
        return 0.0 if len(recent) < 2 else (len(recent) - 1) / max(now_s - recent[0], 1e-6)


@dataclass(frozen=True, slots=True)
class Identity:
    """What does not change while the station runs."""

    station: str
    camera: str
    config_version: str


def output_state(judge: Judge, counters: Counters, now_s: float, alarms: int, faults: int) -> OutputState:
    """The state as outputs show it."""
    alarm, seen_faults = judge.alarm, judge.faults
    return OutputState(
        verdict=judge.verdict,
        active=alarm.active,
        acknowledged=alarm.acknowledged,
        latched=alarm.latched,
        shelved=alarm.shelved,
        flooded=alarm.flooded,
        fault=seen_faults[0].kind if seen_faults else None,
        score=NO_NUMBER if judge.last_score is None else judge.last_score,
        threshold=judge.vote.rules.threshold,
        frame=counters.last_frame,
        uptime_ms=int(1000 * (now_s - counters.started_s)),
        event=alarm.occurrence,
        alarms=alarms,
        faults=faults,
        dropped_frames=counters.frames_left_out,
    )


@dataclass(frozen=True, slots=True)
class Around:
    """What the snapshot needs from the station's other parts."""

    restarts: int
    memory_mb: float
    note: str
    outputs: dict[str, str]


def station_status(
    identity: Identity, judge: Judge, counters: Counters, ready: Ready | None, around: Around
) -> StationStatus:
    """The state as people, MQTT and metrics see it."""
    now_s, alarm, rules = time.monotonic(), judge.alarm, judge.vote.rules
    return StationStatus(
        station=identity.station,
        at_s=now_s,
        wall_s=time.time(),
        verdict=judge.verdict,
        alarm=alarm.state,
        occurrence=alarm.occurrence,
        acknowledged=alarm.acknowledged,
        latched=alarm.latched,
        shelved=alarm.shelved,
        flooded=alarm.flooded,
        faults={fault.source.value: f"{fault.kind.value}: {fault.reason}" for fault in judge.faults},
        score=judge.last_score,
        threshold=rules.threshold if ready else None,
        clear_level=rules.clear_level if ready else None,
        fps=counters.fps(now_s),
        frames=counters.frames,
        frames_left_out=counters.frames_left_out,
        restarts=around.restarts,
        memory_mb=around.memory_mb,
        stages=counters.stages.summary(),
        engine=ready.engine if ready else "",
        camera=ready.camera if ready else identity.camera,
        bundle=ready.bundle if ready else "",
        bundle_identity=ready.bundle_identity if ready else "",
        model_hash=ready.model_hash if ready else "",
        config_version=identity.config_version,
        uptime_s=now_s - counters.started_s,
        note=around.note,
        outputs=around.outputs,
        trend=tuple((now_s - at_s, score) for at_s, score in counters.trend),
        picture=counters.picture,
    )
