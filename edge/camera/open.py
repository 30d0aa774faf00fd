"""One string opens every kind of camera. Nothing falls back: a camera that is named and missing is an error."""

from __future__ import annotations

import importlib
from typing import Protocol, cast

from edge.camera.address import redacted, scheme_of
from edge.camera.base import Camera
from edge.camera.settings import CameraSettings
from edge.errors import MissingError

# scheme -> "module:class"; each class has `__init__(url: str, settings: CameraSettings)`, which opens the source.
CAMERAS: dict[str, str] = {
    "v4l2": "edge.camera.v4l2:V4l2Camera",
    "csi": "edge.camera.gstreamer:CsiCamera",
    "gst": "edge.camera.gstreamer:GstreamerCamera",
    "rtsp": "edge.camera.network:NetworkCamera",
    "rtsps": "edge.camera.network:NetworkCamera",
    "http": "edge.camera.network:NetworkCamera",
    "https": "edge.camera.network:NetworkCamera",
    "clip": "edge.camera.files:ClipCamera",
    "folder": "edge.camera.files:FolderCamera",
    "pattern": "edge.camera.pattern:PatternCamera",
}

_RECORDED = ("clip", "folder")
_ALWAYS_LIVE = ("v4l2", "csi", "rtsp", "rtsps", "http", "https")  # to wait for the consumer would make pictures old


class _Opener(Protocol):
    def __call__(self, url: str, settings: CameraSettings) -> Camera: ...


def open_camera(url: str, settings: CameraSettings) -> Camera:
    """Open the camera that `url` names and return it ready to deliver.

    `0`, `/dev/video0`, `/dev/v4l/by-id/NAME`, `csi://0`, `gst:PIPELINE`, `rtsp://...`, `http://...` (MJPEG), a clip, a
    folder of images, or `pattern://`. Raises MissingError if it is not there or does not deliver, InputError if it
    cannot obey `settings` or is not a picture source.
    """
    scheme = scheme_of(url)
    if scheme not in CAMERAS:
        raise MissingError(
            f"no camera {redacted(url)}", f"unknown kind {scheme!r}", f"known kinds: {', '.join(CAMERAS)}"
        )
    module, name = CAMERAS[scheme].split(":")
    opener = cast(_Opener, getattr(importlib.import_module(module), name))
    return opener(url, settings)


def is_recorded(url: str) -> bool:
    """Whether it is a clip or a folder, also when it is played at its own rate as a camera."""
    return scheme_of(url) in _RECORDED


def is_live(url: str, settings: CameraSettings) -> bool:
    """Whether only the newest picture counts (a camera), or every picture does (a clip or folder, each once)."""
    scheme = scheme_of(url)
    if settings.realtime is None or scheme in _ALWAYS_LIVE:
        return scheme not in _RECORDED
    return settings.realtime
