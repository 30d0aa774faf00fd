"""Pictures from a GStreamer pipeline that runs as a child process and writes raw BGR pictures into a pipe.

A child, because PyPI's OpenCV is built without GStreamer, and because a stuck capture driver can then be killed without
taking the station along.
"""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import threading
import time
from collections import deque

import numpy as np

from edge.camera.address import redacted
from edge.camera.base import CameraLost, EndOfStream, Frame
from edge.camera.pipe import PipeReader, new_pipe
from edge.camera.settings import CameraSettings, refuse_unused
from edge.errors import EdgeError, InputError, MissingError

_SINK = "edge_sink"
_CAPS = f"/GstFdSink:{_SINK}.GstPad:sink: caps = video/x-raw"
_SIDE = re.compile(r"\b(width|height)=\(int\)(\d+)")
_RATE = re.compile(r"\bframerate=\(fraction\)(\d+)/(\d+)")
_KILL_AFTER_S = 2.0
_STARTS = 2


class Launch:
    """A running gst-launch-1.0: its announced picture size and rate, its last words, its end."""

    def __init__(self, pipeline: str, descriptor: int) -> None:
        arguments = ["gst-launch-1.0", "-v", *_split(pipeline), "!", "fdsink", f"name={_SINK}", f"fd={descriptor}"]
        self._child = subprocess.Popen(
            arguments,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            pass_fds=(descriptor,),
            start_new_session=True,
            text=True,
            errors="replace",
        )
        self._words: deque[str] = deque(maxlen=60)
        self.sizes: list[tuple[int, int]] = []
        self.fps = 0.0
        self._silent = False
        self._news = threading.Condition()
        self._listener = threading.Thread(target=self._listen, name="gst-launch output", daemon=True)
        self._listener.start()

    def wait_for_size(self, timeout_s: float) -> bool:
        """Wait until the pipeline knows its picture size; False if it ended or did not within `timeout_s`."""
        with self._news:
            self._news.wait_for(lambda: self.sizes or self._silent, timeout_s)
            return bool(self.sizes)

    def ended(self, timeout_s: float = 1.0) -> int | None:
        """The exit status if the child ends within `timeout_s`, else None."""
        try:
            return self._child.wait(timeout_s)
        except subprocess.TimeoutExpired:
            return None

    def why(self) -> str:
        """What the child said was wrong, without passwords."""
        self._listener.join(0.5)
        with self._news:
            said = _reasons(list(self._words))
        return redacted("; ".join(said)) or f"gst-launch-1.0 ended with status {self._child.poll()}"

    def close(self) -> None:
        """End the child, by force if it does not go by itself."""
        self._child.terminate()
        try:
            self._child.wait(_KILL_AFTER_S)
        except subprocess.TimeoutExpired:
            self._child.kill()
            self._child.wait(_KILL_AFTER_S)
        self._listener.join(_KILL_AFTER_S)
        if self._child.stdout is not None:
            self._child.stdout.close()

    def _listen(self) -> None:
        assert self._child.stdout is not None
        for line in self._child.stdout:
            with self._news:
                self._take(line.strip())
                self._news.notify_all()
        with self._news:
            self._silent = True
            self._news.notify_all()

    def _take(self, line: str) -> None:
        if _CAPS not in line:
            if line and " caps = " not in line:
                self._words.append(line)
            return
        side = dict(_SIDE.findall(line))  # the order of the fields is not fixed
        size = (int(side["width"]), int(side["height"]))
        if size not in self.sizes:
            self.sizes.append(size)
        rate = _RATE.search(line)
        if rate is not None and int(rate[2]):
            self.fps = int(rate[1]) / int(rate[2])


class GstreamerCamera:
    """`gst:PIPELINE`: the pipeline ends where pictures come out; conversion to BGR and the sink are added here.

    Write exposure, gain and white balance into the pipeline. `width` and `height` fix the picture size: give them where
    the source may change it, then it ends instead. With
    `realtime=False` no picture is left out and the end of the pipeline is EndOfStream; else it is CameraLost.
    """

    understood = frozenset({"width", "height", "fps"})
    kind = "gst"

    def __init__(self, url: str, settings: CameraSettings) -> None:
        refuse_unused(f"{self.kind}:", settings, self.understood)
        if shutil.which("gst-launch-1.0") is None:
            raise MissingError(f"no camera {redacted(url)}", "gst-launch-1.0 is missing", _INSTALL)
        self._name = redacted(url)
        self._live = settings.realtime is not False
        self._sequence = 0
        self._closed = False
        self._start(self.pipeline(url, settings) + _tail(settings, self._live), settings.open_timeout_s)

    def pipeline(self, url: str, settings: CameraSettings) -> str:
        """The part of the pipeline that makes pictures, in gst-launch-1.0's language."""
        del settings
        return url.removeprefix("gst:").strip()

    @property
    def description(self) -> str:
        """One line: pipeline, size, rate."""
        width, height = self._size
        rate = f", {self._launch.fps:.1f} fps" if self._launch.fps else ""
        return f"{self._name}, {width}x{height}{rate}"

    def read(self, timeout_s: float) -> Frame:
        """The next picture; CameraLost with the child's last words if it ended, fell silent or changed its size."""
        raw = None if self._closed else self._pipe.read(timeout_s)
        if raw is None:
            raise self._lost(timeout_s)
        if len(self._launch.sizes) > 1:
            raise CameraLost(f"{self._name} changed its picture size", f"sizes {self._launch.sizes}", "fix its size")
        width, height = self._size
        rows = np.frombuffer(raw, np.uint8).reshape(height, _stride(width))
        image = np.ascontiguousarray(rows[:, : 3 * width]).reshape(height, width, 3)
        frame = Frame(image, self._sequence, time.monotonic())
        self._sequence += 1
        return frame

    def close(self) -> None:
        """End the child and close the pipe."""
        if not self._closed:
            self._closed = True
            self._launch.close()
            self._pipe.close()

    def _start(self, pipeline: str, timeout_s: float) -> None:
        """Start the child; one that stalls is replaced, as 1 live pipeline in 150 was seen to."""
        for _ in range(_STARTS):
            self._launch_child(pipeline)
            if self._launch.wait_for_size(timeout_s / _STARTS):
                self._size = self._launch.sizes[0]
                self._pipe.expect(_stride(self._size[0]) * self._size[1])
                return
            ended = self._launch.ended(0.2) is not None
            why = self._launch.why() if ended else f"no picture within {timeout_s} s"
            self._launch.close()
            self._pipe.close()
            if ended:
                break
        self._closed = True
        raise MissingError(f"no picture from {self._name}", why, "try the pipeline with gst-launch-1.0 -v")

    def _launch_child(self, pipeline: str) -> None:
        descriptors = new_pipe()
        try:
            self._launch = Launch(pipeline, descriptors.write)
        except BaseException:
            descriptors.close_read()
            raise
        finally:
            descriptors.close_write()
        self._pipe = PipeReader(descriptors.read)

    def _lost(self, timeout_s: float) -> EdgeError:
        if self._closed:
            return CameraLost(f"{self._name} is closed", "close() was called", "open it again")
        status = self._launch.ended(1.0) if self._pipe.ended else None
        if status is None:
            return CameraLost(f"no picture from {self._name}", f"none came within {timeout_s} s", "check the camera")
        if status == 0 and not self._live:
            return EndOfStream(f"{self._name} has ended", "there are no more pictures", "start it again")
        return CameraLost(f"{self._name} ended", self._launch.why(), "check the camera and its cable")


