"""The whole path over a real sshd: flash, worse bundle, automatic rollback, and everything that may go wrong."""

from __future__ import annotations

import json
import os
import re
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from edge.files import sha256_of
from edge.install import staging
from export.sign import generate_keys, sign_bundle
from tests.edge.install.bundles import make_bundle
from tests.export.flash.conftest import Desk


@pytest.fixture
def bundle_of(tmp_path: Path, desk: Desk) -> Callable[..., Path]:
    def make(name: str = "bolt", **options: object) -> Path:
        return make_bundle(tmp_path / f"{name}.edge", keys=desk.keys, name=name, **options)

    return make


def test_from_the_desk_to_the_station_and_back(desk, bundle_of) -> None:
    code, said = desk.flash(desk.sshd.target, bundle_of("first"))
    assert code == 0, said
    assert desk.name() == "first"
    for step in ("preflight: ", "copy: ", "verify: ", "golden frames", "build and self-test: ", "install: "):
        assert step in said

    code, said = desk.flash(desk.sshd.target, bundle_of("worse", golden_shift=0.5))
    assert code == 4
    assert "misses the golden frames" in said
    assert "log: " in said
    assert desk.name() == "first"
    assert [r.rsplit("-", 1)[0] for r in desk.restarts] == ["first"], "the running station was not touched"

    desk.healthy.unlink()
    code, said = desk.flash(desk.sshd.target, bundle_of("sick"))
    assert code == 4
    assert "no fresh frame" in said
    assert desk.name() == "first"
    assert [r.rsplit("-", 1)[0] for r in desk.restarts] == ["first", "sick", "first"]
    desk.healthy.touch()

    assert desk.flash(desk.sshd.target, bundle_of("second"))[0] == 0
    code, said = desk.flash("--status", desk.sshd.target)
    assert code == 0
    assert "* second-" in said and "  first-" in said and "station: healthy" in said
    assert desk.flash("--rollback", desk.sshd.target)[0] == 0
    assert desk.name() == "first"
    code, said = desk.flash("--status", "--json", desk.sshd.target)
    assert json.loads(said)["current"].startswith("first-")


def test_an_interrupted_copy_resumes(desk, bundle_of) -> None:
    bundle = bundle_of(padding_bytes=3_000_000)
    data = bundle.read_bytes()
    desk.layout.prepare()
    staging.part_path(desk.layout, sha256_of(data)).write_bytes(data[:2_000_000])
    code, said = desk.flash(desk.sshd.target, bundle)
    assert code == 0, said
    assert "resumed at 2.0 MB" in said


@pytest.mark.slow
def test_a_damaged_part_is_copied_afresh(desk, bundle_of) -> None:
    bundle = bundle_of(padding_bytes=500_000)
    data = bundle.read_bytes()
    desk.layout.prepare()
    staging.part_path(desk.layout, sha256_of(data)).write_bytes(bytes(100_000))
    code, said = desk.flash(desk.sshd.target, bundle)
    assert code == 0, said
    assert "damaged; copying afresh" in said


def test_two_flashes_at_once(desk, bundle_of) -> None:
    bundle = bundle_of()
    with desk.layout.locked():
        code, said = desk.flash(desk.sshd.target, bundle)
    assert code == 4
    assert "another flash is running" in said
    assert desk.flash(desk.sshd.target, bundle)[0] == 0


@pytest.mark.slow
def test_an_installer_killed_in_the_middle_is_recovered_by_the_next_flash(desk, bundle_of) -> None:
    assert desk.flash(desk.sshd.target, bundle_of("first"))[0] == 0
    pid_file = desk.root / "pid"
    hang = [o for o in desk.options() if "probe-command" not in o and "timeout-s" not in o]
    wait = f"echo $PPID > {pid_file}.new && mv {pid_file}.new {pid_file}; sleep 20"
    probe = f"--install-option=--probe-command=sh -c '{wait}'"
    second = bundle_of("second")
    outcome: list[tuple[int, str]] = []
    flashing = threading.Thread(
        target=lambda: outcome.append(desk.flash(desk.sshd.target, second, options=[*hang, probe]))
    )
    flashing.start()
    end = time.monotonic() + 30
    while not pid_file.exists():
        assert time.monotonic() < end
        time.sleep(0.02)
    assert desk.name() == "second", "on trial"
    os.kill(int(pid_file.read_text()), 9)
    flashing.join(90)
    assert outcome[0][0] != 0
    code, said = desk.flash(desk.sshd.target, bundle_of("third"))
    assert code == 0, said
    assert "recovered: second-" in said
    assert desk.name() == "third"
    assert [r.rsplit("-", 1)[0] for r in desk.restarts] == ["first", "second", "first", "third"]


