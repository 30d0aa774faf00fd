"""Clients that mean no good, or do not know better. The page answers or hangs up; it never grows and never dies."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

import edge.page.guard
import edge.page.server
from edge.station.commands import WantPictures
from edge.station.judge import Verdict
from tests.edge.page.conftest import Served
from tests.edge.page.statuses import a_picture

Serve = Callable[..., Served]
ROUTES = (
    "/ /page.css /page.js /icon.svg /stream /live /live.mjpeg /palette /metrics /pictures/A17.jpg /session /login "
    "/acknowledge /reset /shelve /mark /nothing"
).split()
GARBAGE = 10 * 1024 * 1024
QUICK_S = 5.0  # a page that waits for one of these clients would take as long as the client likes


def connected(served: Served, receive_buffer: int = 0) -> socket.socket:
    sock = socket.socket()
    if receive_buffer:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    sock.settimeout(60)
    sock.connect(("127.0.0.1", served.port))
    return sock


def send_until_refused(sock: socket.socket, data: bytes) -> int:
    """Bytes that the other side took before it hung up."""
    sent = 0
    try:
        while sent < len(data):
            sent += sock.send(data[sent : sent + 65536])
    except OSError:
        pass
    return sent


def ended(sock: socket.socket, within_s: float) -> bool:
    """Whether the other side ends the connection in time; what it says until then is read and thrown away."""
    end_s = time.monotonic() + within_s
    while (left_s := end_s - time.monotonic()) > 0:
        sock.settimeout(left_s)
        try:
            if not sock.recv(1 << 20):
                return True
        except TimeoutError:
            return False
        except OSError:
            return True
    return False


def resident_mb() -> float:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


def answers(served: Served) -> float:
    """Seconds for a plain request; fails if there is no answer."""
    began_s = time.monotonic()
    with served.client() as client:
        assert client.get("/session").status_code == 200
    return time.monotonic() - began_s


def test_ten_megabytes_of_garbage_to_every_route(serve: Serve) -> None:
    served = serve()
    garbage = os.urandom(GARBAGE)
    before_mb, answered_s = resident_mb(), []
    for route in ROUTES:
        for head in (
            f"POST {route} HTTP/1.1\r\nHost: localhost\r\nX-Edge-Page: 1\r\nContent-Type: application/json\r\n"
            f"Content-Length: {GARBAGE}\r\n\r\n",
            f"GET {route} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {GARBAGE}\r\n\r\n",
            f"GET {route}",
        ):
            with connected(served) as sock:
                send_until_refused(sock, head.encode() + garbage)
        answered_s.append(answers(served))
    grown_mb = resident_mb() - before_mb
    slowest_ms = 1000 * max(answered_s)
    print(f"{len(ROUTES) * 3} times 10 MB: slowest answer after {slowest_ms:.0f} ms, {grown_mb:.1f} MB more memory")
    assert max(answered_s) < QUICK_S and grown_mb < 40
    asked = served.station.commands.take()
    assert all(isinstance(command, WantPictures) for command in asked), asked


def test_slow_requests_are_hung_up(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(edge.page.server, "REQUEST_S", 0.5)
    served = serve()
    starts = (b"", b"GET / HT", b"GET / HTTP/1.1\r\nHost: localhost\r\n", b"POST /reset HTTP/1.1\r\nHost: localhost\r\n"
              b"X-Edge-Page: 1\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{")  # fmt: skip
    slow = [connected(served) for _ in range(40)]
    for n, sock in enumerate(slow):
        sock.sendall(starts[n % len(starts)])
    assert answers(served) < QUICK_S
    assert all(ended(sock, 60.0) for sock in slow)
    for sock in slow:
        sock.close()


def test_more_connections_than_allowed_are_cut_off_and_the_page_lives(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(edge.page.server, "MAX_CONNECTIONS", 10)
    monkeypatch.setattr(edge.page.server, "REQUEST_S", 0.5)
    served = serve()
    many = [connected(served) for _ in range(30)]
    assert all(ended(sock, 60.0) for sock in many)
    assert answers(served) < QUICK_S
    for sock in many:
        sock.close()


def test_a_viewer_that_never_reads_is_dropped_and_the_others_see_on(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(edge.page.guard, "SEND_S", 0.5)
    served = serve()
    hub = served.sink._hub
    pictures = [a_picture(n, size=720) for n in range(5)]
    served.station.change(Verdict.OK, picture=pictures[0])
    sleeper = connected(served, receive_buffer=2048)
    sleeper.sendall(b"GET /live.mjpeg HTTP/1.1\r\nHost: localhost\r\n\r\n")
    with served.client() as client, client.stream("GET", "/stream") as answer:
        lines = answer.iter_lines()
        seen, end_s, n = 0, time.monotonic() + 30, 0
        while hub.viewers != 1 or seen < 20:
            n += 1
            served.station.change(Verdict.OK, picture=replace(pictures[n % 5], sequence=n))
            seen += next(lines).startswith("event: status")
            assert time.monotonic() < end_s, f"the viewer that never reads is still there: {hub.viewers} {seen} {n}"
    print(f"the viewer that never reads was dropped, after {n} pictures that it did not take")
    assert sleeper.recv(1 << 16).startswith(b"HTTP/1.1 200")
    sleeper.close()
