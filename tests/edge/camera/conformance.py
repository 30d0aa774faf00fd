"""The rules that every camera keeps, as plain functions: used by pytest here and inside the virtual machine."""

from __future__ import annotations

import os
import threading
import time

import numpy as np
import pytest

from edge.camera.base import Camera, CameraLost, EndOfStream, Frame
from edge.camera.grabber import Grabber
from edge.camera.open import open_camera
from edge.camera.settings import CameraSettings

READ_S = 5.0
LIMIT_S = 60.0  # for what must happen: only a machine that does nothing takes so long


def frames_of(camera: Camera, count: int) -> list[Frame]:
    """The next `count` pictures."""
    return [camera.read(READ_S) for _ in range(count)]


def check_pictures(url: str, settings: CameraSettings, count: int = 5) -> None:
    """uint8, contiguous, of one size; numbered from 0 without repeating; timed by the monotonic clock; not shared."""
    camera = open_camera(url, settings)
    try:
        assert "\n" not in camera.description and camera.description
        before_s = time.monotonic()
        frames = frames_of(camera, count)
        after_s = time.monotonic()
    finally:
        camera.close()
    assert [frame.sequence for frame in frames] == list(range(count))
    assert all(f.image.dtype == np.uint8 and f.image.flags.c_contiguous for f in frames)
    assert all(f.image.ndim == 2 or f.image.shape[2] == 3 for f in frames)
    assert {f.image.shape for f in frames} == {frames[0].image.shape}
    times_s = [f.captured_at_s for f in frames]
    assert times_s == sorted(times_s)
    assert before_s - settings.open_timeout_s < times_s[0] and times_s[-1] <= after_s
    kept = frames[0].image.copy()
    frames[1].image[:] = 0
    assert np.array_equal(frames[0].image, kept)


def check_closed(url: str, settings: CameraSettings) -> None:
    """close() may be called twice; the source can be opened again and starts at 0."""
    for _ in range(2):
        camera = open_camera(url, settings)
        assert camera.read(READ_S).sequence == 0
        camera.close()
        camera.close()


def check_no_leak(url: str, settings: CameraSettings, rounds: int) -> None:
    """Descriptors and threads do not grow over `rounds` of opening and closing.

    A server that lives in this process ends its side of a connection a moment later, so single counts flicker by one;
    what leaks raises the smallest of the last ten.
    """
    counts = []
    for _ in range(rounds):
        camera = open_camera(url, settings)
        camera.read(READ_S)
        camera.close()
        counts.append((len(os.listdir("/proc/self/fd")), threading.active_count()))
    assert min(counts[-10:]) <= min(counts[1:11]), counts


def check_grabber(url: str, settings: CameraSettings, count: int = 5) -> None:
    """Through the grabber: rising sequence numbers, young pictures, all of it gone after close."""
    grabber = Grabber(url, settings)
    try:
        last = -1
        for _ in range(count):
            asked_s = time.monotonic()
            frame = grabber.newest(last, READ_S)
            assert frame.sequence > last
            assert asked_s - frame.captured_at_s < settings.max_age_s
            last = frame.sequence
        status = grabber.status
        assert status.connected and status.fault is None and status.frames >= count
    finally:
        grabber.close()
    grabber.close()
    assert "camera" not in {thread.name for thread in threading.enumerate()}


def check_end(url: str, settings: CameraSettings, length: int) -> None:
    """A recording gives each of its pictures once, through the grabber too, and then says that it has ended."""
    camera = open_camera(url, settings)
    frames_of(camera, length)
    for _ in range(2):
        with pytest.raises(EndOfStream):
            camera.read(READ_S)
    camera.close()
    grabber = Grabber(url, settings)
    try:
        assert [grabber.newest(n - 1, READ_S).sequence for n in range(length)] == list(range(length))
        with pytest.raises(EndOfStream):
            grabber.newest(length - 1, READ_S)
        assert grabber.status.dropped == 0
    finally:
        grabber.close()


def wait_for_loss(grabber: Grabber, last: int, timeout_s: float = LIMIT_S) -> CameraLost:
    """The error that the consumer gets when the camera has gone, while asking four times a second."""
    deadline_s = time.monotonic() + timeout_s
    while time.monotonic() < deadline_s:
        try:
            last = grabber.newest(last, 0.25).sequence
        except CameraLost as error:
            if "no new picture for" not in str(error):
                return error
    raise AssertionError("the loss was not told")


def wait_for_return(grabber: Grabber, last: int, timeout_s: float = LIMIT_S) -> Frame:
    """The first picture after the camera has come back."""
    deadline_s = time.monotonic() + timeout_s
    while time.monotonic() < deadline_s:
        try:
            return grabber.newest(last, 0.25)
        except CameraLost:
            continue
    raise AssertionError(f"the camera did not come back: {grabber.status}")
