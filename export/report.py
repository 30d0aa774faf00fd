"""report/index.html in the bundle: what was exported, how close it is, and what it sees. No scripts, no links."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping, Sequence
from html import escape

import cv2
import numpy as np
from numpy.typing import NDArray

from edge.images import encode_png
from edge.manifest import Manifest, Variant
from export.frames import Frames
from export.parity import Parity
from export.variants import LeftOut, Made

REPORT = "report/index.html"
SIDE = 160  # pixels of a picture's longer side
STYLE = (
    "body{font:15px/1.5 system-ui,sans-serif;max-width:64rem;margin:2rem auto;padding:0 1rem;color:#222}"
    "table{border-collapse:collapse;margin:1rem 0}th,td{border:1px solid #ccc;padding:.25rem .6rem;text-align:left}"
    "th{background:#f2f2f2}figure{display:inline-block;margin:.3rem}figcaption{font-size:12px}"
)


def report_html(
    manifest: Manifest, parity: Parity, golden: Frames, made: Mapping[str, Made], left_out: Sequence[LeftOut]
) -> str:
    """The page. `golden`: uint8 [n, H, W, C]."""
    title = escape(f"{manifest.name}: {manifest.model.method}")
    parts = [
        _summary(manifest),
        _variants(manifest.variants, left_out),
        _parity(parity),
        _pictures(golden, made["fp32"]),
    ]
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{title}</title><style>{STYLE}</style>'
        f"<h1>{title}</h1>{''.join(parts)}</html>\n"
    )


def _summary(manifest: Manifest) -> str:
    spec, model, data = manifest.preprocessing, manifest.model, manifest.training_data
    settings = ", ".join(f"{key} {value}" for key, value in model.config.items())
    rows = [
        ("made", f"{manifest.created_at} by edge-anomaly {manifest.tool_version}"),
        ("model", f"{model.method}, {model.parameters:,} parameters, {settings}"),
        ("input", f"{spec.width}x{spec.height} {spec.colour}, {spec.where}"),
        ("trained on", f"{data.name}: {data.frames} images, SHA-256 {data.sha256}"),
        ("brightness of normal images", _quantiles(manifest.normal_images.brightness)),
        ("contrast", _quantiles(manifest.normal_images.contrast)),
        ("sharpness", _quantiles(manifest.normal_images.sharpness)),
    ]
    return _table(("", ""), rows)


def _variants(variants: Mapping[str, Variant], left_out: Sequence[LeftOut]) -> str:
    head = ("precision", "threshold", "true false-alarm rate", "decisions moved", "score order", "heatmap overlap")
    rows = [_variant(name, row) for name, row in variants.items()]
    rows += [(one.precision, f"left out: {one.reason}", "", "", "", "") for one in left_out]
    return "<h2>Precisions</h2>" + _table(head, rows)


def _variant(name: str, row: Variant) -> tuple[str, ...]:
    limit, gate = row.threshold, row.gate
    low, high = limit.rate_interval
    rate = (
        f"{low:.2%} to {high:.2%} ({limit.confidence:.0%}, {limit.frames} frames, asked {limit.false_alarm_rate:.2%})"
    )
    if gate is None:
        return name, f"{limit.value:.6g}", rate, "reference", "", ""
    moved = f"{gate.flipped} of {gate.frames}"
    return name, f"{limit.value:.6g}", rate, moved, f"{gate.rank_correlation:.4f}", f"{gate.heatmap_iou:.3f}"


def _parity(parity: Parity) -> str:
    outputs = list(next(iter(parity.table.values())))
    rows = [(pair, *(f"{row[name]:.2e}" for name in outputs)) for pair, row in parity.table.items()]
    note = f"<p>Largest relative difference on {parity.frames} real frames; allowed {parity.tolerance:.0e}.</p>"
    return "<h2>Parity</h2>" + note + _table(("", *outputs), rows)


def _pictures(golden: Frames, made: Made) -> str:
    """Input and heatmap side by side; one scale for all heatmaps, that of the largest."""
    top = float(made.golden.heatmap.max()) or 1.0
    limit = made.row.threshold.value
    figures = []
    for frame, heat, score in zip(golden, made.golden.heatmap, made.golden.score, strict=True):
        verdict = "above the threshold" if score > limit else "below"
        source = base64.b64encode(encode_png(_pair(frame, heat / top))).decode()
        caption = f"score {score:.4g}, {verdict}"
        image = f'<img src="data:image/png;base64,{source}" alt="{caption}">'
        figures.append(f"<figure>{image}<figcaption>{caption}</figcaption></figure>")
    return "<h2>Golden frames: input and heatmap</h2><p>Every second one was damaged.</p>" + "".join(figures)


def _pair(frame: Frames, heat: NDArray[np.float32]) -> Frames:
    height, width = frame.shape[:2]
    scale = SIDE / max(height, width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    left = cv2.resize(frame, size, interpolation=cv2.INTER_AREA)
    left = cv2.cvtColor(left, cv2.COLOR_GRAY2BGR) if left.ndim == 2 else left
    grey = np.clip(heat * 255, 0, 255).astype(np.uint8)
    right = cv2.applyColorMap(cv2.resize(grey, size, interpolation=cv2.INTER_LINEAR), cv2.COLORMAP_INFERNO)
    return np.asarray(np.hstack([left, right]), np.uint8)


def _quantiles(values: tuple[float, float, float]) -> str:
    return f"{values[0]:.1f} / {values[1]:.1f} / {values[2]:.1f} (0.5, 50, 99.5 %)"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    top = "".join(f"<th>{escape(cell)}</th>" for cell in head)
    body = "".join("<tr>" + "".join(f"<td>{escape(str(cell))}</td>" for cell in row) + "</tr>" for row in rows)
    return f"<table>{f'<tr>{top}</tr>' if any(head) else ''}{body}</table>"
