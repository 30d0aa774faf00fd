"""A camera that the soak test plays with: raw pictures at 30 fps over TCP, read by a real GStreamer pipeline."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from enum import Enum

from tests.edge.tiny_bundle import SIZE, scene

FPS = 30.0


class Show(Enum):
    """What the camera does."""

    GOOD = "good parts"
    DEFECT = "a defect"
    FROZEN = "the same picture again and again"
    POISON = "a picture that breaks the engine"
    LOST = "no connection"


class FeedCamera:
    """Serves one viewer after the other; `show` is what it does from the next picture on."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.settimeout(0.05)
        self.port = self._listener.getsockname()[1]
        self.show = Show.GOOD
        # Drawing in advance: the machine's time is for the station.
        self._good = [scene(n).tobytes() for n in range(90)]
        self._defects = [scene(n, defect=True).tobytes() for n in range(100, 120)]
        self._poison = scene(200, poison=True).tobytes()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        """Address for `edge-run --camera`."""
        size = f"width={SIZE} height={SIZE} format=bgr framerate={int(FPS)}/1"
        return f"gst:tcpclientsrc host=127.0.0.1 port={self.port} ! rawvideoparse {size}"

    def close(self) -> None:
        """Stop serving."""
        self._stop.set()
        self._thread.join(5)
        self._listener.close()

    def _run(self) -> None:
        while not self._stop.is_set():
            if self.show is Show.LOST:
                time.sleep(0.01)
                continue
            with contextlib.suppress(TimeoutError, OSError):
                viewer, _ = self._listener.accept()
                if self.show is Show.LOST:
                    viewer.close()
                    continue
                with viewer:
                    self._serve(viewer)

    def _serve(self, viewer: socket.socket) -> None:
        number, due_s = 0, time.monotonic()
        viewer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        while not self._stop.is_set() and self.show is not Show.LOST:
            viewer.sendall(self._picture(number))
            number += 1
            due_s = max(due_s + 1 / FPS, time.monotonic() - 0.1)
            time.sleep(max(0.0, due_s - time.monotonic()))

    def _picture(self, number: int) -> bytes:
        if self.show is Show.DEFECT:
            return self._defects[number % len(self._defects)]
        if self.show is Show.FROZEN:
            return self._good[0]
        if self.show is Show.POISON:
            return self._poison
        return self._good[number % len(self._good)]
