"""From the workstation to the station: preflight, resumable copy, install, health; the station itself rolls back."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from edge.bundle import Bundle, open_bundle
from edge.doctor.finding import Report
from edge.errors import CheckFailed, EdgeError, InputError, MissingError
from edge.install.staging import CHUNK_BYTES, RESERVE_BYTES, file_sha256
from export.flash_remote import Remote

LOG_LINES = 15
MIN_MEMORY_BYTES = 256 << 20

Say = Callable[[str], None]
Progress = Callable[[int, int], None]  # (bytes that have arrived, bytes in all)


@dataclass(frozen=True)
class Parcel:
    """A bundle ready to go: checked here first, and signed."""

    bundle: Bundle
    sha256: str
    size: int

    @classmethod
    def of(cls, path: Path) -> Parcel:
        """Open and check the bundle at `path`. Raises CheckFailed if it is not signed, InputError if it is bad."""
        bundle = open_bundle(path)
        bundle.read_all()
        if bundle.signature is None:
            raise CheckFailed(f"{path} is not signed", "stations take signed bundles only", f"edge-sign {path}")
        return cls(bundle, file_sha256(path), path.stat().st_size)


@dataclass(frozen=True)
class Flasher:
    """Flashes one station. `root` is the installation's folder there; `install_options` go to edge-install."""

    remote: Remote
    root: str
    say: Say
    progress: Progress | None = None
    install_options: tuple[str, ...] = ()

    def flash(self, parcel: Parcel, keep: int = 3) -> None:
        """Preflight, copy, install. Raises the EdgeError that stopped it, after showing the end of the remote log."""
        self.preflight(parcel)
        self.copy(parcel)
        start = time.monotonic()
        options = ("--sha256", parcel.sha256, "--keep", str(keep), *self.install_options)
        self._logged("install", *options)
        self.say(
            f"install: {time.monotonic() - start:.1f} s, {parcel.bundle.manifest.name} runs on {self.remote.target}"
        )

    def preflight(self, parcel: Parcel) -> Report:
        """Ask the station's edge-doctor whether the bundle can run there. Raises InputError or MissingError if not."""
        start = time.monotonic()
        done = self.remote.run([*self._program("edge-doctor"), "--json", "--root", self.root])
        if done.code not in (0, 5):
            self.remote.judge(done)
        try:
            report = Report.model_validate_json(done.output)
        except ValidationError as error:
            raise InputError(
                f"{self.remote.target} gave no report",
                f"edge-doctor said {done.output[:80]!r}",
                "run --bootstrap again",
            ) from error
        _check_needs(self.remote.target, report, parcel)
        free = f"{report.disk_free_bytes / 1e9:.1f} GB disk, {report.memory_available_bytes / 1e9:.1f} GB memory free"
        what = report.board or "no Jetson"
        self.say(f"preflight: {time.monotonic() - start:.1f} s, {what}, {', '.join(report.backends)}, {free}")
        for finding in report.gaps:
            self.say(f"warning: {finding.topic}: {finding.found}; mend: {finding.fix}")
        return report

    def copy(self, parcel: Parcel) -> None:
        """Copy the bundle, going on where an earlier copy stopped; a damaged part is copied afresh, once."""
        start = time.monotonic()
        present = self._staged(parcel)
        try:
            self._send(parcel, present)
        except CheckFailed:
            if present == 0 or self._staged(parcel):
                raise
            self.say("the part that was there is damaged; copying afresh")
            self._send(parcel, 0)
        resumed = f", resumed at {present / 1e6:.1f} MB" if present else ""
        self.say(f"copy: {time.monotonic() - start:.1f} s, {parcel.size / 1e6:.1f} MB{resumed}")

    def status(self) -> dict[str, Any]:
        """What is installed on the station, as plain data."""
        done = self._edge_install("status", "--json", *self._options_of("--probe-command", "--key"))
        told: dict[str, Any] = json.loads(done.output)
        return told

    def rollback(self) -> None:
        """Back to the release that ran before."""
        self._logged("rollback", *self.install_options)

    def _send(self, parcel: Parcel, present: int) -> None:
        command = self._command("receive", "--sha256", parcel.sha256, "--size", str(parcel.size))
        self.remote.judge(self.remote.send(command, self._chunks(parcel, present)))

    def _chunks(self, parcel: Parcel, present: int) -> Iterator[bytes]:
        with parcel.bundle.path.open("rb") as file:
            file.seek(present)
            while chunk := file.read(CHUNK_BYTES // 4):
                yield chunk
                if self.progress:
                    self.progress(file.tell(), parcel.size)

    def _staged(self, parcel: Parcel) -> int:
        """How much has arrived before; asked of the shell, which answers faster than a program that has to start."""
        part = f"{self.root}/staging/{parcel.sha256}.part"
        return int(self.remote.checked(["sh", "-c", 'stat -c %s "$1" 2>/dev/null || echo 0', "sh", part]).output)

    def _logged(self, action: str, *options: str) -> None:
        """An action whose failure shows the end of the station's log."""
        try:
            self.remote.checked(self._command(action, *options), self.say)
        except EdgeError as error:
            if not isinstance(error, MissingError):
                for line in self._edge_install("log", "-n", str(LOG_LINES)).output.splitlines():
                    self.say(f"log: {line}")
            raise

    def _edge_install(self, action: str, *options: str) -> Any:
        return self.remote.checked(self._command(action, *options))

    def _command(self, action: str, *options: str) -> list[str]:
        return [*self._program("edge-install"), action, "--root", self.root, *options]

    def _program(self, name: str) -> list[str]:
        return [f"{self.root}/venv/bin/{name}"]

    def _options_of(self, *names: str) -> list[str]:
        return [o for o in self.install_options if o.split("=", 1)[0] in names]


def _check_needs(target: str, report: Report, parcel: Parcel) -> None:
    manifest = parcel.bundle.manifest
    if report.bundle_schema != manifest.schema_version:
        raise InputError(
            f"{target} cannot read this bundle",
            f"it reads schema {report.bundle_schema}, the bundle has {manifest.schema_version}",
            "run edge-flash --bootstrap with this version",
        )
    if not report.backends:
        raise MissingError(f"{target} has no back end", "none ran when it was tried", "run edge-doctor there")
    if report.disk_free_bytes < parcel.size + RESERVE_BYTES:
        raise InputError(
            f"no room on {target}",
            f"the bundle needs {parcel.size / 1e6:.1f} MB, {report.disk_free_bytes / 1e6:.1f} MB are free",
            "free space there, or flash with --keep 1",
        )
    if report.memory_available_bytes + report.swap_free_bytes < MIN_MEMORY_BYTES + 2 * parcel.size:
        raise InputError(
            f"not enough memory on {target}",
            f"{report.memory_available_bytes / 1e6:.0f} MB available",
            "stop other programs there, or add swap: edge-doctor says how",
        )
