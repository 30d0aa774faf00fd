"""The bell between the camera's thread and its consumer."""

from __future__ import annotations

import os
import threading
import time

from edge.camera.bell import Bell


def test_it_wakes_the_waiting_thread_or_the_next_to_wait() -> None:
    bell = Bell()
    bell.ring()
    bell.ring()
    before_s = time.monotonic()
    bell.wait(5.0)  # rang already: two rings before one wait are one
    threading.Timer(0.05, bell.ring).start()
    bell.wait(5.0)
    assert 0.04 < time.monotonic() - before_s < 4.0
    before_s = time.monotonic()
    bell.wait(0.05)
    assert time.monotonic() - before_s >= 0.05
    bell.close()


def test_a_closed_bell_gives_its_descriptor_back_and_never_rings() -> None:
    before = len(os.listdir("/proc/self/fd"))
    bell = Bell()
    for _ in range(2):
        bell.close()
    bell.ring()
    before_s = time.monotonic()
    bell.wait(0.05)
    assert time.monotonic() - before_s >= 0.05
    assert len(os.listdir("/proc/self/fd")) == before
