"""Bytes <-> messages, binary dialect: header, payload, CRC-16/CCITT-FALSE, COBS, one zero byte at the end.

    version u8 | type u8 | session u32 | sequence u16 | payload | crc u16        little endian, at most 253 bytes

Pure: no port, no clock. A frame on the wire, delimiter included, has at most 255 bytes.
"""

from __future__ import annotations

import binascii
import enum
import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from cobs import cobs

from firmware_bridge.messages import BY_TYPE, Message, pack, unpack

VERSION = 1
MAX_WIRE = 255
_HEADER = struct.Struct("<BBIH")
_CRC = struct.Struct("<H")


class Reason(str, enum.Enum):
    """Why bytes between two delimiters are not a message."""

    TOO_LONG = "too long"
    COBS = "broken COBS"
    SHORT = "too short"
    CRC = "wrong CRC"
    VERSION = "other protocol version"
    UNKNOWN_TYPE = "unknown message type"
    MALFORMED = "wrong length or value"


@dataclass(frozen=True, slots=True)
class Header:
    """Who said it, and as which word. `session >> 8` is the run of the speaker, the low byte its reconnections."""

    version: int
    type: int
    session: int
    sequence: int


@dataclass(frozen=True, slots=True)
class Received:
    """A whole, checked message."""

    message: Message
    sequence: int
    session: int = 0


@dataclass(frozen=True, slots=True)
class BadFrame:
    """Bytes that are no message. `header` is known when the CRC was right."""

    reason: Reason
    data: bytes
    header: Header | None = None


class StreamDecoder(Protocol):
    """Anything that turns arriving bytes into messages."""

    def feed(self, data: bytes) -> list[Received | BadFrame]:
        """The messages that `data` completes."""


def crc16(data: bytes) -> int:
    """CRC-16/CCITT-FALSE: polynomial 0x1021, start 0xFFFF, not reflected; `crc16(b"123456789") == 0x29B1`."""
    return binascii.crc_hqx(data, 0xFFFF)


def encode(message: Message, sequence: int, session: int = 0) -> bytes:
    """One frame ready for the port. Raises ValueError when a field does not fit the wire."""
    return seal(_HEADER.pack(VERSION, message.TYPE, session, sequence & 0xFFFF) + pack(message))


def seal(body: bytes) -> bytes:
    """`body` (header and payload) with CRC, COBS and delimiter."""
    return bytes(cobs.encode(body + _CRC.pack(crc16(body)))) + b"\0"


class FrameSplitter:
    """Cuts arriving bytes at `delimiter` and decodes each frame; never holds more than `limit` bytes of one.

    After noise, a lost byte or an endless frame it is in step again at the next delimiter. Not thread-safe.
    """

    def __init__(self, delimiter: bytes, limit: int, decode: Callable[[bytes], Received | BadFrame | None]) -> None:
        self._delimiter, self._limit, self._decode = delimiter, limit, decode
        self._buffer = bytearray()
        self._overrun = False

    def feed(self, data: bytes) -> list[Received | BadFrame]:
        """What `data` completes, in order. Empty `data` and empty frames (two delimiters in a row) give nothing."""
        *ended, rest = data.split(self._delimiter)
        found = [item for part in ended if (item := self._end(part)) is not None]
        self._collect(rest)
        return found

    def _collect(self, part: bytes) -> None:
        if self._overrun or len(self._buffer) + len(part) > self._limit:
            self._overrun, part = True, part[: self._limit - len(self._buffer)]
        self._buffer += part

    def _end(self, part: bytes) -> Received | BadFrame | None:
        self._collect(part)
        frame, overrun = bytes(self._buffer), self._overrun
        self._buffer.clear()
        self._overrun = False
        return BadFrame(Reason.TOO_LONG, frame) if overrun else self._decode(frame)


class Decoder(FrameSplitter):
    """Collects bytes and gives the messages in the COBS blocks."""

    def __init__(self) -> None:
        super().__init__(b"\0", MAX_WIRE - 1, lambda block: decode(block) if block else None)


def decode(data: bytes) -> Received | BadFrame:
    """The message in one COBS block without its delimiter."""
    try:
        raw = bytes(cobs.decode(data))
    except cobs.DecodeError:
        return BadFrame(Reason.COBS, data)
    if len(raw) < _HEADER.size + _CRC.size:
        return BadFrame(Reason.SHORT, data)
    body, (check,) = raw[: -_CRC.size], _CRC.unpack(raw[-_CRC.size :])
    if crc16(body) != check:
        return BadFrame(Reason.CRC, data)
    return _open(data, Header(*_HEADER.unpack_from(body)), body[_HEADER.size :])


def _open(data: bytes, header: Header, payload: bytes) -> Received | BadFrame:
    if header.version != VERSION:
        return BadFrame(Reason.VERSION, data, header)
    cls = BY_TYPE.get(header.type)
    if cls is None:
        return BadFrame(Reason.UNKNOWN_TYPE, data, header)
    try:
        return Received(unpack(cls, payload), header.sequence, header.session)
    except ValueError:
        return BadFrame(Reason.MALFORMED, data, header)
