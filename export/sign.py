"""Keys and signatures on the workstation. The private key stays in its file: never printed, copied or logged."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)

from edge.bundle import Bundle, open_bundle, write_raw_bundle
from edge.errors import InputError
from edge.files import write_atomic
from edge.signature import load_public_key, not_a_key, open_signed, read_key_file

PRIVATE_NAME, PUBLIC_NAME = "signing.key", "signing.pub"


@dataclass(frozen=True)
class KeyPair:
    """Where a new pair of keys was written, and the short name of the public one."""

    private: Path
    public: Path
    name: str


def generate_keys(folder: Path) -> KeyPair:
    """Write a new Ed25519 pair to `folder`: signing.key (mode 0600) and signing.pub. Never replaces a key.

    Raises InputError if a key is there already or the folder cannot be written.
    """
    private, public = folder / PRIVATE_NAME, folder / PUBLIC_NAME
    key = Ed25519PrivateKey.generate()
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        _write_new(private, key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    except FileExistsError as error:
        raise InputError(
            f"{private} exists", "a key is never replaced", "choose another folder, or move the old key away"
        ) from error
    except OSError as error:
        raise InputError(f"cannot write {private}", error.strerror or str(error), "choose another folder") from error
    write_atomic(public, key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    public.chmod(0o644)
    return KeyPair(private, public, load_public_key(public).name)


def sign_bundle(path: Path, private_key: Path, counter: int | None = None) -> Bundle:
    """Sign NAME.edge in place (whole or not at all); with `counter` its rollback counter is set first.

    Every member is checked against the manifest before it is vouched for. Raises InputError if the key file is absent,
    open to other users, or no Ed25519 key, or the counter would go down; CheckFailed if the bundle was altered.
    """
    key = _load_private_key(private_key)
    bundle = open_bundle(path)
    manifest_bytes = bundle.manifest_bytes
    if counter is not None:
        _check_counter(path, bundle.manifest.rollback_counter, counter)
        raised = bundle.manifest.model_copy(update={"rollback_counter": counter})
        manifest_bytes = raised.model_dump_json(indent=1).encode()
    write_raw_bundle(path, manifest_bytes, bundle.read_all(), key.sign(manifest_bytes))
    return open_bundle(path)


def verify_bundle(path: Path, public_key: Path, lowest_counter: int = 0) -> Bundle:
    """The bundle at `path`, its signature, counter and every member checked as a device would do it."""
    bundle = open_signed(path, load_public_key(public_key), lowest_counter)
    bundle.read_all()
    return bundle


def _check_counter(path: Path, present: int, wanted: int) -> None:
    if wanted < present:
        raise InputError(
            f"cannot lower the rollback counter of {path}", f"it is {present}, asked {wanted}", "export a new bundle"
        )


def _write_new(path: Path, data: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _load_private_key(path: Path) -> Ed25519PrivateKey:
    data = read_key_file(path, forbidden_mode=stat.S_IRWXG | stat.S_IRWXO)
    try:
        key = load_pem_private_key(data, password=None)
    except (ValueError, TypeError) as error:
        raise not_a_key(path, "private") from error
    if not isinstance(key, Ed25519PrivateKey):
        raise not_a_key(path, "private")
    return key
