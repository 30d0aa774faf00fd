"""What the protocol page says is what the code does."""

from __future__ import annotations

import re
import struct
from pathlib import Path

import pytest

from firmware_bridge.address import _OPTIONS
from firmware_bridge.codec import Decoder, Received, crc16
from firmware_bridge.messages import BY_TYPE, Fault, fault_name
from firmware_bridge.modbus import COMMAND_COUNT, EVENT_AT, EVENT_LAYOUT, STATE_AT, STATE_LAYOUT
from firmware_bridge.show import words_of

PAGE = (Path(__file__).parents[2] / "docs" / "protocol.md").read_text()
EXAMPLES = re.findall(r"^\| (\w+)([^|]*) \| `([0-9a-f]{20,})` \|$", PAGE, re.M)
WIDTHS = {"H": "u16", "I": "u32", "Q": "u64", "f": "f32"}


def test_there_are_examples() -> None:
    assert len(EXAMPLES) >= 7


@pytest.mark.parametrize(("name", "rest", "wire"), EXAMPLES, ids=[name for name, _, _ in EXAMPLES])
def test_each_example_decodes_to_what_the_page_says(name, rest, wire) -> None:
    (item,) = Decoder().feed(bytes.fromhex(wire))
    assert isinstance(item, Received)
    assert type(item.message).__name__ == name
    assert item.session == 0x12345600
    assert rest.endswith(f"number {item.sequence}") or f"number {item.sequence}" in rest
    for number in re.findall(r"(?:event|trigger|frame|score) ([\d.]+)", rest):
        assert float(number) in [float(n) for n in re.findall(r"[\d.]+", words_of(item.message))]


def test_types_and_payload_lengths() -> None:
    rows = re.findall(r"^\| (0x[0-9a-f]{2}) \| (\w+) \|.*\((\d+)\) \|", PAGE, re.M)
    rows += [("0x10", "StationState", "44")]
    assert {int(t, 16): (name, int(size)) for t, name, size in rows} == {
        number: (cls.__name__, struct.calcsize(cls.LAYOUT)) for number, cls in BY_TYPE.items()
    }


def test_the_check_value_and_the_fault_table() -> None:
    assert f"`0x{crc16(b'123456789'):04X}`" in PAGE
    listed = re.search(r"^Faults: (.*?)\. Treat", PAGE, re.M | re.S)
    assert listed is not None
    said = dict(part.split(" ", 1) for part in " ".join(listed[1].split()).split(", "))
    assert said == {str(int(fault)): fault_name(fault) for fault in Fault if fault}


@pytest.mark.parametrize(("at", "layout"), [(STATE_AT, STATE_LAYOUT), (EVENT_AT, EVENT_LAYOUT)])
def test_the_register_map(at, layout) -> None:
    rows = {int(register): kind for register, kind in re.findall(r"^\| (\d+) \|[^|]*\| ([uf]\d\d) \|$", PAGE, re.M)}
    expected, register = {}, at
    for code in layout[1:]:
        expected[register] = WIDTHS[code]
        register += struct.calcsize(">" + code) // 2
    assert {r: kind for r, kind in rows.items() if at <= r < at + 64} == expected
    assert f"read {at} to {register - 1}" in PAGE
    assert COMMAND_COUNT == 8


def test_every_option_of_the_port_is_named() -> None:
    listed = re.search(r"The options are `([^`]*)`", PAGE)
    assert listed is not None
    assert set(listed[1].split()) == set(_OPTIONS)
