"""One contract, every line: the shipped fake always, a real chip named by EDGE_TEST_LINE_OUT and EDGE_TEST_LINE_IN."""

from __future__ import annotations

import os
import sys
import threading
import time
import types

import pytest

from firmware_bridge.alarm_output import AlarmOutput
from firmware_bridge.errors import AddressError, BusyDevice, MissingDevice, NotProven
from firmware_bridge.line import open_input, open_output, parse_line
from firmware_bridge.lines import fake
from firmware_bridge.messages import Verdict
from firmware_bridge.relay import AlarmRelay, RelaySettings, prove


class PinsInMemory(types.SimpleNamespace):
    """The part of Jetson.GPIO in use, under its rules: pins are set up first, inputs are not set. Pin 11 follows pin 7.

    A board is the boundary that cannot be had here; tests on one set EDGE_TEST_LINE_OUT=jetson://7.
    """

    OUT, IN, BOARD = 0, 1, 10

    def __init__(self) -> None:
        self.mode, self.ways, self.levels = None, {}, {}

    def getmode(self):
        return self.mode

    def setmode(self, mode) -> None:
        self.mode = mode

    def setup(self, pin, way, initial=0) -> None:
        if pin in (1, 2, 4, 6):
            raise ValueError("The channel sent is invalid on a Jetson")
        self.ways[pin] = way
        if way == self.OUT:
            self.levels[pin] = initial

    def output(self, pin, level) -> None:
        if self.ways.get(pin) != self.OUT:
            raise RuntimeError("The GPIO channel has not been set up as an OUTPUT")
        self.levels[pin] = level

    def input(self, pin) -> int:
        if pin not in self.ways:
            raise RuntimeError("You must setup() the GPIO channel first")
        return self.levels.get(7 if pin == 11 else pin, 0)

    def cleanup(self, pin) -> None:
        self.ways.pop(pin, None)


@pytest.fixture
def jetson(monkeypatch) -> PinsInMemory:
    pins = PinsInMemory()
    package = types.ModuleType("Jetson")
    package.GPIO = pins
    monkeypatch.setitem(sys.modules, "Jetson", package)
    monkeypatch.setitem(sys.modules, "Jetson.GPIO", pins)
    return pins


@pytest.fixture(autouse=True)
def cut_wires():
    yield
    fake.forget_all()


NAMED = (os.environ.get("EDGE_TEST_LINE_OUT", ""), os.environ.get("EDGE_TEST_LINE_IN", ""))


@pytest.fixture(params=["fake", "fake low", "jetson", *(["named"] if all(NAMED) else [])])
def joined(request):
    """An output and an input that one wire joins."""
    if request.param == "jetson":
        request.getfixturevalue("jetson")
    urls = {
        "fake": ("fake://wire", "fake://wire"),
        "fake low": ("fake://wire?active_low=1", "fake://wire?active_low=1"),
        "jetson": ("jetson://7", "jetson://11"),
        "named": NAMED,
    }[request.param]
    output, watched = open_output(urls[0]), open_input(urls[1])
    yield output, watched
    output.close()
    watched.close()


def test_it_starts_inactive_follows_and_ends_inactive(joined) -> None:
    output, watched = joined
    seen = [watched.read()]
    for level in (True, False, True):
        output.set(level)
        assert output.read() is level
        seen.append(watched.read())
    output.close()
    output.close()
    assert [*seen, watched.read()] == [False, True, False, True, False]


def test_a_closed_line_is_gone(joined) -> None:
    output, watched = joined
    output.close()
    watched.close()
    for use in (lambda: output.set(True), output.read, watched.read):
        with pytest.raises(MissingDevice):
            use()


def test_the_self_test_proves_it_and_leaves_it_inactive(joined) -> None:
    output, watched = joined
    assert prove(output).toggles == 6
    assert watched.read() is False


def test_a_rise_is_seen_once(joined) -> None:
    output, watched = joined
    assert not watched.wait_rise(0.01)
    timer = threading.Timer(0.05, output.set, [True])
    timer.start()
    assert watched.wait_rise(5.0)
    assert not watched.wait_rise(0.01)
    timer.join()


def test_the_fake_keeps_its_whole_history() -> None:
    output = open_output("fake://wire")
    for level in (True, True, False):
        output.set(level)
    output.close()
    assert fake.wire("wire").levels() == [False, True, False]
    times = [at for at, _ in fake.wire("wire").history]
    assert times == sorted(times)


def test_the_fake_is_held_by_one_and_can_be_pulled_out() -> None:
    output = open_output("fake://wire")
    with pytest.raises(BusyDevice):
        open_output("fake://wire")
    fake.wire("wire").pulled_out = True
    with pytest.raises(MissingDevice, match="chip is gone"):
        output.set(True)
    output.close()