@pytest.mark.slow
def test_unsigned_foreign_and_downgraded_bundles(desk, bundle_of, tmp_path) -> None:
    unsigned = make_bundle(tmp_path / "unsigned.edge", name="unsigned")
    code, said = desk.flash(desk.sshd.target, unsigned)
    assert code == 4 and "is not signed" in said
    sign_bundle(unsigned, generate_keys(tmp_path / "theirs").private)
    code, said = desk.flash(desk.sshd.target, unsigned)
    assert code == 4 and "bad signature" in said
    assert desk.flash(desk.sshd.target, bundle_of("new", counter=7))[0] == 0
    code, said = desk.flash(desk.sshd.target, bundle_of("old", counter=6))
    assert code == 4 and "downgrade" in said
    assert desk.name() == "new"


def test_unreachable_wrong_user_wrong_host_key_not_bootstrapped(desk, bundle_of, tmp_path) -> None:
    bundle = bundle_of()
    closed = [o.replace(f"--port={desk.sshd.port}", "--port=1") for o in desk.options()]
    code, said = desk.flash(desk.sshd.target, bundle, options=closed)
    assert code == 5 and "cannot reach" in said and "Connection refused" in said
    code, said = desk.flash("nobody-here@127.0.0.1", bundle)
    assert code == 3 and "Permission denied" in said and "ssh-copy-id" in said
    other = [o.replace("known_hosts", "no_such_file") for o in desk.options()]
    code, said = desk.flash(desk.sshd.target, bundle, options=[*other, "--ssh-option=StrictHostKeyChecking=yes"])
    assert code == 4 and "Host key verification failed" in said
    (desk.root / "venv" / "bin" / "edge-doctor").unlink()
    code, said = desk.flash(desk.sshd.target, bundle)
    assert code == 3 and "edge-flash --bootstrap" in said


@pytest.mark.parametrize("host", ["-oProxyCommand=touch x", "a b", "u@h;id", "", "u@-h"])
def test_a_host_cannot_smuggle_ssh_options(desk, bundle_of, host) -> None:
    code, _ = (
        desk.flash("--", host, bundle_of(), options=["x.edge"])
        if host.startswith("-")
        else desk.flash(host, bundle_of())
    )
    assert code in (2, 3)


@pytest.mark.slow
@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small disk needs root")
def test_a_full_disk_on_the_station(desk_of, tmp_path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=12m", "tmpfs", str(disk)], check=False).returncode:
        pytest.skip("this kernel gives no tmpfs here")
    try:
        desk = desk_of(disk / "station")
        small = make_bundle(tmp_path / "small.edge", keys=desk.keys, name="small")
        assert desk.flash(desk.sshd.target, small)[0] == 0
        large = make_bundle(tmp_path / "large.edge", keys=desk.keys, name="large", padding_bytes=8_000_000)
        code, said = desk.flash(desk.sshd.target, large)
        assert code == 3 and "no room" in said
        assert desk.name() == "small"
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=True)


@pytest.mark.slow
def test_twenty_megabytes_within_ten_seconds_plus_build(desk_of, tmp_path) -> None:
    desk = desk_of(tmp_path / "real", doctor=True)
    bundle = make_bundle(tmp_path / "large.edge", keys=desk.keys, padding_bytes=20_000_000)
    start = time.monotonic()
    code, said = desk.flash(desk.sshd.target, bundle)
    took = time.monotonic() - start
    assert code == 0, said
    with desk.capture.disabled():
        print(f"\n{said}flash of 20 MB: {took:.1f} s in all")
    build = re.search(r"build and self-test: ([0-9.]+) s", said)
    others = max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1))  # this machine may be doing more than this test
    assert build and took - float(build[1]) < 10 * others, said


@pytest.mark.slow
def test_several_hosts_one_first_then_the_rest(desk_of, tmp_path, sshd) -> None:
    desk = desk_of(tmp_path / "station")
    hosts = tmp_path / "hosts"
    hosts.write_text(f"# line 1\n{sshd.target}\n\n{sshd.target.split('@')[0]}@localhost\n")
    known = sshd.folder / "known_hosts"
    known.write_text(f"{known.read_text()}[localhost]:{sshd.port} {(sshd.folder / 'host_key.pub').read_text()}")
    bundle = make_bundle(tmp_path / "b.edge", keys=desk.keys)
    code, said = desk.flash("--hosts", hosts, bundle)
    assert code == 0, said
    assert said.count("done  ") == 2
    assert f"{sshd.target}: copy" in said

    worse = make_bundle(tmp_path / "w.edge", keys=desk.keys, name="worse", golden_shift=0.5)
    code, said = desk.flash("--hosts", hosts, worse)
    assert code == 4
    assert f"failed       {sshd.target}" in said
    assert "not touched" in said


def test_usage(desk, bundle_of, tmp_path) -> None:
    assert desk.flash()[0] == 2
    assert desk.flash(desk.sshd.target)[0] == 2
    assert desk.flash("--status", desk.sshd.target, bundle_of())[0] == 2
    (tmp_path / "hosts").write_text("# nobody\n")
    assert desk.flash("--hosts", tmp_path / "hosts", bundle_of())[0] == 3
    assert desk.flash("--hosts", tmp_path / "absent", bundle_of())[0] == 3
