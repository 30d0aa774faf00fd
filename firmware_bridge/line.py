"""One URL opens one digital line: `gpiod://tegra234-gpio/PAC.06`, `jetson://7`, `fake://relay`.

    gpiod://CHIP_LABEL/LINE_NAME   the kernel's character device, chip found by label, line by name or offset
    jetson://PIN                   Jetson.GPIO, pin numbered as on the 40-pin header
    fake://NAME                    no hardware; an output and an input of one NAME are joined as by a wire

Options: `active_low=1`; for outputs `readback=LINE` (an input that is wired to the output: the self-test then proves
the pin itself); for gpiod `open_drain=1`; for inputs `poll_ms=2` where the chip cannot report edges.
"""

from __future__ import annotations

import importlib
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol
from urllib.parse import parse_qsl, unquote

from firmware_bridge.errors import AddressError

# scheme -> module with `open_output(address)` and `open_input(address)`, imported when the scheme is asked for.
SCHEMES = {
    "gpiod": "firmware_bridge.lines.gpiod",
    "jetson": "firmware_bridge.lines.jetson",
    "fake": "firmware_bridge.lines.fake",
}
_OPTIONS = ("active_low", "readback", "open_drain", "poll_ms", "stuck")


class OutputLine(Protocol):
    """A line that we drive. It starts inactive (de-energised), and `close` leaves it so."""

    @property
    def evidence(self) -> str:
        """Where `read` looks: "loop-back" (another pin, wired to this one) or "register" (the chip's own word)."""

    def set(self, level: bool) -> None:
        """Drive the line: True is active. Raises MissingDevice when the chip is gone."""

    def read(self) -> bool:
        """The level that is really there, as far as `evidence` goes. Raises MissingDevice when the chip is gone."""

    def close(self) -> None:
        """Set the line inactive and give it back. May be called again; `set` and `read` then raise MissingDevice."""


class InputLine(Protocol):
    """A line that we watch."""

    def read(self) -> bool:
        """True is active. Raises MissingDevice when the chip is gone."""

    def wait_rise(self, timeout_s: float) -> bool:
        """True when the line became active since the last call or does so within `timeout_s`."""

    def close(self) -> None:
        """Give the line back. May be called again."""


@dataclass(frozen=True, slots=True)
class LineAddress:
    """A line's URL taken apart. `chip` is empty for schemes that have none; `poll_ms` 0: the chip reports edges."""

    url: str
    scheme: str
    chip: str
    line: str
    active_low: bool = False
    open_drain: bool = False
    readback: str = ""
    poll_ms: float = 0.0
    stuck: str = ""


def open_output(url: str) -> OutputLine:
    """Take the line for writing, inactive. Raises AddressError, MissingDevice, BusyDevice or DeniedDevice."""
    address = parse_line(url)
    line: OutputLine = _backend(address).open_output(address)
    return line


def open_input(url: str) -> InputLine:
    """Take the line for reading. Raises AddressError, MissingDevice, BusyDevice or DeniedDevice."""
    address = parse_line(url)
    line: InputLine = _backend(address).open_input(address)
    return line


def polled_rise(read: Callable[[], bool], before: bool, timeout_s: float, poll_ms: float) -> tuple[bool, bool]:
    """Wait for a rise of a line that reports no edges: (rose, last level). `before` is the level seen last."""
    until = time.monotonic() + timeout_s
    while True:
        level = read()
        if (level and not before) or time.monotonic() >= until:
            return level and not before, level
        before = level
        time.sleep(poll_ms / 1000)


def parse_line(url: str) -> LineAddress:
    """Take `url` apart. Raises AddressError when scheme, option or value is not known."""
    scheme, colon, rest = url.partition("://")
    if not colon or scheme not in SCHEMES:
        raise AddressError(f"line {url}", f"unknown scheme {scheme!r}", f"use {'://, '.join(SCHEMES)}://")
    path, _, query = rest.partition("?")
    chip, _, line = unquote(path).rpartition("/")
    if not line or (scheme == "gpiod") != bool(chip):
        raise AddressError(
            f"line {url}", "chip or line is missing", "write gpiod://CHIP_LABEL/LINE_NAME or jetson://PIN"
        )
    return LineAddress(url, scheme, chip, line, **_parsed(url, dict(parse_qsl(query, keep_blank_values=True))))


def _parsed(url: str, options: dict[str, str]) -> dict[str, Any]:
    unknown = next((name for name in options if name not in _OPTIONS), None)
    if unknown is not None:
        raise AddressError(f"option {unknown!r} in {url}", "not known", f"options are {', '.join(_OPTIONS)}")
    try:
        return {name: _value(name, text) for name, text in options.items()}
    except ValueError as error:
        raise AddressError(f"line {url}", f"bad value {error}", "flags are 0 or 1, poll_ms is 0.1 to 1000") from error


def _value(name: str, text: str) -> bool | float | str:
    if name in ("active_low", "open_drain"):
        if text not in ("0", "1"):
            raise ValueError(f"{name}={text}")
        return text == "1"
    if name == "poll_ms" and not 0.1 <= float(text) <= 1000:
        raise ValueError(f"{name}={text}")
    return float(text) if name == "poll_ms" else text


def _backend(address: LineAddress) -> Any:
    return importlib.import_module(SCHEMES[address.scheme])
