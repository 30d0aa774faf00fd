"""Lines of the 40-pin header through Jetson.GPIO, pins numbered as on the board. Second choice after gpiod.

NOTE: `import Jetson.GPIO` opens hardware and raises on an unknown board; so it happens here, when a line is opened.
"""

from __future__ import annotations

from typing import Any

from firmware_bridge.errors import AddressError, BridgeError, BusyDevice, DeniedDevice, MissingDevice
from firmware_bridge.line import LineAddress, polled_rise


class JetsonOutput:
    """The driving end; `readback` is the header pin of an input that is wired to it."""

    def __init__(self, address: LineAddress) -> None:
        self._address, self._gpio = address, _library(address)
        self._pin = _pin(address, address.line)
        self._seen = _pin(address, address.readback) if address.readback else self._pin
        _call(address, self._gpio.setup, self._pin, self._gpio.OUT, initial=self._electrical(False))
        if address.readback:
            _call(address, self._gpio.setup, self._seen, self._gpio.IN)
        self._open = True

    @property
    def evidence(self) -> str:
        """See OutputLine."""
        return "loop-back" if self._address.readback else "register"

    def set(self, level: bool) -> None:
        """See OutputLine."""
        _check_open(self._address, self._open)
        _call(self._address, self._gpio.output, self._pin, self._electrical(level))

    def read(self) -> bool:
        """See OutputLine."""
        _check_open(self._address, self._open)
        return bool(_call(self._address, self._gpio.input, self._seen)) != self._address.active_low

    def close(self) -> None:
        """See OutputLine."""
        if not self._open:
            return
        try:
            self.set(False)
        finally:
            self._open = False
            for pin in {self._pin, self._seen}:
                _call(self._address, self._gpio.cleanup, pin)

    def _electrical(self, level: bool) -> int:
        return int(level != self._address.active_low)


class JetsonInput:
    """The watching end; polled, every 2 ms unless `poll_ms` says otherwise."""

    def __init__(self, address: LineAddress) -> None:
        self._address, self._gpio = address, _library(address)
        self._pin = _pin(address, address.line)
        _call(address, self._gpio.setup, self._pin, self._gpio.IN)
        self._open = True
        self._last = self.read()

    def read(self) -> bool:
        """See InputLine."""
        _check_open(self._address, self._open)
        return bool(_call(self._address, self._gpio.input, self._pin)) != self._address.active_low

    def wait_rise(self, timeout_s: float) -> bool:
        """See InputLine."""
        rose, self._last = polled_rise(self.read, self._last, timeout_s, self._address.poll_ms or 2.0)
        return rose

    def close(self) -> None:
        """See InputLine."""
        if self._open:
            self._open = False
            _call(self._address, self._gpio.cleanup, self._pin)


def open_output(address: LineAddress) -> JetsonOutput:
    """See firmware_bridge.line.open_output."""
    return JetsonOutput(address)


def open_input(address: LineAddress) -> JetsonInput:
    """See firmware_bridge.line.open_input."""
    return JetsonInput(address)


def _library(address: LineAddress) -> Any:
    try:
        from Jetson import GPIO
    except ImportError as error:
        raise MissingDevice(
            f"line {address.url}", f"Jetson.GPIO does not import ({error})", "pip install Jetson.GPIO, or use gpiod://"
        ) from error
    except Exception as error:  # NOTE: its import opens the chips and raises bare Exception on unknown boards
        fix = "join the group gpio, or name the line with gpiod://CHIP_LABEL/LINE_NAME"
        raise MissingDevice(f"line {address.url}", f"Jetson.GPIO cannot start ({error})", fix) from error
    if GPIO.getmode() is None:
        GPIO.setmode(GPIO.BOARD)
    if GPIO.getmode() != GPIO.BOARD:
        raise AddressError(f"line {address.url}", "another pin numbering is in use", "use BOARD numbers everywhere")
    return GPIO


def _pin(address: LineAddress, text: str) -> int:
    if not text.isdigit() or not 1 <= int(text) <= 40:
        raise AddressError(f"line {address.url}", f"{text!r} is no pin of the 40-pin header", "write jetson://7")
    return int(text)


def _check_open(address: LineAddress, is_open: bool) -> None:
    if not is_open:
        raise MissingDevice(f"line {address.url}", "the line is closed", "open it again")


def _call(address: LineAddress, function: Any, *arguments: Any, **named: Any) -> Any:
    try:
        return function(*arguments, **named)
    except BridgeError:
        raise
    except PermissionError as error:
        raise DeniedDevice(f"line {address.url}", str(error), "join the group gpio") from error
    except OSError as error:
        kind = BusyDevice if "busy" in str(error).lower() else MissingDevice
        raise kind(f"line {address.url}", str(error), "check who holds the pin with `gpioinfo`") from error
    except (ValueError, RuntimeError) as error:
        raise AddressError(f"line {address.url}", str(error), "choose a GPIO pin of this board's header") from error
