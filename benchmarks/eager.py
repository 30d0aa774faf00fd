"""How eager PyTorch may be written, and what each way costs: is the yardstick of benchmarks.speed a fair one?

python -m benchmarks.eager [--width 32] [--size 128] [--threads 1] [--rounds 25]
"""

from __future__ import annotations

import argparse
import copy
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.graphs import frames, in_turn, method
from edge.bench import Neighbours
from train.gradcam import mask_from_cam, normalised
from train.method import Scoring, images_from_frames
from train.models.blocks import exportable
from train.models.sagan import Sagan, SaganScorer
from train.scoring import masked_error, squared_error


class ByHooks(nn.Module):
    """Grad-CAM as tutorials have it: hooks on the layer, `logit.backward()`, weights that want gradients."""

    def __init__(self, sagan: Sagan, reference: SaganScorer) -> None:
        super().__init__()
        self.generator, self.discriminator = copy.deepcopy(sagan.generator), copy.deepcopy(sagan.discriminator)
        self.heatmap, self.size, self.weight = reference.heatmap, reference.size, reference.image_weight
        self.seen: dict[str, Tensor] = {}
        layer = self.discriminator.trunk[len(self.discriminator.trunk) - 2]
        layer.register_forward_hook(lambda _m, _i, out: self.seen.update(map=out))
        layer.register_full_backward_hook(lambda _m, _i, out: self.seen.update(gradient=out[0]))
        self.eval()

    def forward(self, frame: Tensor) -> Scoring:
        """As SaganScorer."""
        x = images_from_frames(frame)
        with torch.no_grad():
            x_hat = self.generator(x)
        (cam, feature), (cam_hat, feature_hat) = self._explained(x), self._explained(x_hat)
        mask, error = mask_from_cam(normalised(cam) + normalised(cam_hat), self.size), squared_error(x, x_hat)
        score = self.weight * error.mean((1, 2, 3)) + (1 - self.weight) * ((feature - feature_hat) ** 2).mean(1)
        return score, masked_error(error, mask), self.heatmap(error * mask)

    def _explained(self, image: Tensor) -> tuple[Tensor, Tensor]:
        self.discriminator.zero_grad()
        logit, feature = self.discriminator(image)
        logit.sum().backward()
        alpha = self.seen["gradient"].sum((2, 3), keepdim=True)
        return F.relu((alpha * self.seen["map"]).sum(1, keepdim=True)).detach(), feature.detach()


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.eager")
    for name, default in (("width", 32), ("size", 128), ("threads", 1), ("rounds", 25)):
        parser.add_argument(f"--{name}", type=int, default=default)
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    sagan = cast(Sagan, method(asked.width, asked.size))
    lean = cast(SaganScorer, sagan.reference_scorer())
    ways: dict[str, Any] = {
        "the yardstick: one pass for both pictures, gradient of the one map": lean,
        "hooks and backward(), as in tutorials": ByHooks(sagan, lean),
        "the yardstick, channels last": copy.deepcopy(lean).to(memory_format=torch.channels_last),
    }
    faster = copy.deepcopy(lean)
    faster.generator = exportable(sagan.generator)
    ways["... and our channel duplication"] = faster.to(memory_format=torch.channels_last)
    pictures = frames(asked.size)
    _require_the_same(ways, torch.from_numpy(pictures[:1]))
    calls = {name: lambda frame, way=way: way(torch.from_numpy(frame[None])) for name, way in ways.items()}
    with Neighbours() as others:
        times = in_turn(calls, pictures, asked.rounds, False)
    for name, taken in times.items():
        print(f"| {name} | {np.median(taken):.1f} |")
    print(f"other processes used {others.share:.0%} of the CPUs meanwhile")


def _require_the_same(ways: dict[str, Any], frame: Tensor) -> None:
    expected, *found = [way(frame) for way in ways.values()]
    for said in found:
        for left, right in zip(said, expected, strict=True):
            torch.testing.assert_close(left, right, rtol=1e-4, atol=1e-5)


if __name__ == "__main__":
    main()
