"""edge-calibrate: adds INT8 variants to a bundle, or refuses because they would decide otherwise than fp32."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated, cast

import typer
from rich.console import Console
from rich.progress import Progress as Bars

from calib.calibrate import Made, calibrate
from calib.request import Request
from calib.statistics import Method
from calib.write import write_calibrated
from edge.bundle import Bundle, open_bundle
from edge.cli.base import main_of, stage
from edge.errors import UsageError
from edge.gate import GateLimits

DEFAULTS = GateLimits()


def command(  # one parameter for each option
    bundle: Annotated[Path, typer.Argument(help="NAME.edge, as edge-export wrote it")],
    data: Annotated[Path, typer.Option(help="folder of normal images (MVTec layout or plain)")],
    frames: Annotated[str, typer.Option(help="how many frames set the ranges: a number, or all")] = "auto",
    method: Annotated[str, typer.Option(help="mse, entropy, percentile or minmax")] = "mse",
    target: Annotated[str, typer.Option(help="tensorrt, cpu, or both with a comma")] = "tensorrt,cpu",
    false_alarm_rate: Annotated[float | None, typer.Option(help="stated rate; default: that of fp32")] = None,
    max_flips: Annotated[float, typer.Option(help="largest fraction of decisions that may move")] = DEFAULTS.flipped,
    max_auroc_drop: Annotated[float, typer.Option(help="largest loss of AUROC")] = DEFAULTS.auroc_drop,
    min_rank: Annotated[float, typer.Option(help="smallest rank correlation of scores")] = DEFAULTS.rank_correlation,
    min_heatmap_iou: Annotated[float, typer.Option(help="smallest heatmap overlap")] = DEFAULTS.heatmap_iou,
    exclude: Annotated[list[str] | None, typer.Option(help="layer to keep in float; may be repeated")] = None,
    auto_exclude: Annotated[bool, typer.Option("--auto-exclude", help="keep the fewest layers that pass")] = False,
    force: Annotated[bool, typer.Option("--force", help="replace a calibration made from other data")] = False,
    out: Annotated[Path | None, typer.Option(help="write there instead of in place")] = None,
    threads: Annotated[int, typer.Option(help="threads of ONNX Runtime, 0: all")] = 0,
) -> None:
    """Calibrate a bundle to INT8 and check that it decides like fp32."""
    count, use_all = _frame_count(frames)
    request = Request(
        data=data,
        frames=count,
        use_all=use_all,
        method=cast(Method, method),
        targets=tuple(t.strip() for t in target.split(",") if t.strip()),
        rate=_rate(false_alarm_rate),
        limits=GateLimits(max_flips, max_auroc_drop, min_rank, min_heatmap_iou),
        exclude=tuple(exclude or ()),
        auto_exclude=auto_exclude,
        force=force,
        threads=threads,
    )
    _run(open_bundle(bundle), request, out or bundle)


def _run(bundle: Bundle, request: Request, out: Path) -> None:
    start = time.monotonic()
    with Bars(console=Console(stderr=True), transient=True) as bars:
        tasks: dict[str, int] = {}

        def progress(name: str, done: int, total: int) -> None:
            if name not in tasks:
                tasks[name] = bars.add_task(name, total=total)
            bars.update(tasks[name], completed=done, total=total)  # type: ignore[arg-type]

        made = calibrate(bundle, request, print, progress)
    if made is None:
        print(f"{bundle.path}: already calibrated with these frames and options; nothing to do")
        return
    written = write_calibrated(bundle, out, *made)
    _tell_exclusions(made[1])
    if bundle.signature is not None:
        print(f"{out}: its content changed, so the signature is gone; sign it again with edge-sign")
    names = ", ".join(m.name for m in made[1])
    size = f"{out.stat().st_size / 1e6:.1f} MB"
    stage("calibrate", time.monotonic() - start, f"{names} in {out}, {size}", f"edge-bench {written.path}")


def _tell_exclusions(made: tuple[Made, ...]) -> None:
    for one in made:
        for layer in one.excluded:
            cost = "its time is measured on the device"
            if layer in one.times_ms:
                cost = f"costs {one.times_ms[one.name] - one.times_ms[layer]:+.2f} ms here"
            print(f"{one.name}: {layer} stays in float, {cost}")
        if one.times_ms and one.times_ms[one.name] >= one.times_ms["fp32"]:
            print(f"{one.name}: no faster than fp32 on onnxruntime here; --precision auto measures and picks")


def _frame_count(frames: str) -> tuple[int | None, bool]:
    if frames in ("auto", "all"):
        return None, frames == "all"
    if not frames.isascii() or not frames.isdigit() or int(frames) < 1:
        raise UsageError(f"--frames {frames} is not a number", "it takes a number from 1, or all", "try --frames 200")
    return int(frames), False


def _rate(rate: float | None) -> float | None:
    if rate is not None and not 0.0 < rate < 1.0:
        raise UsageError(f"--false-alarm-rate {rate} is out of range", "it lies between 0 and 1", "try 0.01")
    return rate


main = main_of(command)
