"""Bytes <-> messages: the vectors three ways, every message, every broken frame, both dialects."""

from __future__ import annotations

import math
import random
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firmware_bridge import ascii_lines, codec, messages
from firmware_bridge.codec import BadFrame, Decoder, Reason, Received, crc16, encode
from firmware_bridge.messages import AlarmFlags, AlarmRaised, ClearReason, NakReason, Role, StationState, Verdict
from tests.firmware_bridge.vectors import BAD, CRC, GOOD, message_of, same

U8, U16, U32, U64 = (st.integers(0, 2**bits - 1) for bits in (8, 16, 32, 64))
F32 = st.floats(width=32, allow_nan=True)
VERDICT, FLAGS = st.sampled_from(Verdict), U8.map(AlarmFlags)
NAME = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=24).filter(
    lambda name: len(name.encode()) <= 24
)
MESSAGES = st.one_of(
    st.builds(messages.Hello, st.sampled_from(Role), U8, U8, U16, NAME),
    st.builds(messages.Ack, U32, U8, U16),
    st.builds(messages.Nak, U32, U8, U16, st.sampled_from(NakReason)),
    st.builds(StationState, VERDICT, FLAGS, U16, F32, F32, U32, U64, U32, U32, U32, U32, U32),
    st.builds(AlarmRaised, U32, F32, F32, U32, U32),
    st.builds(messages.AlarmCleared, U32, st.sampled_from(ClearReason), U32),
    st.builds(messages.TriggerResult, U32, VERDICT, U16, F32, F32, U32, U32),
    st.builds(messages.Acknowledge, U32),
    st.builds(messages.Shelve, U16),
    st.builds(messages.Trigger, U32),
    st.just(messages.Reset()),
)


def three_ways(make, data: bytes, tail: bytes) -> list[list[Received | BadFrame]]:
    """What a fresh decoder finds in `data` whole, byte by byte, and with the start of another frame behind it."""
    whole, bytewise, tailed = make(), make(), make()
    one_by_one = [item for byte in data for item in bytewise.feed(bytes([byte]))]
    return [whole.feed(data), one_by_one, tailed.feed(data + tail)]


@pytest.mark.parametrize("vector", CRC, ids=lambda v: v["data"] or "empty")
def test_the_crc_is_ccitt_false(vector) -> None:
    assert crc16(bytes.fromhex(vector["data"])) == vector["crc"]


@pytest.mark.parametrize("vector", GOOD, ids=lambda v: v["name"])
def test_good_frames_three_ways_and_back(vector) -> None:
    wire, message = bytes.fromhex(vector["wire"]), message_of(vector)
    for found in three_ways(Decoder, wire, b"\x07\x01\x02"):
        assert len(found) == 1
        assert same(found[0].message, message)
        assert (found[0].sequence, found[0].session) == (vector["sequence"], vector["session"])
    assert encode(message, vector["sequence"], vector["session"]) == wire


@pytest.mark.parametrize("vector", GOOD, ids=lambda v: v["name"])
def test_good_lines_three_ways_and_back(vector) -> None:
    line, message = vector["line"].encode() + b"\r\n", message_of(vector)
    for found in three_ways(ascii_lines.Decoder, line, b"$EA,1,AL"):
        assert len(found) == 1
        assert same(found[0].message, message)
        assert (found[0].sequence, found[0].session) == (vector["sequence"], vector["session"])
    assert ascii_lines.encode(message, vector["sequence"], vector["session"]) == line


@pytest.mark.parametrize("vector", BAD, ids=lambda v: v["name"])
def test_bad_frames_three_ways_then_in_step_again(vector) -> None:
    wire = bytes.fromhex(vector["wire"])
    for found in three_ways(Decoder, wire, b"\x07\x01\x02"):
        assert [item.reason.value for item in found] == [vector["reason"]]
    after = Decoder().feed(wire + bytes.fromhex(GOOD[0]["wire"]))
    assert [type(item) for item in after] == [BadFrame, Received]


@given(MESSAGES, U16, U32)
def test_every_message_survives_both_dialects(message, sequence, session) -> None:
    for dialect in (codec, ascii_lines):
        data = dialect.encode(message, sequence, session)
        assert len(data) <= 255
        (item,) = dialect.Decoder().feed(data)
        assert same(item.message, message)
        assert (item.sequence, item.session) == (sequence, session)


