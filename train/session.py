"""From a request to a run folder: checks first, then data, then the loop; the folder is loadable at every save."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from pickle import UnpicklingError
from typing import Literal

import torch
from lightning_fabric import Fabric

from edge.dataset import Dataset, fingerprint, list_dataset, split_validation
from edge.errors import CheckFailed, InputError, UsageError
from edge.images import read_image
from edge.manifest import Threshold
from edge.preprocess import Preprocessing, Region, prepared
from edge.threshold import fit_threshold
from edge.version import VERSION
from train import auto
from train.checkpoint import FORMAT, RunRecord, load_networks, method_config, read_record, save_run, save_tensors
from train.curves import write_curves
from train.data import FrameSource, Known, colour_of, list_known, load_known, read_parts, refuse_overlap
from train.infer import score_frames
from train.locating import located
from train.loop import Listener, Loop, Outcome, Plan
from train.method import Method, Option
from train.methods import build, row_of

Colour = Literal["auto", "grey", "bgr"]
Locating = Literal["auto", "on", "turn", "off"]


@dataclass(frozen=True)
class Request:
    """What the user asked for. `size` is (height, width) in pixels; where parts are located, only its area counts.

    `locating` "auto": the default method does it, where normal pictures show that it helps; "turn": any method must,
    and round parts are turned by what they show.
    """

    model: str
    data: Path
    out: Path
    plan: Plan
    size: tuple[int, int] = (128, 128)
    base_width: int = 32
    colour: Colour = "auto"
    region: Region | None = None
    locating: Locating = "off"
    known: Path | None = None
    pretrained: Path | None = None
    options: dict[str, Option] = field(default_factory=dict)
    threads: int = 2


@dataclass
class Session:
    """A run that is ready to be trained, or to be trained further (`resumed`); `clock` counts the plan's minutes."""

    out: Path
    record: RunRecord
    method: Method
    frames: FrameSource
    validation: FrameSource
    known: Known | None
    notes: list[str]
    resumed: bool = False
    clock: Callable[[], float] = time.monotonic

    def train(
        self,
        fabric: Fabric,
        false_alarm_rate: float = 0.01,
        watch: Listener = lambda progress: None,
        interrupted: Callable[[], bool] = lambda: False,
    ) -> tuple[Outcome, Loop]:
        """Train and save. Raises CheckFailed if a loss is no longer a number; the last good checkpoint stays."""
        record = self.record
        plan = Plan(record.batch_size, record.seed, record.epochs, record.minutes, record.augment)
        loop = Loop(self.method, plan, (self.frames, self.validation, self.known), fabric, self._save)
        loop.watch, loop.interrupted, loop.clock = watch, interrupted, self.clock
        if self.resumed:
            loop.restore(load_networks(self.method, record.method, self.out / "last.pt"))
        try:
            outcome = loop.run()
        except CheckFailed as error:
            kept = (
                f"the last good checkpoint is in {self.out}" if (self.out / "last.pt").exists() else "nothing was saved"
            )
            raise CheckFailed(error.what, f"{error.why}; {kept}", error.fix) from error
        if outcome == "finished" and fabric.is_global_zero:
            self._finish(loop, false_alarm_rate)
        fabric.barrier()
        return outcome, loop

    def _save(self, loop: Loop) -> None:
        if not loop.fabric.is_global_zero:
            return
        done = {"epochs_done": loop.progress.epochs_done, "seconds": round(loop.progress.seconds, 2)}
        self.record = self.record.model_copy(update=done)
        state = loop.state()
        save_tensors(self.out / "last.pt", {"format": FORMAT, "method": self.record.method, **state})
        save_run(self.out, self.record, self.method)
        write_curves(self.out, loop.progress.curve())

    def _finish(self, loop: Loop, false_alarm_rate: float) -> None:
        self.method.networks.eval()
        threshold = self._threshold(loop.fabric.device, false_alarm_rate)
        self.record = self.record.model_copy(update={"finished": True, "threshold": threshold})
        save_run(self.out, self.record, self.method)

    def _threshold(self, device: torch.device, false_alarm_rate: float) -> Threshold | None:
        if len(self.validation) < 2:
            self.notes.append("no threshold: it needs at least 2 held-out images")
            return None
        scores = score_frames(self.method.scorer(), self.validation, device).score
        return fit_threshold(scores, false_alarm_rate, in_order=True)


