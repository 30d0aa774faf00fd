"""Reproduce the papers' protocols: paper | ours | control, as markdown and JSON.

    python benchmarks/papers.py TABLE [--quick] [--out FOLDER] [--data DIR]

Networks are in eval mode, epochs are fixed beforehand, validation is on held-out normal images, and no
statistic of the test set enters anything. --quick is for a CPU: few images, thin networks, one seed; its figures show
that the protocol runs and which way the differences point, not what the method can do.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, cast

import numpy as np
import paper_data as data
import paper_tables as tables
import torch
import typer
from numpy.typing import NDArray
from torch import Tensor

from edge.cli.base import main_of
from edge.errors import UsageError
from edge.files import write_atomic
from train.data import ArrayFrames, Known
from train.evaluate import evaluate
from train.infer import score_frames
from train.loop import Loop, Plan
from train.method import UNKNOWN, Method, MethodConfig
from train.methods import METHODS, build
from train.metrics import auroc
from train.models.spade import Spader, SpaderScorer
from train.processes import open_fabric
from train.session import Request, start
from train.subject import RunSubject

Scores = NDArray[np.float32]
Parts = Callable[[Method, data.Images], dict[str, Scores]]


@dataclass(frozen=True)
class Effort:
    """How much is spent: images (training, test), width, epochs, seeds, and rows of the table (None: all)."""

    counts: tuple[int, int]
    width: int
    epochs: int
    seeds: int
    rows: int | None

    @property
    def plan_size(self) -> int:
        """Batch size."""
        return min(64, self.counts[0] // 10)


QUICK = Effort((200, 90), 8, 25, 1, 2)
FULL = Effort((2000, 900), 64, 100, 5, None)


@dataclass(frozen=True)
class Job:
    """One network of a table: its method, how its scores split into columns, and the trials' maker."""

    method: str
    parts: Parts
    trial: Callable[[str, tuple[int, int], int], data.Trial]
    paper: dict[str, tables.Column]
    rows: tuple[str, ...]


def scores_of(method: Method, images: data.Images) -> dict[str, Scores]:
    """The method's own score under its own name, filled in by the caller."""
    return {"": _run(method, images).score}


def adda_parts(method: Method, images: data.Images) -> dict[str, Scores]:
    """ADDA's ablation from one set of networks."""
    beta = method.config.number("beta")
    out = _run(method, images)
    plain = build("vae-gan", _like(method))
    plain.networks.load_state_dict(method.networks.state_dict())
    return {
        "AnoVAEGAN": _run(plain, images).score,
        "D only": (out.score - out.masked_error) / beta,
        "CAM only": out.masked_error,
        "CAM+D": out.score,
    }


def semi_parts(method: Method, images: data.Images) -> dict[str, Scores]:
    """ADDA's semi-supervised columns."""
    out = _run(method, images)
    return {"CAM_ano only": out.masked_error, "CAM+D_G+D_ano": out.score}


