"""Takes the manual's pictures of the station page: a real station, the demo's model, a real browser.

`make screenshots` runs this after `make demo`. The camera plays a clip of good bolts, a bad one, and a covered lens.
"""

from __future__ import annotations

import argparse
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np

from edge.files import write_atomic
from tests.edge.page.browser import chromium, screenshot, size
from tests.edge.page.conftest import free_port
from train.boltset import write_clip

ROOT = Path(__file__).parents[1]
SIZES = {"desktop": (1280, 1010), "phone": (390, 1180)}
FPS, HOLD, SIDE = 15.0, 120, 512  # each bolt is seen for eight seconds
BOLTS, FIRST = 5, 1  # two good ones, a missing one, a good one


def main() -> None:
    """Write page-SIZE-VERDICT.png for both sizes and OK, ALARM and FAULT."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])  # type: ignore[union-attr]
    parser.add_argument("--bundle", type=Path, default=Path("demo/bolt.edge"))
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "images")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        write_clip(folder / "bolts.mp4", SIDE, 4, BOLTS, HOLD, FPS)
        cover(folder / "bolts.mp4", folder / "camera.mp4")
        (folder / "station.toml").write_text('name = "line-4"\n')
        take(options.bundle, folder, options.out)


def cover(clip: Path, covered: Path) -> None:
    """The clip from its bolt FIRST on, and then some seconds of a covered lens."""
    reader = cv2.VideoCapture(str(clip))
    for _ in range(FIRST * HOLD):
        reader.grab()
    writer = cv2.VideoWriter(str(covered), cv2.VideoWriter.fourcc(*"mp4v"), FPS, (SIDE, SIDE))
    random = np.random.default_rng(0)
    while (read := reader.read())[0]:
        writer.write(read[1])
    for _ in range(HOLD):
        writer.write(np.asarray(random.uniform(0, 12, (SIDE, SIDE, 3)), np.uint8))
    writer.release()


def take(bundle: Path, folder: Path, out: Path) -> None:
    """Run the station and wait for each verdict in turn: it is OK after the bad bolt, so that the trend shows one."""
    port = free_port()
    command = [Path(sys.executable).parent / "edge-run", "--bundle", bundle.resolve(), "--camera", "camera.mp4"]
    command += ["--realtime", "--loop", "--config", "station.toml", "--events", "events", "--page", f"127.0.0.1:{port}"]
    station = subprocess.Popen([*map(str, command)], cwd=folder, stdout=subprocess.DEVNULL)
    try:
        with chromium(folder / "profile") as browser:
            until(lambda: answers(port), "the page is served")
            browser.get(f"http://127.0.0.1:{port}")
            for verdict in ("OK", "ALARM", "OK", "FAULT"):
                said = f"return document.getElementById('word').textContent === '{verdict}'"
                until(lambda said=said: browser.execute_script(said), f"the page says {verdict}")
                time.sleep(1.0)  # the picture of this verdict follows its word
                for name, (width, height) in SIZES.items():
                    size(browser, width, height)
                    time.sleep(0.6)  # the page lays itself out anew
                    write_atomic(out / f"page-{name}-{verdict.lower()}.png", small(screenshot(browser)))
    finally:
        station.terminate()
        station.wait()


def until(true: Callable[[], object], what: str, timeout_s: float = 180.0) -> None:
    """Wait for something."""
    end_s = time.monotonic() + timeout_s
    while not true():
        if time.monotonic() > end_s:
            raise SystemExit(f"{what}: not within {timeout_s:.0f} s")
        time.sleep(0.3)


def answers(port: int) -> bool:
    """Whether the page is served."""
    with socket.socket() as sock:
        return sock.connect_ex(("127.0.0.1", port)) == 0


def small(png: bytes) -> bytes:
    """The same picture, compressed as far as PNG goes."""
    image = cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_COLOR)
    done, packed = cv2.imencode(".png", image, [cv2.IMWRITE_PNG_COMPRESSION, 9])
    assert done
    return packed.tobytes()


if __name__ == "__main__":
    main()
