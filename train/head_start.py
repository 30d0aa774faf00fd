"""What the attention network learns on drawn worlds, before it sees the first picture of a part.

    python -m train.head_start --minutes 40

trains it to find synthetic defects in thousands of kinds of drawn surfaces and parts (train.worlds) and writes its
weights beside this file. Every training of the default method begins from them: what a crack, a stain, a missing piece
look like on any surface need not be learnt again from each customer's pictures. No photograph is involved.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from edge.files import atomic_path
from train.augment.hard import Defective, seen_change
from train.method import Batch, MethodConfig
from train.models.attention import Attention
from train.models.attention_batch import Example, Lesson, examples_of, pair_of
from train.models.attention_mirror import ORIENTATIONS, UPRIGHT
from train.models.attention_start import FILE
from train.noise import Noise
from train.worlds.world import drawn_world

SIZE, WIDTH = 256, 24
WORLDS, PICTURES = 6000, 3  # drawn, and of each of them
FLAWED = 0.5  # of the examples have their flaw from the world, the others have one drawn into the picture
WORLDS_A_STEP = 4  # two pictures of each
GRADED, MIRRORED = 0.5, 0.3  # share of the training after which labels are graded; of the steps with mirrored parts
BLANK = 4.0  # grey levels of deviation: a world of less has nothing to see
OPTIONS = {"learning_rate": 3e-3, "weight_decay": 0.05, "head_start": 0.0}


Array = NDArray[np.float32]
Drawn = tuple[NDArray[np.uint8], NDArray[np.uint8]]  # pictures without and with a flaw, [n, S, S, 3] each


def trained(
    minutes: float, worlds: int, seed: int, clock: Callable[[], float], say: Callable[[str], None]
) -> nn.Module:
    """The averaged network after `minutes` of `clock` (seconds)."""
    torch.manual_seed(seed)
    random, device = np.random.default_rng(seed), torch.device("cpu")
    method = Attention(MethodConfig(SIZE, SIZE, 3, WIDTH, {**Attention.OPTIONS, **OPTIONS}))
    optimiser = method.optimisers()["network"]
    method.networks.train()

    def minimise(name: str, loss: Tensor) -> None:
        optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()

    @lru_cache(worlds)
    def pictures(world: int) -> Drawn:
        return _pictures(np.random.default_rng((seed, world)))

    started, step = clock(), 0
    while (progress := (clock() - started) / (60 * minutes)) < 1:
        orientations = range(ORIENTATIONS) if random.random() < MIRRORED else UPRIGHT
        lesson = Lesson(orientations, graded=progress >= GRADED, windows=True)
        chosen = [pictures(int(world)) for world in random.integers(0, worlds, WORLDS_A_STEP)]
        found = method.learn(list(_examples(chosen, lesson, random)), progress, device, minimise)
        step += 1
        if step % 250 == 0:
            say(f"{progress:.0%}, step {step}: " + ", ".join(f"{name} {loss:.3f}" for name, loss in found.items()))
    return method.average


def _pictures(random: np.random.Generator) -> Drawn:
    """PICTURES of a new world, and as many with a flaw."""
    while True:
        world = drawn_world(random, SIZE)
        good, bad = zip(*(world.pair(random) for _ in range(PICTURES)), strict=True)
        if good[0].std() >= BLANK:
            return np.stack(good), np.stack(bad)


def _examples(chosen: list[Drawn], lesson: Lesson, random: np.random.Generator) -> Iterator[Example]:
    for good, bad in chosen:
        first, second = random.permutation(PICTURES)[:2]
        if random.random() < FLAWED:
            for index in (first, second):
                yield from pair_of(*_flaw(good[index], bad[index], lesson), lesson, random)
            continue
        two = torch.from_numpy(good[[first, second]])
        noise = Noise(int(random.integers(2**31)), 0, 1, torch.device("cpu"))
        yield from examples_of(Batch(two, noise), lesson)


def _flaw(good: NDArray[np.uint8], bad: NDArray[np.uint8], lesson: Lesson) -> tuple[Array, Defective]:
    normal, image = good.astype(np.float32), bad.astype(np.float32)
    truth = seen_change(normal, image)
    if not lesson.graded:
        truth = (truth > 0.5).astype(np.float32)
    return normal, Defective(image, truth, np.zeros(truth.shape, np.uint8))


def save(network: nn.Module, out: Path) -> None:
    """All weights and running statistics, in half precision, as an archive of arrays; whole or absent."""
    arrays = {name: _small(value) for name, value in network.state_dict().items()}
    with atomic_path(out) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, **arrays)  # type: ignore[arg-type]


def main() -> None:
    """Train and write the file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=40.0, help="of this process's CPU time")
    parser.add_argument("--worlds", type=int, default=WORLDS)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, default=FILE)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    cv2.setNumThreads(given.threads)
    network = trained(given.minutes, given.worlds, given.seed, time.process_time, lambda line: print(line, flush=True))
    save(network, given.out)
    print(f"{given.out}: {given.out.stat().st_size / 1e6:.1f} MB")


def _small(value: Tensor) -> NDArray[np.generic]:
    """Half precision is enough to begin with."""
    return value.half().numpy() if value.is_floating_point() else value.numpy()


if __name__ == "__main__":
    main()
