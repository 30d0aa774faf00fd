"""Where things lie on a station, and the few writes that must survive a power cut.

ROOT/releases/<id>/bundle.edge, release.json   immutable, world readable
ROOT/current -> releases/<id>                  swapped by rename
ROOT/state.json                                which releases are proven, lowest rollback counter accepted
ROOT/trial.json                                exists only while a release is on trial
ROOT/staging/<sha256>.part                     a bundle on its way in
ROOT/cache/                                    built engines, outside the releases
ROOT/log/install.log                           what the installer did
ROOT/venv/                                     the program
"""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Annotated, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from edge.errors import CheckFailed, InputError, one_line
from edge.files import write_atomic

DEFAULT_ROOT = Path("/opt/edge")
DEFAULT_KEY = Path("/etc/edge/trusted.pub")
MAX_LOG_BYTES = 1 << 20

Model = TypeVar("Model", bound=BaseModel)
ReleaseId = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}-[0-9a-f]{12}$")]


class State(BaseModel):
    """What is proven: `good` release ids, newest first; `lowest_counter` is the rollback floor."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    good: tuple[ReleaseId, ...] = ()
    lowest_counter: Annotated[int, Field(ge=0)] = 0


class Trial(BaseModel):
    """A switch that is not committed yet: back to `old` (None: nothing was installed) unless `new` proves itself."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    old: ReleaseId | None
    new: ReleaseId


@dataclass(frozen=True)
class Layout:
    """The installation under `root`."""

    root: Path

    @property
    def releases(self) -> Path:
        return self.root / "releases"

    @property
    def staging(self) -> Path:
        return self.root / "staging"

    @property
    def current(self) -> Path:
        return self.root / "current"

    @property
    def log_file(self) -> Path:
        return self.root / "log" / "install.log"

    def prepare(self) -> None:
        """Make the folders. Raises InputError if the root cannot be written."""
        try:
            for folder in (self.releases, self.staging, self.root / "cache", self.root / "log"):
                folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(
                f"cannot write {self.root}",
                error.strerror or str(error),
                "run edge-flash --bootstrap, or choose another --root",
            ) from error

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the one lock of this station. Raises CheckFailed if somebody else holds it."""
        self.prepare()
        descriptor = os.open(self.root / ".lock", os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            os.close(descriptor)
            raise CheckFailed(
                f"{self.root} is busy", "another flash is running on this station", "wait for it, then try again"
            ) from error
        try:
            yield
        finally:
            os.close(descriptor)

    def current_id(self) -> str | None:
        """Id of the current release, or None if nothing is installed."""
        try:
            return Path(os.readlink(self.current)).name
        except OSError:
            return None

    def switch(self, release_id: str | None) -> None:
        """Point `current` at the release (None: remove it): one rename, durable on return."""
        temporary = self.root / ".current.new"
        temporary.unlink(missing_ok=True)
        if release_id is None:
            self.current.unlink(missing_ok=True)
        else:
            os.symlink(f"releases/{release_id}", temporary)
            os.replace(temporary, self.current)
        fsync(self.root)

    def state(self) -> State:
        """Which releases are proven. Raises InputError if the file is damaged."""
        return _read(self.root / "state.json", State) or State()

    def save_state(self, state: State) -> None:
        """Commit `state`, durably."""
        write_atomic(self.root / "state.json", state.model_dump_json(indent=1).encode())

    def trial(self) -> Trial | None:
        """The uncommitted switch, or None."""
        return _read(self.root / "trial.json", Trial)

    def save_trial(self, trial: Trial | None) -> None:
        """Note (None: end) an uncommitted switch, durably."""
        path = self.root / "trial.json"
        if trial is None:
            path.unlink(missing_ok=True)
            fsync(self.root)
        else:
            write_atomic(path, trial.model_dump_json().encode())

    def remove(self, folder: Path) -> None:
        """Remove a release folder so that no half of it is ever seen under its own name."""
        if folder.is_dir():
            gone = folder.with_name(f".gone-{folder.name.lstrip('.')}")
            _delete(gone)
            os.replace(folder, gone)
            _delete(gone)

    def log(self, line: str) -> None:
        """Append one line, with the time, to the install log. The log starts again when it is too long."""
        try:
            too_long = self.log_file.exists() and self.log_file.stat().st_size > MAX_LOG_BYTES
            now = datetime.now(timezone.utc).isoformat(timespec="seconds")
            with self.log_file.open("w" if too_long else "a", encoding="utf-8") as file:
                file.write(f"{now} {one_line(line)}\n")
        except OSError:
            return  # a full disk must not stop a rollback; the caller prints the same line

    def log_tail(self, lines: int) -> list[str]:
        """The last `lines` lines of the install log."""
        if not self.log_file.exists():
            return []
        return self.log_file.read_text(encoding="utf-8", errors="replace").splitlines()[-lines:]


def _delete(folder: Path) -> None:
    if folder.is_dir():
        folder.chmod(0o755)
        shutil.rmtree(folder)


def fsync(path: Path) -> None:
    """Make the content of a file, or the names in a folder, durable."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _read(path: Path, model: type[Model]) -> Model | None:
    try:
        return model.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValidationError) as error:
        raise InputError(
            f"{path} is damaged", "it is not what the installer wrote", "remove it, then run edge-install recover"
        ) from error
