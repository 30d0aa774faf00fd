"""What a bundle is, on one page: model, data, thresholds with their intervals, gates, golden pictures."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from edge.bundle import Bundle
from edge.golden import Outputs, expected_outputs, golden_frames
from edge.images import encode_png
from edge.manifest import GateResult, Variant
from edge.report.html import Raw, figure, mark, numbers, page, section, table, text
from edge.version import VERSION

SIDE = 220  # pixels of a picture's longer side


def bundle_page(bundle: Bundle) -> str:
    """The page as HTML. Raises CheckFailed if a member was altered."""
    manifest = bundle.manifest
    reference = "fp32" if "fp32" in manifest.variants else next(iter(manifest.variants))
    parts = [
        _figures(bundle, reference),
        section("What it is", table((), _identity(bundle))),
        section("Thresholds", _thresholds(bundle), text(THRESHOLD_NOTE, note=True)),
        section("Decisions against the reference", _gates(bundle), text(GATE_NOTE, note=True)),
        *_calibrations(bundle),
        section("Golden frames", *_pictures(bundle, reference), text(GOLDEN_NOTE, note=True)),
    ]
    subtitle = f"{bundle.path.name}, identity {bundle.identity}"
    return page(f"{manifest.name}: {manifest.model.method}", subtitle, parts, f"edge-report {VERSION}")


THRESHOLD_NOTE = (
    "ALARM when the score is above the threshold. The true false-alarm rate lies within the interval with the stated "
    "confidence, as far as the frames at the station look like those that it was fitted on."
)
GATE_NOTE = "A variant runs only if its decisions on held-out frames agree with those of the reference."
GOLDEN_NOTE = "Frame on the left, what the model makes of it on the right; every engine must give these outputs."


def _figures(bundle: Bundle, reference: str) -> Raw:
    manifest, limit = bundle.manifest, bundle.manifest.variants[reference].threshold
    size = sum(member.size_bytes for member in manifest.members.values())
    gates = [row.gate for row in manifest.variants.values() if row.gate is not None]
    passed = sum(gate.passed for gate in gates)
    return numbers(
        (
            ("Parameters", f"{manifest.model.parameters:,}", False),
            ("Input", f"{manifest.preprocessing.width} × {manifest.preprocessing.height}", False),
            (f"Threshold, {reference}", f"{limit.value:.5g}", False),
            ("False-alarm rate asked", f"{limit.false_alarm_rate:.3%}", False),
            ("Gates passed", f"{passed} of {len(gates)}" if gates else "none needed", passed < len(gates)),
            ("Size", f"{size / 1e6:.1f} MB", False),
        )
    )


def _identity(bundle: Bundle) -> list[tuple[str, str | Raw]]:
    m = bundle.manifest
    spec, data, normal = m.preprocessing, m.training_data, m.normal_images
    signed = mark(True, "signed") if bundle.signature is not None else Raw("not signed")
    return [
        ("made", f"{m.created_at} by edge-anomaly {m.tool_version}"),
        ("method", f"{m.model.method} {', '.join(f'{k} {v}' for k, v in m.model.config.items())}"),
        ("input", f"{spec.width}×{spec.height} {spec.colour}, {spec.where}"),
        ("trained on", f"{data.name}, {data.frames} frames, SHA-256 {data.sha256}"),
        ("brightness of normal frames", _quantiles(normal.brightness)),
        ("contrast", _quantiles(normal.contrast)),
        ("sharpness", _quantiles(normal.sharpness)),
        ("heat map, opset", f"{m.heatmap_shape[1]}×{m.heatmap_shape[0]}, {m.opset}"),
        ("signature", signed),
    ]


def _thresholds(bundle: Bundle) -> Raw:
    head = ("variant", "threshold", "false-alarm rate", "interval", "frames", "fit", "normal scores, median and 99 %")
    return table(head, [_threshold(name, row) for name, row in bundle.manifest.variants.items()])


def _threshold(name: str, row: Variant) -> tuple[str, ...]:
    limit, quantiles = row.threshold, row.normal_scores.quantiles
    low, high = limit.rate_interval
    return (
        name,
        f"{limit.value:.6g}",
        f"{limit.false_alarm_rate:.3%}",
        f"{low:.3%} to {high:.3%} ({limit.confidence:.0%})",
        str(limit.frames),
        limit.fit,
        f"{quantiles[4]:.4g}, {quantiles[7]:.4g}",
    )


def _gates(bundle: Bundle) -> Raw:
    head = ("variant", "gate", "decisions moved", "score order", "heat map overlap", "AUROC, reference and own")
    return table(head, [_gate(name, row.gate) for name, row in bundle.manifest.variants.items()])


def _gate(name: str, gate: GateResult | None) -> tuple[str | Raw, ...]:
    if gate is None:
        return name, "the reference", "", "", "", ""
    areas = "" if gate.auroc is None or gate.auroc_fp32 is None else f"{gate.auroc_fp32:.4f}, {gate.auroc:.4f}"
    moved = f"{gate.flipped} of {gate.frames} ({gate.flipped_fraction:.2%})"
    verdict = mark(gate.passed, "passed" if gate.passed else "failed")
    return name, verdict, moved, f"{gate.rank_correlation:.4f}", f"{gate.heatmap_iou:.3f}", areas


def _calibrations(bundle: Bundle) -> list[Raw]:
    rows = [
        (name, c.method, f"{c.frames_used} of {c.frames_asked}", c.data.name, str(len(c.excluded_nodes)))
        for name, row in bundle.manifest.variants.items()
        if (c := row.calibration) is not None
    ]
    head = ("variant", "ranges", "frames", "from", "nodes left in floating point")
    return [section("Calibration", table(head, rows))] if rows else []


def _pictures(bundle: Bundle, variant: str) -> list[Raw]:
    frames, outputs = golden_frames(bundle), expected_outputs(bundle, variant)
    limit = bundle.manifest.variants[variant].threshold.value
    top = float(outputs.heatmap.max()) or 1.0
    return [_golden(frames[n], outputs, n, top, limit) for n in range(len(frames))]


def _golden(frame: NDArray[np.uint8], outputs: Outputs, number: int, top: float, limit: float) -> Raw:
    score = float(outputs.score[number])
    picture = encode_png(_side_by_side(frame, outputs.heatmap[number] / top))
    return figure(picture, "image/png", f"score {score:.5g}: {'ALARM' if score > limit else 'OK'}")


def _side_by_side(frame: NDArray[np.uint8], heat: NDArray[np.float32]) -> NDArray[np.uint8]:
    height, width = frame.shape[:2]
    scale = SIDE / max(height, width)
    size = (max(1, round(scale * width)), max(1, round(scale * height)))
    left = cv2.resize(frame, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_NEAREST)
    left = cv2.cvtColor(left, cv2.COLOR_GRAY2BGR) if left.ndim == 2 else left
    levels = np.clip(255 * heat, 0, 255).astype(np.uint8)
    right = cv2.applyColorMap(cv2.resize(levels, size, interpolation=cv2.INTER_LINEAR), cv2.COLORMAP_TURBO)
    return np.hstack([np.asarray(left, np.uint8), np.asarray(right, np.uint8)])


def _quantiles(values: tuple[float, float, float]) -> str:
    return f"{values[0]:.1f} / {values[1]:.1f} / {values[2]:.1f} (0.5, 50 and 99.5 %)"
