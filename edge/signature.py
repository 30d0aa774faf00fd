"""Is this bundle ours? Ed25519 over the exact manifest bytes, checked with the public key pinned on the device.

The manifest lists the SHA-256 of every other member, so one signature vouches for the whole bundle. The check runs
before the manifest, or any other member, is parsed. The rollback counter stops an old, once good bundle from coming
back: a device refuses every counter lower than the highest one it has committed.
"""

from __future__ import annotations

import stat
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from edge.bundle import Bundle, open_bundle
from edge.errors import CheckFailed, InputError, MissingError
from edge.files import sha256_of

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

MAX_KEY_BYTES = 4096


@dataclass(frozen=True)
class PublicKey:
    """A pinned Ed25519 public key. `name` is the first 16 hex digits of its SHA-256."""

    path: Path
    key: Ed25519PublicKey
    name: str

    def check(self, data: bytes, signature: bytes | None, source: str) -> None:
        """Raise CheckFailed unless `signature` (64 bytes) over `data` was made with the private half of this key."""
        from cryptography.exceptions import InvalidSignature

        if signature is None:
            raise CheckFailed(
                f"{source} is not signed", f"this device trusts only key {self.name}", f"sign it: edge-sign {source}"
            )
        try:
            self.key.verify(signature, data)
        except InvalidSignature as error:
            raise CheckFailed(
                f"{source} has a bad signature",
                f"it was altered, or signed with another key than the pinned {self.name}",
                "copy it again from its source, or sign it with the station's key",
            ) from error


def load_public_key(path: Path) -> PublicKey:
    """The Ed25519 public key in the PEM file `path`.

    Raises InputError if the file is absent, not such a key, or writable by other users than its owner; MissingError if
    the cryptography package is absent.
    """
    data = read_key_file(path, forbidden_mode=stat.S_IWGRP | stat.S_IWOTH)
    try:
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
        from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_public_key
    except ImportError as error:
        raise missing_cryptography() from error
    try:
        key = load_pem_public_key(data)
    except ValueError as error:
        raise not_a_key(path, "public") from error
    if not isinstance(key, Ed25519PublicKey):
        raise not_a_key(path, "public")
    return PublicKey(path, key, sha256_of(key.public_bytes(Encoding.Raw, PublicFormat.Raw))[:16])


def open_signed(path: Path, key: PublicKey, lowest_counter: int = 0) -> Bundle:
    """Open the bundle at `path` after its signature was checked with `key`.

    Raises CheckFailed if it is unsigned, altered, signed by another key, or its rollback counter is lower than
    `lowest_counter`; InputError as `open_bundle` does. Nothing in the bundle is parsed before the signature is good.
    """
    bundle = open_bundle(path, trust=lambda manifest, signature: key.check(manifest, signature, str(path)))
    counter = bundle.manifest.rollback_counter
    if counter < lowest_counter:
        raise CheckFailed(
            f"{path} would be a downgrade",
            f"its rollback counter is {counter}, this station has committed {lowest_counter}",
            f"sign the bundle with --counter {lowest_counter} or higher if it may run again",
        )
    return bundle


def read_key_file(path: Path, forbidden_mode: int) -> bytes:
    """Bytes of a small regular key file whose mode has none of the `forbidden_mode` bits. Raises InputError."""
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode) or status.st_size > MAX_KEY_BYTES:
            raise not_a_key(path, "key")
        if status.st_mode & forbidden_mode:
            mode = stat.S_IMODE(status.st_mode)
            raise InputError(
                f"{path} is open to other users",
                f"mode {mode:04o}, expected {mode & ~forbidden_mode:04o}",
                f"run: chmod {mode & ~forbidden_mode:04o} {path}",
            )
        return path.read_bytes()
    except OSError as error:
        raise InputError(
            f"cannot read key {path}", error.strerror or str(error), "make one: edge-sign keygen DIR"
        ) from error


def not_a_key(path: Path, kind: str) -> InputError:
    """The error for a file that holds no Ed25519 key."""
    return InputError(f"{path} holds no {kind} key", "expected Ed25519 in PEM form", "make one: edge-sign keygen DIR")


def missing_cryptography() -> MissingError:
    """The error for a machine without the cryptography package."""
    return MissingError(
        "cannot check signatures", "the cryptography package is not installed", "pip install 'edge-anomaly[device]'"
    )
