"""What the manual says and no single machine has, and what is typed in its place. All else is typed as it stands.

A station is a real sshd on this machine, its camera a clip, its serial port a pseudo-terminal, its GPIO line one that
keeps a history, a plant's broker a real mosquitto, a plant's web server one of Python's, TensorRT and CUDA those of
tests/edge/tensorrt.
"""

from __future__ import annotations

import platform
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

from export.wheelhouse import Target, build_own_wheel, fill
from tests.docs.book import ROOT
from tests.export.flash.conftest import Sshd

BIN = Path(sys.executable).parent
JETSON = ROOT / "tests" / "edge" / "tensorrt" / "jetson"
GLIBCS = (17, 24, 26, 27, 28, 31, 34, 35, 36)

# The same commands on less: what a page recommends takes minutes.
SMALLER = {
    "--train 240 --test 60": "--train 24 --test 12",
    "--minutes 3": "--epochs 4 --width 8 --image-size 128",
    "edge-train --data bolts --out run\n": "edge-train --data bolts --out run --epochs 4 --width 8 --image-size 128\n",
    "--frames all": "--frames all --max-flips 1 --max-auroc-drop 1 --min-rank -1 --min-heatmap-iou 0",
    "edge-calibrate bolt.edge --data bolts\n": "edge-calibrate bolt.edge --data bolts --max-flips 1 --max-auroc-drop 1 "
    "--min-rank -1 --min-heatmap-iou 0\n",
    "--width 16 --epochs 20": "--width 4 --epochs 1",
    "--resume --epochs 30": "--resume --epochs 2",
    "--out shared-run --epochs 20": "--out shared-run --image-size 64 --width 4 --epochs 1",
    "--compare": "--compare --frames 10",
    "--seconds 300": "--seconds 3",
    "simulate 200": "simulate 10",
}
# What is done by the environment that these tests run in, or by another test.
DONE_ALREADY = {
    # Everything is installed here: pip only says whether that fits.
    "pip install torch": "pip install --dry-run --quiet --no-index --no-build-isolation torch",
    "'.[export,calib]'": f"'{ROOT}[export,calib]'",
    # The virtual environment is there. tests/test_demo.py sees the demo on generated bolts.
    "make demo": f"make -C {ROOT} -o {sys.prefix}/.installed VENV={sys.prefix} demo "
    "DATA=$PWD/bolts OUT=$PWD/demo DEMO='--epochs 2'",
    # This very test is a part of it.
    "make test": f"make -C {ROOT} -n test",
    # tests/export/flash/test_bootstrap.py fills one for the Jetson; the one in this folder is for this machine.
    "make wheelhouse": f"make -C {ROOT} -n wheelhouse",
}


@dataclass(frozen=True)
class Station:
    """A machine to flash: an sshd, and the folder that holds what a station has under /opt/edge and /etc."""

    sshd: Sshd
    folder: Path

    def flash(self) -> str:
        """edge-flash, told where this station is; a station without systemd names its own restart and probe."""
        etc = f"{self.folder}/etc"
        install = [f"--key={etc}/edge/trusted.pub", f"--config={etc}/edge/station.toml"]
        install += ["--restart-command=true", "--probe-command=true", "--healthy-s=0"]
        words = [*self.sshd.options(), f"--root={self.folder}/opt", *(f"--install-option={o}" for o in install)]
        return " ".join(["edge-flash", *words])

    def bootstrap(self) -> str:
        """The first installation, into this station's folder and with this machine's Python."""
        options = ["--files-only", f"--etc={self.folder}/etc"]
        words = [f"--python={sys.base_prefix}/bin/python3", *(f"--bootstrap-option={o}" for o in options)]
        return " ".join(["--bootstrap", *words])

    def replacements(self) -> dict[str, str]:
        """Of the pages that speak of a station to flash."""
        return {
            # A station can only go back to a release that ran before.
            "edge-flash --rollback": "edge-export run --out second.edge\nedge-sign second.edge --key keys/signing.key\n"
            "edge-flash inspector@station-7 second.edge\nedge-flash --rollback",
            "--bootstrap ": f"{self.bootstrap()} ",
            "edge-flash ": f"{self.flash()} ",
            "inspector@station-7": self.sshd.target,
            # There is no second machine to go through, but ssh takes the option.
            "ProxyJump=gate": "ServerAliveInterval=5",
        }


def instead(port: int, broker: str, hook: str) -> dict[str, str]:
    """Of camera, ports, broker and web server; `port` is free, for the page."""
    return {
        # What was flashed runs without a name; elsewhere there is no station, so the bundle is named.
        "edge-run --camera 0 --serial": "edge-run --camera camera.mp4 --serial",
        "edge-run --camera 0": "edge-run --bundle bolt.edge --camera camera.mp4",
        "/dev/v4l/by-id/usb-CAMERA-video-index0": "camera.mp4",
        "width = 1280\nheight = 720\nexposure_ms = 4.0\n": "",
        "/dev/ttyTHS1": "wire",
        "gpiod://tegra234-gpio/PAC.06?readback=PR.04": "fake://relay",
        "gpiod://tegra234-gpio/PAC.06": "fake://relay",
        "/var/lib/edge/events": "events",
        "https://plant.example": hook,
        "mqtt://192.168.1.5\nedge": f"{broker} --once\nedge",
        "mqtt://192.168.1.5": broker,
        "8080": str(port),
    }


@contextmanager
def receiver(folder: Path) -> Iterator[None]:
    """Something that listens at the serial port FOLDER/wire."""
    command = [BIN / "edge-bridge", "watch", "pty://wire"]
    process = subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        while not (folder / "wire").exists():
            assert process.poll() is None, "edge-bridge has ended"
            time.sleep(0.05)
        yield
    finally:
        process.terminate()
        process.wait()


@contextmanager
def web_server() -> Iterator[tuple[str, list[bytes]]]:
    """A plant's web server: its address, and what was posted to it."""
    posted: list[bytes] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            posted.append(self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(204)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}", posted
        server.shutdown()
        thread.join()


def fill_wheelhouse(folder: Path) -> None:
    """What `make wheelhouse` does, for this machine in place of a Jetson."""
    target = Target("{}{}".format(*sys.version_info[:2]), platform.machine(), GLIBCS)
    fill(folder, (target,), build_own_wheel(folder / "own"))
    shutil.rmtree(folder / "own")