@pytest.mark.parametrize("level", ["0", "1"])
def test_a_pin_that_does_not_move_is_not_proven_and_the_hint_names_the_pinmux(level) -> None:
    with pytest.raises(NotProven, match=r"jetson-gpio-pinmux-lookup") as error:
        prove(open_output(f"fake://wire?stuck={level}"))
    assert error.value.exit_code == 4


def test_a_loop_back_line_proves_the_pin_and_a_missing_wire_does_not() -> None:
    assert "register" in str(prove(open_output("fake://a")))
    with pytest.raises(NotProven):
        prove(open_output("fake://b?readback=not-wired"))
    assert prove(open_output("fake://c?readback=c")).evidence == "loop-back"


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("gpio://x/y", "unknown scheme 'gpio'.*gpiod://"),
        ("gpiod://PAC.06", "chip or line is missing"),
        ("fake://", "chip or line is missing"),
        ("fake://x?inverted=1", "inverted.*active_low"),
        ("fake://x?active_low=yes", "active_low=yes"),
        ("fake://x?poll_ms=0", "poll_ms"),
    ],
)
def test_a_wrong_url_says_what_is_wrong(url, words) -> None:
    with pytest.raises(AddressError, match=words):
        parse_line(url)


def test_a_wrong_header_pin_and_a_second_numbering(jetson) -> None:
    for url in ("jetson://41", "jetson://PAC.06", "jetson://1"):
        with pytest.raises(AddressError):
            open_output(url)
    jetson.mode = 11
    with pytest.raises(AddressError, match="numbering"):
        open_output("jetson://7")


def test_a_chip_that_is_not_there_names_those_that_are() -> None:
    with pytest.raises(MissingDevice, match=r"no GPIO chip has the label 'tegra999-gpio'"):
        open_output("gpiod://tegra999-gpio/PAC.06")


def test_a_missing_library_says_what_to_install(monkeypatch) -> None:
    for name, url in (("gpiod", "gpiod://tegra234-gpio/PAC.06"), ("Jetson", "jetson://7")):
        monkeypatch.setitem(sys.modules, name, None)
        with pytest.raises(MissingDevice, match="pip install"):
            open_output(url)


def levels(relay: AlarmRelay, script: list[tuple[float, Verdict]]) -> list[bool]:
    return [relay.step(verdict, now) for now, verdict in script]


def test_the_relay_is_energised_only_while_ok() -> None:
    for verdict in Verdict:
        assert AlarmRelay().step(verdict, 0.0) is (verdict is Verdict.OK)


def test_a_short_alarm_still_drops_it_for_the_shortest_pulse() -> None:
    relay = AlarmRelay(RelaySettings(min_pulse_s=0.1))
    script = [(0.0, Verdict.OK), (1.0, Verdict.ALARM), (1.01, Verdict.OK), (1.09, Verdict.OK), (1.11, Verdict.OK)]
    assert levels(relay, script) == [True, False, False, False, True]
    script = [(2.0, Verdict.FAULT), (2.5, Verdict.FAULT), (2.51, Verdict.OK)]
    assert levels(relay, script) == [False, False, True]


def test_the_life_toggle_beats_while_healthy_and_stands_still_otherwise() -> None:
    relay = AlarmRelay(RelaySettings(life_period_s=1.0))
    script = [(t / 4, Verdict.OK) for t in range(8)] + [(2.0 + t / 4, Verdict.ALARM) for t in range(4)]
    assert levels(relay, script) == [True, True, False, False] * 2 + [False] * 4


def wait_until(condition) -> None:
    until = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.002)


def test_the_armed_output_follows_and_drops_when_nobody_speaks_any_more() -> None:
    now = [0.0]
    output = AlarmOutput(open_output("fake://relay"), stale_s=1.0, clock=lambda: now[0])
    wire, proven = fake.wire("relay"), len(fake.wire("relay").history)
    output.update(Verdict.OK)
    assert wire.level
    output.update(Verdict.ALARM)
    assert not wire.level
    now[0] = 0.5
    output.update(Verdict.OK)
    assert wire.level
    now[0] = 1.6  # no update for more than a second
    wait_until(lambda: not wire.level)
    output.update(Verdict.OK)
    now[0] = 1.8
    wait_until(lambda: wire.level)
    output.close()
    output.close()
    assert wire.levels()[proven:] == [True, False] * 3
    assert output.error == ""


def test_an_output_that_is_not_proven_is_never_armed() -> None:
    with pytest.raises(NotProven):
        AlarmOutput(open_output("fake://relay?stuck=0"))
    assert True not in fake.wire("relay").levels()
    open_output("fake://relay").close()  # given back


def test_an_output_that_fails_later_says_so_and_stays_dropped() -> None:
    output = AlarmOutput(open_output("fake://relay"))
    fake.wire("relay").pulled_out = True
    output.update(Verdict.OK)
    assert "chip is gone" in output.error
    fake.wire("relay").pulled_out = False
    output.update(Verdict.OK)
    assert not fake.wire("relay").level
    output.close()
