"""A serial port's URL taken apart: pyserial's URL, with our options in its query.

/dev/ttyTHS1?baudrate=9600&parity=E&rs485=kernel&heartbeat_s=0.5
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, urlencode

from firmware_bridge.errors import AddressError

READ_TIMEOUT_S = 0.02  # the longest wait of a read for its first byte, on every kind of port
RS485 = ("off", "kernel", "adapter", "rts")


@dataclass(frozen=True, slots=True)
class PortAddress:
    """A port's URL taken apart. `url` is what pyserial opens; the rest are our options with their defaults."""

    url: str
    baudrate: int = 115200
    bytesize: int = 8
    parity: str = "N"
    stopbits: float = 1
    rtscts: bool = False
    xonxoff: bool = False
    exclusive: bool = True
    write_timeout_s: float = 1.0
    low_latency: bool = False
    rs485: str = "off"
    gap_ms: float = 0.0
    one_way: bool = False
    heartbeat_s: float = 1.0
    unit: int = 1
    asked: str = field(default="", compare=False)

    @property
    def is_native(self) -> bool:
        """A device of this machine, not a pyserial protocol."""
        return "://" not in self.url

    @property
    def half_duplex(self) -> bool:
        """Both ends share one pair of wires."""
        return self.rs485 != "off"

    @property
    def character_s(self) -> float:
        """Time of one character on the wire, start, parity and stop bits included."""
        return (1 + self.bytesize + (self.parity != "N") + self.stopbits) / self.baudrate

    @property
    def turnaround_s(self) -> float:
        """Silence between the other end's last byte and ours: 3.5 characters, 1.75 ms at least, or `gap_ms`."""
        return max(self.gap_ms / 1000, 3.5 * self.character_s, 0.00175)


def parse_port(url: str) -> PortAddress:
    """Take `url` apart. Raises AddressError on an option or value that is not known."""
    base, _, query = url.partition("?")
    options: dict[str, Any] = {"asked": url}
    others = []
    for name, text in parse_qsl(query, keep_blank_values=True):
        if name in _OPTIONS:
            options[name] = _option(url, name, text)
        else:
            others.append((name, text))
    if others and "://" not in base:
        raise AddressError(f"option {others[0][0]!r} in {url}", "not known", f"options are {', '.join(_OPTIONS)}")
    if not base:
        raise AddressError("an empty port name", "nothing to open", "name a port, for example /dev/ttyTHS1 or loop://")
    return PortAddress(base + (f"?{urlencode(others)}" if others else ""), **options)


def _flag(text: str) -> bool:
    if text.lower() not in ("1", "0", "true", "false", "yes", "no"):
        raise ValueError(text)
    return text.lower() in ("1", "true", "yes")


def _rs485(text: str) -> str:
    mode = {"1": "kernel", "true": "kernel", "0": "off"}.get(text, text)
    if mode not in RS485:
        raise ValueError(text)
    return mode


def _among(*allowed: float) -> Callable[[str], float]:
    def one_of(text: str) -> float:
        if float(text) not in allowed:
            raise ValueError(text)
        return float(text) if float(text) % 1 else int(float(text))

    return one_of


def _parity(text: str) -> str:
    if text.upper() not in ("N", "E", "O", "M", "S"):
        raise ValueError(text)
    return text.upper()


def _positive(text: str) -> float:
    value = float(text)
    if not 0 < value < 1e6:
        raise ValueError(text)
    return value


def _count(text: str) -> int:
    if not 0 < int(text) < 10_000_000:
        raise ValueError(text)
    return int(text)


_OPTIONS: dict[str, Callable[[str], Any]] = {
    "baudrate": _count,
    "bytesize": _among(5, 6, 7, 8),
    "parity": _parity,
    "stopbits": _among(1, 1.5, 2),
    "rtscts": _flag,
    "xonxoff": _flag,
    "exclusive": _flag,
    "write_timeout_s": _positive,
    "low_latency": _flag,
    "rs485": _rs485,
    "gap_ms": _positive,
    "one_way": _flag,
    "heartbeat_s": _positive,
    "unit": _count,
}


def _option(url: str, name: str, text: str) -> Any:
    try:
        return _OPTIONS[name](text)
    except ValueError as error:
        raise AddressError(
            f"option {name}={text} in {url}", "not a value it can have", "see docs/protocol.md"
        ) from error
