"""edge-bolts: generate the bolt pictures that the demo and the tests learn from."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer
from rich.progress import Progress

from edge.cli.base import main_of, stage
from edge.errors import UsageError
from train.boltset import write_clip, write_dataset


def command(
    out: Annotated[Path, typer.Argument(help="New folder, written in MVTec layout.")],
    train: Annotated[int, typer.Option(help="Good pictures to learn from.", min=1)] = 300,
    test: Annotated[int, typer.Option(help="Test pictures, half good, half bad.", min=0)] = 100,
    size: Annotated[int, typer.Option(help="Side in pixels.", min=32, max=2048)] = 128,
    seed: Annotated[int, typer.Option(help="Same seed, same pictures.")] = 0,
    clip: Annotated[Path | None, typer.Option(help="Also render a camera clip, FILE.mp4, and FILE.json.")] = None,
    bolts: Annotated[int, typer.Option(help="Bolts in the clip.", min=1)] = 20,
    hold: Annotated[int, typer.Option(help="Frames for which each bolt is seen.", min=1)] = 15,
    fps: Annotated[float, typer.Option(help="Frames a second of the clip.", min=1.0)] = 15.0,
) -> None:
    """Generate hex-head bolts on a plate: good ones, and missing, loose, cracked, rusted and cross-threaded ones."""
    if clip is not None and clip.suffix != ".mp4":
        raise UsageError(f"cannot write clip {clip}", "its name must end in .mp4", "name it FILE.mp4")
    start = time.monotonic()
    with Progress(transient=True) as progress:
        task = progress.add_task("bolts", total=train + test)
        write_dataset(out, train, test, size, seed, lambda: progress.advance(task))
    if clip is None:
        stage("bolts", time.monotonic() - start, f"{train} + {test} pictures in {out}", _next(out))
        return
    stage("bolts", time.monotonic() - start, f"{train} + {test} pictures in {out}")
    start = time.monotonic()
    truth = write_clip(clip, size, seed, bolts, hold, fps)
    frames = truth["frames"]
    bad = sum(1 for frame in frames if frame["defect"])
    size_mb = clip.stat().st_size / 1e6
    stage(
        "clip",
        time.monotonic() - start,
        f"{len(frames)} frames, {bad} of bad bolts, {size_mb:.1f} MB, {clip}",
        _next(out),
    )


def _next(out: Path) -> str:
    return f"edge-train --data {out} --out {out}-run"


main = main_of(command)
