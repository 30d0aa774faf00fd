"""edge-export RUN --out NAME.edge: a trained run becomes a bundle."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edge.cli.base import main_of, stage
from export.bundle import Request, export_bundle
from train.checkpoint import load_run


def command(
    run: Annotated[Path, typer.Argument(help="folder written by edge-train")],
    out: Annotated[Path, typer.Option(help="the bundle to write, NAME.edge")],
    data: Annotated[Path | None, typer.Option(help="the run's data folder, if it has moved")] = None,
    false_alarm_rate: Annotated[
        float, typer.Option(min=1e-6, max=0.5, help="share of normal parts that may raise an alarm")
    ] = 0.01,
    threads: Annotated[int, typer.Option(min=0, help="0: one per usable CPU")] = 0,
) -> None:
    """Export a trained run: scoring graph, parity with torch on real frames, fp32, fp16 and bf16, thresholds."""
    request = Request(load_run(run), out, data, false_alarm_rate, threads)
    bundle = export_bundle(request, stage)
    folder = data or Path(request.run.record.data_root)
    print(f"next: edge-calibrate {bundle.path} --data {folder}")


main = main_of(command)
