"""edge-bench NAME.edge: how long a frame takes on this machine, stage by stage, and against other engines."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from edge.bench import Frame, Neighbours, Plan, Times, ratio, summary, time_in_turn, time_stages
from edge.board import BoardWatch
from edge.bundle import Bundle, open_bundle
from edge.cli.base import main_of
from edge.eager import EagerTorch
from edge.engine.base import Engine
from edge.engine.machine import describe_machine, rss_mb, usable_cpus
from edge.engine.open import candidates_of, open_candidate, open_engine
from edge.errors import EdgeError, UsageError
from edge.files import write_atomic
from edge.golden import golden_frames


def command(
    bundle: Annotated[Path, typer.Argument(help="NAME.edge")],
    json_file: Annotated[Path | None, typer.Option("--json", help="write the figures here")] = None,
    precision: Annotated[str, typer.Option(help="fp32, fp16, bf16, int8, a variant's key, or auto")] = "auto",
    backend: Annotated[str, typer.Option(help="onnxruntime, openvino, tensorrt, or auto")] = "auto",
    threads: Annotated[int, typer.Option(min=0, help="0: one per usable CPU")] = 0,
    frames: Annotated[int, typer.Option(min=1, help="timed frames")] = 200,
    warmup: Annotated[int, typer.Option(min=0, help="untimed frames before them")] = 20,
    compare: Annotated[bool, typer.Option("--compare", help="all engines and precisions, in turn")] = False,
    run: Annotated[Path | None, typer.Option(help="with --compare: eager PyTorch on this run, too")] = None,
) -> None:
    """Time the bundle on this machine."""
    if run is not None and not compare:
        raise UsageError("--run was given alone", "it belongs to --compare", "add --compare")
    opened, plan = open_bundle(bundle), Plan(frames, warmup)
    if compare:
        result = _compare(opened, (precision, backend), threads, plan, run)
    else:
        result = _single(opened, (precision, backend), threads, plan)
    if json_file is not None:
        write_atomic(json_file, (json.dumps(result, indent=1) + "\n").encode())
        print(f"written: {json_file}")


def _single(bundle: Bundle, wish: tuple[str, str], threads: int, plan: Plan) -> dict[str, Any]:
    engine = open_engine(bundle, *wish, threads=threads, report=print)
    try:
        with BoardWatch() as board, Neighbours() as others:
            times = time_stages(engine, bundle, plan)
        result = _figures(bundle, engine, times, board)
    finally:
        engine.close()
    print(f"{engine.description}, {result['input']}, {plan.frames} frames")
    _print_stages(result["stages"])
    power = "" if result["watts"] is None else f", {result['watts']:.1f} W, {result['mj_per_frame']:.1f} mJ per frame"
    if facts := board.facts():
        print(", ".join(f"{name} {value}" for name, value in facts.items()))
    print(f"{result['fps']:.1f} frames/s, {result['rss_mb']:.0f} MB resident{power}")
    _warn(others)
    return result


def _figures(bundle: Bundle, engine: Engine, times: Times, board: BoardWatch) -> dict[str, Any]:
    spec, stages, power = bundle.manifest.preprocessing, {name: summary(t) for name, t in times.items()}, board.watts
    mean_ms = stages["total"]["mean_ms"]
    return {
        "backend": engine.description,
        "precision": engine.variant,
        "input": f"{spec.width}x{spec.height} {spec.colour}",
        "stages": stages,
        "fps": round(1e3 / mean_ms, 2),
        "rss_mb": round(rss_mb(), 1),
        "watts": power,
        "mj_per_frame": None if power is None else round(power * mean_ms, 2),
        "machine": describe_machine() | board.facts(),
    }


def _compare(bundle: Bundle, wish: tuple[str, str], threads: int, plan: Plan, run: Path | None) -> dict[str, Any]:
    engines: dict[str, Callable[[Frame], object]] = {}
    closers: list[Engine | EagerTorch] = []
    try:
        if run is not None:
            eager = EagerTorch(run, threads)
            engines[EagerTorch.name] = eager
            closers.append(eager)
        for candidate in candidates_of(bundle, *wish):
            try:
                engine = open_candidate(bundle, candidate, threads)
            except EdgeError as error:
                print(f"{'/'.join(candidate)} left out: {error}")
                continue
            engines["/".join(candidate)] = engine.infer
            closers.append(engine)
        with Neighbours() as others:
            times = time_in_turn(engines, list(golden_frames(bundle)), plan)
    finally:
        for one in closers:
            one.close()
    result = _compared(bundle, times, threads)
    _warn(others)
    return result


def _warn(others: Neighbours) -> None:
    if warning := others.warning():
        print(warning)


def _compared(bundle: Bundle, times: Times, threads: int) -> dict[str, Any]:
    first = next(iter(times))
    spec = bundle.manifest.preprocessing
    rows = {name: summary(t) | {"ratio": round(ratio(t, times[first]), 3)} for name, t in times.items()}
    where = f"{bundle.path.name}, {spec.width}x{spec.height}, {threads or usable_cpus()} threads"
    table = Table(title=f"{where}, ms; speed in times {first}")
    for head in ("engine", "p50", "p90", "p99", "max", "speed"):
        table.add_column(head, justify="left" if head == "engine" else "right")
    for name, row in rows.items():
        figures = [f"{row[key]:.2f}" for key in ("p50_ms", "p90_ms", "p99_ms", "max_ms", "ratio")]
        table.add_row(name, *figures)
    Console(width=120).print(table)
    return {"input": f"{spec.width}x{spec.height} {spec.colour}", "engines": rows, "machine": describe_machine()}


def _print_stages(stages: dict[str, dict[str, float]]) -> None:
    table = Table()
    for head in ("stage", "p50", "p90", "p95", "p99", "max", "mean"):
        table.add_column(head, justify="left" if head == "stage" else "right")
    for name, row in stages.items():
        table.add_row(name, *(f"{value:.3f}" for value in row.values()))
    Console(width=120).print(table)


main = main_of(command)
