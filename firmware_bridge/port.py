"""A serial port that one thread owns: read, write, wake, close. Errors say what is missing and what is there."""

from __future__ import annotations

import errno
import glob
import grp
import os
import stat
import sys
import time
from contextlib import suppress
from typing import Any, Protocol

from firmware_bridge.address import READ_TIMEOUT_S, PortAddress
from firmware_bridge.errors import AddressError, BridgeError, BusyDevice, DeniedDevice, MissingDevice

_GLOBS = ("/dev/serial/by-id/*", "/dev/serial/by-path/*", "/dev/ttyTHS*", "/dev/ttyUSB*", "/dev/ttyACM*", "/dev/ttyS*")
# NOTE: a port that goes away under pyserial shows as TypeError or ValueError too (a None or negative descriptor).
_LOST = (OSError, TypeError, ValueError)


class Port(Protocol):
    """What the bridge needs of a port. All but `wake` belong to the one thread that owns the port."""

    def read(self) -> bytes:
        """What has arrived; waits at most 20 ms for a first byte. Raises MissingDevice when the port is gone."""

    def write(self, data: bytes) -> None:
        """Write all of `data`. Raises MissingDevice when the port is gone or the write timeout has passed."""

    def wake(self) -> None:
        """From any thread: end the wait of `read` now (ports that cannot do that end it within 20 ms)."""

    def close(self) -> None:
        """Let written bytes leave (at most half a second) and give the port back. May be called again."""


class SerialPort:
    """pyserial behind the `Port` contract."""

    def __init__(self, serial: Any, asked: str) -> None:
        self._serial, self._asked, self._closed = serial, asked, False

    def read(self) -> bytes:
        """See Port."""
        try:
            data = bytes(self._serial.read(1))
            waiting = self._serial.in_waiting if data else 0
            return data + bytes(self._serial.read(waiting)) if waiting else data
        except _LOST as error:
            raise self._lost(error) from error

    def write(self, data: bytes) -> None:
        """See Port."""
        try:
            self._serial.write(data)
        except _LOST as error:
            raise self._lost(error) from error

    def wake(self) -> None:
        """See Port."""
        cancel = getattr(self._serial, "cancel_read", None)
        if cancel is None or self._closed:
            return
        try:
            cancel()
        except _LOST:
            return  # closing at this very moment: nobody waits any more

    def close(self, drain_s: float = 0.5) -> None:
        """See Port."""
        if self._closed:
            return
        self._closed = True
        with suppress(*_LOST):  # a port that is gone leaves nothing to wait for
            self._drain(drain_s)
        with suppress(*_LOST):
            self._serial.close()
        log = getattr(getattr(self._serial, "formatter", None), "output", None)
        if log not in (None, sys.stderr, sys.stdout):
            log.close()  # NOTE: pyserial leaves the file of spy://?file= open

    def _drain(self, drain_s: float) -> None:
        """NOTE: tcdrain and close wait for ever behind a peer that holds CTS; this waits a bounded time."""
        until = time.monotonic() + drain_s
        while getattr(self._serial, "out_waiting", 0):
            if time.monotonic() > until:
                self._serial.reset_output_buffer()
                return
            time.sleep(0.005)

    def _lost(self, error: Exception) -> MissingDevice:
        return MissingDevice(f"serial port {self._asked}", str(error) or type(error).__name__, "check cable and peer")


def open_port(address: PortAddress) -> Port:
    """Open the port, alone. Raises AddressError, MissingDevice, BusyDevice or DeniedDevice."""
    if address.url.startswith("pty://"):
        from firmware_bridge.pty_port import PtyPort

        return PtyPort(address.url, address.write_timeout_s)
    return _open_serial(address)


def _open_serial(address: PortAddress) -> SerialPort:
    serial = _pyserial()
    try:
        port = serial.serial_for_url(address.url, **_settings(address))
    except (ValueError, OSError) as error:
        raise _explained(address, error) from error
    try:
        _prepare(address, port)
    except BaseException:
        port.close()
        raise
    return SerialPort(port, address.asked or address.url)


