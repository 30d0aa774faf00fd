"""Runs in the virtual machine: a UART and a USB serial adapter of the kernel, the latter unplugged while in use.

The host's end of both echoes what it receives.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from firmware_bridge.address import parse_port
from firmware_bridge.errors import BusyDevice, MissingDevice
from firmware_bridge.port import Port, open_port

UART, USB = "/dev/ttyS1", "/dev/ttyUSB0"


def ask_host(wish: str) -> None:
    """Have the host do something to the hardware; returns when it is done."""
    Path("/out/wish").write_text(wish)
    wait_until(lambda: Path("/out/granted").exists() and Path("/out/granted").read_text() == wish, 10.0)
    Path("/out/granted").unlink()


def wait_until(condition: object, timeout_s: float) -> None:
    deadline_s = time.monotonic() + timeout_s
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < deadline_s, "it did not happen"
        time.sleep(0.05)


def echoed(port: Port, data: bytes, timeout_s: float = 20.0) -> bytes:
    """What comes back for `data`."""
    deadline_s = time.monotonic() + timeout_s
    back = b""
    for start in range(0, len(data), 256):
        port.write(data[start : start + 256])
        while len(back) < min(start + 256, len(data)) and time.monotonic() < deadline_s:
            back += port.read()
    return back


@pytest.fixture(autouse=True)
def usb_plugged() -> None:
    if not Path(USB).exists():
        ask_host("plug")
    wait_until(Path(USB).exists, 20.0)


@pytest.mark.parametrize("path", [UART, USB])
def test_every_byte_goes_both_ways(path: str) -> None:
    data = bytes(range(256)) * 8
    port = open_port(parse_port(path))
    try:
        assert echoed(port, data) == data
        assert port.read() == b""
    finally:
        port.close()
    port.close()


@pytest.mark.parametrize("path", [UART, USB])
def test_a_port_in_use_is_busy(path: str) -> None:
    port = open_port(parse_port(path))
    try:
        with pytest.raises(BusyDevice):
            open_port(parse_port(path))
    finally:
        port.close()
    open_port(parse_port(path)).close()


def test_a_port_that_is_not_there_is_missing_and_others_are_offered() -> None:
    with pytest.raises(MissingDevice, match="/dev/ttyS1"):
        open_port(parse_port("/dev/ttyUSB7"))


def test_pulling_the_adapter_is_an_error_at_once_and_it_works_again_afterwards() -> None:
    descriptors = len(os.listdir("/proc/self/fd"))
    for _ in range(2):
        port = open_port(parse_port(USB))
        assert echoed(port, b"before") == b"before"
        ask_host("unplug")
        pulled_s = time.monotonic()
        with pytest.raises(MissingDevice):
            while time.monotonic() - pulled_s < 5.0:
                port.read()
        assert time.monotonic() - pulled_s < 2.0
        with pytest.raises(MissingDevice):
            port.write(b"x")
        port.close()
        wait_until(lambda: not Path(USB).exists(), 10.0)
        with pytest.raises(MissingDevice):
            open_port(parse_port(USB))
        ask_host("plug")
        wait_until(Path(USB).exists, 20.0)
        again = open_port(parse_port(USB))
        assert echoed(again, b"after") == b"after"
        again.close()
    assert len(os.listdir("/proc/self/fd")) == descriptors
