"""A data folder small enough to train on in a second."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edge.images import write_png
from tests.train.helpers import random_frames


@pytest.fixture(scope="session")
def small_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """15 normal training images, 4 good and 4 bad test images with masks, grey 32x32."""
    root = tmp_path_factory.mktemp("small")
    frames = random_frames(23, seed=3).numpy()[:, :, :, 0]
    for n in range(15):
        write_png(root / "train" / "good" / f"{n:02d}.png", frames[n])
    for n in range(4):
        write_png(root / "test" / "good" / f"{n}.png", frames[15 + n])
        bad, mask = frames[19 + n].copy(), np.zeros((32, 32), np.uint8)
        bad[8:20, 8:20], mask[8:20, 8:20] = 255 - bad[8:20, 8:20], 255
        write_png(root / "test" / "inverted" / f"{n}.png", bad)
        write_png(root / "ground_truth" / "inverted" / f"{n}_mask.png", mask)
    return root
