"""A trained run becomes a bundle: graph, parity, variants, camera baseline, golden frames, report. Stage by stage."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import TypeVar

import numpy as np
from onnx import ModelProto

from edge.bundle import Bundle, array_bytes, write_bundle
from edge.errors import InputError
from edge.health import baseline_from_images
from edge.images import encode_png
from edge.manifest import Manifest, ModelInfo, Name
from edge.version import VERSION
from export.frames import Frames, golden_frames, overviews, validation_frames
from export.graph import OPSET, graph_from_scorer, shape_of
from export.parity import Parity, check_parity
from export.report import REPORT, report_html
from export.rewrites.table import rewritten
from export.variants import Frameset, LeftOut, Made, brain, half, single
from train.checkpoint import Run
from train.methods import row_of

PARITY_FRAMES = 8
REFERENCE, GOLDEN_FRAMES = "health/reference.png", "golden/frames.npy"

T = TypeVar("T")
Said = Callable[[str, float, str], None]  # (stage, seconds, result)


@dataclass(frozen=True)
class Request:
    """What to export and how. `data`: the run's data folder if it has moved. `threads` 0: one per usable CPU."""

    run: Run
    out: Path
    data: Path | None = None
    false_alarm_rate: float = 0.01
    threads: int = 0


def export_bundle(request: Request, say: Said = lambda stage, seconds, result: None) -> Bundle:
    """Export, check and write the bundle; nothing is written unless every check passed.

    Raises InputError for a run that cannot be exported or whose images are gone, CheckFailed if parity fails.
    """
    name = _name(request.out)
    _require_exportable(request.run)
    frames = _timed(say, "frames", lambda: _frames(request), lambda f: f"{len(f.normal)} held-out normal frames")
    graph = _timed(say, "graph", lambda: _graph(request.run), _graph_told)
    parity = _timed(say, "parity", lambda: _parity(request.run, graph, frames.golden), _parity_told)
    made, left_out = _variants(request, graph, frames, say)
    manifest, members = _assembled(request, name, graph, frames, made)
    members[REPORT] = report_html(manifest, parity, frames.golden, made, left_out).encode()
    return _timed(say, "bundle", lambda: write_bundle(request.out, manifest, members), _bundle_told)


def _require_exportable(run: Run) -> None:
    reason = row_of(run.record.method).no_export
    if reason:
        raise InputError(f"{run.record.method} cannot be exported", reason, "train another method")


def _frames(request: Request) -> Frameset:
    paths = request.run.validation_paths(request.data)
    if len(paths) < 2:
        raise InputError(
            f"too few held-out images in run {request.run.path}",
            f"found {len(paths)}, a threshold needs 2 at least and some hundred to mean something",
            "train again with more normal images",
        )
    normal = validation_frames(paths, request.run.preprocessing)
    seen = overviews(paths, request.run.preprocessing, normal)
    return Frameset(normal, golden_frames(normal), request.false_alarm_rate, seen)


def _graph(run: Run) -> ModelProto:
    return rewritten(graph_from_scorer(run.scorer(), run.preprocessing))


def _parity(run: Run, graph: ModelProto, golden: Frames) -> Parity:
    return check_parity(run.scorer(), run.reference_scorer(), graph, golden[:PARITY_FRAMES])


def _variants(
    request: Request, graph: ModelProto, frames: Frameset, say: Said
) -> tuple[dict[str, Made], list[LeftOut]]:
    reference = _timed(say, "fp32", lambda: single(graph, frames, request.threads), _variant_told)
    made, left_out = {"fp32": reference}, []
    for name, make in (("fp16", half), ("bf16", brain)):
        found = _timed(say, name, lambda make=make: make(graph, reference, frames, request.threads), _variant_told)  # type: ignore[misc]
        if isinstance(found, LeftOut):
            left_out.append(found)
        else:
            made[name] = found
    return made, left_out


def _assembled(
    request: Request, name: Name, graph: ModelProto, frames: Frameset, made: dict[str, Made]
) -> tuple[Manifest, dict[str, bytes]]:
    run, statistics = request.run, baseline_from_images(frames.overviews)
    record = run.record
    members = {GOLDEN_FRAMES: array_bytes(frames.golden), REFERENCE: encode_png(_picture(statistics[1]))}
    for one in made.values():
        members |= one.members
    height, width = shape_of(graph, "heatmap")[1:]
    manifest = Manifest(
        name=name,
        created_at=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        tool_version=VERSION,
        model=ModelInfo(
            method=record.method,
            parameters=run.parameters,
            config={"base_width": record.base_width, "seed": record.seed, **record.options},
        ),
        preprocessing=run.preprocessing,
        training_data=record.training_data,
        normal_images=statistics[0].model_copy(update={"reference": REFERENCE}),
        heatmap_shape=(height, width),
        opset=OPSET,
        golden_frames=GOLDEN_FRAMES,
        variants={key: one.row for key, one in made.items()},
    )
    return manifest, members


def _picture(image: Frames) -> Frames:
    return np.ascontiguousarray(image[:, :, 0] if image.shape[2] == 1 else image)


def _name(out: Path) -> str:
    if out.suffix != ".edge":
        raise InputError(
            f"cannot write {out}", "a bundle's name ends in .edge", f"use --out {out.stem or 'model'}.edge"
        )
    return out.stem


def _timed(say: Said, stage: str, work: Callable[[], T], told: Callable[[T], str]) -> T:
    start = time.monotonic()
    result = work()
    say(stage, time.monotonic() - start, told(result))
    return result


def _graph_told(graph: ModelProto) -> str:
    return f"{len(graph.graph.node)} nodes, opset {OPSET}, {graph.ByteSize() / 1e6:.1f} MB"


def _parity_told(parity: Parity) -> str:
    pair, output, size = parity.worst
    return f"{parity.frames} frames, worst {size:.1e} relative ({output}, {pair}), allowed {parity.tolerance:.0e}"


def _variant_told(made: Made | LeftOut) -> str:
    if isinstance(made, LeftOut):
        return f"left out: {made.reason}"
    threshold, gate = made.row.threshold, made.row.gate
    told = f"threshold {threshold.value:.5g} from {threshold.frames} frames ({threshold.fit})"
    if gate is None:
        return told
    return f"{told}, {gate.flipped} of {gate.frames} decisions moved, score order {gate.rank_correlation:.4f}"


def _bundle_told(bundle: Bundle) -> str:
    return f"{bundle.path}, {bundle.path.stat().st_size / 1e6:.1f} MB, {', '.join(bundle.manifest.variants)}"
