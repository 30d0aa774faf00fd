"""One data folder, one net and one bundle for all calibration tests."""

from __future__ import annotations

from pathlib import Path

import pytest

from calib.graph import Graph, named_model
from tests.calib.making import make_bundle, scoring_net, write_data


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sixty normal training images, fifteen good and fifteen bad test images."""
    return write_data(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="session")
def graph() -> Graph:
    """The miniature scoring net."""
    return Graph(named_model(scoring_net().SerializeToString(), "net"))


@pytest.fixture
def bundle_path(tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A fresh bundle with fp32 only; the cache folder is the test's own."""
    monkeypatch.setenv("EDGE_CACHE", str(tmp_path / "cache"))
    path = tmp_path / "tile.edge"
    make_bundle(path, scoring_net(), data)
    return path
