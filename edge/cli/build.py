"""edge-build NAME.edge: TensorRT engines for this machine, built, checked on the golden frames, and kept."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from edge.bundle import Bundle, open_bundle
from edge.cli.base import main_of, stage
from edge.errors import UsageError
from edge.tensorrt.library import Library, load_library
from edge.tensorrt.maker import Maker, Options, variant_of
from edge.tensorrt.precision import Tried, make_fastest

PRECISIONS = "auto (the fastest that passes), fp16, int8, int8-nodw, fp32, or a variant's key"


def command(
    bundle: Annotated[Path, typer.Argument(help="NAME.edge")],
    precision: Annotated[str, typer.Option(help=PRECISIONS)] = "auto",
    workspace_mb: Annotated[
        int | None, typer.Option(min=1, help="TensorRT's scratch memory; default: from free memory")
    ] = None,
    optimisation_level: Annotated[
        int | None, typer.Option(min=0, max=5, help="0 builds fastest, 5 runs fastest")
    ] = None,
    memory_limit_mb: Annotated[int | None, typer.Option(min=64, help="end the build when it holds more memory")] = None,
    implicit: Annotated[
        bool, typer.Option("--implicit", help="INT8 from the calibration cache (TensorRT to 10)")
    ] = False,
    weak: Annotated[
        bool, typer.Option("--weak", help="flags, not the graph, decide the precision (TensorRT to 10)")
    ] = False,
    cache: Annotated[Path | None, typer.Option(help="folder of built engines; default: $EDGE_CACHE")] = None,
    rebuild: Annotated[bool, typer.Option("--rebuild", help="build even if a fitting engine is there")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="only learn whether TensorRT takes the graph")] = False,
    library: Annotated[str, typer.Option(help="tensorrt; tensorrt_rtx for --dry-run without a GPU")] = "tensorrt",
    target: Annotated[str, typer.Option(help="chip for --dry-run with tensorrt_rtx")] = "SM86",
) -> None:
    """Build the engine of a bundle on this machine."""
    if cache is not None:
        os.environ["EDGE_CACHE"] = str(cache.resolve())
    opened, trt = open_bundle(bundle), load_library(library)
    options = Options(workspace_mb, optimisation_level, implicit, weak, memory_limit_mb, rebuild)
    maker = Maker(trt, options, report=_say)
    if dry_run:
        _dry_run(maker, opened, precision, _target(trt, target))
    elif trt.on_cpu:
        raise UsageError(f"{library} builds nothing that a station runs", "it is for --dry-run", "add --dry-run")
    elif precision == "auto":
        _fastest(maker, opened)
    else:
        start = time.monotonic()
        entry = maker.make(opened, precision)
        name = entry.variant
        told = f"{name} {entry.size_bytes / 1e6:.1f} MB, {maker.cache.plan_path(entry)}"
        stage("build", time.monotonic() - start, told, f"edge-bench {bundle} --backend tensorrt --precision {name}")


def _dry_run(maker: Maker, bundle: Bundle, precision: str, target: str | None) -> None:
    rows = bundle.manifest.variants
    every = [name for name, row in rows.items() if row.dialect != "cpu" and row.precision != "bf16"]
    for name in every if precision == "auto" else [variant_of(bundle, precision)]:
        start = time.monotonic()
        answer = maker.try_out(bundle, name, target)
        told = f"{name} is taken by {maker.library.name} {maker.library.version}, {answer.layers} layers"
        stage("dry run", time.monotonic() - start, f"{told}, plan of {answer.bytes / 1e6:.1f} MB thrown away")


def _fastest(maker: Maker, bundle: Bundle) -> None:
    start = time.monotonic()
    best, rows = make_fastest(maker, bundle)
    _print_table(rows, best)
    told = f"{best.what.label} is the fastest that passes, p95 {best.p95_ms:.2f} ms"
    stage("build", time.monotonic() - start, told, f"edge-bench {bundle.path} --backend tensorrt")


def _print_table(rows: list[Tried], best: Tried) -> None:
    table = Table()
    for head in ("precision", "p50 ms", "p95 ms", "MB", "note"):
        table.add_column(head, justify="left" if head in ("precision", "note") else "right", overflow="fold")
    for row in rows:
        times = ["-" if ms is None else f"{ms:.2f}" for ms in (row.p50_ms, row.p95_ms)]
        note = "; ".join(text for text in ("taken" if row is best else "", row.note) if text)
        table.add_row(row.what.label, *times, f"{row.size_bytes / 1e6:.1f}", note)
    Console(width=120).print(table)


def _target(library: Library, target: str) -> str | None:
    if not library.on_cpu:
        return None
    if not hasattr(library.module.ComputeCapability, target):
        known = [n for n in dir(library.module.ComputeCapability) if n.startswith("SM")]
        raise UsageError(f"no chip {target}", f"{library.name} knows {', '.join(known)}", "correct --target")
    return target


def _say(line: str) -> None:
    print(line, flush=True)


main = main_of(command)

if __name__ == "__main__":
    main()
