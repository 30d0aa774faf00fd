"""GANomaly (Akcay et al., ACCV 2018): encode, decode, encode again; score = mean((z - z')^2).

Widths, losses and weights are those of the authors' code: adversarial 1 (squared distance of D's features), image 50
(absolute), latent 1 (squared). Unlike that code every network is in eval mode at test.
"""

from __future__ import annotations

import itertools
from typing import ClassVar

from torch import Tensor, nn
from torch.optim import Optimizer

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
from train.models.adversarial import adam_for_each, numbers, told_apart, weighted_sum
from train.models.blocks import BatchNorm2d, init_dcgan, snapshot
from train.models.dcgan import strided_trunk
from train.scoring import Heatmap, squared_error


class DcganEncoder(nn.Module):
    """The strided trunk, then one convolution over what is left to `latent` numbers, [N, latent, 1, 1]."""

    def __init__(self, channels: int, base_width: int, size: tuple[int, int], latent: int) -> None:
        super().__init__()
        blocks = strided_trunk(channels, base_width, size)
        self.trunk, self.sizes = nn.Sequential(*blocks), sizes_of(blocks, size)
        self.widths = [block.conv.out_channels for block in blocks]
        self.out = nn.Conv2d(self.widths[-1], latent, self.sizes[-1], bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """[N, C, H, W] -> [N, latent, 1, 1]."""
        out: Tensor = self.out(self.trunk(x))
        return out

    def both(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(the trunk's last map, the output)."""
        last = self.trunk(x)
        return last, self.out(last)


class DcganDecoder(nn.Module):
    """The mirror: transposed convolutions from [N, latent, 1, 1] to the image, batch norm, ReLU, tanh."""

    def __init__(self, encoder: DcganEncoder, channels: int, latent: int) -> None:
        super().__init__()
        widths = encoder.widths[::-1]
        layers: list[nn.Module] = [nn.ConvTranspose2d(latent, widths[0], encoder.sizes[-1], bias=False)]
        for a, b in itertools.pairwise(widths):
            layers += [BatchNorm2d(a), nn.ReLU(), nn.ConvTranspose2d(a, b, 4, 2, 1, bias=False)]
        layers += [BatchNorm2d(widths[-1]), nn.ReLU(), nn.ConvTranspose2d(widths[-1], channels, 4, 2, 1, bias=False)]
        self.layers = nn.Sequential(*layers, nn.Tanh())

    def forward(self, z: Tensor) -> Tensor:
        """[N, latent, 1, 1] -> [N, C, H, W] in -1..1."""
        out: Tensor = self.layers(z)
        return out


class GanomalyScorer(nn.Module):
    """Mean squared distance of the two latents; no attention, so c = 1 in the masked error."""

    def __init__(self, first: DcganEncoder, decoder: DcganDecoder, second: DcganEncoder, size: tuple[int, int]) -> None:
        super().__init__()
        self.first, self.decoder, self.second, self.heatmap = first, decoder, second, Heatmap(size)

    def forward(self, frame: Tensor) -> Scoring:
        """uint8 [N, H, W, C] -> (score [N], masked_error [N], heatmap [N, H/2, W/2])."""
        x = images_from_frames(frame)
        z = self.first(x)
        x_hat = self.decoder(z)
        error = squared_error(x, x_hat)
        score = ((z - self.second(x_hat)) ** 2).mean((1, 2, 3))
        return score, error.mean((1, 2, 3)), self.heatmap(error)

    def explain(self, frame: Tensor) -> Explanation:
        """The reconstruction."""
        return Explanation(frames_from_images(self.decoder(self.first(images_from_frames(frame)))), None)


class Ganomaly:
    """The method. See train.method.Method."""

    OPTIONS: ClassVar[dict[str, Option]] = {"latent": 100, "learning_rate": 2e-4, "con": 50.0, "enc": 1.0, "adv": 1.0}

    def __init__(self, config: MethodConfig) -> None:
        self.config = config
        size, latent, channels = (config.height, config.width), int(config.number("latent")), config.channels
        self.first = DcganEncoder(channels, config.base_width, size, latent)
        self.second = DcganEncoder(channels, config.base_width, size, latent)
        self.decoder = DcganDecoder(self.first, channels, latent)
        self.judge = DcganEncoder(channels, config.base_width, size, 1)
        generator = nn.ModuleDict({"first": self.first, "decoder": self.decoder, "second": self.second})
        self.networks = nn.ModuleDict({"generator": generator, "discriminator": self.judge}).apply(init_dcgan)

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
        z = self.first(x)
        x_hat = self.decoder(z)
        features, features_hat = self.judge.both(x)[0].detach(), self.judge.both(x_hat)[0]
        losses = {
            "con": (x - x_hat).abs().mean(),
            "enc": ((z - self.second(x_hat)) ** 2).mean(),
            "adv": ((features - features_hat) ** 2).mean(),
        }
        minimise("generator", weighted_sum(losses, self.config))
        losses["discriminator"] = told_apart(self.judge(x), self.judge(x_hat.detach())) / 2
        minimise("discriminator", losses["discriminator"])
        return numbers(losses)

    def validate(self, phase: str, frames: Tensor) -> float:
        """Mean absolute reconstruction error, images in -1..1."""
        x = images_from_frames(frames)
        return float((x - self.decoder(self.first(x))).abs().mean())

    def scorer(self) -> nn.Module:
        """See train.method.Method."""
        parts = snapshot(self.first), snapshot(self.decoder), snapshot(self.second)
        return GanomalyScorer(*parts, (self.config.height, self.config.width)).eval()

    def reference_scorer(self) -> nn.Module:
        """Nothing is rewritten for export, so it is the scorer."""
        return self.scorer()
