"""The wire vectors, as the Python tests want them."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from firmware_bridge import messages

_DOCUMENT: dict[str, Any] = json.loads(Path(__file__).with_name("vectors.json").read_text())
GOOD: list[dict[str, Any]] = _DOCUMENT["good"]
BAD: list[dict[str, Any]] = _DOCUMENT["bad"]
CRC: list[dict[str, Any]] = _DOCUMENT["crc"]


def message_of(vector: dict[str, Any]) -> messages.Message:
    """The message that a vector describes."""
    cls = getattr(messages, vector["type"])
    return messages.from_values(cls, tuple(_number(value) for value in vector["fields"].values()))


def same(one: messages.Message, other: messages.Message) -> bool:
    """Equal, not-a-number included."""
    return type(one) is type(other) and repr(one) == repr(other)


def _number(value: Any) -> Any:
    return math.nan if value is None else math.inf if value == "inf" else value
