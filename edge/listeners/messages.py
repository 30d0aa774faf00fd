"""What MQTT and webhooks say, as plain JSON. Pure: status and events in, text out. Field names carry their units."""

from __future__ import annotations

import json
import math
from dataclasses import asdict

from edge.station.events import EventRecord
from edge.station.status import StationStatus
from edge.version import VERSION

PICTURES = ("frame_picture", "overlay_picture", "picture_bytes")


def state_json(status: StationStatus) -> str:
    """The station's state in one small object."""
    return _text(
        {
            "station": status.station,
            "verdict": status.verdict.value,
            "alarm": status.alarm.value,
            "occurrence": status.occurrence,
            "acknowledged": status.acknowledged,
            "latched": status.latched,
            "shelved": status.shelved,
            "flooded": status.flooded,
            "faults": dict(status.faults),
            "score": status.score,
            "threshold": status.threshold,
            "fps": round(status.fps, 2),
            "bundle": status.bundle,
            "bundle_identity": status.bundle_identity[:12],
            "at": round(status.wall_s, 3),
        }
    )


def health_json(status: StationStatus, waiting: int, lost: int) -> str:
    """How the station fares. `waiting`, `lost`: events in this listener's outbox, and events that no longer fit it."""
    return _text(
        {
            "station": status.station,
            "at": round(status.wall_s, 3),
            "uptime_s": round(status.uptime_s, 1),
            "fps": round(status.fps, 2),
            "frames": status.frames,
            "frames_left_out": status.frames_left_out,
            "restarts": status.restarts,
            "memory_mb": round(status.memory_mb, 1),
            "stages_ms": {name: asdict(times) for name, times in status.stages.items()},
            "outputs": dict(status.outputs),
            "engine": status.engine,
            "camera": status.camera,
            "model_hash": status.model_hash[:12],
            "config_version": status.config_version,
            "version": VERSION,
            "events_waiting": waiting,
            "events_lost": lost,
        }
    )


def event_json(station: str, record: EventRecord, change: str) -> str:
    """One change of one event, with everything that was known of it then."""
    values = {name: value for name, value in asdict(record).items() if name not in PICTURES}
    return _text({"station": station, "change": change, **values})


def with_id(body: str, message_id: str) -> str:
    """`body` (an object of ours) with the message's id in front."""
    return f'{{"message_id": {json.dumps(message_id)}, {body[1:]}'


def discovery_json(station: str, prefix: str) -> str:
    """Home Assistant's device discovery: one device, its entities, and where their values stand."""
    base = f"{prefix}/{station}"
    entities = {
        "verdict": {"p": "sensor", "name": "Verdict", "value_template": "{{ value_json.verdict }}"},
        "problem": {
            "p": "binary_sensor",
            "name": "Problem",
            "device_class": "problem",
            "value_template": "{{ 'OFF' if value_json.verdict == 'ok' else 'ON' }}",
        },
        "score": {"p": "sensor", "name": "Score", "value_template": "{{ value_json.score }}"},
        "fps": {
            "p": "sensor",
            "name": "Frame rate",
            "unit_of_measurement": "fps",
            "value_template": "{{ value_json.fps }}",
        },
        "occurrence": {"p": "sensor", "name": "Alarm number", "value_template": "{{ value_json.occurrence }}"},
    }
    return _text(
        {
            "dev": {"ids": [f"edge-{station}"], "name": station, "mf": "edge-anomaly", "sw": VERSION},
            "o": {"name": "edge-anomaly", "sw": VERSION},
            "cmps": {name: {**one, "unique_id": f"edge-{station}-{name}"} for name, one in entities.items()},
            "state_topic": f"{base}/state",
            "availability_topic": f"{base}/availability",
            "qos": 1,
        }
    )


def plain(value: object) -> object:
    """`value` with None for numbers that JSON cannot hold (infinite, not a number)."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    return [plain(item) for item in value] if isinstance(value, list | tuple) else value


def _text(values: dict[str, object]) -> str:
    return json.dumps(plain(values), allow_nan=False)
