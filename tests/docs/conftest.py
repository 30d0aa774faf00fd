from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.docs.book import QUICKSTART
from tests.docs.sandbox import Sandbox
from tests.docs.stand_ins import DONE_ALREADY, SMALLER, Station, fill_wheelhouse, instead, receiver, web_server
from tests.edge.listeners.broker import Mosquitto
from tests.edge.page.conftest import free_port
from tests.export.flash.conftest import sshd

__all__ = ["sshd"]


@pytest.fixture(scope="package")
def quickstart(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the quickstart leaves: pictures, run, bundle, clip, events."""
    folder = tmp_path_factory.mktemp("manual") / "work"
    folder.mkdir()
    Sandbox(folder, SMALLER).type_blocks(QUICKSTART, "sh run")
    return folder


@pytest.fixture(scope="package")
def wheelhouse(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A station's wheels, for this machine. Needs the package index."""
    folder = tmp_path_factory.mktemp("wheels") / "wheelhouse"
    fill_wheelhouse(folder)
    return folder


@pytest.fixture
def sandbox(tmp_path: Path) -> Iterator[Callable[..., Sandbox]]:
    """Makes a sandbox whose ports are free ones, with a broker and a receiver where a page wants them."""
    (tmp_path / "work").mkdir()
    with ExitStack() as stack:

        def make(text: str, **variables: str) -> Sandbox:
            """A sandbox for the page with this text."""
            broker, hook = "", ""
            if "192.168.1.5" in text:
                mosquitto = Mosquitto(tmp_path / "broker")
                stack.callback(mosquitto.kill)
                broker = mosquitto.url
            if "https://plant.example" in text:
                hook, _ = stack.enter_context(web_server())
            if "/dev/ttyTHS1" in text:
                stack.enter_context(receiver(tmp_path / "work"))
            ports = {"1884": str(free_port())}
            replaced = {**SMALLER, **DONE_ALREADY, **instead(free_port(), broker, hook), **ports}
            return Sandbox(tmp_path / "work", replaced, variables)

        yield make


@pytest.fixture
def station(sshd, tmp_path: Path) -> Station:
    """A bare machine with an sshd."""
    return Station(sshd, tmp_path / "station")
