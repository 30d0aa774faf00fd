"""What each source refuses, and how it says so."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

import cv2
import numpy as np
import pytest

from edge.camera import controls
from edge.camera.address import redacted, scheme_of, video_devices
from edge.camera.base import CameraLost, EndOfStream
from edge.camera.controls import ControlRange, apply_controls, check_controls
from edge.camera.files import ClipCamera
from edge.camera.gstreamer import CsiCamera
from edge.camera.open import CAMERAS, is_live, open_camera
from edge.camera.pattern import PatternCamera
from edge.camera.settings import CameraSettings
from edge.errors import InputError, MissingError
from edge.images import write_png
from tests.edge.camera.test_conformance import clip, need_gstreamer


@pytest.mark.parametrize(
    ("url", "scheme"),
    [
        ("0", "v4l2"),
        ("/dev/video3", "v4l2"),
        ("/dev/v4l/by-id/usb-x", "v4l2"),
        ("csi://0", "csi"),
        ("gst:videotestsrc ! videoconvert", "gst"),
        ("rtsp://host/x", "rtsp"),
        ("pattern://", "pattern"),
    ],
)
def test_scheme(url: str, scheme: str) -> None:
    assert scheme_of(url) == scheme
    assert scheme in CAMERAS


@pytest.mark.parametrize("url", ["no/such/clip.mp4", "/dev/video99", "99", "ftp://host/x", "/dev/v4l/by-id/usb-none"])
def test_a_camera_that_is_not_there_is_exit_code_5(url: str) -> None:
    with pytest.raises(MissingError) as caught:
        open_camera(url, CameraSettings())
    assert caught.value.exit_code == 5
    assert url.lstrip("9") in str(caught.value)


def test_the_stable_names_are_listed_first(tmp_path: Path) -> None:
    (tmp_path / "v4l" / "by-id").mkdir(parents=True)
    (tmp_path / "v4l" / "by-id" / "usb-maker-index0").touch()
    (tmp_path / "video0").touch()
    assert video_devices(tmp_path) == [str(tmp_path / "v4l/by-id/usb-maker-index0"), str(tmp_path / "video0")]


def test_no_password_is_ever_shown() -> None:
    assert redacted("rtsp://me:secret@host:554/x") == "rtsp://***@host:554/x"
    assert redacted("gst:rtspsrc location=rtsp://host user-id=me user-pw=secret ! x") == (
        "gst:rtspsrc location=rtsp://host user-id=*** user-pw=*** ! x"
    )
    assert "secret" not in redacted("http://host/v?token=secret&size=2")
    with pytest.raises(MissingError) as caught:
        open_camera("rtsp://me:secret@127.0.0.1:9/x", CameraSettings())
    assert "secret" not in str(caught.value) and "refused" in str(caught.value).lower()


@pytest.mark.parametrize("url", ["rtsp:///x", "rtsp://host:99999/x"])
def test_a_bad_network_address_is_said(url: str) -> None:
    with pytest.raises(InputError, match="cannot use camera"):
        open_camera(url, CameraSettings())


@pytest.mark.parametrize(
    ("url", "setting"),
    [
        ("pattern://", {"exposure_ms": 2.0}),
        ("gst:videotestsrc", {"gain": 2.0}),
        ("rtsp://127.0.0.1:9/x", {"white_balance_k": 4000}),
        ("0", {"loop": True}),
    ],
)
def test_a_setting_that_cannot_be_obeyed_is_refused(url: str, setting: dict[str, float]) -> None:
    with pytest.raises(InputError, match=next(iter(setting))):
        open_camera(url, CameraSettings(**setting))


def test_live_or_recorded(tmp_path: Path) -> None:
    assert is_live("0", CameraSettings(realtime=False))
    assert is_live("pattern://", CameraSettings())
    assert not is_live("pattern://", CameraSettings(realtime=False))
    assert not is_live(str(tmp_path), CameraSettings())
    assert is_live(str(tmp_path), CameraSettings(realtime=True))


# files


def test_an_empty_folder_and_a_file_that_is_no_clip(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no images"):
        open_camera(str(tmp_path), CameraSettings())
    (tmp_path / "clip.mp4").write_bytes(b"rubbish" * 100)
    with pytest.raises(InputError, match="damaged or not a clip"):
        open_camera(str(tmp_path / "clip.mp4"), CameraSettings())


def test_a_clip_that_breaks_off_is_an_error_and_not_its_end(tmp_path: Path) -> None:
    source = Path(clip(tmp_path).url)
    camera = ClipCamera(str(source), CameraSettings())
    camera._frames = 100  # as the header of a longer clip would say
    with pytest.raises(InputError, match="8 of 100"):
        for _ in range(9):
            camera.read(1.0)
    camera.close()


def test_looping_starts_again(tmp_path: Path) -> None:
    for number in range(3):
        write_png(tmp_path / f"{number}.png", np.full((20, 20), 10 * number, np.uint8))
    camera = open_camera(str(tmp_path), CameraSettings(loop=True))
    assert [int(camera.read(1.0).image[0, 0]) for _ in range(5)] == [0, 10, 20, 0, 10]


def test_a_live_clip_keeps_its_own_rate(tmp_path: Path) -> None:
    camera = open_camera(clip(tmp_path).url, CameraSettings(realtime=True))
    times_s = [camera.read(1.0).captured_at_s for _ in range(5)]
    assert 0.35 < times_s[-1] - times_s[0] < 0.9  # four beats of 10 per second
    with pytest.raises(CameraLost, match="none was due"):
        camera.read(0.001)
    camera.close()


# pattern://


def test_the_pattern_is_the_same_every_time() -> None:
    url = "pattern://?width=64&height=48&seed=3"
    one, two = (PatternCamera(url, CameraSettings(realtime=False)) for _ in range(2))
    pictures = [one.read(1.0).image for _ in range(5)]
    assert all(np.array_equal(p, two.read(1.0).image) for p in pictures)
    assert len({p.tobytes() for p in pictures}) == 5, "noise differs from picture to picture"


@pytest.mark.parametrize(
    ("fault", "holds"),
    [
        ("black", lambda now, before: now.mean() < 5),
        ("white", lambda now, before: now.mean() > 250),
        ("freeze", lambda now, before: now.shape == before.shape),
        ("blur", lambda now, before: cv2.Laplacian(now, 3).var() < 0.8 * cv2.Laplacian(before, 3).var()),
        ("shift", lambda now, before: np.abs(np.roll(before, 12, 1).astype(int) - now).mean() < 4),
        ("resize", lambda now, before: now.shape == (24, 32, 3)),
    ],
)
def test_the_pattern_has_faults_on_request(fault: str, holds: object) -> None:
    url = f"pattern://?width=64&height=48&{fault}=2&last=3"
    camera = PatternCamera(url, CameraSettings(realtime=False))
    pictures = [camera.read(1.0).image for _ in range(7)]
    clean = PatternCamera("pattern://?width=64&height=48", CameraSettings(realtime=False))
    plain = [clean.read(1.0).image for _ in range(7)]
    for number, (now, before) in enumerate(zip(pictures, plain, strict=True)):
        if 2 <= number < 5:
            assert holds(now, before)  # type: ignore[operator]
        else:
            assert np.array_equal(now, before)
    if fault == "freeze":
        assert np.array_equal(pictures[2], pictures[4])


def test_the_pattern_can_show_a_defect_lose_itself_and_end() -> None:
    camera = PatternCamera("pattern://?width=64&height=48&defect=3&frames=4", CameraSettings(realtime=False))
    darkest = [int(camera.read(1.0).image[16:24, 21:32].min()) for _ in range(4)]
    assert darkest[2] < 30 < min(darkest[0], darkest[1], darkest[3])
    with pytest.raises(EndOfStream):
        camera.read(1.0)
    camera = PatternCamera("pattern://?lose=0", CameraSettings())
    with pytest.raises(CameraLost):
        camera.read(1.0)


@pytest.mark.parametrize("url", ["pattern://?width=2", "pattern://?colour=red", "pattern://host", "pattern://?width"])
def test_a_pattern_address_with_an_error_is_refused(url: str) -> None:
    with pytest.raises(InputError, match="cannot use camera"):
        open_camera(url, CameraSettings())


# GStreamer


def test_a_pipeline_that_fails_says_why() -> None:
    need_gstreamer()
    with pytest.raises(MissingError, match='no element "nosuchelement"'):
        open_camera("gst:nosuchelement", CameraSettings())
    with pytest.raises(MissingError, match="No such file"):
        open_camera("gst:filesrc location=none.mp4 ! decodebin", CameraSettings())
    with pytest.raises(InputError, match="quotes"):
        open_camera("gst:videotestsrc 'x", CameraSettings())
    with pytest.raises(InputError, match="empty"):
        open_camera("gst:", CameraSettings())


def test_a_pipeline_without_gstreamer_names_the_packages(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(MissingError, match=r"gstreamer1\.0-tools"):
        open_camera("csi://0", CameraSettings())


def test_a_pipeline_that_dies_is_lost() -> None:
    need_gstreamer()
    # a second of pictures: of pipelines that live 70 ms one in 200 ends on a busy machine before it says their size
    camera = open_camera("gst:videotestsrc is-live=true num-buffers=30", CameraSettings())
    with pytest.raises(CameraLost, match="ended"):
        for _ in range(40):
            camera.read(2.0)
    camera.close()
    with pytest.raises(CameraLost, match="closed"):
        camera.read(1.0)


def test_a_pipeline_that_is_killed_is_lost_at_once() -> None:
    need_gstreamer()
    camera = open_camera("gst:videotestsrc is-live=true", CameraSettings())
    camera.read(2.0)
    camera._launch._child.kill()  # type: ignore[attr-defined]
    with pytest.raises(CameraLost, match=r"ended|status -9"):
        for _ in range(100):
            camera.read(2.0)
    camera.close()


def test_a_silent_pipeline_is_lost_in_time() -> None:
    need_gstreamer()
    with pytest.raises(MissingError, match=r"no picture within 0\.5 s"):
        open_camera("gst:fakesrc is-live=true do-timestamp=true ! identity sleep-time=9000000", SHORT)


SHORT = CameraSettings(open_timeout_s=0.5)


def fake_gst_launch(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A gst-launch-1.0 that writes down its arguments and fails as Argus does."""
    said = folder / "arguments"
    program = folder / "gst-launch-1.0"
    program.write_text(f'#!/bin/sh\nprintf "%s\\n" "$@" > {said}\necho "ERROR: no cameras available"\nexit 1\n')
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    return said


