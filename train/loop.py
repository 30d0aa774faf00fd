"""The one training loop. It owns data order, optimiser steps, time, progress and when to stop; methods own the losses.

Everything random is a function of (seed, phase, epoch, step), so a run that is stopped and resumed, or shared by
several processes, sees the same numbers as one that was not.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from lightning_fabric import Fabric
from torch import Tensor

from edge.errors import CheckFailed, InputError
from train.augmentation import augmented
from train.curves import Point
from train.data import FrameSource, Known
from train.method import Batch, Method, Phase
from train.noise import Noise, seed_of
from train.processes import any_says, average_gradients, mean_over, parameters_of

Outcome = Literal["finished", "interrupted"]
Listener = Callable[["Progress"], None]


@dataclass(frozen=True)
class Plan:
    """How long and how: exactly one of `epochs` (of all phases that learn) and `minutes` (of all phases).

    `batch_size` counts the images of all processes.
    """

    batch_size: int
    seed: int
    epochs: int | None = None
    minutes: float | None = None
    augment: tuple[str, ...] = ()


@dataclass
class Progress:
    """Where training stands; all of it is saved, so that resuming starts here. `step` counts within the epoch,
    `validated_at` is what `seconds` were when the held-out images were last looked at."""

    phase: int = 0
    epoch: int = 0
    step: int = 0
    epochs_done: int = 0
    seconds: float = 0.0
    phase_seconds: float = 0.0
    data_seconds: float = 0.0
    validated_at: float = 0.0
    images: int = 0
    sums: dict[str, float] = field(default_factory=dict)
    points: list[tuple[str, int, str, float]] = field(default_factory=list)

    def curve(self) -> list[Point]:
        """The finished epochs' figures."""
        return [Point(*point) for point in self.points]


