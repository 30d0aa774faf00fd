"""A real RTSP server: pictures, login, the server that goes away and comes back."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from edge.camera.grabber import Grabber
from edge.camera.open import open_camera
from edge.camera.settings import CameraSettings
from edge.errors import MissingError
from tests.edge.camera import conformance as rules

SERVER = Path(__file__).with_name("rtsp_server.py")
PYTHON = "/usr/bin/python3"
PACKAGES = "python3-gi gir1.2-gst-rtsp-server-1.0 gstreamer1.0-plugins-base gstreamer1.0-plugins-good"
QUICK = CameraSettings(open_timeout_s=3.0, read_timeout_s=1.0)


@pytest.fixture
def server(request: pytest.FixtureRequest) -> Iterator[tuple[int, subprocess.Popen[str]]]:
    probe = "import gi; gi.require_version('GstRtspServer', '1.0'); from gi.repository import GstRtspServer"
    if not Path(PYTHON).exists() or subprocess.run([PYTHON, "-c", probe], capture_output=True).returncode:
        pytest.skip(f"needs the Debian packages {PACKAGES}")
    child = subprocess.Popen([PYTHON, str(SERVER), *getattr(request, "param", [])], stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    try:
        yield int(child.stdout.readline()), child
    finally:
        child.kill()
        child.wait()
        child.stdout.close()


def test_a_stream_keeps_the_rules_of_every_camera(server: tuple[int, subprocess.Popen[str]]) -> None:
    url = f"rtsp://127.0.0.1:{server[0]}/video"
    rules.check_pictures(url, QUICK)
    rules.check_closed(url, QUICK)
    rules.check_grabber(url, QUICK)
    rules.check_no_leak(url, QUICK, 4)


@pytest.mark.parametrize("server", [["login"]], indirect=True)
def test_the_login_is_used_and_never_shown(server: tuple[int, subprocess.Popen[str]]) -> None:
    camera = open_camera(f"rtsp://me:secret@127.0.0.1:{server[0]}/video", QUICK)
    assert camera.read(2.0).image.shape == (120, 160, 3)
    assert camera.description.startswith(f"rtsp://***@127.0.0.1:{server[0]}/video, 160x120")
    camera.close()
    for url in (f"rtsp://me:wrong@127.0.0.1:{server[0]}/video", f"rtsp://127.0.0.1:{server[0]}/none"):
        with pytest.raises(MissingError, match="gives no video there") as caught:
            open_camera(url, QUICK)
        assert "wrong" not in str(caught.value)


def test_a_server_that_goes_away_is_told(server: tuple[int, subprocess.Popen[str]]) -> None:
    grabber = Grabber(f"rtsp://127.0.0.1:{server[0]}/video", QUICK)
    try:
        last = grabber.newest(-1, 3.0).sequence
        server[1].kill()
        server[1].wait()
        assert rules.wait_for_loss(grabber, last, 5.0).exit_code == 5
    finally:
        grabber.close()
