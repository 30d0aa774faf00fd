"""AnoGAN (Schlegl et al., IPMI 2017): a DCGAN of normal images; per test image the latent is searched by descent.

Score = .9 sum|x - G(z)| + .1 sum|f(x) - f(G(z))| after `search_steps` Adam steps, divided by the number of pixel
values. A search per image is no static graph, so the method scores in torch only.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from train.method import (
    Batch,
    Explanation,
    MethodConfig,
    Minimise,
    Option,
    Phase,
    Scoring,
    frames_from_images,
    images_from_frames,
)
from train.models.adversarial import adam_for_each, believed, numbers, told_apart
from train.models.blocks import init_dcgan, snapshot
from train.models.ganomaly import DcganDecoder, DcganEncoder
from train.noise import Noise
from train.scoring import Heatmap, squared_error

START_SEED = 7  # every image's search starts at the same latent


class AnoganScorer(nn.Module):
    """See the module. Each image is searched alone: in a batch, convolutions round differently for another batch size,
    and hundreds of steps of descent make a visible difference of that."""

    def __init__(self, decoder: DcganDecoder, judge: DcganEncoder, config: MethodConfig) -> None:
        super().__init__()
        self.decoder, self.judge, self.config = decoder, judge, config
        self.heatmap = Heatmap((config.height, config.width))

    def forward(self, frame: Tensor) -> Scoring:
        """uint8 [N, H, W, C] -> (score [N], masked_error [N], heatmap [N, H/2, W/2])."""
        parts = [self._scored(x) for x in torch.split(images_from_frames(frame), 1)]
        score, error, heatmap = (torch.cat(part) for part in zip(*parts, strict=True))
        return score, error, heatmap

    def explain(self, frame: Tensor) -> Explanation:
        """The closest image that was found."""
        return Explanation(frames_from_images(self.decoder(self._search(images_from_frames(frame)))), None)

    def _scored(self, x: Tensor) -> Scoring:
        x_hat = self.decoder(self._search(x))
        error = squared_error(x, x_hat)
        return self._distance(x, x_hat), error.mean((1, 2, 3)), self.heatmap(error)

    def _search(self, x: Tensor) -> Tensor:
        latent = int(self.config.number("latent"))
        z = Noise(START_SEED, device=x.device).normal(1, latent, 1, 1).repeat(len(x), 1, 1, 1).requires_grad_()
        optimiser = torch.optim.Adam([z], lr=self.config.number("search_rate"))
        with torch.enable_grad():
            for _ in range(int(self.config.number("search_steps"))):
                optimiser.zero_grad()
                torch.autograd.backward(self._distance(x, self.decoder(z)).sum(), inputs=[z])
                optimiser.step()
        return z.detach()

    def _distance(self, x: Tensor, x_hat: Tensor) -> Tensor:
        weight, values = self.config.number("image_weight"), float(x[0].numel())
        feature = (self.judge.both(x)[0] - self.judge.both(x_hat)[0]).abs().sum((1, 2, 3)) / values
        return weight * (x - x_hat).abs().mean((1, 2, 3)) + (1 - weight) * feature


class Anogan:
    """The method. See train.method.Method."""

    OPTIONS: ClassVar[dict[str, Option]] = {
        "latent": 100,
        "learning_rate": 2e-4,
        "image_weight": 0.9,
        "search_steps": 500,
        "search_rate": 0.05,
    }

    def __init__(self, config: MethodConfig) -> None:
        self.config, size, self.latent = config, (config.height, config.width), int(config.number("latent"))
        self.judge = DcganEncoder(config.channels, config.base_width, size, 1)
        self.decoder = DcganDecoder(self.judge, config.channels, self.latent)
        self.networks = nn.ModuleDict({"generator": self.decoder, "discriminator": self.judge}).apply(init_dcgan)

    @property
    def phases(self) -> tuple[Phase, ...]:
        """One phase."""
        return (Phase("gan"),)

    def optimisers(self) -> dict[str, Optimizer]:
        """Adam for each."""
        return adam_for_each(self.networks, self.config)

    def step(self, phase: str, batch: Batch, minimise: Minimise) -> dict[str, float]:
        """DCGAN: non-saturating generator loss, then the discriminator's."""
        x = images_from_frames(batch.frames)
        fake = self.decoder(batch.noise.normal(len(x), self.latent, 1, 1))
        losses = {"adv": believed(self.judge(fake))}
        minimise("generator", losses["adv"])
        losses["discriminator"] = told_apart(self.judge(x), self.judge(fake.detach()))
        minimise("discriminator", losses["discriminator"])
        return numbers(losses)

    def validate(self, phase: str, frames: Tensor) -> float:
        """How real D finds held-out images: mean softplus(-logit). The search is too slow to run every epoch."""
        return float(believed(self.judge(images_from_frames(frames))))

    def scorer(self) -> nn.Module:
        """See the module; runs in torch, cannot be exported."""
        return AnoganScorer(snapshot(self.decoder), snapshot(self.judge), self.config).eval()

    def reference_scorer(self) -> nn.Module:
        """It is the scorer."""
        return self.scorer()
