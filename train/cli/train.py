"""edge-train: learn what normal looks like."""

from __future__ import annotations

import os
import re
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import torch
import typer
from lightning_fabric import Fabric
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from edge.cli.base import main_of, stage
from edge.errors import UsageError
from edge.preprocess import Region
from train import session
from train.augmentation import kinds_of
from train.loop import Loop, Plan, epochs_of
from train.loop import Progress as State
from train.method import Option
from train.methods import METHODS, row_of
from train.processes import close_fabric, open_fabric
from train.session import Colour, Locating, Request, Session

DEFAULT_EPOCHS = 25


def command(
    out: Annotated[Path, typer.Option(help="Run folder to write.")],
    data: Annotated[Path | None, typer.Option(help="MVTec layout, or a plain folder of normal images.")] = None,
    model: Annotated[str, typer.Option(help="auto, or one of: " + ", ".join(METHODS))] = "auto",
    image_size: Annotated[
        str | None, typer.Option(help="Side or HEIGHTxWIDTH in pixels; default: the model's.")
    ] = None,
    width: Annotated[int | None, typer.Option(help="Channels of the first layer; default: the model's.", min=2)] = None,
    colour: Annotated[str, typer.Option(help="auto, grey or bgr.")] = "auto",
    region: Annotated[str | None, typer.Option(help="Region of interest in the picture: X,Y,WIDTH,HEIGHT.")] = None,
    locate: Annotated[
        str, typer.Option(help="Lay loose parts straight: auto (where it helps), on, turn, off.")
    ] = "auto",
    epochs: Annotated[int | None, typer.Option(help=f"Default {DEFAULT_EPOCHS}, or minutes.", min=1)] = None,
    minutes: Annotated[float | None, typer.Option(help="Stop after so many minutes instead.", min=0.001)] = None,
    batch_size: Annotated[int | None, typer.Option(help="Over all processes; default: the model's.", min=2)] = None,
    seed: Annotated[int, typer.Option(help="Same seed, same run.")] = 0,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
    precision: Annotated[str, typer.Option(help="auto (bf16 on a GPU that has it), fp32 or bf16 (mixed).")] = "auto",
    known_anomalies: Annotated[Path | None, typer.Option(help="Folder of known anomalies, masks in masks/.")] = None,
    pretrained: Annotated[Path | None, typer.Option(help="ImageNet ResNet-18 state dict.")] = None,
    augment: Annotated[str, typer.Option(help="Any of hflip,vflip,brightness.")] = "",
    set_: Annotated[list[str] | None, typer.Option("--set", help="A method's own option, NAME=VALUE.")] = None,
    false_alarm_rate: Annotated[
        float, typer.Option(help="Of the threshold that is fitted at the end.", min=1e-6, max=0.5)
    ] = 0.01,
    resume: Annotated[bool, typer.Option(help="Go on with the run in --out.")] = False,
    threads: Annotated[int, typer.Option(help="CPU threads; 0 = all.", min=0)] = 0,
) -> None:
    """Train on normal images. Ctrl-C stops at the next step and saves; --resume goes on."""
    if epochs is not None and minutes is not None:
        raise UsageError("both --epochs and --minutes", "they say two different things", "give one")
    count = threads or len(os.sched_getaffinity(0))
    torch.set_num_threads(count)
    started = time.monotonic()
    fabric = open_fabric(device, precision)
    try:
        if resume:
            ready = session.resume(out, epochs, minutes, count)
        else:
            row = row_of(session.model_for(model, known_anomalies))
            epochs, minutes = _length(epochs, minutes, row.minutes)
            plan = Plan(batch_size or row.batch_size, seed, epochs, minutes, kinds_of(augment))
            ready = session.start(
                Request(
                    model=model,
                    data=_given(data),
                    out=out,
                    plan=plan,
                    size=_size(image_size or str(row.image_size)),
                    base_width=width or row.base_width,
                    colour=_colour(colour),
                    region=_region(region),
                    locating=_locating(locate),
                    known=known_anomalies,
                    pretrained=pretrained,
                    options=_options(set_ or []),
                    threads=count,
                )
            )
        _train(ready, fabric, false_alarm_rate, started)
    finally:
        close_fabric()


def _train(ready: Session, fabric: Fabric, false_alarm_rate: float, started: float) -> None:
    if fabric.is_global_zero:
        print("\n".join(ready.notes), flush=True)
    with _interrupts() as asked, _bar(ready, fabric.is_global_zero) as bar:
        outcome, loop = ready.train(fabric, false_alarm_rate, bar.show, lambda: bool(asked))
    if fabric.is_global_zero:
        _tell(ready, loop, outcome, time.monotonic() - started)
    if outcome == "interrupted":
        raise typer.Exit(130)


