"""Puts calibrated variants into the bundle: graphs, golden outputs, calibration cache, report, manifest."""

from __future__ import annotations

from pathlib import Path

from calib.cache import cache_text
from calib.calibrate import Bench, Made
from calib.evaluate import run_graph, run_in_brain
from calib.qdq import symmetric_scale
from calib.report import report_html
from calib.request import KINDS
from edge.bundle import Bundle, array_bytes, write_bundle
from edge.golden import Outputs, differences, expected_outputs
from edge.manifest import Calibration, Golden, Manifest, Variant
from edge.threshold import score_statistics

# Engines round a value between two steps each its own way, so that INT8 outputs of two engines differ by about as much
# as rounding itself does: that much is allowed, and half as much again, but never what a wrong scale would do.
LEAST_TOLERANCE, TOLERANCE_FACTOR, LARGEST_TOLERANCE = 0.05, 1.5, 0.5
REPORT = "report/int8.html"


def write_calibrated(bundle: Bundle, path: Path, bench: Bench, made: tuple[Made, ...]) -> Bundle:
    """Write `bundle` with `made` in place of its former INT8 variants of these targets to `path`, whole or not at all.

    A signature is dropped, since the manifest changes.
    """
    dialects = {m.kind.dialect for m in made}
    replaced = {n for n in bundle.manifest.variants if n in KINDS and KINDS[n].dialect in dialects}
    variants = {n: v for n, v in bundle.manifest.variants.items() if n not in replaced}
    members = {n: bundle.read(n) for n in bundle.manifest.members if n not in _owned(bundle.manifest, replaced)}
    frames = bundle.read_array(bundle.manifest.golden_frames)
    for one in made:
        run = run_in_brain if one.kind.precision == "int8-bf16" else run_graph
        golden = run(one.model, one.name, list(frames), bench.request.threads)
        moved = max(differences(golden, expected_outputs(bundle, "fp32")).values())
        tolerance = min(max(LEAST_TOLERANCE, TOLERANCE_FACTOR * moved), LARGEST_TOLERANCE)
        row = _variant(bench, one, tolerance)
        members |= _members(one, row.golden, golden)
        variants[one.name] = row
    members[REPORT] = report_html(bundle.manifest.name, bench, made).encode()
    return write_bundle(path, bundle.manifest.model_copy(update={"variants": variants}), members)


def _variant(bench: Bench, made: Made, tolerance: float) -> Variant:
    return Variant(
        precision=made.kind.precision,
        dialect=made.kind.dialect,
        graph=_graph_path(made),
        threshold=made.threshold,
        normal_scores=score_statistics(made.outputs.score[: bench.court.held_out]),
        golden=_golden(made.name, tolerance),
        gate=made.gate,
        calibration=Calibration(
            method=bench.request.method,
            frames_asked=bench.chosen.asked,
            frames_used=bench.collected.frames,
            data=bench.identity.data,
            fingerprint=bench.identity.sha256,
            excluded_nodes=tuple(made.plan.kept),
        ),
        calibration_cache=_cache_path(made.name) if made.kind.dialect == "tensorrt" else None,
    )


def _members(made: Made, where: Golden, golden: Outputs) -> dict[str, bytes]:
    members = {
        _graph_path(made): made.model.SerializeToString(),
        where.score: array_bytes(golden.score),
        where.masked_error: array_bytes(golden.masked_error),
        where.heatmap: array_bytes(golden.heatmap),
    }
    if made.kind.dialect == "tensorrt":
        scales = {tensor: symmetric_scale(limits) for tensor, limits in made.ranges.items()}
        members[_cache_path(made.name)] = cache_text(scales).encode()
    return members


def _golden(name: str, tolerance: float) -> Golden:
    stem = f"golden/{name}"
    return Golden(
        score=f"{stem}-score.npy",
        masked_error=f"{stem}-masked_error.npy",
        heatmap=f"{stem}-heatmap.npy",
        relative_tolerance=tolerance,
    )


def _graph_path(made: Made) -> str:
    """Variants that differ in arithmetic only share the graph."""
    return f"graphs/{made.name.replace('-bf16', '')}.onnx"


def _cache_path(name: str) -> str:
    return f"calibration/{name}.cache"


def _owned(manifest: Manifest, variants: set[str]) -> set[str]:
    """The members that belong to these variants alone, and the report, which is written anew."""
    found = {REPORT}
    for row in (manifest.variants[n] for n in variants):
        found |= {row.graph, row.golden.score, row.golden.masked_error, row.golden.heatmap}
        found |= {row.calibration_cache} if row.calibration_cache else set()
    return found
