"""Reproduce the papers' protocols: paper | ours | control, as markdown and JSON.

    python benchmarks/papers.py TABLE --out FOLDER [--quick] [--row ROW]... [--only METHOD] [--data DIR]

Networks are in eval mode, epochs are fixed beforehand, validation is on held-out normal images, and no
statistic of the test set enters anything. --quick is for a CPU: few images, thin networks, few rows, one or two
seeds, under ten minutes on one core; its figures show that the protocol runs and which way the differences point, not
what the method can do. --row, --epochs, --images, --width and --seeds change either form. What is done so
far is in FOLDER after every network.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any

import paper_data as data
import paper_tables as tables
import torch
import typer
from paper_columns import Parts, adda_parts, named, semi_parts, spader_parts
from paper_fit import fit
from paper_print import folder_markdown, markdown

from edge.cli.base import main_of
from edge.errors import UsageError
from edge.files import write_atomic
from edge.gate import auroc
from train.data import Known
from train.evaluate import evaluate
from train.loop import Plan
from train.method import UNKNOWN, Method, MethodConfig, Option
from train.methods import METHODS, build
from train.processes import open_fabric
from train.session import Request, start
from train.subject import RunSubject

Trials = Callable[[str, tuple[int, int], int], data.Trial]


@dataclass(frozen=True)
class Effort:
    """How much is spent: images (training, test), width, epochs, batch, seeds, and rows of the table (None: all)."""

    counts: tuple[int, int]
    width: int
    epochs: int
    batch: int = 64
    seeds: int = 1
    rows: int | None = None


FULL = Effort((2000, 900), 64, 100, seeds=5)
FULL_OF = {"one-class-mnist": replace(FULL, counts=(6000, 900), seeds=3)}
QUICK = {
    "noisy-mnist": Effort((640, 300), 8, 12, 32, seeds=2, rows=3),
    "noisy-mnist-known": Effort((600, 300), 8, 20, 32, rows=2),
    "one-class-mnist": Effort((6000, 900), 16, 5, 32, rows=2),
    "one-class-cifar": Effort((500, 150), 16, 10, 32, rows=2),
    "leave-one-out-cifar": Effort((1000, 300), 16, 5, 32, rows=1),
    "folder": Effort((0, 0), 8, 25),
}
TABLES = tuple(QUICK)

# What is odd about a digit is one stroke: the score is that of the worst twentieth. A high rate that falls, and a KL
# that rises, because there are few steps: with its full weight from the start the latent of "2" stays unused. Chosen on
# digits 8 and 2, with other digits of MNIST's training part as anomalies; the test part chose nothing.
# Rows and channels of the latent are the defaults of a small picture.
ONE_CLASS: dict[str, Option] = {"top": 0.05, "learning_rate": 4e-3, "decay": True, "kl_rise": 0.6}


@dataclass(frozen=True)
class Job:
    """One network of a table: its method, how its scores split into columns, the trials' maker, its own options."""

    method: str
    parts: Parts
    trial: Trials
    paper: dict[str, tables.Column]
    rows: tuple[str, ...]
    options: dict[str, Option] = field(default_factory=dict)


def jobs_of(table: str) -> list[Job]:
    """The networks of a table. Raises UsageError for a table that is not there."""
    makers = {
        "noisy-mnist": _noisy,
        "noisy-mnist-known": _noisy_known,
        "one-class-mnist": _one_class_mnist,
        "one-class-cifar": _one_class_cifar,
        "leave-one-out-cifar": _leave_one_out,
    }
    if table not in makers:
        raise UsageError(f"no table {table}", "there are " + ", ".join(TABLES), "choose one of them")
    return makers[table]()


def _noisy() -> list[Job]:
    paper, rows = tables.NOISY_MNIST, tables.DIGITS
    return [
        Job("adda", adda_parts, _noisy_trials(30), paper, rows),
        Job("vae", named("AnoVAE"), _noisy_trials(30), paper, rows),
    ]


def _noisy_known() -> list[Job]:
    semi, spader, rows = tables.NOISY_MNIST_SEMI, tables.NOISY_MNIST_SPADER, tables.KNOWN
    return [
        Job("spader", spader_parts, _noisy_trials(40), spader, rows),
        Job("adda-semi", semi_parts, _noisy_trials(30), semi, rows),
        Job("cnn-regression", named("CNN regression"), _noisy_trials(30), semi, rows),
    ]


def _noisy_trials(noise_mean: float) -> Trials:
    return lambda row, counts, seed: data.noisy_trial(*_digits(row), noise_mean, counts, seed)


def _one_class_mnist() -> list[Job]:
    def trial(row: str, counts: tuple[int, int], seed: int) -> data.Trial:
        return data.one_class_mnist(int(row), counts, seed)

    own: dict[str, dict[str, Option]] = {"cavga-d": ONE_CLASS}
    names = _present("cavga-d", "vae", "ganomaly")
    return [Job(n, named(n), trial, tables.ONE_CLASS_MNIST, tables.DIGITS, own.get(n, {})) for n in names]


def _one_class_cifar() -> list[Job]:
    names = _present("cavga-d", "attention-gan", "ganomaly")
    return [Job(n, named(n), data.one_class_cifar, tables.ONE_CLASS_CIFAR, tables.CIFAR) for n in names]