def _tell(ready: Session, loop: Loop, outcome: str, seconds: float) -> None:
    p, out = loop.progress, ready.out
    speed = p.images / max(p.seconds, 1e-9)
    waiting = 100 * p.data_seconds / max(p.seconds, 1e-9)
    print(f"speed: {speed:.1f} images/s, {waiting:.1f} % of the time spent on loading")
    if outcome == "interrupted":
        where = f"epoch {p.epochs_done + 1}, step {p.step}"
        stage("train", seconds, f"stopped at {where}, saved in {out}", f"edge-train --out {out} --resume")
        return
    if row_of(ready.record.method).begins:
        print(ready.method.layout())  # type: ignore[attr-defined]
    parameters = sum(t.numel() for t in ready.method.networks.parameters() if t.requires_grad)
    threshold = ready.record.threshold
    fitted = "no threshold" if threshold is None else f"threshold {threshold.value:.4g} ({threshold.fit})"
    result = f"{ready.record.method}, {p.epochs_done} epochs, {parameters / 1e6:.2f} M parameters, {fitted}, {out}"
    stage("train", seconds, result, f"edge-export {out} --out {out.name}.edge")


@contextmanager
def _interrupts() -> Iterator[list[int]]:
    """A list that is no longer empty after Ctrl-C or SIGTERM; a second Ctrl-C stops at once."""
    asked: list[int] = []

    def note(number: int, frame: object) -> None:
        if asked:
            raise KeyboardInterrupt
        asked.append(number)
        print("\nstopping after this step", file=sys.stderr, flush=True)

    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@dataclass
class _Bar:
    """The progress bar; silent where there is no terminal."""

    ready: Session
    progress: Progress
    task: TaskID

    def show(self, state: State) -> None:
        """After every step."""
        phases, record = self.ready.method.phases, self.ready.record
        steps = max(1, state.step)
        losses = "  ".join(f"{name} {total / steps:.4g}" for name, total in state.sums.items())
        name = phases[min(state.phase, len(phases) - 1)].name
        per_epoch = max(1, len(self.ready.frames) // min(record.batch_size, len(self.ready.frames)))
        done = (state.epochs_done + state.step / per_epoch) if record.epochs else state.seconds / 60
        speed = state.images / max(state.seconds, 1e-9)
        text = f"{name} epoch {state.epoch + 1}  {losses}  {speed:.0f} images/s"
        self.progress.update(self.task, completed=done, description=text)


@contextmanager
def _bar(ready: Session, visible: bool) -> Iterator[_Bar]:
    record = ready.record
    total = sum(epochs_of(ready.method.phases, record.epochs)) if record.epochs else record.minutes
    columns = (BarColumn(), TimeElapsedColumn(), TextColumn("{task.description}"))
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not (visible and console.is_terminal)) as progress:
        yield _Bar(ready, progress, progress.add_task("", total=total))


def _length(epochs: int | None, minutes: float | None, usual: float | None) -> tuple[int | None, float | None]:
    """Epochs or minutes: what was asked for, else the model's minutes, else the default epochs."""
    chosen = minutes if epochs or minutes else usual
    return (None, chosen) if chosen else (epochs or DEFAULT_EPOCHS, None)


def _given(data: Path | None) -> Path:
    if data is None:
        raise UsageError("no --data", "a new run needs images", "add --data DIR, or --resume to go on with a run")
    return data


def _size(text: str) -> tuple[int, int]:
    match = re.fullmatch(r"(\d+)(?:x(\d+))?", text)
    height = int(match[1]) if match else 0
    width = int(match[2] or height) if match else 0
    if not (16 <= height <= 4096 and 16 <= width <= 4096):
        raise UsageError(f"bad --image-size {text}", "it must be SIDE or HEIGHTxWIDTH, 16 to 4096", "for example 128")
    return height, width


def _colour(text: str) -> Colour:
    choices: dict[str, Colour] = {"auto": "auto", "grey": "grey", "bgr": "bgr"}
    if text not in choices:
        raise UsageError(f"bad --colour {text}", "it must be auto, grey or bgr", "correct it")
    return choices[text]


def _locating(text: str) -> Locating:
    choices: dict[str, Locating] = {"auto": "auto", "on": "on", "turn": "turn", "off": "off"}
    if text not in choices:
        raise UsageError(
            f"bad --locate {text}",
            "it must be auto, on, turn (round parts too, by what they show) or off",
            "correct it",
        )
    return choices[text]


def _region(text: str | None) -> Region | None:
    if text is None:
        return None
    match = re.fullmatch(r"(\d+),(\d+),(\d+),(\d+)", text)
    if match is None or not (int(match[3]) and int(match[4])):
        raise UsageError(f"bad --region {text}", "it must be X,Y,WIDTH,HEIGHT in pixels", "for example 100,40,320,320")
    x, y, width, height = (int(part) for part in match.groups())
    return Region(x=x, y=y, width=width, height=height)


def _options(given: list[str]) -> dict[str, Option]:
    options: dict[str, Option] = {}
    for item in given:
        name, equals, value = item.partition("=")
        if not equals:
            raise UsageError(f"bad --set {item}", "it must be NAME=VALUE", "for example --set learning_rate=1e-4")
        options[name] = _value(value)
    return options


def _value(text: str) -> Option:
    if text in ("true", "false"):
        return text == "true"
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


main = main_of(command)
