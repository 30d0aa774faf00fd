"""What station and receiver tell each other. docs/protocol.md is the definition; this is its Python form.

Every class knows its type byte (`TYPE`) and its payload layout (`LAYOUT`, little endian, fields in order).
"""

from __future__ import annotations

import enum
import math
import struct
from dataclasses import dataclass, fields
from typing import Any, ClassVar, TypeAlias, Union

NAME_BYTES = 24


class Verdict(enum.IntEnum):
    """What the station says about the part in front of it. Only OK means good."""

    STARTING = 0
    OK = 1
    ALARM = 2
    FAULT = 3


class AlarmFlags(enum.IntFlag):
    """State of the station's alarm in the words of OPC UA Part 9 / ISA-18.2. Unknown bits are kept."""

    NONE = 0
    ACTIVE = 1
    ACKED = 2
    LATCHED = 4
    SHELVED = 8
    SUPPRESSED = 16
    OUT_OF_SERVICE = 32


class Fault(enum.IntEnum):
    """Why the station cannot see. A receiver treats a code that it does not know as a fault all the same."""

    NONE = 0
    CAMERA_LOST = 1
    CAMERA_FROZEN = 2
    PICTURE_BLACK = 3
    PICTURE_SATURATED = 4
    OUT_OF_FOCUS = 5
    CAMERA_MOVED = 6
    EXPOSURE_DRIFT = 7
    FRAME_TOO_OLD = 8
    ENGINE_STUCK = 9
    ENGINE_ERROR = 10
    BUNDLE_REFUSED = 11
    STORE_FAILED = 12
    DISK_FULL = 13
    OUTPUT_NOT_PROVEN = 14
    TRIGGER_TIMEOUT = 15
    RESTART_BUDGET_SPENT = 16
    MEMORY_LIMIT = 17
    ALARM_FLOOD = 18
    STOPPING = 19
    OTHER = 0xFFFF


class ClearReason(enum.IntEnum):
    """Why an alarm went."""

    RETURNED_TO_NORMAL = 0
    RESET = 1
    SHELVED = 2
    STOPPING = 3


class NakReason(enum.IntEnum):
    """Why a well-formed frame was not taken."""

    VERSION = 1
    UNKNOWN_TYPE = 2
    MALFORMED = 3
    BUSY = 4


class Role(enum.IntEnum):
    """Which end of the wire is speaking."""

    STATION = 0
    RECEIVER = 1


@dataclass(frozen=True, slots=True)
class Hello:
    """First word of each connection. `name` has at most 24 UTF-8 bytes; `heartbeat_ms` 0 when none will come."""

    TYPE: ClassVar[int] = 0x01
    LAYOUT: ClassVar[str] = "<BBBH24s"
    role: Role
    min_version: int
    max_version: int
    heartbeat_ms: int
    name: str = ""


@dataclass(frozen=True, slots=True)
class Ack:
    """The frame with this session, type and sequence arrived whole and was understood."""

    TYPE: ClassVar[int] = 0x02
    LAYOUT: ClassVar[str] = "<IBH"
    session: int
    type: int
    sequence: int


@dataclass(frozen=True, slots=True)
class Nak:
    """The frame with this session, type and sequence arrived whole and was not taken, because of `reason`."""

    TYPE: ClassVar[int] = 0x03
    LAYOUT: ClassVar[str] = "<IBHB"
    session: int
    type: int
    sequence: int
    reason: NakReason


@dataclass(frozen=True, slots=True)
class StationState:
    """The station's whole state, in every heartbeat: a level, never an edge. NaN: no score yet.

    `event` is the newest alarm's id (0: none yet), `unsent` counts alarms that the wire's queue had to refuse.
    """

    TYPE: ClassVar[int] = 0x10
    LAYOUT: ClassVar[str] = "<BBHffIQIIIII"
    verdict: Verdict = Verdict.STARTING
    flags: AlarmFlags = AlarmFlags.NONE
    fault: int = Fault.NONE
    score: float = float("nan")
    threshold: float = float("nan")
    frame: int = 0
    uptime_ms: int = 0
    event: int = 0
    alarms: int = 0
    faults: int = 0
    dropped_frames: int = 0
    unsent: int = 0


@dataclass(frozen=True, slots=True)
class AlarmRaised:
    """One defect, said once. `age_ms`: from the frame's arrival at the station to this transmission."""

    TYPE: ClassVar[int] = 0x11
    LAYOUT: ClassVar[str] = "<IffII"
    event: int
    score: float
    threshold: float
    frame: int
    age_ms: int = 0


@dataclass(frozen=True, slots=True)
class AlarmCleared:
    """The alarm `event` is over."""

    TYPE: ClassVar[int] = 0x12
    LAYOUT: ClassVar[str] = "<IBI"
    event: int
    reason: ClearReason = ClearReason.RETURNED_TO_NORMAL
    frame: int = 0


