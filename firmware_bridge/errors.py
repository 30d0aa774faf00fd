"""The errors of the wire and the lines, told apart by what the user can do about them.

    BridgeError                     exit code   what the caller can do
    ├── AddressError (ValueError)       3       write the URL, option or message differently
    ├── NotProven (RuntimeError)        4       mend the wiring or the pinmux: the output did not move
    ├── MissingDevice (OSError)         5       connect or install what is named
    ├── BusyDevice (OSError)            5       stop the other program that holds the device
    └── DeniedDevice (PermissionError)  5       join the group that may open the device

Every message has three parts: what happened, why, and what to do next. They print as one line.
"""

from __future__ import annotations


class BridgeError(Exception):
    """Root of all errors of this package that are meant for the user."""

    exit_code = 1

    def __init__(self, what: str, why: str, fix: str) -> None:
        super().__init__(what, why, fix)
        self.what, self.why, self.fix = what, why, fix

    def __str__(self) -> str:
        return printable(f"{self.what}: {self.why}; {self.fix}")


class AddressError(BridgeError, ValueError):
    """A URL, one of its options, or a value for the wire cannot be used as it is."""

    exit_code = 3


class NotProven(BridgeError, RuntimeError):
    """An output was set and did not move; an alarm that rests on it would be a lie."""

    exit_code = 4


class MissingDevice(BridgeError, OSError):
    """The named port, chip, line or library is not there. Never replaced by another silently."""

    exit_code = 5


class BusyDevice(BridgeError, OSError):
    """Another program holds the port or line."""

    exit_code = 5


class DeniedDevice(BridgeError, PermissionError):
    """The device is there, but this user may not open it."""

    exit_code = 5


def printable(text: str) -> str:
    """`text` with control characters made visible, so that bytes from a wire cannot forge a line of output."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
