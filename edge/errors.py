"""The errors a user can meet, told apart by what the user can do about them.

    EdgeError                      exit code   what the caller can do
    ├── UsageError (ValueError)        2       type the command differently
    ├── InputError (ValueError)        3       mend the file, folder or config that is named
    ├── CheckFailed                    4       look at the numbers; parity, gate, golden or signature said no
    ├── MissingError (OSError)         5       install or connect what is named
    └── EngineFault (RuntimeError)     5       reopen the engine; the station says FAULT meanwhile

Every message has three parts: what happened, why, and what to do next. They print as one line.
"""

from __future__ import annotations


class EdgeError(Exception):
    """Root of all errors meant for the user.

    Parameters: `what` happened (names the file, device or value), `why` (the cause, expected against found),
    `fix` (the next thing to type or do).
    """

    exit_code = 1

    def __init__(self, what: str, why: str, fix: str) -> None:
        super().__init__(what, why, fix)
        self.what, self.why, self.fix = what, why, fix

    def __str__(self) -> str:
        return one_line(f"{self.what}: {self.why}; {self.fix}")


class UsageError(EdgeError, ValueError):
    """The command was typed in a way that cannot be carried out."""

    exit_code = 2


class InputError(EdgeError, ValueError):
    """A file, folder, image or configuration cannot be used as it is."""

    exit_code = 3


class CheckFailed(EdgeError):
    """A check that guards the station said no: parity, decision gate, golden frames, signature."""

    exit_code = 4


class MissingError(EdgeError, OSError):
    """A device or back end that was named is not there. Never replaced by another silently."""

    exit_code = 5


class EngineFault(EdgeError, RuntimeError):
    """The engine failed while running; its outputs cannot be trusted until it is opened again."""

    exit_code = 5


def one_line(text: str) -> str:
    """`text` with line breaks and control characters made visible, so that a name cannot forge a log line."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
