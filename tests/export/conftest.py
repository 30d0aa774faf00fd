"""A run small enough to export in a second: an untrained SAGAN of width 8 on 32x32 pictures, norms unsettled."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from onnx import ModelProto
from torch import nn

from edge.dataset import fingerprint
from edge.images import write_png
from edge.preprocess import Preprocessing
from export.graph import graph_from_scorer
from train.checkpoint import Run, RunRecord, load_run, save_run
from train.method import Method, MethodConfig
from train.methods import build

SIDE, FRAMES = 32, 24
SPEC = Preprocessing(height=SIDE, width=SIDE, colour="bgr")


def small_method(width: int = 8, side: int = SIDE) -> Method:
    """Random weights, and batch norms that do something."""
    torch.manual_seed(0)
    method = build("sagan", MethodConfig(side, side, 3, width))
    for module in method.networks.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.running_var, 0.5, 1.5)
            nn.init.normal_(module.running_mean, 0, 0.1)
            nn.init.normal_(module.bias, 0, 0.1)
        elif isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight)
    method.networks.eval()
    return method


def pictures(count: int, seed: int = 0, side: int = SIDE) -> NDArray[np.uint8]:
    """uint8 [count, side, side, 3]: a fixed scene with noise."""
    rng = np.random.default_rng(seed)
    scene = np.kron(rng.integers(40, 200, (4, 4, 3)), np.ones((side // 4, side // 4, 1)))
    return np.clip(scene + rng.normal(0, 6, (count, side, side, 3)), 0, 255).astype(np.uint8)


@pytest.fixture(scope="session")
def method() -> Method:
    return small_method()


@pytest.fixture(scope="session")
def graph(method: Method) -> ModelProto:
    return graph_from_scorer(method.scorer(), SPEC)


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory, method: Method) -> Run:
    root = tmp_path_factory.mktemp("run")
    paths = [root / "data" / f"{n:02d}.png" for n in range(FRAMES)]
    for path, picture in zip(paths, pictures(FRAMES), strict=True):
        write_png(path, picture)
    record = RunRecord(
        tool_version="0",
        method="sagan",
        base_width=8,
        options=dict(method.config.options),
        preprocessing=SPEC,
        data_root=str(root / "data"),
        training=tuple(p.name for p in paths[:4]),
        validation=tuple(p.name for p in paths[4:]),
        training_data=fingerprint(root / "data", paths[:4]),
        seed=0,
        batch_size=4,
    )
    save_run(root / "run", record, method)
    return load_run(root / "run")