def model_for(model: str, known: Path | None) -> str:
    """`model`, or what "auto" means for these known anomalies. Raises InputError if `known` holds no image."""
    return auto.choose(len(list_known(known)) if known else 0)[0] if model == "auto" else model


def start(request: Request) -> Session:
    """Check everything, read the data, build the networks. Writes nothing.

    Raises UsageError or InputError: non-empty --out, unusable images, too few of them, known anomalies that overlap.
    """
    if request.out.exists() and (not request.out.is_dir() or any(request.out.iterdir())):
        raise UsageError(f"{request.out} is not empty", "it may hold a run", "name a new folder, or add --resume")
    dataset = list_dataset(request.data)
    training, held_out = split_validation(dataset.train_normal)
    known_paths = _known_paths(request.known, dataset)
    name, notes = _choose(request.model, len(known_paths))
    spec = _preprocessing(request, training, name, notes)
    training, held_out = (_with_part(paths, spec, notes) for paths in (training, held_out))
    config = method_config(spec, request.base_width, request.options)
    torch.manual_seed(request.plan.seed)
    method = build(name, config)
    _load_pretrained(name, method, request.pretrained)
    if row_of(name).begins:
        notes.append(method.begin())  # type: ignore[attr-defined]
    frames, validation, sizes = read_parts(training, held_out, spec, request.threads)
    known = load_known(request.known, spec, request.threads) if request.known else None
    record = RunRecord(
        tool_version=VERSION,
        method=name,
        base_width=request.base_width,
        options=dict(method.config.options),
        preprocessing=spec,
        data_root=str(request.data.resolve()),
        training=tuple(str(p.relative_to(request.data)) for p in training),
        validation=tuple(str(p.relative_to(request.data)) for p in held_out),
        training_data=fingerprint(request.data, training),
        known_root=str(request.known.resolve()) if request.known else None,
        known=tuple(str(p.relative_to(request.known)) for p in known_paths) if request.known else (),
        seed=request.plan.seed,
        batch_size=request.plan.batch_size,
        epochs=request.plan.epochs,
        minutes=request.plan.minutes,
        augment=request.plan.augment,
    )
    notes += _notes(record, sizes, known)
    return Session(request.out, record, method, frames, validation, known, notes)


def resume(out: Path, epochs: int | None, minutes: float | None, threads: int = 2) -> Session:
    """The session that was stopped in folder `out`; `epochs` or `minutes`, if given, replace the plan's.

    Raises InputError if there is none, its images are gone or were changed, or it is finished and not extended.
    """
    record = read_record(out)
    if record.finished and epochs is None and minutes is None:
        raise InputError(
            f"{out} is finished", f"{record.epochs_done} epochs are done", "give more --epochs or --minutes"
        )
    if epochs is not None or minutes is not None:
        record = record.model_copy(update={"epochs": epochs, "minutes": minutes, "finished": False, "threshold": None})
    root = Path(record.data_root)
    training, held_out = ([root / name for name in names] for names in (record.training, record.validation))
    _check_unchanged(root, training, record)
    method = build(record.method, record.method_config())
    spec = record.preprocessing
    frames, validation, sizes = read_parts(training, held_out, spec, threads)
    known = load_known(Path(record.known_root), spec, threads) if record.known_root else None
    return Session(out, record, method, frames, validation, known, _notes(record, sizes, known), resumed=True)


