"""Convolutional variational auto-encoder: the generator of ADDA and SPADER, and the AnoVAE baseline.

ADDA gives layer counts and a latent of 128; kernel sizes and widths are ours (5x5, doubling). The latent is its mean at
test time, so that a score is a number and not a sample.
"""

from __future__ import annotations

import itertools
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import Optimizer, RMSprop

from train.gradcam import sizes_of
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
from train.models.blocks import ConvBlock, snapshot
from train.noise import Noise
from train.scoring import Heatmap, squared_error

SLOPE = 0.2


class Encoder(nn.Module):
    """`levels` x (conv5x5/2, batch norm, leaky ReLU), widths doubling; linear mean and log-variance."""

    def __init__(self, channels: int, base_width: int, size: tuple[int, int], levels: int, latent: int) -> None:
        super().__init__()
        widths = [channels, *(base_width * 2**level for level in range(levels))]
        self.blocks = nn.ModuleList(
            ConvBlock(nn.Conv2d(a, b, 5, 2, 2), True, SLOPE) for a, b in itertools.pairwise(widths)
        )
        blocks = [block for block in self.blocks if isinstance(block, ConvBlock)]
        self.sizes = [size, *sizes_of(blocks, size)]
        self.widths = widths
        flat = widths[-1] * self.sizes[-1][0] * self.sizes[-1][1]
        self.mean, self.log_variance = nn.Linear(flat, latent), nn.Linear(flat, latent)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """[N, C, H, W] -> mean and log-variance, [N, latent] each."""
        for block in self.blocks:
            x = block(x)
        flat = x.flatten(1)
        return self.mean(flat), self.log_variance(flat)


class Decoder(nn.Module):
    """The encoder's mirror: nearest resize to its sizes, conv5x5, batch norm, leaky ReLU; two more convolutions.

    Explicit sizes, because 84 -> 42 -> 21 -> 11 does not come back by doubling.
    """

    def __init__(self, encoder: Encoder, channels: int, base_width: int) -> None:
        super().__init__()
        self.sizes, self.start = encoder.sizes[-2::-1], encoder.sizes[-1]
        top = encoder.widths[-1]
        self.top = top
        self.linear = nn.Linear(encoder.mean.out_features, top * self.start[0] * self.start[1])
        widths = [top, top, *encoder.widths[-2:0:-1]]
        self.blocks = nn.ModuleList(
            ConvBlock(nn.Conv2d(a, b, 5, padding=2), True, SLOPE) for a, b in itertools.pairwise(widths)
        )
        half = max(1, base_width // 2)
        self.last = ConvBlock(nn.Conv2d(widths[-1], half, 5, padding=2), True, SLOPE)
        self.out = nn.Conv2d(half, channels, 5, padding=2)

    def forward(self, z: Tensor) -> Tensor:
        """[N, latent] -> [N, C, H, W] before the output's squashing."""
        x = self.linear(z).view(z.shape[0], self.top, *self.start)
        for block, size in zip(self.blocks, self.sizes, strict=True):
            x = block(F.interpolate(x, size, mode="nearest"))
        out: Tensor = self.out(self.last(x))
        return out


class ConvVae(nn.Module):
    """Encoder and decoder; images in -1..1 (`low` -1, tanh) or 0..1 (`low` 0, sigmoid)."""

    def __init__(self, config: MethodConfig, levels: int, latent: int, low: float = -1.0) -> None:
        super().__init__()
        size = (config.height, config.width)
        self.encoder = Encoder(config.channels, config.base_width, size, levels, latent)
        self.decoder = Decoder(self.encoder, config.channels, config.base_width)
        self.low, self.latent = low, latent

    def forward(self, x: Tensor) -> Tensor:
        """The reconstruction from the mean of the latent, [N, C, H, W]."""
        return self.decode(self.encoder(x)[0])

    def decode(self, z: Tensor) -> Tensor:
        """[N, latent] -> [N, C, H, W] in `low`..1."""
        raw: Tensor = self.decoder(z)
        return torch.tanh(raw) if self.low < 0 else torch.sigmoid(raw)

    def sample(self, x: Tensor, noise: Noise) -> tuple[Tensor, Tensor]:
        """A latent drawn from q(z|x), [N, latent], and KL(q(z|x) || N(0, I)), [N] (ADDA's L_prior)."""
        mean, log_variance = self.encoder(x)
        z = mean + torch.exp(0.5 * log_variance) * noise.normal(len(x), self.latent)
        return z, -0.5 * (1 + log_variance - mean**2 - log_variance.exp()).sum(1)


def image_loss(x: Tensor, x_hat: Tensor) -> Tensor:
    """L_image: squared error summed over pixels, mean over the batch: the balance with KL that a VAE implies."""
    return ((x - x_hat) ** 2).sum((1, 2, 3)).mean()


class VaeScorer(nn.Module):
    """AnoVAE: mean absolute reconstruction error; no attention, so c = 1 in the masked error."""

    def __init__(self, vae: ConvVae, size: tuple[int, int]) -> None:
        super().__init__()
        self.vae, self.heatmap = vae, Heatmap(size)

    def forward(self, frame: Tensor) -> Scoring:
        """uint8 [N, H, W, C] -> (score [N], masked_error [N], heatmap [N, H/2, W/2])."""
        x = images_from_frames(frame)
        x_hat = self.vae(x)
        error = squared_error(x, x_hat)
        return (x - x_hat).abs().mean((1, 2, 3)), error.mean((1, 2, 3)), self.heatmap(error)

    def explain(self, frame: Tensor) -> Explanation:
        """The reconstruction."""
        return Explanation(frames_from_images(self.vae(images_from_frames(frame))), None)


class Vae:
    """AnoVAE. See train.method.Method."""

    OPTIONS: ClassVar[dict[str, Option]] = {"latent": 128, "learning_rate": 3e-4, "kl": 1.0}

    def __init__(self, config: MethodConfig) -> None:
        self.config = config
        self.vae = ConvVae(config, 3, int(config.number("latent")))
        self.networks = nn.ModuleDict({"vae": self.vae})

    @property
    def phases(self) -> tuple[Phase, ...]:
        """One phase."""
        return (Phase("vae"),)

    def optimisers(self) -> dict[str, Optimizer]:
        """RMSProp, as ADDA."""
        return {"vae": RMSprop(self.vae.parameters(), self.config.number("learning_rate"), alpha=0.9)}

    def step(self, phase: str, batch: Batch, minimise: Minimise) -> dict[str, float]:
        """L_image + KL."""
        x = images_from_frames(batch.frames)
        z, kl = self.vae.sample(x, batch.noise)
        image, prior = image_loss(x, self.vae.decode(z)), kl.mean()
        minimise("vae", image + self.config.number("kl") * prior)
        return {"image": float(image.detach()), "prior": float(prior.detach())}

    def validate(self, phase: str, frames: Tensor) -> float:
        """Mean squared reconstruction error, images in -1..1."""
        x = images_from_frames(frames)
        return float(squared_error(x, self.vae(x)).mean())

    def scorer(self) -> nn.Module:
        """See train.method.Method."""
        return VaeScorer(snapshot(self.vae), (self.config.height, self.config.width)).eval()

    def reference_scorer(self) -> nn.Module:
        """Nothing is rewritten for export, so it is the scorer."""
        return self.scorer()
