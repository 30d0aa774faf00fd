from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from edge.bundle import open_bundle
from edge.cli.base import run
from edge.errors import InputError
from edge.signature import load_public_key
from export.cli.sign import app
from export.sign import generate_keys, sign_bundle
from tests.edge.install.bundles import make_bundle


def test_keys_signing_and_checking_by_command(tmp_path, capsys) -> None:
    bundle = make_bundle(tmp_path / "b.edge")
    assert run(app, ["keygen", str(tmp_path / "keys")]) == 0
    private, public = tmp_path / "keys/signing.key", tmp_path / "keys/signing.pub"
    assert stat.S_IMODE(private.stat().st_mode) == 0o600
    said = capsys.readouterr().out
    assert private.read_text() not in said and "PRIVATE" not in said
    before = open_bundle(bundle).manifest_bytes
    assert run(app, [str(bundle), "--key", str(private)]) == 0
    assert open_bundle(bundle).manifest_bytes == before, "signing does not touch the manifest"
    assert run(app, ["verify", str(bundle), "--public-key", str(public)]) == 0
    assert run(app, ["sign", str(bundle), "--key", str(private), "--counter", "4"]) == 0
    assert run(app, ["verify", str(bundle), "--public-key", str(public), "--counter", "5"]) == 4
    assert "downgrade" in capsys.readouterr().err


def test_a_key_is_never_replaced(tmp_path) -> None:
    pair = generate_keys(tmp_path)
    before = pair.private.read_bytes()
    with pytest.raises(InputError, match="never replaced"):
        generate_keys(tmp_path)
    assert pair.private.read_bytes() == before


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o666])
def test_a_private_key_that_others_may_read_is_refused(tmp_path, mode) -> None:
    pair = generate_keys(tmp_path)
    pair.private.chmod(mode)
    bundle = make_bundle(tmp_path / "b.edge")
    with pytest.raises(InputError, match="chmod 0600"):
        sign_bundle(bundle, pair.private)
    assert open_bundle(bundle).signature is None


def test_a_pinned_key_that_others_may_write_is_refused(tmp_path) -> None:
    pair = generate_keys(tmp_path)
    pair.public.chmod(0o666)
    with pytest.raises(InputError, match="open to other users"):
        load_public_key(pair.public)


def test_other_files_are_no_keys(tmp_path) -> None:
    pair = generate_keys(tmp_path)
    bundle = make_bundle(tmp_path / "b.edge")
    other = generate_private_key(65537, 2048)
    rsa, rsa_public = tmp_path / "rsa.key", tmp_path / "rsa.pub"
    rsa.touch(0o600)
    rsa.write_bytes(other.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    rsa_public.write_bytes(other.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    junk = tmp_path / "junk"
    junk.touch(0o600)
    for path in (rsa, junk, tmp_path, tmp_path / "absent", Path(os.devnull)):
        with pytest.raises(InputError):
            sign_bundle(bundle, path)
    for path in (rsa_public, junk, pair.private):
        with pytest.raises(InputError):
            load_public_key(path)


def test_a_damaged_bundle_is_not_signed(tmp_path) -> None:
    pair = generate_keys(tmp_path)
    bundle = make_bundle(tmp_path / "b.edge")
    raw = bytearray(bundle.read_bytes())
    raw[raw.find(b"ReduceMean")] ^= 1
    bundle.write_bytes(bytes(raw))
    assert run(app, [str(bundle), "--key", str(pair.private)]) in (3, 4)
    assert bundle.read_bytes() == bytes(raw)


def test_usage(tmp_path, capsys) -> None:
    assert run(app, ["keygen"]) == 2
    assert run(app, [str(tmp_path / "absent.edge"), "--key", str(tmp_path)]) == 3
