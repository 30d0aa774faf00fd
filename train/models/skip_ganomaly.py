"""Skip-GANomaly (Akcay et al., IJCNN 2019): a U-Net with skip connections; score .9 image + .1 feature difference.

pix2pix's U-Net (conv4x4/2 five times: w, 2w, 4w, 8w, 8w), the discriminator of train.models.dcgan. Losses: 50 L_con +
1 L_lat + 1 L_adv. Unlike the published code every network is in eval mode at test, and the input carries no noise.
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
from train.models.adversarial import adam_for_each, believed, numbers, told_apart, weighted_sum
from train.models.blocks import BatchNorm2d, init_dcgan, snapshot
from train.models.dcgan import FeatureDiscriminator
from train.scoring import Heatmap, squared_error


class PixUnet(nn.Module):
    """Down: leaky ReLU, conv4x4/2, batch norm; up: ReLU, transposed conv4x4/2, batch norm; skips at every level."""

    def __init__(self, channels: int, base_width: int) -> None:
        super().__init__()
        w = base_width
        widths = [w, 2 * w, 4 * w, 8 * w, 8 * w]
        self.down = nn.ModuleList(
            nn.Conv2d(a, b, 4, 2, 1, bias=False) for a, b in zip([channels, *widths], widths, strict=False)
        )
        self.down_norm = nn.ModuleList(BatchNorm2d(b) for b in widths[1:4])  # neither the first nor the innermost
        inputs = [widths[4], 2 * widths[3], 2 * widths[2], 2 * widths[1]]
        outputs = [widths[3], widths[2], widths[1], widths[0]]
        self.up = nn.ModuleList(
            nn.ConvTranspose2d(a, b, 4, 2, 1, bias=False) for a, b in zip(inputs, outputs, strict=True)
        )
        self.up_norm = nn.ModuleList(BatchNorm2d(b) for b in outputs)
        self.out = nn.ConvTranspose2d(2 * widths[0], channels, 4, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        """[N, C, H, W] in -1..1 -> the same shape; sides divisible by 32."""
        x = self.down[0](x)
        skips = [x]
        for level in range(1, 5):
            x = self.down[level](F.leaky_relu(x, 0.2))
            if level < 4:
                x = self.down_norm[level - 1](x)
                skips.append(x)
        for conv, norm in zip(self.up, self.up_norm, strict=True):
            x = torch.cat([norm(conv(F.relu(x))), skips.pop()], 1)
        return torch.tanh(self.out(F.relu(x)))


class SkipGanomalyScorer(nn.Module):
    """.9 mean squared image + .1 mean squared feature difference; no attention, so c = 1 in the masked error."""

    def __init__(self, generator: PixUnet, discriminator: FeatureDiscriminator, image_weight: float) -> None:
        super().__init__()
        self.generator, self.discriminator, self.image_weight = generator, discriminator, image_weight
        self.heatmap = Heatmap(discriminator.size)

    def forward(self, frame: Tensor) -> Scoring:
        """uint8 [N, H, W, C] -> (score [N], masked_error [N], heatmap [N, H/2, W/2])."""
        x = images_from_frames(frame)
        x_hat = self.generator(x)
        feature, feature_hat = self.discriminator(torch.cat([x, x_hat]))[1].chunk(2)
        error = squared_error(x, x_hat)
        plain, latent = error.mean((1, 2, 3)), ((feature - feature_hat) ** 2).mean(1)
        return self.image_weight * plain + (1 - self.image_weight) * latent, plain, self.heatmap(error)

    def explain(self, frame: Tensor) -> Explanation:
        """The reconstruction."""
        return Explanation(frames_from_images(self.generator(images_from_frames(frame))), None)


class SkipGanomaly:
    """The method. See train.method.Method."""

    OPTIONS: ClassVar[dict[str, Option]] = {
        "learning_rate": 2e-4,
        "image_weight": 0.9,
        "con": 50.0,
        "lat": 1.0,
        "adv": 1.0,
    }

    def __init__(self, config: MethodConfig) -> None:
        self.config = config
        self.generator = PixUnet(config.channels, config.base_width)
        self.discriminator = FeatureDiscriminator(config.channels, config.base_width, (config.height, config.width))
        self.networks = nn.ModuleDict({"generator": self.generator, "discriminator": self.discriminator})
        self.networks.apply(init_dcgan)

    @property
    def phases(self) -> tuple[Phase, ...]:
        """One phase."""
        return (Phase("gan"),)

    def optimisers(self) -> dict[str, Optimizer]:
        """Adam for each."""
        return adam_for_each(self.networks, self.config)

    def step(self, phase: str, batch: Batch, minimise: Minimise) -> dict[str, float]:
        """The generator's three losses, then the discriminator's."""
        x = images_from_frames(batch.frames)
        x_hat = self.generator(x)
        logit, feature_hat = self.discriminator(x_hat)
        feature = self.discriminator(x)[1].detach()
        losses = {
            "con": (x - x_hat).abs().mean(),
            "lat": ((feature - feature_hat) ** 2).mean(),
            "adv": believed(logit),
        }
        minimise("generator", weighted_sum(losses, self.config))
        losses["discriminator"] = told_apart(self.discriminator(x)[0], self.discriminator(x_hat.detach())[0])
        minimise("discriminator", losses["discriminator"])
        return numbers(losses)

    def validate(self, phase: str, frames: Tensor) -> float:
        """Mean absolute reconstruction error, images in -1..1."""
        x = images_from_frames(frames)
        return float((x - self.generator(x)).abs().mean())

    def scorer(self) -> nn.Module:
        """See train.method.Method."""
        weight = self.config.number("image_weight")
        return SkipGanomalyScorer(snapshot(self.generator), snapshot(self.discriminator), weight).eval()

    def reference_scorer(self) -> nn.Module:
        """Nothing is rewritten for export, so it is the scorer."""
        return self.scorer()
