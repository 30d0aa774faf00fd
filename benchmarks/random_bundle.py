"""A real bundle around a method with random weights: what a station costs does not depend on what it has learned."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from benchmarks.case import Case
from edge.bundle import array_bytes, write_bundle
from edge.health import baseline_from_images
from edge.images import encode_png
from edge.manifest import DataFingerprint, Manifest, ModelInfo
from export.frames import golden_frames
from export.graph import OPSET, graph_from_scorer, shape_of
from export.rewrites.table import rewritten
from export.variants import Frameset, single
from train.method import Method, MethodConfig
from train.methods import build

NORMAL = 24


def make_random_bundle(path: Path, case: Case) -> Path:
    """Write the bundle of `case`, fp32 and bf16, which passes for normal what the case's camera shows."""
    spec, normal = case.preprocessing, case.frames(NORMAL)
    frames = Frameset(normal, golden_frames(normal), 0.01)
    method = _method(case)
    graph = rewritten(graph_from_scorer(method.scorer(), spec))
    reference = single(graph, frames)
    golden = reference.row.golden.model_copy(update={"relative_tolerance": 0.99})  # random weights round badly
    rows = {"fp32": reference.row, "bf16": reference.row.model_copy(update={"precision": "bf16", "golden": golden})}
    statistics, mean = baseline_from_images(list(normal))
    height, across = shape_of(graph, "heatmap")[1:]
    manifest = Manifest(
        name=path.stem,
        created_at="2026-01-01T00:00:00Z",
        tool_version="0",
        model=ModelInfo(method=case.method, parameters=sum(p.numel() for p in method.networks.parameters()), config={}),
        preprocessing=spec,
        training_data=DataFingerprint(name="pattern", frames=len(normal), sha256="0" * 64),
        normal_images=statistics.model_copy(update={"reference": "health/reference.png"}),
        heatmap_shape=(height, across),
        opset=OPSET,
        golden_frames="golden/frames.npy",
        variants=rows,
    )
    members = {"golden/frames.npy": array_bytes(frames.golden), "health/reference.png": encode_png(mean)}
    return write_bundle(path, manifest, members | reference.members).path


def _method(case: Case) -> Method:
    """Weights in a range that keeps activations alive."""
    torch.manual_seed(0)
    made = build(case.method, MethodConfig(case.size, case.size, 3, case.width))
    for module in made.networks.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight)
        elif isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.running_var, 0.5, 1.5)
            nn.init.normal_(module.bias, 0, 0.1)
    made.networks.eval()
    return made
