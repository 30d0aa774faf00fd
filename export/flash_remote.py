"""The station as seen over the system's OpenSSH: the user's keys, config and known_hosts; no passwords of ours."""

from __future__ import annotations

import contextlib
import re
import shlex
import subprocess
import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from edge.errors import CheckFailed, EdgeError, InputError, MissingError, one_line

TARGET = re.compile(r"(?:[A-Za-z_][A-Za-z0-9._-]{0,63}@)?[A-Za-z0-9](?:[A-Za-z0-9.:_-]{0,252})|\[[0-9a-fA-F:]+\]")
SSH_FAILED = 255
NOT_FOUND = (126, 127)


@dataclass(frozen=True)
class Done:
    """End of a command on the station."""

    code: int
    output: str
    errors: str


@dataclass(frozen=True)
class Remote:
    """One station. `options` are passed to ssh as -o; they come first, so they win over ours."""

    target: str
    port: int | None = None
    options: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not TARGET.fullmatch(self.target):
            raise InputError(f"bad host {self.target[:80]!r}", "expected USER@HOST", "check the spelling")

    def run(self, command: Sequence[str], on_line: Callable[[str], None] | None = None) -> Done:
        """Run a command on the station, waiting for its end; `on_line` gets each line of its output as it comes."""
        return self.send(command, (), on_line)

    def send(
        self, command: Sequence[str], chunks: Iterable[bytes], on_line: Callable[[str], None] | None = None
    ) -> Done:
        """Run a command with `chunks` as its standard input. Raises InputError, CheckFailed or MissingError if ssh
        cannot connect; what the command itself says is in the result."""
        errors: list[str] = []
        with self._started(command) as process:
            assert process.stdin and process.stdout and process.stderr
            lines_of_errors = _lines(process.stderr)
            helpers = [
                threading.Thread(target=lambda: errors.extend(lines_of_errors), name="ssh errors", daemon=True),
                threading.Thread(target=_feed, args=(process.stdin, chunks), name="ssh input", daemon=True),
            ]
            for helper in helpers:
                helper.start()
            output = []
            for line in _lines(process.stdout):
                output.append(line)
                if on_line:
                    on_line(line)
            code = process.wait()
            for helper in helpers:
                helper.join()
        if code == SSH_FAILED:
            raise self._not_connected(errors)
        return Done(code, "\n".join(output), "\n".join(errors))

    def checked(self, command: Sequence[str], on_line: Callable[[str], None] | None = None) -> Done:
        """As `run`, but an exit code other than 0 raises what the station said, with its exit code."""
        return self.judge(self.run(command, on_line))

    def judge(self, done: Done) -> Done:
        """`done` if it went well, else the error that the station told."""
        if done.code in NOT_FOUND:
            raise InputError(
                f"{self.target} has no edge-anomaly", done.errors or "command not found", "run: edge-flash --bootstrap"
            )
        if done.code:
            raise _as_error(self.target, done)
        return done

    def _started(self, command: Sequence[str]) -> subprocess.Popen[bytes]:
        ours = ("BatchMode=yes", "ConnectTimeout=10", "ServerAliveInterval=5", "ServerAliveCountMax=6")
        options = [part for option in (*self.options, *ours) for part in ("-o", option)]
        port = ["-p", str(self.port)] if self.port else []
        line = ["ssh", "-T", *options, *port, "--", self.target, shlex.join(command)]
        try:
            return subprocess.Popen(line, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        except FileNotFoundError as error:
            raise MissingError(
                "no ssh", "OpenSSH is not installed", "sudo apt-get install -y openssh-client"
            ) from error

    def _not_connected(self, errors: list[str]) -> EdgeError:
        why = errors[-1] if errors else "ssh gave no reason"
        told = " ".join(errors)
        what = f"cannot reach {self.target}"
        if "Host key verification failed" in told:
            return CheckFailed(what, why, f"compare the host key, then: ssh {self.target}")
        if "Permission denied" in told or "Too many authentication" in told:
            return InputError(what, why, f"check the user, then: ssh-copy-id {self.target}")
        if "Could not resolve" in told:
            return InputError(what, why, "check the spelling of the host")
        return MissingError(what, why, "check power and network; an install that had begun goes on by itself")


def _as_error(target: str, done: Done) -> EdgeError:
    kinds: dict[int, type[EdgeError]] = {2: InputError, 3: InputError, 4: CheckFailed, 5: MissingError}
    said = [line for line in done.errors.splitlines() if line.startswith("error: ")]
    why = said[-1].removeprefix("error: ") if said else (done.errors.splitlines() or [f"exit code {done.code}"])[-1]
    return kinds.get(done.code, CheckFailed)(f"{target} refused", why, f"see: edge-flash --status {target}")


def _feed(stream: object, chunks: Iterable[bytes]) -> None:
    """Write the chunks; a command that ends early (no room, locked) closes the pipe, and its own words say why."""
    with contextlib.suppress(BrokenPipeError, OSError):
        try:
            for chunk in chunks:
                stream.write(chunk)  # type: ignore[attr-defined]
        finally:
            stream.close()  # type: ignore[attr-defined]


def _lines(stream: Iterable[bytes]) -> Iterable[str]:
    """Lines of a station's output with control characters made visible: a station cannot paint on our terminal."""
    return (one_line(line.decode(errors="replace").rstrip("\r\n")) for line in stream)