class CsiCamera(GstreamerCamera):
    """`csi://N`: a CSI camera of a Jetson through nvarguscamerasrc; `exposure_ms` and `gain` lock the automatic.

    Argus cannot be asked what it took, so the description says what was asked. White balance can only be locked.
    """

    understood = frozenset({"width", "height", "fps", "exposure_ms", "gain"})
    kind = "csi"

    def pipeline(self, url: str, settings: CameraSettings) -> str:
        """nvarguscamerasrc with fixed size, rate and exposure; default 1280x720 at 30 fps."""
        sensor = url.removeprefix("csi://")
        if not sensor.isdecimal():
            raise InputError(f"cannot use camera {url}", "expected the sensor's number", "write csi://0")
        size = f"width={settings.width or 1280},height={settings.height or 720}"
        fps = round(settings.fps or 30)
        return (
            f"nvarguscamerasrc sensor-id={int(sensor)}{_argus_controls(settings)} ! "
            f"'video/x-raw(memory:NVMM),{size},framerate={fps}/1,format=NV12' ! nvvidconv ! video/x-raw,format=BGRx"
        )

    def __init__(self, url: str, settings: CameraSettings) -> None:
        self._asked = _argus_controls(settings).strip() or "automatic exposure"
        super().__init__(url, settings)

    @property
    def description(self) -> str:
        """One line: sensor, size, rate, controls as asked (Argus offers no reading back)."""
        return f"{super().description}, asked, not read back: {self._asked}"


_INSTALL = "install it: sudo apt-get install gstreamer1.0-tools gstreamer1.0-plugins-base gstreamer1.0-plugins-good"


def _argus_controls(settings: CameraSettings) -> str:
    """Properties of nvarguscamerasrc; its exposure is in nanoseconds, given as a range."""
    text = ""
    if settings.exposure_ms is not None:
        nanoseconds = round(settings.exposure_ms * 1e6)
        text += f' exposuretimerange="{nanoseconds} {nanoseconds}" aelock=true awblock=true'
    if settings.gain is not None:
        text += f' gainrange="{settings.gain:g} {settings.gain:g}" ispdigitalgainrange="1 1"'
    return text


def _tail(settings: CameraSettings, live: bool) -> str:
    size = "".join(f",{k}={v}" for k in ("width", "height") if (v := getattr(settings, k)) is not None)
    rate = f" ! videorate ! video/x-raw,framerate={round(settings.fps * 1000)}/1000" if settings.fps else ""
    queue = " ! queue leaky=downstream max-size-buffers=1" if live else ""
    return f"{queue} ! videoconvert{rate} ! video/x-raw,format=BGR{size}"


def _reasons(lines: list[str]) -> list[str]:
    """The first two errors in gst-launch-1.0's output, each with the last line of its "Additional debug info"."""
    found = []
    for number, line in enumerate(lines):
        if line.startswith(("ERROR: from element", "WARNING: erroneous pipeline", "ERROR: no ")):
            has_detail = lines[number + 1 : number + 2] == ["Additional debug info:"]
            detail = lines[number + 3 : number + 4] if has_detail else []
            found.append(" ".join([line, *(f"({text})" for text in detail)]))
    return list(dict.fromkeys(found))[:2] or lines[-3:]


def _split(pipeline: str) -> list[str]:
    try:
        words = shlex.split(pipeline)
    except ValueError as error:
        raise InputError(f"cannot read pipeline {redacted(pipeline)}", str(error), "close the quotes") from error
    if not words or words[0] == "!":
        raise InputError("the gst: pipeline is empty", "expected elements joined by !", "write gst:videotestsrc")
    return words


def _stride(width: int) -> int:
    """Bytes in a row of raw BGR as GStreamer lays it out: rounded up to four."""
    return (3 * width + 3) // 4 * 4