@given(st.binary(max_size=600), MESSAGES)
def test_garbage_never_costs_more_than_itself(garbage, message) -> None:
    decoder = Decoder()
    decoder.feed(garbage)
    found = decoder.feed(b"\0" + encode(message, 7))
    assert same(found[-1].message, message)
    lines = ascii_lines.Decoder()
    lines.feed(garbage)
    assert same(lines.feed(b"\n" + ascii_lines.encode(message, 7))[-1].message, message)


@given(st.binary(max_size=600), st.lists(st.integers(0, 600), max_size=8))
def test_how_the_bytes_are_cut_changes_nothing(data, cuts) -> None:
    for make in (Decoder, ascii_lines.Decoder):
        edges = [0, *sorted(cuts), len(data)]
        pieces = [data[a:b] for a, b in pairwise(edges)]
        split = make()
        assert make().feed(data) == [item for piece in pieces for item in split.feed(piece)]


@given(MESSAGES, st.data())
def test_up_to_three_flipped_bits_before_cobs_are_always_seen(message, data) -> None:
    import cobs.cobs

    raw = bytearray(cobs.cobs.decode(encode(message, 7)[:-1]))
    for bit in data.draw(st.sets(st.integers(0, 8 * len(raw) - 1), min_size=1, max_size=3)):
        raw[bit // 8] ^= 1 << bit % 8
    (found,) = Decoder().feed(bytes(cobs.cobs.encode(bytes(raw))) + b"\0")
    assert isinstance(found, BadFrame)
    assert found.reason is Reason.CRC


def test_an_endless_frame_takes_no_memory() -> None:
    decoder = Decoder()
    for _ in range(1000):
        assert decoder.feed(b"\x55" * 4096) == []
    assert len(decoder._buffer) <= 254
    assert [item.reason for item in decoder.feed(b"\0")] == [Reason.TOO_LONG]


def test_empty_reads_and_idle_delimiters_are_nothing() -> None:
    decoder = Decoder()
    assert decoder.feed(b"") == []
    assert decoder.feed(b"\0\0\0") == []


@pytest.mark.parametrize(
    "message",
    [
        AlarmRaised(2**32, 1, 1, 1),
        AlarmRaised(-1, 1, 1, 1),
        messages.Shelve(65536),
        AlarmRaised(1, 1e300, 1, 1),
        messages.Hello(Role.STATION, 1, 1, 0, "ü" * 13),
    ],
)
def test_what_does_not_fit_is_refused_before_the_wire(message) -> None:
    for dialect in (codec, ascii_lines):
        with pytest.raises(ValueError, match=r"wire|bytes"):
            dialect.encode(message, 0)


def test_two_kinds_of_nan_are_one_on_the_wire() -> None:
    assert encode(StationState(score=-math.nan), 1) == encode(StationState(score=math.nan), 1)


def mutated(rng: random.Random, wires: list[bytes]) -> bytes:
    """A random block or a damaged frame, without the delimiter at its end."""
    if rng.random() < 0.25:
        return rng.randbytes(rng.randint(1, 300))
    data = bytearray(rng.choice(wires)[:-1])
    for _ in range(rng.randint(1, 4)):
        at, kind = rng.randrange(len(data)), rng.randrange(4)
        if kind == 0:
            data[at] ^= 1 << rng.randrange(8)
        elif kind == 1:
            data[at] = rng.randrange(256)
        elif kind == 2:
            del data[at + 1 :]
        else:
            data.insert(at, rng.randrange(256))
    return bytes(data)


@pytest.mark.parametrize("count", [20_000, pytest.param(1_000_000, marks=[pytest.mark.slow, pytest.mark.timeout(900)])])
def test_fuzz_no_crash_no_wrong_accept_and_in_step_at_the_next_delimiter(count) -> None:
    rng = random.Random(count)
    wires = [bytes.fromhex(v["wire"]) for v in GOOD]
    known = {wire: v["name"] for wire, v in zip(wires, GOOD, strict=True)}
    decoder, wrong = Decoder(), 0
    for _ in range(count):
        good = rng.choice(wires)
        found = decoder.feed(mutated(rng, wires) + b"\0" + good)
        last = found.pop()
        assert isinstance(last, Received)
        assert encode(last.message, last.sequence, last.session) == good
        for item in found:
            if isinstance(item, Received):
                wrong += encode(item.message, item.sequence, item.session) not in known
    # Each damaged block passes a 16-bit CRC by chance once in 65536; five deviations above that is a fault.
    expected = count / 65536
    assert wrong <= expected + 5 * math.sqrt(expected) + 1
