"""`pty://PATH`: a port without hardware. It makes a kernel pseudo-terminal and a link PATH to its other end.

Another program opens PATH as its serial port. When that program closes it, the wire has ended.
"""

from __future__ import annotations

import errno
import os
import select
import time
import tty
from pathlib import Path

from firmware_bridge.address import READ_TIMEOUT_S
from firmware_bridge.errors import AddressError, BusyDevice, MissingDevice

PREFIX = "pty://"


class PtyPort:
    """The near end of the pseudo-terminal, under the `Port` contract."""

    def __init__(self, url: str, write_timeout_s: float = 1.0) -> None:
        self._url, self._link, self._write_timeout_s = url, Path(url[len(PREFIX) :]), write_timeout_s
        self._fd, far = os.openpty()
        try:
            tty.setraw(far)
            self.far = os.ttyname(far)
            _link(url, self._link, self.far)
        except BaseException:
            os.close(self._fd)
            raise
        finally:
            os.close(far)
        os.set_blocking(self._fd, False)
        self._wake_r, self._wake_w = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._was_open = self._closed = False

    def read(self) -> bytes:
        """See Port. Raises MissingDevice once the other program has closed its end."""
        self._check()
        ready, _, _ = select.select([self._fd, self._wake_r], [], [], READ_TIMEOUT_S)
        if self._wake_r in ready:
            os.read(self._wake_r, 1000)
        return self._read_now() if self._fd in ready else b""

    def write(self, data: bytes) -> None:
        """See Port. What is written before the other program opens its end is lost, as on a wire."""
        self._check()
        until = time.monotonic() + self._write_timeout_s
        while data and self._was_open:
            if not select.select([], [self._fd], [], max(0.0, until - time.monotonic()))[1]:
                raise MissingDevice(f"serial port {self._url}", "write timeout", "the other end does not read")
            try:
                data = data[os.write(self._fd, data) :]
            except OSError as error:
                raise self._ended() from error

    def wake(self) -> None:
        """See Port."""
        if not self._closed:
            try:
                os.write(self._wake_w, b"x")
            except OSError:
                return  # the pipe is full of wakes, or closing: awake either way

    def close(self) -> None:
        """See Port; takes the link away."""
        if self._closed:
            return
        self._closed = True
        if self._link.is_symlink() and os.readlink(self._link) == self.far:
            self._link.unlink()
        for descriptor in (self._fd, self._wake_r, self._wake_w):
            os.close(descriptor)

    def _read_now(self) -> bytes:
        try:
            data = os.read(self._fd, 4096)
        except OSError as error:
            if error.errno not in (errno.EIO, errno.EAGAIN):
                raise self._ended() from error
            if error.errno == errno.EIO and self._was_open:
                raise self._ended() from error
            time.sleep(READ_TIMEOUT_S)  # nobody has opened the other end yet
            return b""
        self._was_open = True
        return data

    def _check(self) -> None:
        if self._closed:
            raise MissingDevice(f"serial port {self._url}", "it is closed", "open it again")

    def _ended(self) -> MissingDevice:
        return MissingDevice(f"serial port {self._url}", "the other end was closed", "start the other program again")


def _link(url: str, link: Path, far: str) -> None:
    if link.is_symlink() and not os.path.exists(link):
        link.unlink()  # left behind by a program that was killed
    try:
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(far)
    except FileExistsError as error:
        raise BusyDevice(f"serial port {url}", f"{link} exists", "remove it or choose another path") from error
    except OSError as error:
        raise AddressError(f"serial port {url}", error.strerror or str(error), "choose a path you may write") from error
