"""SAGAN, the skip-attention GAN (Liu et al., ICASSP 2021), with depth-wise separable or plain convolutions.

Generator: a U-Net whose levels are two convolutions, CBAM and max-pooling; the attended map goes down and into the skip
connection. Discriminator: skip-GANomaly's, with a 100-number feature f. Losses: 40 L_con + 1 L_lat + 1 L_adv.
Score: A = 0.2 R + 0.8 L, R the mean squared image difference, L that of f.
"""

from __future__ import annotations

from typing import ClassVar, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import Optimizer

from train.gradcam import AutogradCam, ForwardCam, mask_from_cam, normalised
from train.method import (
    Batch,
    Explanation,
    MethodConfig,
    Minimise,
    Option,
    Phase,
    Scoring,
    adam,
    frames_from_images,
    images_from_frames,
)
from train.models.blocks import Cbam, DoubleConv, exportable, init_dcgan, snapshot
from train.models.dcgan import FeatureDiscriminator, autograd_cam, forward_cam
from train.scoring import Heatmap, masked_error, squared_error


class AttentionUnet(nn.Module):
    """SmaAt-UNet's shape: widths w, 2w, 4w, 8w, 8w; sides divisible by 16; tanh output unless `bounded` is False."""

    def __init__(
        self, channels: int, out_channels: int, base_width: int, separable: bool, bounded: bool = True
    ) -> None:
        super().__init__()
        w = base_width
        down = [(channels, w), (w, 2 * w), (2 * w, 4 * w), (4 * w, 8 * w), (8 * w, 8 * w)]
        up = [(16 * w, 8 * w, 4 * w), (8 * w, 4 * w, 2 * w), (4 * w, 2 * w, w), (2 * w, w, w)]
        self.down = nn.ModuleList(DoubleConv(a, b, b, separable) for a, b in down)
        self.attention = nn.ModuleList(Cbam(b) for _, b in down)
        self.up = nn.ModuleList(DoubleConv(a, b, c, separable) for a, b, c in up)
        self.out = nn.Conv2d(w, out_channels, 1)
        self.bounded = bounded

    def forward(self, x: Tensor) -> Tensor:
        """[N, C, H, W] in -1..1 -> [N, O, H, W]."""
        skips: list[Tensor] = []
        for level, (conv, attend) in enumerate(zip(self.down, self.attention, strict=True)):
            x = attend(conv(x if level == 0 else F.max_pool2d(x, 2)))
            skips.append(x)
        skips.pop()
        for conv in self.up:
            x = F.interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=True)
            x = conv(torch.cat([skips.pop(), x], 1))
        x = self.out(x)
        return torch.tanh(x) if self.bounded else x


class SaganScorer(nn.Module):
    """SAGAN's scoring graph; how the Grad-CAM is computed is what `cam` decides."""

    def __init__(
        self,
        generator: AttentionUnet,
        discriminator: FeatureDiscriminator,
        cam: ForwardCam | AutogradCam,
        image_weight: float,
    ) -> None:
        super().__init__()
        self.generator, self.feature, self.cam = generator, discriminator.feature, cam
        self.size, self.image_weight = discriminator.size, image_weight
        self.heatmap = Heatmap(discriminator.size)

    def forward(self, frame: Tensor) -> Scoring:
        """uint8 [N, H, W, C] -> (score [N], masked_error [N], heatmap [N, H/2, W/2])."""
        x, x_hat, mask, last = self._seen(frame)
        feature, feature_hat = self.feature(last).flatten(1).chunk(2)
        error = squared_error(x, x_hat)
        latent = ((feature - feature_hat) ** 2).mean(1)
        score = self.image_weight * error.mean((1, 2, 3)) + (1 - self.image_weight) * latent
        return score, masked_error(error, mask), self.heatmap(error * mask)

    def explain(self, frame: Tensor) -> Explanation:
        """The reconstruction and the attention map behind the scores."""
        _, x_hat, mask, _ = self._seen(frame)
        return Explanation(frames_from_images(x_hat), mask[:, 0])

    def _seen(self, frame: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        x = images_from_frames(frame)
        x_hat = self.generator(x)
        cams, last = self.cam(torch.cat([x, x_hat]))
        cam, cam_hat = normalised(F.relu(cams)).chunk(2)
        return x, x_hat, mask_from_cam(cam + cam_hat, self.size), last


class Sagan:
    """The method: networks, losses and scorers. See train.method.Method."""

    OPTIONS: ClassVar[dict[str, Option]] = {
        "separable": True,
        "init": "torch",  # the generator's: "dcgan" is the predecessor's, and starves separable convolutions
        "learning_rate": 2e-4,  # the paper has 2e-3, which is unstable with batch norm in both networks
        "image_weight": 0.2,  # lambda of the score
        "con": 40.0,
        "lat": 1.0,
        "adv": 1.0,
    }

    def __init__(self, config: MethodConfig) -> None:
        self.config = config
        size, channels, width = (config.height, config.width), config.channels, config.base_width
        generator = AttentionUnet(channels, channels, width, config.flag("separable"))
        discriminator = FeatureDiscriminator(channels, width, size)
        self.networks = nn.ModuleDict({"generator": generator, "discriminator": discriminator})
        (discriminator if config.options["init"] == "torch" else self.networks).apply(init_dcgan)
        self.generator, self.discriminator = generator, discriminator

    @property
    def phases(self) -> tuple[Phase, ...]:
        """One phase: generator and discriminator together."""
        return (Phase("gan"),)

    def optimisers(self) -> dict[str, Optimizer]:
        """Adam for each network."""
        rate = self.config.number("learning_rate")
        return {"generator": adam(self.generator, rate), "discriminator": adam(self.discriminator, rate)}

    def step(self, phase: str, batch: Batch, minimise: Minimise) -> dict[str, float]:
        """One generator step, then one discriminator step on the same reconstructions."""
        x = images_from_frames(batch.frames)
        x_hat = self.generator(x)
        losses = self._generator_losses(x, x_hat)
        total = sum(
            (self.config.number(name) * value for name, value in losses.items()), torch.zeros((), device=x.device)
        )
        minimise("generator", total)
        fake, real = self.discriminator(x_hat.detach())[0], self.discriminator(x)[0]
        losses["discriminator"] = F.softplus(-real).mean() + F.softplus(fake).mean()
        minimise("discriminator", losses["discriminator"])
        return {name: float(value.detach()) for name, value in losses.items()}

    def _generator_losses(self, x: Tensor, x_hat: Tensor) -> dict[str, Tensor]:
        logit, feature_hat = self.discriminator(x_hat)
        feature = self.discriminator(x)[1].detach()
        return {
            "con": (x - x_hat).abs().mean(),
            "lat": ((feature - feature_hat) ** 2).mean(),
            "adv": F.softplus(-logit).mean(),
        }

    def validate(self, phase: str, frames: Tensor) -> float:
        """Mean absolute reconstruction error, images in -1..1."""
        x = images_from_frames(frames)
        return float((x - self.generator(x)).abs().mean())

    def scorer(self) -> nn.Module:
        """See train.method.Method."""
        generator, discriminator = exportable(self.generator), snapshot(self.discriminator)
        weight = self.config.number("image_weight")
        return cast(nn.Module, SaganScorer(generator, discriminator, forward_cam(self.discriminator), weight).eval())

    def reference_scorer(self) -> nn.Module:
        """See train.method.Method."""
        generator, discriminator = snapshot(self.generator), snapshot(self.discriminator)
        weight = self.config.number("image_weight")
        return cast(nn.Module, SaganScorer(generator, discriminator, autograd_cam(self.discriminator), weight).eval())
