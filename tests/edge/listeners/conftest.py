from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.edge.listeners.broker import Mosquitto


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Mosquitto]:
    """A running broker that lets everybody in."""
    mosquitto = Mosquitto(tmp_path / "broker")
    yield mosquitto
    mosquitto.kill()
