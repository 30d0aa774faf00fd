"""First installation on a station: the program, its service and its rights, from a wheelhouse, without internet."""

from __future__ import annotations

import io
import tarfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from edge.errors import InputError
from edge.signature import load_public_key
from export.flash_remote import Remote

DEPLOY = ("bootstrap.py", "edge-station.service", "edge-recover.service", "99-edge.rules", "station.toml")
ASK = (
    'import sys, platform, os, getpass; print("cp%d%d" % sys.version_info[:2], platform.machine(), os.geteuid(), '
    'getpass.getuser(), "%d.%d" % sys.version_info[:2])'
)
SUPPORTED = ("cp310", "cp311", "cp312", "cp313")


@dataclass(frozen=True)
class Bootstrap:
    """What is sent, and where it goes. `public_key` is pinned; `options` go to bootstrap.py on the station."""

    wheelhouse: Path
    root: str
    public_key: Path | None = None
    python: str = "/usr/bin/python3"
    station_config: Path | None = None
    options: tuple[str, ...] = ()

    def run(self, remote: Remote, say: Callable[[str], None]) -> None:
        """Install or update; whatever is right already stays. Raises InputError if no wheels fit the station."""
        start = time.monotonic()
        if self.public_key is not None:
            load_public_key(self.public_key)
        version, machine, uid, user = self._ask(remote)
        wheels = self._wheels(version, machine, remote.target)
        folder = remote.checked(["mktemp", "-d", "/tmp/edge-bootstrap.XXXXXXXX"]).output.strip()
        try:
            remote.judge(remote.send(["tar", "-x", "-C", folder], _chunks(self._archive(wheels))))
            say(f"sent: {time.monotonic() - start:.1f} s, {len(wheels)} wheels, {_megabytes(wheels):.0f} MB")
            sudo = [] if uid == "0" or "--files-only" in self.options else ["sudo", "-n"]
            command = [*sudo, self.python, f"{folder}/bootstrap.py", "--root", self.root, "--owner", user]
            remote.checked([*command, "--python", self.python, *self.options], say)
        finally:
            remote.run(["rm", "-rf", "--", folder])
        say(f"bootstrap: {time.monotonic() - start:.1f} s, {remote.target} is ready under {self.root}")

    def _ask(self, remote: Remote) -> tuple[str, str, str, str]:
        words = remote.checked([self.python, "-c", ASK]).output.split()
        if len(words) != 5 or words[0] not in SUPPORTED:
            raise InputError(
                f"{remote.target} has Python {words[-1] if words else 'unknown'}",
                "Python 3.10 or later is needed",
                "flash JetPack 6 or later",
            )
        return words[0], words[1], words[2], words[3]

    def _wheels(self, version: str, machine: str, target: str) -> list[Path]:
        folder = self.wheelhouse / f"{version}-{machine}"
        wheels = sorted(folder.glob("*.whl"))
        if not any(w.name.startswith("edge_anomaly-") for w in wheels):
            raise InputError(
                f"no wheels for {target}", f"{folder} is missing or not complete", "fill it: make wheelhouse"
            )
        return wheels

    def _archive(self, wheels: list[Path]) -> bytes:
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w") as archive:
            for wheel in wheels:
                archive.add(wheel, f"wheels/{wheel.name}")
            for name in DEPLOY:
                _add(archive, name, files("edge.deploy").joinpath(name).read_bytes())
            if self.station_config is not None:
                _add(archive, "station.toml", self.station_config.read_bytes())
            if self.public_key is not None:
                _add(archive, "trusted.pub", self.public_key.read_bytes())
        return buffer.getvalue()


def _add(archive: tarfile.TarFile, name: str, data: bytes) -> None:
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode = len(data), 0o644
    archive.addfile(entry, io.BytesIO(data))


def _chunks(data: bytes, size: int = 1 << 18) -> Iterator[bytes]:
    return (data[i : i + size] for i in range(0, len(data), size))


def _megabytes(paths: list[Path]) -> float:
    return sum(p.stat().st_size for p in paths) / 1e6