def _check_unchanged(root: Path, training: list[Path], record: RunRecord) -> None:
    mend = "put the images back, or train again in a new folder"
    gone = [p for p in training if not p.is_file()]
    if gone:
        raise InputError(f"{len(gone)} of {len(training)} training images are gone", f"first: {gone[0]}", mend)
    if fingerprint(root, training).sha256 != record.training_data.sha256:
        raise InputError(
            f"the training images in {root} have changed", "their fingerprint differs from the run's", mend
        )


def _known_paths(known: Path | None, dataset: Dataset) -> list[Path]:
    if known is None:
        return []
    paths = list_known(known)
    refuse_overlap(paths, dataset.train_normal, "normal training images")
    refuse_overlap(paths, [*dataset.test_normal, *dataset.test_anomalous], "test images")
    return paths


def _choose(model: str, known: int) -> tuple[str, list[str]]:
    name, notes = model, []
    if model == "auto":
        name, why = auto.choose(known)
        notes.append(f"model: {name}, because {why}")
    row = row_of(name)
    if row.needs_known and not known:
        raise UsageError(f"{name} needs known anomalies", "none were given", "add --known-anomalies DIR")
    if known and not row.uses_known:
        notes.append(f"{name} does not use the {known} known anomalies")
    return name, notes


def _preprocessing(request: Request, training: tuple[Path, ...], name: str, notes: list[str]) -> Preprocessing:
    colour = colour_of(training) if request.colour == "auto" else request.colour
    height, width = request.size
    spec = Preprocessing(height=height, width=width, colour=colour, region=request.region)
    row = row_of(name)
    if request.locating == "off" or (request.locating == "auto" and not row.locates):
        return spec
    found, why = located(spec, training, row.multiple, by_face=request.locating == "turn")
    if found is not None:
        notes.append(f"parts are located and laid straight, for {why}; around them nothing is inspected (--locate off)")
        return found
    if request.locating != "auto":
        mend = "take pictures of single parts on a plain background, or leave out --locate"
        raise InputError("parts cannot be located", why, mend)
    return spec


def _with_part(paths: tuple[Path, ...], spec: Preprocessing, notes: list[str]) -> tuple[Path, ...]:
    """The pictures that show a part, if parts are located; unreadable ones stay, and are told of later."""
    if spec.locate is None:
        return paths
    without = [path for path in paths if not _has_part(path, spec)]
    if without:
        notes.append(f"{len(without)} of {len(paths)} pictures left out, no single whole part: first {without[0].name}")
    return tuple(path for path in paths if path not in without)


def _has_part(path: Path, spec: Preprocessing) -> bool:
    try:
        return prepared(read_image(path), spec).has_part
    except InputError:
        return True


def _load_pretrained(name: str, method: Method, file: Path | None) -> None:
    if file is None:
        return
    if not row_of(name).pretrained:
        raise UsageError(f"{name} takes no pretrained weights", "it has no ResNet encoder", "leave out --pretrained")
    try:
        state = torch.load(file, map_location="cpu", weights_only=True)
        method.load_pretrained(state)  # type: ignore[attr-defined]
    except (OSError, RuntimeError, KeyError, AttributeError, EOFError, ValueError, UnpicklingError) as error:
        pickled = isinstance(error, UnpicklingError)
        reason = "it holds more than tensors" if pickled else next(iter(str(error).splitlines()), type(error).__name__)
        raise InputError(
            f"cannot use pretrained weights {file}", reason, "give torchvision's resnet18 state dict"
        ) from error


def _notes(record: RunRecord, sizes: str, known: Known | None) -> list[str]:
    notes = [f"images: {len(record.training)} to train, {len(record.validation)} held out; {sizes}"]
    if known is not None:
        notes.append(f"known anomalies: {len(known.paths)}, {known.marked} with a mask")
        if len(known.paths) == 1:
            notes.append(f"only one known anomaly, {known.paths[0].name}: expect it to be learnt by heart")
    return notes
