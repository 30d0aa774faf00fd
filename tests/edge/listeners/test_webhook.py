from __future__ import annotations

import hashlib
import hmac
import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.errors import InputError
from edge.listeners.webhook import WebhookSink, pause_s, signature
from edge.station.events import EventRecord
from tests.edge.listeners.test_mqtt import eventually
from tests.edge.page.statuses import PretendStation, a_status

ALARM = EventRecord(id="A1", kind="alarm", number=1, began_at=1.0, score=9.0, threshold=6.0)
SECRET = "between-us"


class Endpoint:
    """A real HTTP server that answers with `answers`, one after the other, then 204."""

    def __init__(self) -> None:
        self.taken: list[tuple[dict[str, str], bytes]] = []
        self.answers: list[int] = []
        endpoint = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                status = endpoint.answers.pop(0) if endpoint.answers else 204
                endpoint.taken.append(({k.lower(): v for k, v in self.headers.items()}, body))
                self.send_response(status)
                self.send_header("Location", "http://127.0.0.1:1/")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_port}/hook?line=4"
        self._thread = threading.Thread(target=self.server.serve_forever, args=(0.02,))
        self._thread.start()

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()
        self._thread.join()


@pytest.fixture
def endpoint() -> Iterator[Endpoint]:
    one = Endpoint()
    yield one
    one.close()


def a_sink(url: str, folder: Path, **options: str | float) -> WebhookSink:
    return WebhookSink(url, PretendStation(folder, **{"first_pause_s": 0.02, "secret": SECRET, **options}).context)


def test_events_are_signed_and_come_once_in_order(endpoint: Endpoint, tmp_path: Path) -> None:
    sink = a_sink(endpoint.url, tmp_path)
    sink.publish(a_status())
    for n in range(20):
        sink.event(EventRecord(id=f"A{n}", kind="alarm", number=n, began_at=1.0), "raised")
    eventually(lambda: len(endpoint.taken) == 20)
    for n, (headers, body) in enumerate(endpoint.taken):
        told = json.loads(body)
        assert told["number"] == n and told["message_id"] == headers["x-edge-message-id"]
        key = f"{headers['x-edge-timestamp']}.".encode() + body
        assert headers["x-edge-signature"] == "sha256=" + hmac.new(SECRET.encode(), key, hashlib.sha256).hexdigest()
        assert abs(int(headers["x-edge-timestamp"]) - time.time()) < 30
    sink.close()


def test_what_fails_is_tried_again_and_what_is_refused_is_counted(endpoint: Endpoint, tmp_path: Path) -> None:
    endpoint.answers = [500, 503, 429, 302, 204, 400]
    sink = a_sink(endpoint.url, tmp_path)
    sink.event(ALARM, "raised")
    eventually(lambda: sink.outbox.count == 0)
    assert len({json.loads(body)["message_id"] for _, body in endpoint.taken}) == 1 and len(endpoint.taken) == 5
    sink.event(ALARM, "acknowledged")
    eventually(lambda: sink.refused == 1 and sink.outbox.count == 0)
    sink.close()


def test_only_the_kinds_that_were_asked_for(endpoint: Endpoint, tmp_path: Path) -> None:
    sink = a_sink(endpoint.url, tmp_path, kinds="alarm")
    sink.event(EventRecord(id="F1", kind="fault", number=1, began_at=1.0), "began")
    sink.event(ALARM, "raised")
    eventually(lambda: len(endpoint.taken) == 1)
    assert json.loads(endpoint.taken[0][1])["id"] == "A1"
    sink.close()


def test_an_endpoint_that_is_away_gets_all_later_even_after_a_restart(tmp_path: Path) -> None:
    sink = a_sink("http://127.0.0.1:1/", tmp_path)
    for _ in range(5):
        sink.event(ALARM, "raised")
    eventually(lambda: sink.failures > 2)
    sink.close()
    endpoint = Endpoint()
    again = a_sink(endpoint.url, tmp_path)
    eventually(lambda: len(endpoint.taken) == 5)
    again.close()
    endpoint.close()


@pytest.mark.parametrize("drips", [False, True])
def test_an_endpoint_that_hangs_never_matters(tmp_path: Path, drips: bool) -> None:
    """It takes the connection and says nothing, or one byte at a time for ever: the time limit is for the whole."""
    done = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.1)

        def hang() -> None:
            held = []
            while not done.is_set():
                with suppress(TimeoutError):
                    held.append(server.accept()[0])
                for sock in held if drips else ():
                    with suppress(OSError):
                        sock.send(b"H")
            for sock in held:
                sock.close()

        thread = threading.Thread(target=hang)
        thread.start()
        sink = a_sink(f"http://127.0.0.1:{server.getsockname()[1]}/", tmp_path, timeout_s=0.4)
        slowest_s = 0.0
        for _ in range(50):
            began_s = time.monotonic()
            sink.event(ALARM, "raised")
            slowest_s = max(slowest_s, time.monotonic() - began_s)
        eventually(lambda: sink.failures >= 2, 60.0)
        began_s = time.monotonic()
        sink.close()
        closed_s = time.monotonic() - began_s
        print(f"hanging webhook: slowest hand-over {1000 * slowest_s:.1f} ms, closed in {closed_s:.1f} s")
        done.set()
        thread.join()
    assert slowest_s < 1.0


@given(st.integers(1, 10_000), st.floats(0.01, 60), st.floats(0, 1))
def test_pauses_grow_and_end_at_five_minutes(failures: int, first_s: float, luck: float) -> None:
    assert 0 < pause_s(failures, first_s, luck) <= 300
    assert pause_s(failures + 1, first_s, 1.0) >= pause_s(failures, first_s, 1.0)


def test_a_signature_that_receivers_can_check() -> None:
    assert signature("secret", 1700000000, b'{"a": 1}') == (
        "sha256=" + hmac.new(b"secret", b'1700000000.{"a": 1}', "sha256").hexdigest()
    )


@pytest.mark.parametrize("url", ["", "ftp://a", "http://", "https://u:p@a/", "http://a:99999/"])
def test_bad_addresses(url: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="webhook"):
        a_sink(url, tmp_path)