def test_the_pipeline_of_a_csi_camera(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said = fake_gst_launch(tmp_path, monkeypatch)
    settings = CameraSettings(width=1920, height=1080, fps=30, exposure_ms=2.5, gain=4)
    with pytest.raises(MissingError, match="no cameras available"):
        CsiCamera("csi://1", settings)
    words = said.read_text().splitlines()
    assert words[1:3] == ["nvarguscamerasrc", "sensor-id=1"]
    assert "exposuretimerange=2500000 2500000" in words and "gainrange=4 4" in words and "aelock=true" in words
    assert "video/x-raw(memory:NVMM),width=1920,height=1080,framerate=30/1,format=NV12" in words
    with pytest.raises(InputError, match="csi://0"):
        CsiCamera("csi://left", settings)


# V4L2 controls


class Device:
    """Controls of a device in memory; `stuck` ones keep their value."""

    def __init__(self, ranges: dict[int, ControlRange], stuck: tuple[int, ...] = ()) -> None:
        self.ranges, self.stuck = ranges, stuck
        self.values = {number: span.maximum for number, span in ranges.items()}

    def range_of(self, control: int) -> ControlRange | None:
        return self.ranges.get(control)

    def get(self, control: int) -> int:
        return self.values[control]

    def set(self, control: int, value: int) -> None:
        span = self.ranges[control]
        if not span.minimum <= value <= span.maximum:
            raise OSError(errno.ERANGE, os.strerror(errno.ERANGE))
        if control not in self.stuck:
            self.values[control] = value


FULL = {
    controls.AUTO_EXPOSURE: ControlRange(0, 3, 1),
    controls.EXPOSURE_100US: ControlRange(1, 5000, 1),
    controls.AUTO_GAIN: ControlRange(0, 1, 1),
    controls.GAIN: ControlRange(0, 100, 1),
    controls.AUTO_WHITE_BALANCE: ControlRange(0, 1, 1),
    controls.WHITE_BALANCE_K: ControlRange(2800, 6500, 10),
}
ASKED = CameraSettings(exposure_ms=10.0, gain=5, white_balance_k=4003)


def test_controls_are_set_with_their_automatic_off_and_read_back() -> None:
    device = Device(FULL)
    apply_controls(device, ASKED, "cam")
    assert device.values[controls.AUTO_EXPOSURE] == 1 and device.values[controls.AUTO_GAIN] == 0
    assert check_controls(device, ASKED, "cam") == "exposure 10 ms, gain 5, white balance 4003 K (read back)"
    device.values[controls.WHITE_BALANCE_K] = 4000  # the device's own step is 10
    assert "4000 K" in check_controls(device, ASKED, "cam")
    assert check_controls(device, CameraSettings(), "cam") == "controls as the device has them"


@pytest.mark.parametrize(
    ("device", "reason"),
    [
        (Device({}), "exposure: the device has no such control"),
        (
            Device({**FULL, controls.EXPOSURE_100US: ControlRange(1, 50, 1)}),
            "possible exposure 0.1 ms to exposure 5 ms",
        ),
        (Device(FULL, (controls.GAIN,)), "asked gain 5, reads gain 100"),
        (Device(FULL, (controls.AUTO_WHITE_BALANCE,)), "white balance: its automatic stays on"),
        (Device({**FULL, controls.AUTO_EXPOSURE: ControlRange(2, 3, 1)}), "exposure: Numerical result out of range"),
    ],
)
def test_a_control_that_does_not_take_is_refused(device: Device, reason: str) -> None:
    with pytest.raises(InputError) as caught:
        apply_controls(device, ASKED, "cam")
        check_controls(device, ASKED, "cam")
    assert reason in str(caught.value)
