"""EGBAD (Zenati et al., 2018): a BiGAN; score = .9 |x - G(E(x))| + .1 |f(x, E(x)) - f(G(E(x)), E(x))|.

D judges pairs: (x, E(x)) against (G(z), z). At test the networks are exponential moving averages (0.999). The score's
sums are divided by the number of pixel values, a constant that changes no ranking.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F
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
from train.models.adversarial import adam_for_each, numbers, told_apart
from train.models.blocks import init_dcgan, snapshot
from train.models.ganomaly import DcganDecoder, DcganEncoder
from train.noise import Noise
from train.scoring import Heatmap, squared_error

SLOPE = 0.1
DROPOUT = 0.5


class PairDiscriminator(nn.Module):
    """An image branch and a latent branch, joined to a hidden layer f and a logit; dropout in training."""

    def __init__(self, channels: int, base_width: int, size: tuple[int, int], latent: int) -> None:
        super().__init__()
        wide = 8 * base_width
        self.image = DcganEncoder(channels, base_width, size, wide)
        self.latent, self.joint, self.out = nn.Linear(latent, wide), nn.Linear(2 * wide, wide), nn.Linear(wide, 1)

    def forward(self, x: Tensor, z: Tensor, noise: Noise | None = None) -> tuple[Tensor, Tensor]:
        """[N, C, H, W], [N, latent] -> (logit [N], f [N, 8w]); `noise` switches dropout on."""
        seen = F.leaky_relu(self.image(x).flatten(1), SLOPE)
        told = F.leaky_relu(self.latent(z), SLOPE)
        joint = _dropped(torch.cat([seen, told], 1), noise)
        feature = F.leaky_relu(self.joint(joint), SLOPE)
        return self.out(_dropped(feature, noise)).flatten(), feature


class EgbadScorer(nn.Module):
    """See the module; no attention, so c = 1 in the masked error."""

    def __init__(
        self,
        encoder: DcganEncoder,
        decoder: DcganDecoder,
        judge: PairDiscriminator,
        size: tuple[int, int],
        weight: float,
    ) -> None:
        super().__init__()
        self.encoder, self.decoder, self.judge, self.image_weight = encoder, decoder, judge, weight
        self.heatmap = Heatmap(size)

    def forward(self, frame: Tensor) -> Scoring:
        """uint8 [N, H, W, C] -> (score [N], masked_error [N], heatmap [N, H/2, W/2])."""
        x = images_from_frames(frame)
        z = self.encoder(x)
        x_hat = self.decoder(z)
        flat = z.flatten(1)
        here, there = self.judge(torch.cat([x, x_hat]), torch.cat([flat, flat]))[1].chunk(2)
        values = float(x.shape[1] * x.shape[2] * x.shape[3])
        image, feature = (x - x_hat).abs().mean((1, 2, 3)), (here - there).abs().sum(1) / values
        error = squared_error(x, x_hat)
        score = self.image_weight * image + (1 - self.image_weight) * feature
        return score, error.mean((1, 2, 3)), self.heatmap(error)

    def explain(self, frame: Tensor) -> Explanation:
        """The reconstruction."""
        return Explanation(frames_from_images(self.decoder(self.encoder(images_from_frames(frame)))), None)


class Egbad:
    """The method. See train.method.Method."""

    OPTIONS: ClassVar[dict[str, Option]] = {
        "latent": 200,
        "learning_rate": 1e-4,  # the authors' 1e-5 needs many more steps than a station's data set gives
        "image_weight": 0.9,
        "decay": 0.999,
    }

    def __init__(self, config: MethodConfig) -> None:
        self.config, size, latent = config, (config.height, config.width), int(config.number("latent"))
        encoder = DcganEncoder(config.channels, config.base_width, size, latent)
        decoder = DcganDecoder(encoder, config.channels, latent)
        judge = PairDiscriminator(config.channels, config.base_width, size, latent)
        live = nn.ModuleDict({"encoder": encoder, "decoder": decoder, "judge": judge}).apply(init_dcgan)
        self.encoder, self.decoder, self.judge, self.latent = encoder, decoder, judge, latent
        self.networks = nn.ModuleDict({"live": live, "mean": snapshot(live)})

    @property
    def phases(self) -> tuple[Phase, ...]:
        """One phase."""
        return (Phase("gan"),)

    def optimisers(self) -> dict[str, Optimizer]:
        """Adam: encoder and decoder together, and the discriminator."""
        pair = nn.ModuleList([self.encoder, self.decoder])
        return adam_for_each({"pair": pair, "judge": self.judge}, self.config)

    def step(self, phase: str, batch: Batch, minimise: Minimise) -> dict[str, float]:
        """D tells (x, E(x)) from (G(z), z); E and G try to have it the other way round."""
        x = images_from_frames(batch.frames)
        z = batch.noise.normal(len(x), self.latent)
        z_hat, x_hat = self.encoder(x).flatten(1), self.decoder(z[:, :, None, None])
        real = self.judge(x, z_hat.detach(), batch.noise)[0]
        losses = {"judge": told_apart(real, self.judge(x_hat.detach(), z, batch.noise)[0])}
        minimise("judge", losses["judge"])
        real, fake = self.judge(x, z_hat, batch.noise)[0], self.judge(x_hat, z, batch.noise)[0]
        losses["pair"] = told_apart(fake, real)
        minimise("pair", losses["pair"])
        self._follow()
        return numbers(losses)

    def _follow(self) -> None:
        """Move the means towards the live networks; batch norm's statistics are averages already and are copied."""
        decay = self.config.number("decay")
        with torch.no_grad():
            live, mean = self.networks["live"], self.networks["mean"]
            for there, here in zip(mean.parameters(), live.parameters(), strict=True):
                there.lerp_(here, 1 - decay)
            for kept, current in zip(mean.buffers(), live.buffers(), strict=True):
                kept.copy_(current)

    def validate(self, phase: str, frames: Tensor) -> float:
        """Mean absolute reconstruction error, images in -1..1."""
        x = images_from_frames(frames)
        return float((x - self.decoder(self.encoder(x))).abs().mean())

    def scorer(self) -> nn.Module:
        """See train.method.Method; the moving averages."""
        mean = snapshot(self.networks["mean"])
        size, weight = (self.config.height, self.config.width), self.config.number("image_weight")
        return EgbadScorer(mean["encoder"], mean["decoder"], mean["judge"], size, weight).eval()  # type: ignore[index]

    def reference_scorer(self) -> nn.Module:
        """Nothing is rewritten for export, so it is the scorer."""
        return self.scorer()


def _dropped(x: Tensor, noise: Noise | None) -> Tensor:
    if noise is None:
        return x
    kept = noise.uniform(len(x), x.shape[1]) >= DROPOUT
    return x * kept / (1 - DROPOUT)
