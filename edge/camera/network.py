"""Cameras on the network: RTSP, and MJPEG over HTTP, through the FFmpeg inside PyPI's OpenCV.

FFmpeg rather than a GStreamer child: nothing more to install, deadlines for opening and reading, and the password stays
inside this process (a child's command line can be read by every user). For hardware decoding write gst:rtspsrc ....
"""

from __future__ import annotations

import socket
import time
from urllib.parse import urlsplit

import cv2
import numpy as np

from edge.camera.address import redacted
from edge.camera.base import CameraLost, Frame
from edge.camera.settings import CameraSettings, refuse_unused
from edge.errors import InputError, MissingError

_PORTS = {"rtsp": 554, "rtsps": 322, "http": 80, "https": 443}


class NetworkCamera:
    """A live stream; RTSP runs over TCP so that a lost packet does not smear the picture."""

    def __init__(self, url: str, settings: CameraSettings) -> None:
        refuse_unused("a network camera", settings, frozenset())
        self._name = redacted(url)
        _check_reachable(url, settings.open_timeout_s)
        self._capture = cv2.VideoCapture(url, cv2.CAP_FFMPEG, _deadlines(settings))
        if not self._capture.isOpened():
            raise MissingError(
                f"no picture from {self._name}",
                "the host answers but gives no video there",
                "check path, user name and password (rtsp://USER:PASSWORD@HOST/PATH)",
            )
        self._sequence = 0

    @property
    def description(self) -> str:
        """One line: address without login, size, rate."""
        width, height, fps = (
            self._capture.get(p) for p in (cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT, cv2.CAP_PROP_FPS)
        )
        return f"{self._name}, {int(width)}x{int(height)}, {fps:.1f} fps"

    def read(self, timeout_s: float) -> Frame:
        """The next picture; CameraLost if the stream ends or is silent for `read_timeout_s` of the settings."""
        del timeout_s  # FFmpeg takes its deadline when it opens; the grabber's own is the same setting
        done, image = self._capture.read()
        if not done:
            raise CameraLost(f"{self._name} stopped", "the stream ended or fell silent", "check camera and network")
        frame = Frame(np.asarray(image, np.uint8), self._sequence, time.monotonic())
        self._sequence += 1
        return frame

    def close(self) -> None:
        """Close the connection."""
        self._capture.release()


def _deadlines(settings: CameraSettings) -> list[int]:
    return [
        cv2.CAP_PROP_OPEN_TIMEOUT_MSEC,
        round(1000 * settings.open_timeout_s),
        cv2.CAP_PROP_READ_TIMEOUT_MSEC,
        round(1000 * settings.read_timeout_s),
    ]


def _check_reachable(url: str, timeout_s: float) -> None:
    """FFmpeg says only that it failed; a plain connection says why."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port or _PORTS[parts.scheme]
    except ValueError as error:
        raise InputError(f"cannot use camera {redacted(url)}", str(error), "write rtsp://HOST:PORT/PATH") from None
    if host is None:
        raise InputError(f"cannot use camera {redacted(url)}", "it names no host", "write rtsp://HOST:PORT/PATH")
    try:
        socket.create_connection((host, port), timeout_s).close()
    except OSError as error:
        why = error.strerror or str(error)
        raise MissingError(
            f"no camera {redacted(url)}", f"{host}:{port}: {why}", "check address and network"
        ) from error
