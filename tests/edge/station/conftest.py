from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.edge.station.plc import Plc
from tests.edge.station.running import write_folder
from tests.edge.tiny_bundle import make_tiny_bundle


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small real bundle."""
    return make_tiny_bundle(tmp_path_factory.mktemp("bundle") / "tiny.edge")


@pytest.fixture(scope="session")
def good_parts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of good pictures."""
    return write_folder(tmp_path_factory.mktemp("camera") / "good", 60)


@pytest.fixture
def plc(tmp_path: Path) -> Iterator[Plc]:
    """A receiver at tmp_path/port."""
    receiver = Plc(tmp_path / "port")
    yield receiver
    receiver.close()
