"""What the installer asks of the machine: build and test a bundle, restart the station, say whether it is healthy."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from edge.errors import CheckFailed, MissingError, one_line

UNIT = "edge-station.service"


class Station(Protocol):
    """Each method raises an EdgeError that says why not."""

    def prepare(self, bundle: Path) -> None:
        """Build what the bundle needs on this machine and check it on the golden frames; nothing running is touched."""
        ...

    def restart(self) -> None:
        """Let the station start again on `current`."""
        ...

    def probe(self) -> None:
        """Return once the running station has been healthy for a while."""
        ...

    def probe_once(self) -> str | None:
        """None if the station is healthy now, else what it says."""
        ...


@dataclass(frozen=True)
class CommandStation:
    """The real station: every step is a process of its own, so a crash in an engine cannot take the installer along.

    `prepare_commands` get the bundle's path appended. The probe must succeed for `healthy_s` seconds without a gap,
    within `timeout_s`.
    """

    prepare_commands: tuple[tuple[str, ...], ...]
    restart_command: tuple[str, ...]
    probe_command: tuple[str, ...]
    report: Callable[[str], None]
    cache: Path | None = None  # where built engines and timings are kept; $EDGE_CACHE of the prepare commands
    healthy_s: float = 5.0
    timeout_s: float = 60.0
    prepare_timeout_s: float = 3600.0

    def prepare(self, bundle: Path) -> None:
        for command in self.prepare_commands:
            self._relay((*command, str(bundle)))

    def restart(self) -> None:
        done = _run(self.restart_command, self.timeout_s * 2)
        if done.returncode:
            raise CheckFailed(
                "the station did not start", _last_words(done), f"see: journalctl -u {UNIT}, or edge-install log"
            )

    def probe(self) -> None:
        start = time.monotonic()
        healthy_since: float | None = None
        last = "it does not stay healthy"
        while True:
            words = self.probe_once()
            last = words or last
            now = time.monotonic()
            healthy_since = None if words is not None else now if healthy_since is None else healthy_since
            if healthy_since is not None and now - healthy_since >= self.healthy_s:
                return
            if now - start > self.timeout_s:
                raise CheckFailed(
                    "the station is not healthy",
                    f"{last}; waited {self.timeout_s:.0f} s",
                    f"see: journalctl -u {UNIT}",
                )
            time.sleep(min(0.5, self.healthy_s / 4 + 0.01))

    def probe_once(self) -> str | None:
        done = _run(self.probe_command, 30)
        return _last_words(done) if done.returncode else None

    def _relay(self, command: tuple[str, ...]) -> None:
        """Run `command`, passing its output on line by line while it runs."""
        last = "no message"
        environment = {**os.environ, "EDGE_CACHE": str(self.cache)} if self.cache else dict(os.environ)
        with _started(command, environment) as process:
            assert process.stdout is not None
            for line in process.stdout:
                last = one_line(line.rstrip())
                self.report(last)
            code = process.wait(self.prepare_timeout_s)
        if code:
            killed = " (killed: out of memory?)" if code in (-9, 137) else ""
            raise CheckFailed(
                f"{Path(command[0]).name} {' '.join(command[1:3])} failed",
                f"exit code {code}{killed}: {last}",
                "the running release stays; mend the bundle and flash again",
            )


def default_prepare(backend: str, precision: str) -> tuple[tuple[str, ...], ...]:
    """The build and self-test commands: TensorRT engines are built first where TensorRT is asked for or is there."""
    from edge.engine.open import is_installed

    python = (sys.executable, "-m")
    test = (*python, "edge.cli.install", "self-test", "--backend", backend, "--precision", precision)
    if backend == "tensorrt" or (backend == "auto" and is_installed("tensorrt")):
        return ((*python, "edge.cli.build", "--precision", precision), test)
    return (test,)


def default_restart() -> tuple[str, ...]:
    """systemctl restart, through sudo's one allowed line if we are not root. Raises MissingError without systemd."""
    if not Path("/run/systemd/system").is_dir():
        raise MissingError(
            "cannot restart the station",
            "systemd does not run here",
            "name your own commands with --restart-command and --probe-command",
        )
    sudo = () if os.geteuid() == 0 else ("sudo", "-n")
    return (*sudo, "systemctl", "restart", UNIT)


def default_probe() -> tuple[str, ...]:
    """Active (a Type=notify station is once it has scored a fresh frame) and, by its own word, not in FAULT."""
    active = f"systemctl is-active --quiet {UNIT} || {{ systemctl is-active {UNIT}; exit 3; }}"
    word = f'said=$(systemctl show -p StatusText --value {UNIT}); case "$said" in FAULT*) echo "$said"; exit 3;; esac'
    return ("sh", "-c", f"{active}; {word}")


def split_command(text: str | None, default: Callable[[], tuple[str, ...]]) -> tuple[str, ...]:
    """`text` cut into words as a shell would, or the default command."""
    return tuple(shlex.split(text)) if text else default()


def _run(command: tuple[str, ...], timeout_s: float) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            timeout=timeout_s,
            check=False,
        )
    except FileNotFoundError as error:
        raise MissingError(f"no command {command[0]}", "it is not installed", "install it or name another") from error
    except subprocess.TimeoutExpired:
        return subprocess.CompletedProcess(command, 124, f"no answer within {timeout_s:.0f} s")


def _started(command: tuple[str, ...], environment: dict[str, str]) -> subprocess.Popen[str]:
    try:
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            env=environment,
        )
    except FileNotFoundError as error:
        raise MissingError(f"no command {command[0]}", "it is not installed", "install it or name another") from error


def _last_words(done: subprocess.CompletedProcess[str]) -> str:
    lines = [line for line in (done.stdout or "").splitlines() if line.strip()]
    return one_line(lines[-1]) if lines else f"exit code {done.returncode}"
