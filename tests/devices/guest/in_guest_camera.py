"""Runs in the virtual machine: a V4L2 camera of the kernel (vivid), its controls, and pulling its plug."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from edge.camera.grabber import Grabber
from edge.camera.open import open_camera
from edge.camera.settings import CameraSettings
from edge.errors import InputError, MissingError
from tests.edge.camera.conformance import wait_for_loss, wait_for_return

DRIVER = Path("/sys/bus/platform/drivers/vivid")
DEVICE = Path("/dev/video0")
SMALL = CameraSettings(width=320, height=180)


def plug(action: str) -> None:
    """ "unbind" pulls the camera's plug, "bind" puts it back."""
    (DRIVER / action).write_text("vivid.0")


@pytest.fixture(autouse=True)
def plugged() -> Iterator[None]:
    yield
    if not DEVICE.exists():
        plug("bind")


def test_the_description_tells_what_was_opened() -> None:
    camera = open_camera("0", SMALL)
    try:
        assert "/dev/video0, 320x180 " in camera.description and "fps" in camera.description
        assert camera.read(2.0).image.shape == (180, 320, 3)
    finally:
        camera.close()


def test_controls_take_and_are_read_back() -> None:
    camera = open_camera("/dev/video0", CameraSettings(width=320, height=180, gain=37))
    try:
        assert "gain 37 (read back)" in camera.description
    finally:
        camera.close()


def test_a_control_that_the_camera_lacks_is_refused() -> None:
    with pytest.raises(InputError, match="white balance: the device has no such control"):
        open_camera("0", CameraSettings(white_balance_k=4000))


def test_a_size_that_the_camera_lacks_is_refused() -> None:
    with pytest.raises(InputError, match="asked 333x222"):
        open_camera("0", CameraSettings(width=333, height=222))


def test_a_camera_in_use_is_refused() -> None:
    camera = open_camera("0", SMALL)
    try:
        with pytest.raises(MissingError, match="fuser"):
            open_camera("0", CameraSettings(width=320, height=180, open_timeout_s=2.0))
        camera.read(2.0)
    finally:
        camera.close()


def test_another_camera_is_missing_and_this_one_is_offered() -> None:
    with pytest.raises(MissingError, match="cameras here: /dev/video0"):
        open_camera("7", CameraSettings())


def test_pulling_the_plug_is_told_within_a_second_and_the_grabber_opens_it_again() -> None:
    descriptors = len(os.listdir("/proc/self/fd"))
    grabber = Grabber("0", SMALL)
    try:
        last = grabber.newest(-1, 5.0).sequence
        for _ in range(2):
            plug("unbind")
            pulled_s = time.monotonic()
            error = wait_for_loss(grabber, last, 5.0)
            assert time.monotonic() - pulled_s < 1.0, error
            assert error.exit_code == 5
            assert not DEVICE.exists()
            time.sleep(0.5)  # it must not find a camera that is not there
            assert not grabber.status.connected
            plug("bind")
            frame = wait_for_return(grabber, last, 20.0)
            assert frame.sequence > last and frame.image.shape == (180, 320, 3)
            last = frame.sequence
        assert grabber.status.lost == 2
    finally:
        grabber.close()
    assert len(os.listdir("/proc/self/fd")) == descriptors
