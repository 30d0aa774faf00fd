"""What every test may use. Real images come from EDGE_TEST_DATA; where it is absent the test says so."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

DATA = Path(os.environ.get("EDGE_TEST_DATA", Path(__file__).parents[2] / "shared" / "data"))


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Folder with the real images and clips; skips, saying so, where it is absent."""
    if not (DATA / "magnetic_tile").is_dir():
        pytest.skip(f"no real images in {DATA}: set EDGE_TEST_DATA")
    return DATA
