"""The spoken dialects as rows: how to write a message and how to read a stream."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from firmware_bridge import ascii_lines, codec
from firmware_bridge.codec import StreamDecoder
from firmware_bridge.errors import AddressError
from firmware_bridge.messages import Message


@dataclass(frozen=True, slots=True)
class Wire:
    """`idle` ends whatever noise stood on the line before the first frame."""

    name: str
    encode: Callable[[Message, int, int], bytes]
    decoder: Callable[[], StreamDecoder]
    idle: bytes


WIRES = {
    "cobs": Wire("cobs", codec.encode, codec.Decoder, b"\0"),
    "ascii": Wire("ascii", ascii_lines.encode, ascii_lines.Decoder, b"\r\n"),
}


def wire_named(name: str) -> Wire:
    """The dialect `name`; AddressError names those there are."""
    if name not in WIRES:
        raise AddressError(f"wire {name!r}", "no such dialect", f"choose one of {', '.join(WIRES)}, modbus")
    return WIRES[name]
