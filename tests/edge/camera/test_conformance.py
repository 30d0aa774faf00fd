"""One suite for every kind of camera; EDGE_TEST_CAMERA adds a real device."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Event, Thread

import cv2
import numpy as np
import pytest

from edge.camera.settings import CameraSettings
from edge.images import write_png
from tests.edge.camera import conformance as rules

LENGTH = 8


@dataclass(frozen=True)
class Source:
    """An address and how to open it."""

    url: str
    settings: CameraSettings = field(default_factory=CameraSettings)


def picture(number: int) -> np.ndarray:
    image = np.random.default_rng(number).integers(0, 255, (48, 64, 3)).astype(np.uint8)
    cv2.putText(image, str(number), (5, 40), cv2.FONT_HERSHEY_SIMPLEX, 1, (255, 255, 255))
    return image


def folder(path: Path) -> Source:
    for number in range(LENGTH):
        write_png(path / f"{number:03}.png", picture(number))
    return Source(str(path))


def clip(path: Path) -> Source:
    writer = cv2.VideoWriter(str(path / "clip.mp4"), cv2.VideoWriter.fourcc(*"mp4v"), 10.0, (64, 48))
    for number in range(LENGTH):
        writer.write(picture(number))
    writer.release()
    return Source(str(path / "clip.mp4"))


def gif(path: Path) -> Source:
    if shutil.which("ffmpeg") is None:
        pytest.skip("needs the Debian package ffmpeg")
    target = path / "clip.gif"
    subprocess.run(["ffmpeg", "-loglevel", "error", "-i", clip(path).url, str(target)], check=True)
    return Source(str(target))


def live_clip(path: Path) -> Source:
    return Source(clip(path).url, CameraSettings(realtime=True, loop=True))


def live_folder(path: Path) -> Source:
    return Source(folder(path).url, CameraSettings(realtime=True, loop=True, fps=50))


def pattern(path: Path) -> Source:
    return Source("pattern://?width=64&height=48&fps=200")


def ending_pattern(path: Path) -> Source:
    return Source(f"pattern://?width=64&height=48&frames={LENGTH}", CameraSettings(realtime=False))


def need_gstreamer() -> None:
    if shutil.which("gst-launch-1.0") is None:
        pytest.skip("needs the Debian packages gstreamer1.0-tools and gstreamer1.0-plugins-base")


def gst(path: Path) -> Source:
    need_gstreamer()
    return Source("gst:videotestsrc is-live=true ! video/x-raw,width=61,height=48")


def ending_gst(path: Path) -> Source:
    need_gstreamer()
    return Source(f"gst:videotestsrc num-buffers={LENGTH}", CameraSettings(realtime=False, width=62, height=48))


SOURCES: dict[str, Callable[[Path], Source]] = {
    f.__name__: f for f in (pattern, ending_pattern, clip, gif, folder, live_clip, live_folder, gst, ending_gst)
}


class MjpegHandler(BaseHTTPRequestHandler):
    """An endless MJPEG stream, as network cameras send it."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=picture")
        self.end_headers()
        try:
            for number in range(10_000):
                data = cv2.imencode(".jpg", picture(number))[1].tobytes()
                head = f"--picture\r\nContent-Type: image/jpeg\r\nContent-Length: {len(data)}\r\n\r\n"
                self.wfile.write(head.encode() + data + b"\r\n")
                self.server.pause.wait(0.01)  # type: ignore[attr-defined]
        except OSError:
            return

    def log_message(self, format: str, *args: object) -> None:
        del format, args


@pytest.fixture
def mjpeg() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), MjpegHandler)
    server.daemon_threads = True
    server.pause = Event()  # type: ignore[attr-defined]
    thread = Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    yield f"http://me:secret@127.0.0.1:{server.server_port}/video.mjpeg"
    server.shutdown()
    server.server_close()
    thread.join()


REAL = ["device"] if "EDGE_TEST_CAMERA" in os.environ else []
ENDING = ["ending_pattern", "clip", "gif", "folder", "ending_gst"]


@pytest.fixture(params=[*SOURCES, "network", *REAL])
def source(request: pytest.FixtureRequest, tmp_path: Path) -> Source:
    if request.param == "network":
        return Source(request.getfixturevalue("mjpeg"))
    if request.param == "device":
        return Source(os.environ["EDGE_TEST_CAMERA"])
    return SOURCES[request.param](tmp_path)


def test_pictures(source: Source) -> None:
    rules.check_pictures(source.url, source.settings)


def test_close_twice_and_open_again(source: Source) -> None:
    rules.check_closed(source.url, source.settings)


def test_grabber(source: Source) -> None:
    rules.check_grabber(source.url, source.settings)


@pytest.mark.parametrize("name", ENDING)
def test_end(name: str, tmp_path: Path) -> None:
    source = SOURCES[name](tmp_path)
    rules.check_end(source.url, source.settings, LENGTH)


def test_no_leak_over_50_openings(source: Source) -> None:
    rules.check_no_leak(source.url, source.settings, 50)
