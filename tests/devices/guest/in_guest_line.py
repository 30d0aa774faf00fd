"""Runs in the virtual machine: a GPIO chip of the kernel (gpio-amdpt), held by two, and unplugged while held."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from firmware_bridge.errors import AddressError, BusyDevice, MissingDevice
from firmware_bridge.line import open_input, open_output

DRIVER = Path("/sys/bus/platform/drivers/pt-gpio")


LABEL = "AMDIF031:00"


@pytest.fixture
def url() -> Iterator[str]:
    yield f"gpiod://{LABEL}/3"
    if not (DRIVER / LABEL).exists():
        (DRIVER / "bind").write_text(LABEL)


def test_an_output_starts_low_moves_and_is_read_back(url: str) -> None:
    line = open_output(url)
    try:
        assert line.read() is False
        for level in (True, False, True, True, False):
            line.set(level)
            assert line.read() is level
    finally:
        line.close()
    line.close()
    with pytest.raises(MissingDevice):
        line.set(True)


def test_active_low_is_the_other_way_round_and_closing_leaves_it_inactive(url: str) -> None:
    line = open_output(url + "?active_low=1")
    line.set(True)
    assert line.read() is True
    line.close()
    again = open_output(url)
    try:
        assert again.read() is False
    finally:
        again.close()


def test_a_held_line_is_busy(url: str) -> None:
    line = open_output(url)
    try:
        with pytest.raises(BusyDevice):
            open_output(url)
    finally:
        line.close()
    open_output(url).close()


def test_names_that_are_not_there(url: str) -> None:
    with pytest.raises(MissingDevice, match=LABEL):
        open_output("gpiod://tegra234-gpio/PAC.06")
    with pytest.raises(AddressError):
        open_output(url.rpartition("/")[0] + "/999")


def test_a_chip_without_edges_says_so_and_can_be_polled(url: str) -> None:
    with pytest.raises(AddressError, match="poll_ms"):
        open_input(url)
    line = open_input(url + "?poll_ms=2")
    try:
        assert line.read() is False
        assert line.wait_rise(0.05) is False
    finally:
        line.close()


def test_unplugging_a_held_line_is_an_error_and_it_comes_back(url: str) -> None:
    line = open_output(url)
    line.set(True)
    (DRIVER / "unbind").write_text(LABEL)
    for _ in range(2):
        with pytest.raises(MissingDevice):
            line.set(False)
        with pytest.raises(MissingDevice):
            line.read()
    line.close()
    with pytest.raises(MissingDevice):
        open_output(url)
    (DRIVER / "bind").write_text(LABEL)
    again = open_output(url)  # by its label: the kernel gives the chip another number
    again.set(True)
    assert again.read() is True
    again.close()
