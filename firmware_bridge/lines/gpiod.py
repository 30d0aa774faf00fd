"""Lines of the kernel's GPIO character device, through gpiod v2: chip by label, line by name or offset.

NOTE: chip numbers change between kernels (gpiochip4 became gpiochip0 on other boards); labels and names do not.
"""

from __future__ import annotations

import errno
import glob
import os
from datetime import timedelta
from typing import Any

from firmware_bridge.errors import AddressError, BridgeError, BusyDevice, DeniedDevice, MissingDevice
from firmware_bridge.line import LineAddress, polled_rise

CONSUMER = "edge-anomaly"
_GROUP_HINT = "join the group that owns it: sudo usermod -aG gpio $USER, then log in again (edge-doctor tells more)"


class GpiodOutput:
    """The driving end; `readback` names an input on the same chip that is wired to it."""

    def __init__(self, address: LineAddress) -> None:
        gpiod = _gpiod()
        self._address, self._values = address, gpiod.line.Value
        drive = gpiod.line.Drive.OPEN_DRAIN if address.open_drain else gpiod.line.Drive.PUSH_PULL
        settings = gpiod.LineSettings(
            direction=gpiod.line.Direction.OUTPUT,
            drive=drive,
            active_low=address.active_low,
            output_value=self._values.INACTIVE,
        )
        wanted = {address.line: settings}
        if address.readback:
            wanted[address.readback] = gpiod.LineSettings(
                direction=gpiod.line.Direction.INPUT, active_low=address.active_low
            )
        self._request, self._offsets = _request(gpiod, address, wanted)

    @property
    def evidence(self) -> str:
        """See OutputLine."""
        return "loop-back" if self._address.readback else "register"

    def set(self, level: bool) -> None:
        """See OutputLine."""
        value = self._values.ACTIVE if level else self._values.INACTIVE
        self._guarded("set_value", self._offsets[self._address.line], value)

    def read(self) -> bool:
        """See OutputLine."""
        seen = self._guarded("get_value", self._offsets[self._address.readback or self._address.line])
        return bool(seen == self._values.ACTIVE)

    def close(self) -> None:
        """See OutputLine."""
        if self._request is None:
            return
        try:
            self.set(False)
        except MissingDevice:
            pass  # the chip is gone; the relay fell with it
        finally:
            self._request.release()
            self._request = None

    def _guarded(self, method: str, *arguments: Any) -> Any:
        return _call(self._address, self._request, method, *arguments)


class GpiodInput:
    """The watching end: edges from the kernel, or `poll_ms` where the chip cannot report them."""

    def __init__(self, address: LineAddress) -> None:
        gpiod = _gpiod()
        self._address, self._values = address, gpiod.line.Value
        edges = gpiod.line.Edge.NONE if address.poll_ms else gpiod.line.Edge.RISING
        settings = gpiod.LineSettings(
            direction=gpiod.line.Direction.INPUT, edge_detection=edges, active_low=address.active_low
        )
        self._request, self._offsets = _request(gpiod, address, {address.line: settings})
        self._last = self.read()

    def read(self) -> bool:
        """See InputLine."""
        seen = _call(self._address, self._request, "get_value", self._offsets[self._address.line])
        return bool(seen == self._values.ACTIVE)

    def wait_rise(self, timeout_s: float) -> bool:
        """See InputLine."""
        if self._address.poll_ms:
            rose, self._last = polled_rise(self.read, self._last, timeout_s, self._address.poll_ms)
            return rose
        rose = bool(_call(self._address, self._request, "wait_edge_events", timedelta(seconds=timeout_s)))
        if rose:
            _call(self._address, self._request, "read_edge_events")
        return rose

    def close(self) -> None:
        """See InputLine."""
        if self._request is not None:
            self._request.release()
            self._request = None


def open_output(address: LineAddress) -> GpiodOutput:
    """See firmware_bridge.line.open_output."""
    return GpiodOutput(address)


def open_input(address: LineAddress) -> GpiodInput:
    """See firmware_bridge.line.open_input."""
    return GpiodInput(address)


def _gpiod() -> Any:
    try:
        import gpiod
    except ImportError as error:
        fix = 'pip install "edge-anomaly[device]"'
        raise MissingDevice("gpiod:// lines", f"gpiod does not import ({error})", fix) from error
    if not hasattr(gpiod, "request_lines"):
        raise MissingDevice("gpiod:// lines", "the installed gpiod is version 1", 'pip install "gpiod>=2.1"')
    return gpiod


def _request(gpiod: Any, address: LineAddress, wanted: dict[str, Any]) -> tuple[Any, dict[str, int]]:
    """Take the lines. Returns the request and the offset of each wanted name."""
    path = _chip_path(gpiod, address)
    try:
        with gpiod.Chip(path) as chip:
            offsets = {name: _offset(chip, address, name) for name in wanted}
            config = {offsets[name]: settings for name, settings in wanted.items()}
            return chip.request_lines(consumer=CONSUMER, config=config), offsets
    except OSError as error:
        raise _explained(address, error) from error


def _chip_path(gpiod: Any, address: LineAddress) -> str:
    """The device whose chip carries the label. Raises MissingDevice with the labels there are."""
    labels: dict[str, str] = {}
    denied = []
    for path in sorted(glob.glob("/dev/gpiochip*")):
        try:
            with gpiod.Chip(path) as chip:
                labels[chip.get_info().label] = path
        except PermissionError:
            denied.append(path)
        except OSError:
            continue  # unplugged between listing and opening
    if address.chip in labels:
        return labels[address.chip]
    if denied:
        raise DeniedDevice(f"line {address.url}", f"this user may not open {', '.join(denied)}", _GROUP_HINT)
    there = f"chips are {', '.join(labels)}" if labels else "this machine shows no /dev/gpiochip*"
    raise MissingDevice(f"line {address.url}", f"no GPIO chip has the label {address.chip!r}", there)


def _offset(chip: Any, address: LineAddress, name: str) -> int:
    try:
        return int(chip.line_offset_from_id(int(name) if name.isdigit() else name))
    except (OSError, ValueError) as error:
        names = [chip.get_line_info(i).name for i in range(chip.get_info().num_lines)]
        near = [n for n in names if n and n[:1] == name[:1]][:12] or [n for n in names if n][:12]
        fix = f"lines are {', '.join(near)}, ..." if near else f"use an offset below {len(names)}"
        raise AddressError(f"line {address.url}", f"{address.chip} has no line {name!r}", fix) from error


def _call(address: LineAddress, request: Any, method: str, *arguments: Any) -> Any:
    if request is None:
        raise MissingDevice(f"line {address.url}", "the line is closed", "open it again")
    try:
        return getattr(request, method)(*arguments)
    except OSError as error:
        raise _explained(address, error) from error


def _explained(address: LineAddress, error: OSError) -> BridgeError:
    what = f"line {address.url}"
    if isinstance(error, BridgeError):
        return error
    if error.errno == errno.EBUSY:
        return BusyDevice(what, "another program holds it", "find it with `gpioinfo` and stop it")
    if error.errno in (errno.EACCES, errno.EPERM):
        return DeniedDevice(what, "this user may not open it", _GROUP_HINT)
    if error.errno in (errno.ENXIO, errno.EOPNOTSUPP) and not address.poll_ms:
        return AddressError(what, "the chip cannot report edges", "add ?poll_ms=2")
    return MissingDevice(what, os.strerror(error.errno) if error.errno else str(error), "check the chip and its driver")
