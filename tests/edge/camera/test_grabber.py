"""The grabber's thread: newest picture, loss, reopening, changed cameras, recordings."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from edge.camera.base import Camera, CameraLost, EndOfStream, Frame
from edge.camera.grabber import Grabber
from edge.camera.open import open_camera
from edge.camera.settings import CameraSettings
from edge.errors import InputError, MissingError
from edge.images import write_png
from tests.edge.camera.conformance import LIMIT_S, wait_for_loss, wait_for_return

FAST = "pattern://?width=64&height=48&fps=200"


@contextmanager
def grabbing(url: str, settings: CameraSettings | None = None, **more: object) -> Iterator[Grabber]:
    grabber = Grabber(url, settings or CameraSettings(), **more)  # type: ignore[arg-type]
    try:
        yield grabber
    finally:
        grabber.close()


class Openings:
    """An opener that serves one address after another; None: the camera is missing."""

    def __init__(self, *urls: str | None) -> None:
        self.urls = list(urls)
        self.count = 0

    def __call__(self, url: str, settings: CameraSettings) -> Camera:
        self.count += 1
        chosen = self.urls.pop(0) if len(self.urls) > 1 else self.urls[0]
        if chosen is None:
            raise MissingError(f"no camera {url}", "it is unplugged", "plug it in")
        return open_camera(chosen, settings)


def test_only_the_newest_picture_is_kept_and_the_others_are_counted() -> None:
    with grabbing(FAST) as grabber:
        first = grabber.newest(-1, LIMIT_S)
        while grabber.status.frames < 20:
            time.sleep(0.005)
        later = grabber.newest(first.sequence, LIMIT_S)
        assert later.sequence >= 19
        assert grabber.status.dropped >= 17


def test_a_lost_camera_is_told_with_its_reason_and_reopened() -> None:
    opener = Openings(FAST + "&lose=5", None, None, FAST)
    with grabbing(FAST, opener=opener) as grabber:
        error = wait_for_loss(grabber, -1)
        assert error.exit_code == 5
        assert "its address says so at picture 5" in str(error) or "unplugged" in str(error)
        frame = wait_for_return(grabber, 4)
        assert frame.sequence == 5, "numbers go on across reopenings"
        assert opener.count == 4
        assert grabber.status.lost == 1 and grabber.status.fault is None


def test_a_camera_that_falls_silent_is_lost() -> None:
    with grabbing(FAST + "&drop=3", CameraSettings(read_timeout_s=0.2)) as grabber:
        assert "none came within 0.2 s" in str(wait_for_loss(grabber, 2))


def test_another_size_after_reopening_is_a_fault_and_never_handed_out() -> None:
    opener = Openings(FAST + "&lose=3", "pattern://?width=128&height=96&fps=200", FAST)
    shapes = set()
    with grabbing(FAST, opener=opener) as grabber:
        deadline_s, last, reasons = time.monotonic() + LIMIT_S, -1, set()
        while opener.count < 3 and time.monotonic() < deadline_s:
            try:
                frame = grabber.newest(last, 0.05)
                last = frame.sequence
                shapes.add(frame.image.shape)
            except CameraLost as error:
                reasons.add(error.why)
        shapes.add(wait_for_return(grabber, last).image.shape)
    assert shapes == {(48, 64, 3)}
    assert any("was 64x48 colour, is 128x96 colour" in why for why in reasons)


def test_another_size_while_running_is_a_fault() -> None:
    with grabbing(FAST + "&resize=4") as grabber:
        assert "is 32x24 colour" in str(wait_for_loss(grabber, -1))


def test_missing_at_the_start_is_an_error() -> None:
    with pytest.raises(MissingError) as caught:
        Grabber("pattern://?missing=true", CameraSettings())
    assert caught.value.exit_code == 5


def test_missing_at_the_start_may_be_waited_for() -> None:
    with grabbing(FAST, opener=Openings(None, FAST), must_open=False) as grabber:
        with pytest.raises(CameraLost, match=r"has not been opened yet|unplugged"):
            grabber.newest(-1, 0.05)
        assert wait_for_return(grabber, -1).sequence == 0


def test_an_old_picture_is_not_handed_out() -> None:
    now_s = [0.0]

    def clock() -> float:
        return time.monotonic() + now_s[0]

    settings = CameraSettings(read_timeout_s=5.0, max_age_s=1.0)
    with grabbing("pattern://?width=64&height=48&fps=0.5", settings, clock=clock) as grabber:
        assert grabber.newest(-1, LIMIT_S).sequence == 0
        now_s[0] = 2.0
        with pytest.raises(CameraLost, match=r"no new picture for 0\.05 s"):
            grabber.newest(-1, 0.05)


def test_any_error_of_a_driver_is_a_loss_and_not_the_end_of_the_thread() -> None:
    class Broken:
        description = "broken"

        def read(self, timeout_s: float) -> Frame:
            raise RuntimeError("driver bug at rtsp://me:secret@host/x")

        def close(self) -> None:
            raise RuntimeError("cannot close either")

    cameras: list[Callable[[], Camera]] = [Broken, lambda: open_camera(FAST, CameraSettings())]
    with grabbing(FAST, opener=lambda url, settings: cameras.pop(0)()) as grabber:
        error = wait_for_loss(grabber, -1)
        assert "driver bug" in str(error) and "secret" not in str(error)
        assert wait_for_return(grabber, -1).image.shape == (48, 64, 3)


def test_every_picture_of_a_recording_is_delivered_to_a_slow_consumer() -> None:
    with grabbing("pattern://?width=64&height=48&frames=10", CameraSettings(realtime=False)) as grabber:
        frames = []
        with pytest.raises(EndOfStream):
            while True:
                frames.append(grabber.newest(frames[-1].sequence if frames else -1, LIMIT_S))
                time.sleep(0.005)
    assert [frame.sequence for frame in frames] == list(range(10))


def test_the_same_picture_is_handed_out_until_it_is_done_with() -> None:
    with grabbing("pattern://?width=64&height=48&frames=3", CameraSettings(realtime=False)) as grabber:
        first, again = grabber.newest(-1, LIMIT_S), grabber.newest(-1, LIMIT_S)
        assert first is again
        assert grabber.newest(0, LIMIT_S).sequence == 1


def test_a_damaged_image_ends_a_folder_and_is_named(tmp_path: Path) -> None:
    for number in range(3):
        write_png(tmp_path / f"{number}.png", np.full((20, 20), number, np.uint8))
    (tmp_path / "1.png").write_bytes(b"no image")
    with grabbing(str(tmp_path)) as grabber:
        assert grabber.newest(-1, LIMIT_S).sequence == 0
        with pytest.raises(InputError, match=r"1\.png") as caught:
            grabber.newest(0, LIMIT_S)
    assert caught.value.exit_code == 3


def test_closing_while_waiting_for_a_missing_camera_is_quick() -> None:
    grabber = Grabber(FAST, CameraSettings(), opener=Openings(None), must_open=False)
    wait_for_loss(grabber, -1)
    before_s = time.monotonic()
    grabber.close()
    assert time.monotonic() - before_s < 4.0, "the next attempt would be up to five seconds away"


def test_a_folder_played_as_a_camera_may_hold_pictures_of_mixed_sizes(tmp_path: Path) -> None:
    for n, size in enumerate((32, 48, 40)):
        write_png(tmp_path / f"{n}.png", np.full((size, 64), 10 * n, np.uint8))
    seen: list[tuple[int, ...]] = []
    with grabbing(str(tmp_path), CameraSettings(realtime=True, fps=20)) as grabber, pytest.raises(EndOfStream):
        while True:
            seen.append(grabber.newest(len(seen) - 1, LIMIT_S).image.shape)
    assert seen[-1] == (40, 64) and grabber.status.lost == 0