class Loop:
    """Trains `method` on `frames`; `validation` are held-out normals that are only looked at.

    `save(loop)` is called after the first epoch, between epochs at least every `save_every_s` seconds, and when
    training ends in any way but an error; never with weights that are not numbers. `watch(progress)` is called after
    every step; `interrupted()` is asked after every step. `clock()` is what minutes and images per second are counted
    by; a plan's minutes hold all that is done in them. Plans of minutes look at `validation` after epochs that end
    `validate_every_s` seconds later than the last look or more, as epochs may be short; plans of epochs after each one.
    """

    save_every_s = 20.0
    validate_every_s = 20.0

    def __init__(
        self,
        method: Method,
        plan: Plan,
        data: tuple[FrameSource, FrameSource, Known | None],
        fabric: Fabric,
        save: Callable[[Loop], None],
    ) -> None:
        self.method, self.plan, self.fabric, self._save = method, plan, fabric, save
        self.frames, self.validation, self.known = data
        self.progress = Progress()
        self.watch: Listener = lambda progress: None
        self.interrupted: Callable[[], bool] = lambda: False
        self.clock: Callable[[], float] = time.monotonic
        self.batch_size = self._global_batch()
        method.networks.to(fabric.device)
        self.optimisers = method.optimisers()
        self._saved_at = -math.inf  # at once after the first epoch: a folder that cannot be written is told early

    @property
    def steps_per_epoch(self) -> int:
        """Full batches in the training images; the remainder changes from epoch to epoch."""
        return len(self.frames) // self.batch_size

    def run(self) -> Outcome:
        """Train to the plan's end or until interrupted. Raises CheckFailed when a loss is no longer a number."""
        phases, p = self.method.phases, self.progress
        while True:
            if not self._phase_over(phases):
                if not self._epoch(phases[p.phase]):
                    self._keep()
                    return "interrupted"
                self._save_sometimes()
            elif p.phase + 1 < len(phases):
                p.phase, p.epoch, p.step, p.phase_seconds = p.phase + 1, 0, 0, 0.0
            else:  # the last phase's counters stay, so that a longer plan goes on from here
                self._keep()
                return "finished"

    def _save_sometimes(self) -> None:
        if time.monotonic() - self._saved_at > self.save_every_s:
            started = self.clock()
            self._keep()
            self._spend(self.clock() - started)
            self._saved_at = time.monotonic()

    def _keep(self) -> None:
        """Save, unless a last step has ruined the weights after a loss that was still a number."""
        bad = [name for name, value in self.method.networks.state_dict().items() if not bool(value.isfinite().all())]
        if bad:
            p = self.progress
            raise self._diverged(
                f"{len(bad)} weights, first {bad[0]}", f"epoch {p.epoch + (p.step > 0)}, after its steps"
            )
        self._save(self)

    def _diverged(self, what: str, where: str) -> CheckFailed:
        return CheckFailed(
            f"training diverged: {what} is not a number",
            f"phase {self.method.phases[self.progress.phase].name}, {where}",
            "try --set learning_rate=... ten times smaller, or a larger --batch-size",
        )

    def state(self) -> dict[str, Any]:
        """Everything that resuming needs, as plain containers and tensors."""
        return {
            "networks": self.method.networks.state_dict(),
            "optimisers": {name: optimiser.state_dict() for name, optimiser in self.optimisers.items()},
            "progress": vars(self.progress).copy(),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from `state`, whose networks are loaded already. Raises InputError if it is another method's."""
        try:
            for name, optimiser in self.optimisers.items():
                optimiser.load_state_dict(state["optimisers"][name])
            self.progress = Progress(**state["progress"])
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(
                "cannot resume", f"last.pt does not fit: {error}", "train again in a new folder"
            ) from error
        self.progress.points = [tuple(point) for point in self.progress.points]  # type: ignore[misc]

    def _epoch(self, phase: Phase) -> bool:
        """One epoch, or what is left of it; False if interrupted. In a timed plan it may end early."""
        p = self.progress
        self.method.networks.train()
        order = torch.randperm(len(self.frames), generator=_generator(self.plan.seed, phase.name, p.epoch))
        while p.step < self.steps_per_epoch:
            started = self.clock()
            self._step(phase, order)
            p.step, p.images = p.step + 1, p.images + self.batch_size
            self._spend(self.clock() - started)
            self.watch(p)
            if any_says(self.interrupted(), self.fabric.device):
                return False
            if self._time_is_up():
                break
        started = self.clock()
        self._close_epoch(phase)
        self._spend(self.clock() - started)
        return True

    def _spend(self, seconds: float) -> None:
        p = self.progress
        p.seconds, p.phase_seconds = p.seconds + seconds, p.phase_seconds + seconds

    def _step(self, phase: Phase, order: Tensor) -> None:
        p = self.progress
        started = self.clock()
        batch = self._batch(phase, order[p.step * self.batch_size : (p.step + 1) * self.batch_size])
        p.data_seconds += self.clock() - started
        with self.fabric.autocast():
            losses = self.method.step(phase.name, batch, self._minimise)
        bad = [name for name, value in losses.items() if not math.isfinite(value)]
        if any_says(bool(bad), self.fabric.device):
            where = f"epoch {p.epoch + 1}, step {p.step + 1}"
            raise self._diverged(", ".join(bad) or "a loss of another process", where)
        for name, value in losses.items():
            p.sums[name] = p.sums.get(name, 0.0) + mean_over(value, self.fabric.device)

    def _batch(self, phase: Phase, chosen: Tensor) -> Batch:
        fabric, p = self.fabric, self.progress
        seed = seed_of(self.plan.seed, phase.name, p.epoch, p.step)
        noise = Noise(seed, fabric.global_rank, fabric.world_size, fabric.device)
        frames = augmented(self.frames.take(self._mine(chosen)).to(fabric.device), self.plan.augment, noise)
        if self.known is None:
            return Batch(frames, noise, progress=self._progress())
        count = len(self.known.frames)
        draws = torch.randint(count, (self.batch_size,), generator=_generator(seed, "known"))
        mine = self._mine(draws)
        known = augmented(self.known.frames[mine].to(fabric.device), self.plan.augment, noise)
        masks = self.known.masks[mine].to(fabric.device)
        return Batch(frames, noise, known, masks, self._progress())

    def _mine(self, chosen: Tensor) -> list[int]:
        share = self.batch_size // self.fabric.world_size
        start = self.fabric.global_rank * share
        return [int(i) for i in chosen[start : start + share]]

    def _minimise(self, name: str, loss: Tensor) -> None:
        optimiser = self.optimisers[name]
        optimiser.zero_grad(set_to_none=True)
        self.fabric.backward(loss, inputs=parameters_of(optimiser))
        average_gradients(optimiser)
        optimiser.step()

    def _close_epoch(self, phase: Phase) -> None:
        p = self.progress
        p.points += [(phase.name, p.epoch + 1, name, total / p.step) for name, total in p.sums.items()]
        last = self._time_is_up()
        if self.plan.minutes is None or p.epoch == 0 or last or p.seconds - p.validated_at >= self.validate_every_s:
            p.points.append((phase.name, p.epoch + 1, "validation", self._validate(phase)))
            p.validated_at = p.seconds
        p.epoch, p.step, p.sums, p.epochs_done = p.epoch + 1, 0, {}, p.epochs_done + 1

    def _validate(self, phase: Phase) -> float:
        self.method.networks.eval()
        total = 0.0
        with torch.no_grad(), self.fabric.autocast():
            for start in range(0, len(self.validation), self.batch_size):
                indices = range(start, min(start + self.batch_size, len(self.validation)))
                frames = self.validation.take(indices).to(self.fabric.device)
                total += self.method.validate(phase.name, frames) * len(frames)
        return total / len(self.validation)

    def _phase_over(self, phases: tuple[Phase, ...]) -> bool:
        if self.plan.epochs is not None:
            return self.progress.epoch >= epochs_of(phases, self.plan.epochs)[self.progress.phase]
        return self.progress.epoch > 0 and self._time_is_up()

    def _progress(self) -> float:
        """Share of the present phase that is over, 0..1."""
        p, phases = self.progress, self.method.phases
        if self.plan.epochs is not None:
            return min(1.0, (p.epoch + p.step / self.steps_per_epoch) / epochs_of(phases, self.plan.epochs)[p.phase])
        assert self.plan.minutes is not None
        share = phases[p.phase].share / sum(phase.share for phase in phases)
        return min(1.0, p.phase_seconds / (60 * self.plan.minutes * share))

    def _time_is_up(self) -> bool:
        if self.plan.minutes is None:
            return False
        phases = self.method.phases
        share = phases[self.progress.phase].share / sum(phase.share for phase in phases)
        return any_says(self.progress.phase_seconds >= 60 * self.plan.minutes * share, self.fabric.device)

    def _global_batch(self) -> int:
        world = self.fabric.world_size
        size: int = min(self.plan.batch_size, len(self.frames)) // world * world
        if size < 2:
            raise InputError(
                "too few training images for a batch",
                f"{len(self.frames)} images, batch {self.plan.batch_size}, {world} processes",
                "add images of good parts, or use fewer processes",
            )
        return size


def epochs_of(phases: tuple[Phase, ...], total: int) -> list[int]:
    """How many of `total` epochs each phase gets, by share, at least one each; those that look get one on top."""
    whole = sum(phase.share for phase in phases if not phase.looks)
    return [1 if phase.looks else max(1, round(total * phase.share / whole)) for phase in phases]


def _generator(*parts: int | str) -> torch.Generator:
    return torch.Generator().manual_seed(seed_of(*parts))
