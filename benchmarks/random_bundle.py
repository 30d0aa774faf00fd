"""A real bundle around a method with random weights: what a station costs does not depend on what it has learned."""

from __future__ import annotations

from pathlib import Path

from benchmarks.case import Case
from benchmarks.graphs import random_method
from edge.bundle import array_bytes, write_bundle
from edge.health import baseline_from_images
from edge.images import encode_png
from edge.manifest import DataFingerprint, Manifest, ModelInfo
from export.frames import golden_frames
from export.graph import OPSET, graph_from_scorer, shape_of
from export.rewrites.table import rewritten
from export.variants import Frameset, single
from train.method import MethodConfig

NORMAL = 24


def make_random_bundle(path: Path, case: Case) -> Path:
    """Write the bundle of `case`, fp32 and bf16, which passes for normal what the case's camera shows."""
    spec, normal = case.preprocessing, case.frames(NORMAL)
    frames = Frameset(normal, golden_frames(normal), 0.01)
    method = random_method(case.method, MethodConfig(case.size, case.size, 3, case.width))
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
