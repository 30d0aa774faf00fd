"""Keys, a station's folder, and an installer on it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from edge.install.installer import Installer
from edge.install.layout import Layout
from edge.signature import load_public_key
from export.sign import KeyPair, generate_keys
from tests.edge.install.bundles import RecordingStation


@pytest.fixture(scope="session")
def keys(tmp_path_factory: pytest.TempPathFactory) -> KeyPair:
    return generate_keys(tmp_path_factory.mktemp("keys") / "ours")


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    return Layout(tmp_path / "station")


@pytest.fixture
def installer_of(layout: Layout, keys: KeyPair) -> Callable[..., Installer]:
    """Makes installers for the same station folder; what they report is in `.said`."""

    def make(**station: frozenset[str]) -> Installer:
        said: list[str] = []
        made = Installer(layout, load_public_key(keys.public), RecordingStation(layout, **station), said.append)
        made.said = said  # type: ignore[attr-defined]
        return made

    return make
