"""A real sshd on 127.0.0.1 with its own host key, user key and config, and a station folder behind it."""

from __future__ import annotations

import getpass
import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from edge.cli.base import run as run_command
from edge.install.layout import Layout
from export.cli.flash import flash
from export.sign import KeyPair, generate_keys

SSHD = shutil.which("sshd", path=f"{os.environ.get('PATH', '')}:/usr/sbin")


@dataclass(frozen=True)
class Sshd:
    """Where it listens, and the ssh options that reach it and nothing of the tester's own."""

    port: int
    folder: Path

    @property
    def target(self) -> str:
        return f"{getpass.getuser()}@127.0.0.1"

    def options(self) -> list[str]:
        identity = f"IdentityFile={self.folder}/user_key"
        known = f"UserKnownHostsFile={self.folder}/known_hosts"
        said = (identity, "IdentitiesOnly=yes", known, "GlobalKnownHostsFile=/dev/null", "LogLevel=ERROR")
        return [f"--port={self.port}", *(f"--ssh-option={o}" for o in said)]


@pytest.fixture(scope="session")
def sshd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sshd]:
    if SSHD is None:
        pytest.skip("no sshd: sudo apt-get install -y openssh-server")
    folder = tmp_path_factory.mktemp("sshd")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    for name in ("host_key", "user_key"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / name], check=True)
    (folder / "authorized_keys").write_text((folder / "user_key.pub").read_text())
    (folder / "known_hosts").write_text(f"[127.0.0.1]:{port} {(folder / 'host_key.pub').read_text()}")
    (folder / "config").write_text(
        f"Port {port}\nListenAddress 127.0.0.1\nHostKey {folder}/host_key\nPidFile {folder}/pid\nUsePAM no\n"
        f"AuthorizedKeysFile {folder}/authorized_keys\nStrictModes no\nPasswordAuthentication no\n"
        "PermitRootLogin prohibit-password\nKbdInteractiveAuthentication no\nMaxStartups 100\n"
    )
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(exist_ok=True)
    log = (folder / "log").open("wb")
    server = subprocess.Popen([SSHD, "-D", "-e", "-f", str(folder / "config")], stdout=log, stderr=log)
    try:
        _wait_for(port, server, folder / "log")
        yield Sshd(port, folder)
    finally:
        server.terminate()
        server.wait()
        log.close()


@pytest.fixture(scope="session")
def keys(tmp_path_factory: pytest.TempPathFactory) -> KeyPair:
    return generate_keys(tmp_path_factory.mktemp("keys") / "ours")


@dataclass(frozen=True)
class Desk:
    """The workstation: types edge-flash for one station. `root` is the station's folder."""

    sshd: Sshd
    root: Path
    keys: KeyPair
    capture: pytest.CaptureFixture[str]

    @property
    def layout(self) -> Layout:
        return Layout(self.root)

    @property
    def healthy(self) -> Path:
        """The station is healthy while this file exists."""
        return self.root / "healthy"

    @property
    def restarts(self) -> list[str]:
        """Releases the station was restarted on, in order."""
        path = self.root / "restarts"
        return path.read_text().split() if path.exists() else []

    def flash(self, *words: object, options: list[str] | None = None) -> tuple[int, str]:
        """Type edge-flash; exit code and everything printed."""
        typed = [*map(str, words), "--root", str(self.root), *(options or self.options())]
        code = run_command(flash, typed)
        said = self.capture.readouterr()
        return code, said.out + said.err

    def options(self) -> list[str]:
        note = f"readlink {self.root}/current | xargs -n1 basename >> {self.root}/restarts"
        told = (
            f"--key={self.keys.public}",
            f"--config={self.root}/station.toml",
            f"--restart-command=sh -c '{note}'",
            f"--probe-command=sh -c 'test -e {self.healthy} || {{ echo no fresh frame; exit 1; }}'",
        )
        times = ("--healthy-s=0", "--timeout-s=1")
        return [
            *self.sshd.options(),
            *(f"--install-option={o}" for o in told),
            *(f"--install-option={o}" for o in times),
        ]

    def name(self) -> str | None:
        """Name in the bundle that is current."""
        current = self.layout.current_id()
        return current.rsplit("-", 1)[0] if current else None


@pytest.fixture(scope="session")
def report() -> str:
    """What edge-doctor says of this machine; asked once, because its trial runs take seconds."""
    doctor = [sys.executable, "-m", "edge.cli.doctor", "--json"]
    return subprocess.run(doctor, capture_output=True, text=True, check=False, cwd=Path(__file__).parents[3]).stdout


@pytest.fixture
def desk_of(sshd: Sshd, keys: KeyPair, report: str, capsys: pytest.CaptureFixture[str]) -> Callable[..., Desk]:
    """Makes a desk with a bootstrapped station under any folder; with `doctor` its edge-doctor is the real one."""

    def make(root: Path, *, doctor: bool = False) -> Desk:
        programs = root / "venv" / "bin"
        programs.mkdir(parents=True)
        free = f"$(df -B1 --output=avail {root} | tail -1)"
        answer = report.replace(
            f'"disk_free_bytes": {json.loads(report)["disk_free_bytes"]}', '"disk_free_bytes": FREE'
        )
        (root / "report.json").write_text(answer)
        (programs / "edge-doctor").write_text(f'#!/bin/sh\nsed "s/FREE/{free}/" {root}/report.json\n')
        (programs / "edge-doctor").chmod(0o755)
        for name in ("edge-install", "edge-doctor") if doctor else ("edge-install",):
            (programs / name).unlink(missing_ok=True)
            (programs / name).symlink_to(Path(sys.prefix) / "bin" / name)
        (root / "healthy").touch()
        (root / "station.toml").write_text('[engine]\nbackend = "onnxruntime"\nprecision = "fp32"\n')
        return Desk(sshd, root, keys, capsys)

    return make


@pytest.fixture
def desk(desk_of: Callable[..., Desk], tmp_path: Path) -> Desk:
    return desk_of(tmp_path / "station")


def _wait_for(port: int, server: subprocess.Popen[bytes], log: Path) -> None:
    end = time.monotonic() + 10
    while time.monotonic() < end:
        assert server.poll() is None, log.read_text()
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise AssertionError(f"sshd does not listen: {log.read_text()}")
