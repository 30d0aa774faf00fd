"""How the pipeline (child process) and the station (its supervisor) talk: two sockets that only they share.

*Words* are small packets (SOCK_SEQPACKET: whole or not at all): JSON, and for `Scored`, which comes with every frame
and is waited for, packed numbers. *Pictures* go over a stream of their own, so that
megabytes never stand before a word: a JSON line with the sizes, then the bytes. Times are time.monotonic(), which on
Linux is one clock for all processes.
"""

from __future__ import annotations

import json
import socket
import struct
from dataclasses import asdict, dataclass
from typing import Any, BinaryIO

MAX_WORD_BYTES = 65_536
MAX_PICTURE_BYTES = 256 << 20
NO_PART, MARKED = -1, -2
_SCORED = struct.Struct("<c3q7d")  # no JSON packet begins with its first byte
_SCORED_MARK = b"S"


@dataclass(frozen=True, slots=True)
class Ready:
    """The pipeline is proven (golden frames) and sees; the first scored frame follows."""

    engine: str
    variant: str
    camera: str
    bundle: str
    bundle_identity: str
    model_hash: str
    threshold: float
    spread: float
    threshold_source: str


@dataclass(frozen=True, slots=True)
class Progress:
    """What the pipeline is doing before it is ready; also its sign of life meanwhile."""

    text: str


@dataclass(frozen=True, slots=True)
class Scored:
    """One fresh frame was scored. `trigger`: the part that it answers, or NO_PART; MARKED: it is a kept frame.

    `left_out`: frames never looked at so far. `stages_ms`: wait, preprocess, health, engine (edge.station.status).
    """

    sequence: int
    captured_at_s: float
    score: float
    masked_error: float
    trigger: int
    left_out: int
    stages_ms: tuple[float, float, float, float]


@dataclass(frozen=True, slots=True)
class Blind:
    """No frame can be scored now. `source` and `kind` are names in edge.station.judge's FaultSource and FaultKind."""

    source: str
    kind: str
    reason: str
    trigger: int = -1


@dataclass(frozen=True, slots=True)
class Alive:
    """The pipeline's loop turns, though no frame came."""


@dataclass(frozen=True, slots=True)
class Ended:
    """The clip or folder has no more frames, or the number asked for was scored."""

    reason: str


@dataclass(frozen=True, slots=True)
class Failed:
    """The pipeline cannot start or go on, and why; it exits after this."""

    source: str
    kind: str
    message: str
    exit_code: int


@dataclass(frozen=True, slots=True)
class Inspect:
    """Station to pipeline: score the next frame captured after `since_s` as the part `trigger`."""

    trigger: int
    since_s: float


@dataclass(frozen=True, slots=True)
class Keep:
    """Station to pipeline: send the pictures of frame `sequence` for event `event`."""

    event: str
    sequence: int


@dataclass(frozen=True, slots=True)
class Show:
    """Station to pipeline: somebody is watching; send live pictures until this time."""

    until_s: float


Word = Ready | Progress | Scored | Blind | Alive | Ended | Failed | Inspect | Keep | Show
WORDS: dict[str, type[Any]] = {
    c.__name__: c for c in (Ready, Progress, Scored, Blind, Alive, Ended, Failed, Inspect, Keep, Show)
}


@dataclass(frozen=True, slots=True)
class Pictures:
    """Encoded pictures of one frame for event `event`, or live ones if that is empty. `note` says why any is absent."""

    event: str
    sequence: int
    frame: bytes
    overlay: bytes
    note: str = ""


def encode_word(word: Word) -> bytes:
    """One packet."""
    if isinstance(word, Scored):
        return _packed(word)
    return json.dumps([type(word).__name__, asdict(word)], separators=(",", ":")).encode()


def decode_word(packet: bytes) -> Word:
    """The word in `packet`. Raises ValueError if it is none."""
    if packet.startswith(_SCORED_MARK):
        return _unpacked(packet)
    try:
        name, values = json.loads(packet)
        word: Word = WORDS[name](**values)
    except (KeyError, TypeError) as error:
        raise ValueError(f"not a word of the pipeline: {packet[:80]!r}") from error
    return word


def _packed(word: Scored) -> bytes:
    counts = (word.sequence, word.trigger, word.left_out)
    return _SCORED.pack(_SCORED_MARK, *counts, word.captured_at_s, word.score, word.masked_error, *word.stages_ms)


def _unpacked(packet: bytes) -> Scored:
    try:
        _, sequence, trigger, left_out, captured_at_s, score, masked_error, *stages_ms = _SCORED.unpack(packet)
    except struct.error as error:
        raise ValueError(f"not a scored frame: {packet[:80]!r}") from error
    wait, preprocess, health, engine = stages_ms
    return Scored(sequence, captured_at_s, score, masked_error, trigger, left_out, (wait, preprocess, health, engine))


def send_word(link: socket.socket, word: Word) -> None:
    """Send one word. Raises EOFError when the other side is gone."""
    try:
        link.send(encode_word(word))
    except OSError as error:
        raise EOFError(str(error)) from error


def receive_words(link: socket.socket) -> list[Word]:
    """All words that have arrived, without waiting. Raises EOFError when the other side is gone."""
    words: list[Word] = []
    while True:
        try:
            packet = link.recv(MAX_WORD_BYTES, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return words
        except OSError as error:
            raise EOFError(str(error)) from error
        if not packet:
            if words:
                return words
            raise EOFError("the other side closed the channel")
        words.append(decode_word(packet))


def send_pictures(stream: BinaryIO, pictures: Pictures) -> None:
    """Send one set of pictures; blocks while the reader is slow, so it belongs into a thread of its own."""
    head = {
        "event": pictures.event,
        "sequence": pictures.sequence,
        "sizes": [len(pictures.frame), len(pictures.overlay)],
        "note": pictures.note,
    }
    stream.write(json.dumps(head).encode() + b"\n")
    stream.write(pictures.frame)
    stream.write(pictures.overlay)
    stream.flush()


def receive_pictures(stream: BinaryIO) -> Pictures | None:
    """The next set of pictures, or None when the sender is gone (also in the middle of a set)."""
    try:
        line = stream.readline(MAX_WORD_BYTES)
        if not line.endswith(b"\n"):
            return None
        head = json.loads(line)
        sizes = [int(size) for size in head["sizes"]]
        if sum(sizes) > MAX_PICTURE_BYTES:
            return None
        frame, overlay = (stream.read(size) for size in sizes)
    except OSError:
        return None
    if [len(frame), len(overlay)] != sizes:
        return None
    return Pictures(head["event"], head["sequence"], frame, overlay, head["note"])
