"""Messages in plain words, and as JSON, for the people who stand at the wire."""

from __future__ import annotations

import json
import math
from dataclasses import asdict
from datetime import datetime
from typing import Any

from firmware_bridge.codec import BadFrame
from firmware_bridge.errors import printable
from firmware_bridge.messages import (
    Ack,
    Acknowledge,
    AlarmCleared,
    AlarmFlags,
    AlarmRaised,
    Hello,
    Message,
    Nak,
    Reset,
    Shelve,
    StationState,
    Trigger,
    TriggerResult,
    Verdict,
    fault_name,
)


def line_of(message: Message, at: datetime) -> str:
    """`12:03:01.250 ALARM raised  event 17  score 4.31 > 2.90  frame 812`."""
    return f"{clock_of(at)} {words_of(message)}"


def json_of(message: Message, at: datetime) -> str:
    """One JSON object: `time`, `type` and the fields; enums by name, no score as null."""
    return json.dumps({"time": at.isoformat(timespec="milliseconds"), **fields_of(message)})


def fields_of(message: Message) -> dict[str, Any]:
    """`type` and the fields of `message`, fit for JSON."""
    return {"type": type(message).__name__, **{name: _plain(value) for name, value in asdict(message).items()}}


def clock_of(at: datetime) -> str:
    """Time of day with milliseconds."""
    return at.strftime("%H:%M:%S.") + f"{at.microsecond // 1000:03d}"


def bad_words(frame: BadFrame) -> str:
    """What was wrong, and the bytes."""
    shown = frame.data[:32].hex(" ")
    return f"unreadable: {frame.reason.value}  [{shown}{' ...' if len(frame.data) > 32 else ''}]"


def words_of(message: Message) -> str:
    """The message in one line of words."""
    match message:
        case StationState():
            return _state_words(message)
        case AlarmRaised():
            return (
                f"ALARM raised  event {message.event}  {_scores(message.score, message.threshold)}  "
                f"frame {message.frame}  {message.age_ms} ms old"
            )
        case AlarmCleared():
            return f"alarm cleared  event {message.event}  {_words(message.reason.name)}  frame {message.frame}"
        case TriggerResult():
            return _result_words(message)
        case _:
            return _other_words(message)


def _state_words(state: StationState) -> str:
    flags = [_words(flag.name or "") for flag in AlarmFlags if flag & state.flags]
    parts = [f"state {state.verdict.name}"]
    parts += [fault_name(state.fault)] if state.fault else []
    parts += [", ".join(flags)] if flags else []
    parts += [] if math.isnan(state.score) else [_scores(state.score, state.threshold)]
    parts += [f"frame {state.frame}", f"up {state.uptime_ms / 1000:.1f} s"]
    parts += [f"{state.alarms} alarms"] if state.alarms else []
    parts += [f"{state.unsent} NOT SENT"] if state.unsent else []
    return "  ".join(parts)


def _result_words(result: TriggerResult) -> str:
    parts = [f"part {result.trigger} {result.verdict.name}"]
    parts += [fault_name(result.fault)] if result.verdict is Verdict.FAULT else []
    parts += [] if math.isnan(result.score) else [_scores(result.score, result.threshold)]
    return "  ".join([*parts, f"frame {result.frame}", f"after {result.latency_ms} ms"])


def _other_words(message: Message) -> str:
    match message:
        case Hello():
            beat = f"  heartbeat {message.heartbeat_ms} ms" if message.heartbeat_ms else ""
            who = printable(f"{message.role.name.lower()} {message.name}".strip())
            return f"hello from {who}{beat}  protocol {message.min_version} to {message.max_version}"
        case Acknowledge():
            return f"operator acknowledges {f'event {message.event}' if message.event else 'all'}"
        case Shelve():
            return f"operator shelves for {message.seconds} s" if message.seconds else "operator ends the shelving"
        case Trigger():
            return f"trigger {message.trigger}"
        case Reset():
            return "operator resets"
        case Ack():
            return f"ack of type {message.type:#04x} number {message.sequence}"
        case Nak():
            return f"refusal of type {message.type:#04x} number {message.sequence}: {_words(message.reason.name)}"
    return str(message)


def _scores(score: float, threshold: float) -> str:
    sign = ">" if score > threshold else "<=" if score <= threshold else "?"
    return f"score {score:.2f} {sign} {threshold:.2f}"


def _words(name: str) -> str:
    return name.lower().replace("_", " ")


def _plain(value: Any) -> Any:
    if isinstance(value, AlarmFlags):
        return [flag.name for flag in AlarmFlags if flag & value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None if math.isnan(value) else str(value)
    return getattr(value, "name", value)