@dataclass(frozen=True, slots=True)
class TriggerResult:
    """The one answer to `Trigger(trigger)`; FAULT when no frame could be judged in time."""

    TYPE: ClassVar[int] = 0x13
    LAYOUT: ClassVar[str] = "<IBHffII"
    trigger: int
    verdict: Verdict
    fault: int = Fault.NONE
    score: float = float("nan")
    threshold: float = float("nan")
    frame: int = 0
    latency_ms: int = 0


@dataclass(frozen=True, slots=True)
class Acknowledge:
    """The operator has seen alarm `event` (0: all)."""

    TYPE: ClassVar[int] = 0x20
    LAYOUT: ClassVar[str] = "<I"
    event: int


@dataclass(frozen=True, slots=True)
class Shelve:
    """The operator silences the alarm for `seconds` (0: ends the shelving)."""

    TYPE: ClassVar[int] = 0x21
    LAYOUT: ClassVar[str] = "<H"
    seconds: int


@dataclass(frozen=True, slots=True)
class Trigger:
    """A part is in front of the camera: judge it and answer once with TriggerResult(trigger)."""

    TYPE: ClassVar[int] = 0x22
    LAYOUT: ClassVar[str] = "<I"
    trigger: int


@dataclass(frozen=True, slots=True)
class Reset:
    """The operator releases a latched alarm."""

    TYPE: ClassVar[int] = 0x23
    LAYOUT: ClassVar[str] = "<"


Event: TypeAlias = Union[AlarmRaised, AlarmCleared, TriggerResult]  # noqa: UP007
Command: TypeAlias = Union[Acknowledge, Shelve, Trigger, Reset]  # noqa: UP007
Message: TypeAlias = Union[Hello, Ack, Nak, StationState, Event, Command]  # noqa: UP007

MESSAGES: tuple[type[Message], ...] = (
    Hello,
    Ack,
    Nak,
    StationState,
    AlarmRaised,
    AlarmCleared,
    TriggerResult,
    Acknowledge,
    Shelve,
    Trigger,
    Reset,
)
BY_TYPE: dict[int, type[Message]] = {cls.TYPE: cls for cls in MESSAGES}
# Acked, retried and delivered once; the others are said once and said again by the next heartbeat.
RELIABLE = (AlarmRaised, AlarmCleared, TriggerResult, Acknowledge, Shelve, Trigger, Reset)
COMMANDS = (Acknowledge, Shelve, Trigger, Reset)
_FIELDS = {cls.TYPE: tuple((f.name, str(f.type)) for f in fields(cls)) for cls in MESSAGES}
_ENUMS: dict[str, type[enum.IntEnum] | type[enum.IntFlag]] = {
    "Role": Role,
    "Verdict": Verdict,
    "AlarmFlags": AlarmFlags,
    "ClearReason": ClearReason,
    "NakReason": NakReason,
}


def pack(message: Message) -> bytes:
    """The payload of `message`. Raises ValueError when a field does not fit its place in the layout."""
    values = [_plain(getattr(message, name)) for name, _ in _fields(type(message))]
    if isinstance(message, Hello):
        values[-1] = _name_bytes(message.name)
    try:
        return struct.pack(message.LAYOUT, *values)
    except (struct.error, OverflowError) as error:
        raise ValueError(f"{message} does not fit the wire: {error}") from error


def unpack(cls: type[Message], payload: bytes) -> Message:
    """The message in `payload`. Raises ValueError on a wrong length or on a value that the type does not know."""
    size = struct.calcsize(cls.LAYOUT)
    if len(payload) != size:
        raise ValueError(f"{cls.__name__} has {size} bytes, found {len(payload)}")
    return from_values(cls, struct.unpack(cls.LAYOUT, payload))


def from_values(cls: type[Message], values: tuple[Any, ...]) -> Message:
    """A message from its field values in order, enums and names given as they are on the wire."""
    return cls(*(_value(kind, value) for (_, kind), value in zip(_fields(cls), values, strict=True)))


def fault_name(code: int) -> str:
    """`CAMERA_LOST` in plain words; an unknown code as its number."""
    return Fault(code).name.lower().replace("_", " ") if code in list(Fault) else f"fault {code}"


def _fields(cls: type[Message]) -> tuple[tuple[str, str], ...]:
    return _FIELDS[cls.TYPE]


def _value(kind: str, value: Any) -> Any:
    if kind == "str":
        return value.split(b"\0", 1)[0].decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
    return _ENUMS[kind](value) if kind in _ENUMS else value


def _plain(value: Any) -> Any:
    """Every NaN goes out with the same bits: it says "no score", whatever made it."""
    return math.nan if isinstance(value, float) and math.isnan(value) else value


def _name_bytes(name: str) -> bytes:
    data = name.encode()
    if len(data) > NAME_BYTES or b"\0" in data:
        raise ValueError(f"the name {name!r} has more than {NAME_BYTES} bytes or a zero byte")
    return data
