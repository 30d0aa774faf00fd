"""Flash, run, alarm, flash a worse bundle, automatic rollback: edge-run itself, supervised as systemd would do it."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from edge.bundle import open_bundle, write_bundle
from export.sign import sign_bundle
from tests.edge.station.plc import Plc
from tests.edge.station.running import write_clip
from tests.edge.tiny_bundle import make_tiny_bundle
from tests.export.flash.conftest import Desk

# What `systemctl restart` does for a Type=notify service: stop the old one, start, wait for READY=1.
RESTART = """#!/bin/sh
cd {root}
if [ -f pid ]; then kill $(cat pid) 2>/dev/null; while kill -0 $(cat pid) 2>/dev/null; do sleep 0.05; done; fi
: > notify.log
export NOTIFY_SOCKET={root}/notify WATCHDOG_USEC=4000000 EDGE_ROOT={root}
setsid {edge_run} --config {root}/station.toml --json \\
    > run.log 2>&1 < /dev/null &
echo $! > pid
n=0
while [ $n -lt {patience} ]; do
    grep -q READY=1 notify.log && exit 0
    kill -0 $(cat pid) 2>/dev/null || break
    n=$((n + 1)); sleep 0.1
done
tail -n 1 run.log; echo "no READY=1: no frame was scored"; exit 1
"""
# What `systemctl is-active and show -p StatusText` say of a service with a watchdog.
PROBE = """#!/bin/sh
cd {root}
kill -0 $(cat pid) 2>/dev/null || {{ echo inactive; exit 3; }}
grep -q WATCHDOG=1 notify.log || {{ echo "no fresh frame"; exit 3; }}
said=$(grep STATUS= notify.log | tail -n 1)
case "$said" in STATUS=FAULT*) echo "$said"; exit 3;; esac
"""


@contextlib.contextmanager
def notifications(path: Path, log: Path) -> Iterator[None]:
    """systemd's end of the notify socket: what the service says goes to `log`."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as link:
        link.bind(str(path))
        link.settimeout(0.2)
        over = threading.Event()

        def listen() -> None:
            while not over.is_set():
                with contextlib.suppress(TimeoutError), log.open("a") as file:
                    file.write(link.recv(4096).decode() + "\n")

        thread = threading.Thread(target=listen)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()


@pytest.fixture
def plc(tmp_path: Path) -> Iterator[Plc]:
    receiver = Plc(tmp_path / "ttyPLC")
    yield receiver
    receiver.close()


@pytest.fixture
def service(desk: Desk, plc: Plc, tmp_path: Path) -> Iterator[Desk]:
    """A station whose restart command starts edge-run on a clip, with the PLC on its serial port."""
    root = desk.root
    clip = write_clip(tmp_path / "parts.avi", 1200, {300: 40, 700: 40})
    (root / "station.toml").write_text(
        f'[camera]\nurl = "{clip}"\nrealtime = true\nloop = true\n'
        f'[engine]\nkey = "{desk.keys.public}"\nbackend = "onnxruntime"\nprecision = "fp32"\n'
        f'[outputs]\nserial = "{tmp_path / "ttyPLC"}"\n[events]\nfolder = "{root}/events"\n'
    )
    edge_run = Path(sys.prefix) / "bin" / "edge-run"
    (root / "restart.sh").write_text(RESTART.format(root=root, edge_run=edge_run, patience=200))
    (root / "probe.sh").write_text(PROBE.format(root=root))
    with notifications(root / "notify", root / "notify.log"):
        yield desk
        with contextlib.suppress(OSError, ValueError):
            os.kill(int((root / "pid").read_text()), signal.SIGTERM)


def options(desk: Desk) -> list[str]:
    told = [
        f"--key={desk.keys.public}",
        f"--config={desk.root}/station.toml",
        f"--restart-command=sh {desk.root}/restart.sh",
        f"--probe-command=sh {desk.root}/probe.sh",
        "--healthy-s=2",
        "--timeout-s=20",
    ]
    return [*desk.sshd.options(), *(f"--install-option={o}" for o in told)]


def signed(path: Path, desk: Desk) -> Path:
    sign_bundle(path, desk.keys.private)
    return path


def blind(path: Path) -> Path:
    """A bundle whose golden frames are right, but which was trained under other light: the station only sees FAULT."""
    bundle = open_bundle(make_tiny_bundle(path, name="blind"))
    light = bundle.manifest.normal_images.model_copy(update={"brightness": (250.0, 252.0, 254.0), "reference": None})
    members = {k: v for k, v in bundle.read_all().items() if k != "reference.png"}
    return write_bundle(path, bundle.manifest.model_copy(update={"normal_images": light}), members).path


@pytest.mark.slow
def test_flash_run_alarm_worse_bundle_rollback(service: Desk, plc: Plc, tmp_path: Path) -> None:
    good = signed(make_tiny_bundle(tmp_path / "good.edge", name="good"), service)
    code, said = service.flash(service.sshd.target, good, options=options(service))
    assert code == 0, said
    assert service.name() == "good"
    plc.until(lambda: plc.alarms() or None, 20, "an alarm on the wire")
    first = int((service.root / "pid").read_text())

    code, said = service.flash(
        service.sshd.target, signed(blind(tmp_path / "blind.edge"), service), options=options(service)
    )
    assert code == 4, said
    assert "the station is not healthy: STATUS=FAULT" in said
    assert "rolled back: good-" in said
    assert service.name() == "good"
    second = int((service.root / "pid").read_text())
    assert second != first
    os.kill(second, 0)
    before = len(plc.states())
    plc.until(lambda: True if len(plc.states()) > before + 3 else None, 20, "heartbeats after the rollback")