def spader_parts(method: Method, images: data.Images) -> dict[str, Scores]:
    """SPADER's ablation from one pair of networks."""
    spader = cast(Spader, method)
    scorer = cast(SpaderScorer, method.scorer())
    columns: dict[str, list[Tensor]] = {}
    with torch.no_grad():
        for chunk in np.array_split(images, max(1, len(images) // 32)):
            frames = torch.from_numpy(chunk)
            x = frames.permute(0, 3, 1, 2).float() / 255
            x_hat = scorer.vae(x)
            f, error = scorer.attend(x, x_hat)[1], (x - x_hat).abs()
            score = scorer(frames)[0]
            found = {
                "VAE": error.sum((1, 2, 3)),
                "SPADE": score + f,
                "CNN-Reg": -f,
                "VAE+CNN-Reg": error.sum((1, 2, 3)) - f,
                "SPADER": score,
                "SPADER, 5 passes": spader.sampled_scores(frames, 5, seed=0),
            }
            for name, part in found.items():
                columns.setdefault(name, []).append(part)
    return {name: torch.cat(part).numpy() for name, part in columns.items()}


def named(name: str) -> Parts:
    """The method's score as column `name`."""
    return lambda method, images: {name: scores_of(method, images)[""]}


def _jobs(table: str) -> list[Job]:
    def noisy(mean: float) -> Callable[[str, tuple[int, int], int], data.Trial]:
        return lambda row, counts, seed: data.noisy_trial(*_digits(row), mean, counts, seed)

    def mnist(row: str, counts: tuple[int, int], seed: int) -> data.Trial:
        return data.one_class_mnist(int(row), counts, seed)

    if table == "noisy-mnist":
        paper, rows = tables.NOISY_MNIST, tables.DIGITS
        return [
            Job("adda", adda_parts, noisy(30), paper, rows),
            Job("vae", named("AnoVAE"), noisy(30), paper, rows),
        ]
    if table == "noisy-mnist-known":
        semi, spader = tables.NOISY_MNIST_SEMI, tables.NOISY_MNIST_SPADER
        return [
            Job("spader", spader_parts, noisy(40), spader, tables.KNOWN),
            Job("adda-semi", semi_parts, noisy(30), semi, tables.KNOWN),
            Job("cnn-regression", named("CNN regression"), noisy(30), semi, tables.KNOWN),
        ]
    if table == "one-class-mnist":
        names = _present("cavga-d", "vae", "ganomaly")
        return [Job(n, named(n), mnist, tables.ONE_CLASS_MNIST, tables.DIGITS) for n in names]
    if table == "one-class-cifar":
        names = _present("cavga-d", "attention-gan", "ganomaly")
        return [Job(n, named(n), data.one_class_cifar, tables.ONE_CLASS_CIFAR, tables.CIFAR) for n in names]
    if table == "leave-one-out-cifar":
        rows = tuple(tables.LEAVE_ONE_OUT["sagan"])
        names = _present("egbad", "ganomaly", "skip-ganomaly", "sagan", "sagan-plain")
        return [Job(n, named(n), data.leave_one_out_cifar, tables.LEAVE_ONE_OUT, rows) for n in names]
    raise UsageError(f"no table {table}", "there are " + ", ".join(TABLES), "choose one of them")


TABLES = (
    "noisy-mnist",
    "noisy-mnist-known",
    "one-class-mnist",
    "one-class-cifar",
    "leave-one-out-cifar",
    "folder",
)


def run_job(job: Job, effort: Effort, device: str) -> Iterator[dict[str, Any]]:
    """One record per row, column and seed."""
    for row in job.rows[: effort.rows]:
        for seed in range(effort.seeds):
            trial = job.trial(row, effort.counts, seed)
            method = fit(job.method, trial, effort, seed, device)
            good, bad = job.parts(method, trial.normal), job.parts(method, trial.anomalous)
            controls = {
                "brightness": auroc(trial.normal.mean((1, 2, 3)), trial.anomalous.mean((1, 2, 3))),
                "contrast": auroc(trial.normal.std((1, 2, 3)), trial.anomalous.std((1, 2, 3))),
            }
            for column in good:
                yield {
                    "row": row,
                    "column": column,
                    "seed": seed,
                    "paper": job.paper.get(column, {}).get(row),
                    "ours": auroc(good[column], bad[column]),
                    **controls,
                }


def fit(name: str, trial: data.Trial, effort: Effort, seed: int, device: str) -> Method:
    """Train `name` on a trial's normal (and known) images; a tenth of the normals is held out and only looked at."""
    height, width, channels = trial.train.shape[1:]
    torch.manual_seed(seed)
    method = build(name, MethodConfig(height, width, channels, effort.width))
    held = max(2, len(trial.train) // 10)
    known = None
    if trial.known is not None:
        masks = torch.full(trial.known.shape[:3], UNKNOWN, dtype=torch.uint8)
        known = Known(Path(), (), torch.from_numpy(trial.known), masks)
    frames = ArrayFrames(trial.train[held:]), ArrayFrames(trial.train[:held]), known
    plan = Plan(effort.plan_size, seed, epochs=effort.epochs)
    Loop(method, plan, frames, open_fabric(device), lambda loop: None).run()
    method.networks.cpu().eval()
    return method


def run_folder(folder: Path, effort: Effort, out: Path, names: list[str]) -> Iterator[dict[str, Any]]:
    """Every method on a folder in MVTec layout, as it is and again without each image's mean brightness."""
    for name in names:
        request = Request(name, folder, out / name, Plan(8, 0, epochs=effort.epochs), (64, 64), effort.width)
        start(request).train(open_fabric("cpu"))
        from train.checkpoint import load_run

        subject = RunSubject(load_run(out / name))
        for flat in (False, True):
            yield {"method": name, "brightness removed": flat, **evaluate(subject, folder, flat).figures}


def markdown(records: list[dict[str, Any]]) -> str:
    """paper | ours | control, one line per row and column; a mean over seeds with its deviation."""
    lines = [
        "| normal | score | paper | ours | brightness alone | contrast alone |",
        "|---|---|---|---|---|---|",
    ]
    for row, column in dict.fromkeys((r["row"], r["column"]) for r in records):
        mine = [r for r in records if (r["row"], r["column"]) == (row, column)]
        ours = [r["ours"] for r in mine]
        spread = f" ± {np.std(ours):.3f}" if len(ours) > 1 else ""
        controls = " | ".join(f"{np.mean([r[c] for r in mine]):.3f}" for c in ("brightness", "contrast"))
        paper = mine[0]["paper"]
        lines.append(f"| {row} | {column} | {paper or '–'} | {np.mean(ours):.3f}{spread} | {controls} |")
    return "\n".join(lines)


def folder_markdown(records: list[dict[str, Any]]) -> str:
    """One line per method, with and without brightness."""
    keys = ["image_auroc", "balanced_accuracy", "pixel_auroc", "aupro", "iou", "control_brightness_auroc"]
    keys += ["control_contrast_auroc"]
    lines = ["| method | brightness removed | " + " | ".join(keys) + " |", "|---" * (len(keys) + 2) + "|"]
    for r in records:
        cells = " | ".join("–" if r[key] is None else f"{r[key]:.3f}" for key in keys)
        lines.append(f"| {r['method']} | {'yes' if r['brightness removed'] else 'no'} | {cells} |")
    return "\n".join(lines)


def command(
    table: Annotated[str, typer.Argument(help=", ".join(TABLES))],
    out: Annotated[Path, typer.Option(help="Folder for the JSON and markdown files (and runs).")],
    quick: Annotated[bool, typer.Option(help="A small version for a CPU.")] = False,
    data_: Annotated[Path | None, typer.Option("--data", help="For the table `folder`.")] = None,
    methods: Annotated[
        str, typer.Option(help="For the table `folder`: names, comma separated.")
    ] = "vae,ganomaly,sagan",
    epochs: Annotated[int | None, typer.Option(help="Instead of the default.", min=1)] = None,
    rows: Annotated[int | None, typer.Option(help="Only the first rows of the table.", min=1)] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda.")] = "auto",
) -> None:
    """Run one table's protocol."""
    effort = QUICK if quick else FULL
    effort = replace(effort, epochs=epochs or effort.epochs, rows=rows or effort.rows)
    began = time.monotonic()
    if table == "folder":
        if data_ is None:
            raise UsageError("no --data", "the table `folder` needs one in MVTec layout", "add --data DIR")
        records = list(run_folder(data_, effort, out, methods.split(",")))
        text = folder_markdown(records)
    else:
        records = [record for job in _jobs(table) for record in run_job(job, effort, device)]
        text = markdown(records)
    note = f"{table}, {'quick' if quick else 'full'}: {effort}, {time.monotonic() - began:.0f} s"
    text = f"{note}\n\n{text}\n"
    write_atomic(out / f"{table}.json", json.dumps({"note": note, "records": records}, indent=1).encode())
    write_atomic(out / f"{table}.md", text.encode())
    print(text)


def _run(method: Method, images: data.Images) -> Any:
    return score_frames(method.scorer(), ArrayFrames(images), batch_size=32)


def _like(method: Method) -> MethodConfig:
    c = method.config
    return MethodConfig(c.height, c.width, c.channels, c.base_width)


def _digits(row: str) -> tuple[int, int | None]:
    normal, _, known = row.partition(", known ")
    return int(normal), int(known) if known else None


def _present(*names: str) -> list[str]:
    return [name for name in names if name in METHODS]


main = main_of(command)
if __name__ == "__main__":
    main()
