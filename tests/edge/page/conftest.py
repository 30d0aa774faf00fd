from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from edge.page.sink import PageSink
from edge.station.events import EventStore
from tests.edge.page.statuses import PretendStation, add_alarm, add_fault

TOKEN = "a-long-enough-token"


def free_port() -> int:
    """A port that nobody uses now."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


class Served:
    """A pretended station with its page."""

    def __init__(self, folder: Path, port: int, **options: str) -> None:
        self.folder, self.port = folder, port
        self.station = PretendStation(folder, **options)
        self.address = f"127.0.0.1:{port}"
        self.sink = PageSink(self.address, self.station.context)
        self.station.tell(self.sink)
        self.url = f"http://{self.address}"

    def client(self, **more: object) -> httpx.Client:
        """A client as our page is one."""
        headers = {"x-edge-page": "1", "content-type": "application/json"}
        return httpx.Client(base_url=self.url, headers=headers, timeout=60, trust_env=False, **more)  # type: ignore[arg-type]

    def restart(self) -> None:
        """The station is started again at the same port."""
        self.sink.close()
        self.sink = PageSink(self.address, self.station.context)
        self.station.tell(self.sink)

    def close(self) -> None:
        """End it; no thread of the page may be left."""
        self.station.stop()
        self.sink.close()
        assert not [thread.name for thread in threading.enumerate() if thread.name == "page"]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[EventStore]:
    """An event store with three alarms (the last one is not acknowledged) and a fault."""
    store = EventStore(tmp_path / "events")
    add_fault(store, 3, ago_s=900)
    for number in (15, 16, 17):
        add_alarm(store, number, ago_s=(18 - number) * 100, lasted_s=None if number == 17 else 4.0)
    store.acknowledge(16, 1.0, "Ada")
    yield store
    store.close()


@pytest.fixture
def serve(store: EventStore) -> Iterator[Callable[..., Served]]:
    """Serve the page of a station with options of the page."""
    served: list[Served] = []

    def start(**options: str) -> Served:
        served.append(Served(store.folder, free_port(), **options))
        return served[-1]

    yield start
    for one in served:
        one.close()
