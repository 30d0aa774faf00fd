"""What is known of many stations, from their MQTT messages. Pure: topics, payloads and time in, rows out."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

MAX_STATIONS = 10_000
MAX_PAYLOAD = 64 * 1024
ORDER = ("fault", "alarm", "starting", "offline", "ok")


@dataclass
class Known:
    """One station: the last words of each kind, and when something was heard (monotonic seconds)."""

    online: bool = False
    heard_s: float = 0.0
    state: dict[str, Any] = field(default_factory=dict)
    health: dict[str, Any] = field(default_factory=dict)
    events: int = 0


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table. `verdict` is "offline" for a station whose last will came."""

    station: str
    verdict: str
    reason: str
    score: float | None
    threshold: float | None
    fps: float | None
    alarm: str
    engine_p50_ms: float | None
    waiting: int
    bundle: str
    age_s: float


class Fleet:
    """Takes messages, gives rows. Unreadable messages are counted in `unreadable` and change nothing."""

    def __init__(self, prefix: str) -> None:
        self._prefix = prefix
        self._stations: dict[str, Known] = {}
        self.unreadable = 0

    def take(self, topic: str, payload: bytes, now_s: float) -> str | None:
        """Take one message; returns the station whose row may have changed."""
        station, _, kind = topic.removeprefix(f"{self._prefix}/").partition("/")
        if not station or kind not in ("availability", "state", "health", "event"):
            return None
        content: Any = payload if kind == "availability" else _object(payload)
        if content is None or (station not in self._stations and len(self._stations) >= MAX_STATIONS):
            self.unreadable += 1
            return None
        known = self._stations.setdefault(station, Known())
        known.heard_s = now_s
        if kind == "availability":
            known.online = payload == b"online"
        elif kind == "state":
            known.state = content
        elif kind == "health":
            known.health = content
        else:
            known.events += 1
        return station

    def rows(self, now_s: float) -> list[Row]:
        """All stations, those that need somebody first."""
        rows = [self.row(name, now_s) for name in self._stations]
        return sorted(rows, key=lambda row: (ORDER.index(row.verdict), row.station))

    def row(self, station: str, now_s: float) -> Row:
        """One station."""
        known = self._stations[station]
        state, health = known.state, known.health
        told = str(state.get("verdict", "starting"))
        verdict = "offline" if not known.online else told if told in ORDER else "starting"
        faults = state.get("faults")
        reason = "; ".join(map(str, faults.values())) if isinstance(faults, dict) and verdict == "fault" else ""
        return Row(
            station=station,
            verdict=verdict,
            reason=reason,
            score=_number(state.get("score")),
            threshold=_number(state.get("threshold")),
            fps=_number(state.get("fps")),
            alarm=_alarm(state),
            engine_p50_ms=_engine_ms(health),
            waiting=int(_number(health.get("events_waiting")) or 0),
            bundle=str(state.get("bundle", "")),
            age_s=round(now_s - known.heard_s, 1),
        )

    def summary(self, now_s: float) -> str:
        """How many stations stand how."""
        rows = self.rows(now_s)
        counts = {verdict: sum(row.verdict == verdict for row in rows) for verdict in ORDER}
        said = ", ".join(f"{count} {verdict.upper()}" for verdict, count in counts.items() if count)
        return f"{len(rows)} stations" + (f": {said}" if said else "")


def _object(payload: bytes) -> dict[str, Any] | None:
    if len(payload) > MAX_PAYLOAD:
        return None
    try:
        content = json.loads(payload)
    except (ValueError, RecursionError):
        return None
    return content if isinstance(content, dict) else None


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def _alarm(state: dict[str, Any]) -> str:
    occurrence, alarm = state.get("occurrence"), str(state.get("alarm", ""))
    return f"A{occurrence} {alarm}" if occurrence and alarm != "normal" else ""


def _engine_ms(health: dict[str, Any]) -> float | None:
    stages = health.get("stages_ms")
    engine = stages.get("engine") if isinstance(stages, dict) else None
    return _number(engine.get("p50_ms")) if isinstance(engine, dict) else None
