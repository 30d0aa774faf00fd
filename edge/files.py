"""Files that are either whole or absent: temporary name, fsync, rename."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from edge.errors import InputError


@contextmanager
def atomic_path(target: Path) -> Iterator[Path]:
    """Yield a temporary path beside `target`; on success make it durable and rename it onto `target`.

    On any exception the temporary file is removed and `target` stays as it was. Raises InputError when the folder
    cannot be written or the disk is full.
    """
    temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        _fsync(temporary)
        os.replace(temporary, target)
        _fsync(target.parent)
    except OSError as error:
        raise InputError(
            f"cannot write {target}", error.strerror or str(error), "free space or choose another path"
        ) from error
    finally:
        with suppress(OSError):
            temporary.unlink()


def write_atomic(target: Path, data: bytes) -> None:
    """Write `data` to `target` so that a reader, or a power cut, sees the old content or the new, never a part."""
    with atomic_path(target) as temporary:
        temporary.write_bytes(data)


def sha256_of(data: bytes) -> str:
    """Hex SHA-256 of `data`."""
    return hashlib.sha256(data).hexdigest()


def _fsync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def cache_folder() -> Path:
    """$EDGE_CACHE, else edge-anomaly under the XDG cache folder."""
    named = os.environ.get("EDGE_CACHE")
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(named) if named else Path(base) / "edge-anomaly"
