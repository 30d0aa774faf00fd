"""The machine as the doctor sees it: files, devices and trial runs. A recorded tree answers the same questions.

A recorded tree is a folder with the files of the board under their own paths, and `commands.json`: a list of
{"command": [words], "code": n, "output": text}. A command that is not in the list is one that is not installed.
"""

from __future__ import annotations

import glob
import grp
import json
import os
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

NOT_INSTALLED = 127
TIMED_OUT = 124


@dataclass(frozen=True, slots=True)
class Ran:
    """End of a trial run: exit code (127 not installed, 124 no answer) and its output, both streams."""

    code: int
    output: str

    @property
    def last_line(self) -> str:
        lines = [line for line in self.output.splitlines() if line.strip()]
        return lines[-1].strip() if lines else f"exit code {self.code}"


class Machine(Protocol):
    """What the checks may ask."""

    def read(self, path: str) -> str | None:
        """Text of a file (NUL bytes removed), or None."""
        ...

    def paths(self, pattern: str) -> list[str]:
        """Existing paths that match a shell pattern, sorted."""
        ...

    def can_use(self, path: str) -> bool:
        """Whether this user may read and write a device node."""
        ...

    def run(self, command: Sequence[str]) -> Ran:
        """Run a command for at most half a minute."""
        ...

    def python(self, code: str) -> Ran:
        """Run a few lines in this program's own Python."""
        ...

    def free_bytes(self, path: str) -> int:
        """Room on the file system that holds `path`, or its nearest existing parent."""
        ...

    def groups(self) -> frozenset[str]:
        """Names of the groups that this user is in; root is in all that matter."""
        ...


class LiveMachine:
    """This machine."""

    def __init__(self, python: str) -> None:
        self._python = python

    def read(self, path: str) -> str | None:
        try:
            return Path(path).read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
        except OSError:
            return None

    def paths(self, pattern: str) -> list[str]:
        return sorted(glob.glob(pattern))

    def can_use(self, path: str) -> bool:
        return os.access(path, os.R_OK | os.W_OK)

    def run(self, command: Sequence[str]) -> Ran:
        try:
            done = subprocess.run(
                list(command),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                timeout=30,
                check=False,
            )
        except OSError:
            return Ran(NOT_INSTALLED, "not installed")
        except subprocess.TimeoutExpired:
            return Ran(TIMED_OUT, "no answer within 30 s")
        return Ran(done.returncode, done.stdout.decode(errors="replace"))

    def python(self, code: str) -> Ran:
        return self.run([self._python, "-c", code])

    def free_bytes(self, path: str) -> int:
        place = Path(path)
        while not place.exists() and place != place.parent:
            place = place.parent
        status = os.statvfs(place)
        return status.f_bavail * status.f_frsize

    def groups(self) -> frozenset[str]:
        return frozenset(g.gr_name for g in grp.getgrall() if g.gr_gid in os.getgroups())


@dataclass(frozen=True)
class RecordedMachine:
    """A board recorded in a folder. Python trial runs are recorded under the command ["python", <first line>]."""

    tree: Path
    commands: Mapping[tuple[str, ...], Ran] = field(default_factory=dict)

    @classmethod
    def load(cls, tree: Path) -> RecordedMachine:
        """The board in `tree`. Raises OSError or ValueError if it is not such a recording."""
        rows = json.loads((tree / "commands.json").read_text(encoding="utf-8"))
        return cls(tree, {tuple(r["command"]): Ran(r["code"], r["output"]) for r in rows})

    def read(self, path: str) -> str | None:
        return LiveMachine("").read(str(self._at(path)))

    def paths(self, pattern: str) -> list[str]:
        found = glob.glob(str(self._at(pattern)))
        return sorted("/" + str(Path(p).relative_to(self.tree)) for p in found)

    def can_use(self, path: str) -> bool:
        return os.stat(self._at(path)).st_mode & 0o200 != 0

    def run(self, command: Sequence[str]) -> Ran:
        return self.commands.get(tuple(command), Ran(NOT_INSTALLED, "not installed"))

    def python(self, code: str) -> Ran:
        return self.run(["python", code.splitlines()[0]])

    def free_bytes(self, path: str) -> int:
        return int(self.run(["free-bytes"]).output)

    def groups(self) -> frozenset[str]:
        return frozenset(self.run(["groups"]).output.split())

    def _at(self, path: str) -> Path:
        return self.tree / path.lstrip("/")