def ports_there() -> list[str]:
    """Names of the serial ports of this machine, the stable ones first."""
    return [name for pattern in _GLOBS for name in sorted(glob.glob(pattern))][:8]


def _pyserial() -> Any:
    try:
        import serial
    except ImportError as error:
        raise MissingDevice("the serial port", f"pyserial does not import ({error})", "pip install pyserial") from error
    return serial


def _settings(address: PortAddress) -> dict[str, Any]:
    settings = {
        "baudrate": address.baudrate,
        "bytesize": address.bytesize,
        "parity": address.parity,
        "stopbits": address.stopbits,
        "rtscts": address.rtscts,
        "xonxoff": address.xonxoff,
        "timeout": READ_TIMEOUT_S,
        "write_timeout": address.write_timeout_s,
    }
    return settings | ({"exclusive": True} if address.exclusive and address.is_native else {})


def _prepare(address: PortAddress, port: Any) -> None:
    """What pyserial's constructor does not do: RS-485 and low latency. A mode that is refused is an error."""
    try:
        if address.rs485 == "kernel":
            from serial.rs485 import RS485Settings

            port.rs485_mode = RS485Settings()
        elif address.rs485 == "rts":
            _drive_by_rts(port)
    except (OSError, ValueError, AttributeError) as error:
        fix = "use rs485=adapter with an adapter that switches by itself, or rs485=rts"
        raise AddressError(f"rs485 on {address.asked}", f"the driver refuses ({error})", fix) from error
    if address.low_latency:
        try:
            port.set_low_latency_mode(True)
        except (OSError, ValueError, AttributeError) as error:
            raise AddressError(
                f"low_latency on {address.asked}", f"the driver refuses ({error})", "leave it out"
            ) from error


def _drive_by_rts(port: Any) -> None:
    """RTS switches the driver, set by this program around each write (milliseconds, not bits, of precision)."""
    write, port.rts = port.write, False

    def framed_write(data: bytes) -> int | None:
        port.rts = True
        try:
            written: int | None = write(data)
            port.flush()
            return written
        finally:
            port.rts = False

    port.write = framed_write


def _explained(address: PortAddress, error: Exception) -> BridgeError:
    """pyserial's error as one of ours: not there, held, not allowed, or not a port at all."""
    what, code = f"serial port {address.url}", getattr(error, "errno", None)
    if "not known" in str(error) or isinstance(error, ValueError):
        known = "a device path, loop://, socket://HOST:PORT, rfc2217://HOST:PORT, spy://DEVICE or pty://PATH"
        return AddressError(what, str(error), f"use {known}")
    if code in (errno.EBUSY, errno.EAGAIN):
        return BusyDevice(what, "another program holds it", f"find it with `sudo fuser -v {address.url}` and stop it")
    if code in (errno.EACCES, errno.EPERM):
        fix = f"join its group: sudo usermod -aG {_group_of(address.url)} $USER, then log in again"
        return DeniedDevice(what, "this user may not open it", fix)
    if address.is_native and os.path.exists(address.url) and not _is_device(address.url):
        return AddressError(what, "this is not a serial port", _instead())
    return MissingDevice(
        what, _cause(address, error), _instead() if address.is_native else "check host, port and cable"
    )


def _cause(address: PortAddress, error: Exception) -> str:
    if address.is_native and not os.path.exists(address.url):
        return "no such device"
    return str(error)


def _is_device(path: str) -> bool:
    return stat.S_ISCHR(os.stat(path).st_mode)


def _group_of(path: str) -> str:
    try:
        return grp.getgrgid(os.stat(path).st_gid).gr_name
    except (OSError, KeyError):
        return "dialout"


def _instead() -> str:
    there = ports_there()
    return f"there are {', '.join(there)}" if there else "no serial port is there: connect one, or name loop://"