def _leave_one_out() -> list[Job]:
    rows = tuple(tables.LEAVE_ONE_OUT["sagan"])
    names = _present("egbad", "ganomaly", "skip-ganomaly", "sagan", "sagan-plain")
    return [Job(n, named(n), data.leave_one_out_cifar, tables.LEAVE_ONE_OUT, rows) for n in names]


def run_job(job: Job, effort: Effort, device: str, rows: list[str]) -> Iterator[list[dict[str, Any]]]:
    """One record per column, network after network: rows of the table, seeds."""
    for row in rows or job.rows[: effort.rows]:
        for seed in range(effort.seeds):
            trial = job.trial(row, effort.counts, seed)
            method = trained(job, trial, effort, seed, device)
            good, bad = job.parts(method, trial.normal), job.parts(method, trial.anomalous)
            controls = {
                "brightness": auroc(trial.normal.mean((1, 2, 3)), trial.anomalous.mean((1, 2, 3))),
                "contrast": auroc(trial.normal.std((1, 2, 3)), trial.anomalous.std((1, 2, 3))),
            }
            yield [
                {
                    "row": row,
                    "column": column,
                    "seed": seed,
                    "paper": job.paper.get(column, {}).get(row),
                    "ours": auroc(good[column], bad[column]),
                    **controls,
                }
                for column in good
            ]


def trained(job: Job, trial: data.Trial, effort: Effort, seed: int, device: str) -> Method:
    """A job's method, trained on a trial's normal (and known) images."""
    torch.manual_seed(seed)
    method = build(job.method, MethodConfig(*trial.train.shape[1:], effort.width, job.options))
    known = None
    if trial.known is not None:
        masks = torch.full(trial.known.shape[:3], UNKNOWN, dtype=torch.uint8)
        known = Known(Path(), (), torch.from_numpy(trial.known), masks)
    plan = Plan(min(effort.batch, len(trial.train) // 4), seed, epochs=effort.epochs)
    fit(method, trial.train, known, plan, device)
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


def command(
    table: Annotated[str, typer.Argument(help=", ".join(TABLES))],
    out: Annotated[Path, typer.Option(help="Folder for the JSON and markdown files (and runs).")],
    quick: Annotated[bool, typer.Option(help="A small version for a CPU.")] = False,
    data_: Annotated[Path | None, typer.Option("--data", help="For the table `folder`.")] = None,
    methods: Annotated[
        str, typer.Option(help="For the table `folder`: names, comma separated.")
    ] = "vae,ganomaly,sagan",
    only: Annotated[str | None, typer.Option(help="Only this method of the table.")] = None,
    row: Annotated[list[str] | None, typer.Option(help="Only this row of the table; may be repeated.")] = None,
    epochs: Annotated[int | None, typer.Option(help="Instead of the default.", min=1)] = None,
    images: Annotated[int | None, typer.Option(help="Training images, instead of the default.", min=20)] = None,
    width: Annotated[int | None, typer.Option(help="Instead of the default.", min=1)] = None,
    seeds: Annotated[int | None, typer.Option(help="Instead of the default.", min=1)] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda.")] = "auto",
) -> None:
    """Run one table's protocol."""
    if table not in TABLES:
        jobs_of(table)
    effort = QUICK[table] if quick else FULL_OF.get(table, FULL)
    wanted: dict[str, Any] = {"epochs": epochs, "width": width, "seeds": seeds}
    wanted |= {"counts": (images, effort.counts[1]) if images else None}
    effort = replace(effort, **{key: value for key, value in wanted.items() if value is not None})
    report = Report(out, table, f"{'quick' if quick else 'full'}, {effort}")
    if table == "folder":
        if data_ is None:
            raise UsageError("no --data", "the table `folder` needs one in MVTec layout", "add --data DIR")
        for record in run_folder(data_, effort, out, methods.split(",")):
            report.add([record])
    else:
        for job in jobs_of(table):
            if only in (None, job.method):
                for records in run_job(job, effort, device, row or []):
                    report.add(records)
    print(report.text())


class Report:
    """The records so far, written to FOLDER/TABLE.json and .md whenever some are added."""

    def __init__(self, out: Path, table: str, note: str) -> None:
        self._out, self._table, self._note, self._began = out, table, note, time.process_time()
        self._records: list[dict[str, Any]] = []

    def add(self, records: list[dict[str, Any]]) -> None:
        """Write `records` and what came before."""
        self._records += records
        content = json.dumps({"note": self._headline(), "records": self._records}, indent=1)
        write_atomic(self._out / f"{self._table}.json", content.encode())
        write_atomic(self._out / f"{self._table}.md", self.text().encode())

    def text(self) -> str:
        """The headline and the table."""
        table = folder_markdown(self._records) if self._table == "folder" else markdown(self._records)
        return f"{self._headline()}\n\n{table}\n"

    def _headline(self) -> str:
        return f"{self._table}, {self._note}: {time.process_time() - self._began:.0f} s of processor time"


def _digits(row: str) -> tuple[int, int | None]:
    normal, _, known = row.partition(", known ")
    return int(normal), int(known) if known else None


def _present(*names: str) -> list[str]:
    return [name for name in names if name in METHODS]


main = main_of(command)
if __name__ == "__main__":
    main()
