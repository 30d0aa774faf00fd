"""edge-eval: how well a run or a bundle tells good from bad, with the controls."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Annotated

import torch
import typer
from rich.console import Console
from rich.table import Table

from edge.cli.base import main_of, stage
from edge.files import write_atomic
from train.evaluate import Evaluation, evaluate
from train.report import write_report
from train.subject import open_subject

SHOWN = (
    ("image AUROC", "image_auroc"),
    ("pixel AUROC", "pixel_auroc"),
    ("AUPRO, 30 %", "aupro"),
    ("IoU", "iou"),
    ("balanced accuracy", "balanced_accuracy"),
    ("false-alarm rate", "false_alarm_rate"),
    ("detection rate", "detection_rate"),
    ("control: brightness alone", "control_brightness_auroc"),
    ("control: contrast alone", "control_contrast_auroc"),
)


def command(
    subject: Annotated[Path, typer.Argument(help="Run folder or NAME.edge.")],
    data: Annotated[Path, typer.Option(help="Folder in MVTec layout, with test/.")],
    json_: Annotated[Path | None, typer.Option("--json", help="Write the figures here.")] = None,
    html: Annotated[Path | None, typer.Option(help="Write a report with pictures here.")] = None,
    remove_brightness: Annotated[bool, typer.Option(help="Take each image's mean brightness away first.")] = False,
    precision: Annotated[str, typer.Option(help="Of a bundle.")] = "fp32",
    backend: Annotated[str, typer.Option(help="For a bundle.")] = "onnxruntime",
    threads: Annotated[int, typer.Option(help="CPU threads; 0 = all.", min=0)] = 0,
) -> None:
    """Image AUROC, pixel AUROC, AUPRO, IoU and decisions at the stored threshold; the test set chooses nothing."""
    started = time.monotonic()
    torch.set_num_threads(threads or len(os.sched_getaffinity(0)))
    opened = open_subject(subject, precision, backend, threads)
    result = evaluate(opened, data, remove_brightness)
    _print(result)
    if json_ is not None:
        write_atomic(json_, (json.dumps(result.as_json(), indent=1, allow_nan=False) + "\n").encode())
    if html is not None:
        write_report(html, opened, result)
    written = ", ".join(str(path) for path in (json_, html) if path is not None)
    stage("eval", time.monotonic() - started, f"{len(result.test.paths)} images{', ' + written if written else ''}")


def _print(result: Evaluation) -> None:
    table = Table(show_header=False)
    for name, key in SHOWN:
        value = result.figures[key]
        table.add_row(name, "-" if value is None else f"{value:.3f}")
    table.add_row("good / bad images", f"{result.figures['n_normal']} / {result.figures['n_anomalous']}")
    console = Console()
    print(result.title)
    console.print(table)
    for note in result.notes:
        console.print(note, markup=False)


main = main_of(command)
