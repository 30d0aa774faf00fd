"""Bytes <-> messages, text dialect for controllers that read lines.

    $EA,1,ALARM,12345600,7,17,4.31,2.9,812,35*1A2B<CR><LF>
     tag, version, word, session (8 hex digits), sequence, the fields in order,
     CRC-16/CCITT-FALSE (4 hex digits) of what stands between $ and *

Pure: no port, no clock. A line has at most 255 characters, all printable ASCII.
"""

from __future__ import annotations

import re
import struct
from dataclasses import astuple
from typing import Any
from urllib.parse import unquote_to_bytes

from firmware_bridge import messages
from firmware_bridge.codec import VERSION, BadFrame, FrameSplitter, Header, Reason, Received, crc16
from firmware_bridge.messages import Message, from_values, pack

MAX_LINE = 255
WORDS: dict[str, type[Message]] = {
    "HELLO": messages.Hello,
    "ACK": messages.Ack,
    "NAK": messages.Nak,
    "STATE": messages.StationState,
    "ALARM": messages.AlarmRaised,
    "CLEAR": messages.AlarmCleared,
    "RESULT": messages.TriggerResult,
    "ACKNOWLEDGE": messages.Acknowledge,
    "SHELVE": messages.Shelve,
    "TRIGGER": messages.Trigger,
    "RESET": messages.Reset,
}
_WORD_OF = {cls: word for word, cls in WORDS.items()}
_HEAD = re.compile(r"EA,(\d{1,3}),([A-Z]{1,16}),([0-9A-F]{8}),(\d{1,5})(?:,(.*))?")


def encode(message: Message, sequence: int, session: int = 0) -> bytes:
    """One line ready for the port. Raises ValueError when a field does not fit the wire (same limits as binary)."""
    pack(message)
    head = ["EA", str(VERSION), _WORD_OF[type(message)], f"{session:08X}", str(sequence & 0xFFFF)]
    body = ",".join([*head, *(_text(value) for value in astuple(message))]).encode("ascii")
    return b"$%s*%04X\r\n" % (body, crc16(body))


class Decoder(FrameSplitter):
    """Collects bytes and gives the messages in the lines; a carriage return before the line feed may be missing."""

    def __init__(self) -> None:
        super().__init__(b"\n", MAX_LINE, _decode_ended)


def _decode_ended(line: bytes) -> Received | BadFrame | None:
    bare = line.strip(b"\r\n")
    return decode(bare) if bare else None


def decode(line: bytes) -> Received | BadFrame:
    """The message in one line without its line end. What stands before the last `$` is noise and is ignored."""
    start, star = line.rfind(b"$"), line.rfind(b"*")
    if start < 0 or star < start or len(line) - star != 5:
        return BadFrame(Reason.SHORT, line)
    body = line[start + 1 : star]
    if line[star + 1 :] != b"%04X" % crc16(body):
        return BadFrame(Reason.CRC, line)
    head = _HEAD.fullmatch(body.decode("ascii", "replace"))
    return _open(line, head) if head else BadFrame(Reason.MALFORMED, line)


def _open(line: bytes, head: re.Match[str]) -> Received | BadFrame:
    version, word, session, sequence, rest = head.groups()
    cls = WORDS.get(word)
    header = Header(int(version), cls.TYPE if cls else 0, int(session, 16), int(sequence) & 0xFFFF)
    if header.version != VERSION:
        return BadFrame(Reason.VERSION, line, header)
    if cls is None:
        return BadFrame(Reason.UNKNOWN_TYPE, line, header)
    try:
        return Received(_message(cls, rest.split(",") if rest is not None else []), header.sequence, header.session)
    except (ValueError, OverflowError):
        return BadFrame(Reason.MALFORMED, line, header)


def _message(cls: type[Message], texts: list[str]) -> Message:
    codes = [c for c in cls.LAYOUT if c.isalpha()]
    message = from_values(cls, tuple(_value(code, text) for code, text in zip(codes, texts, strict=True)))
    pack(message)  # the same limits as on the binary wire
    return message


def _value(code: str, text: str) -> Any:
    if code == "f":
        return struct.unpack("<f", struct.pack("<f", float(text)))[0]
    if code == "s":
        return unquote_to_bytes(text).decode("utf-8", "replace")
    if not (text.isascii() and text.isdigit() and len(text) <= 20):
        raise ValueError(f"{text!r} is no whole number")
    return int(text)


def _text(value: object) -> str:
    if isinstance(value, str):
        return "".join(c if c.isascii() and (c.isalnum() or c in " -_.") else _escaped(c) for c in value)
    return f"{value:.9g}" if isinstance(value, float) else str(int(value))  # type: ignore[call-overload]


def _escaped(character: str) -> str:
    return "".join(f"%{byte:02X}" for byte in character.encode())
