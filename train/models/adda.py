"""ADDA, adversarial discriminative attention (Kimura et al., WACV 2020), its semi-supervised form, and AnoVAEGAN.

A VAE that also plays against a discriminator D, which sees reconstructions and samples of the prior as fakes.
Score (eq. 5, high = anomalous): ||c*(x-x_hat)||^2 / ||c||^2 - beta D(x), c = CAM_D(x) + CAM_D(x_hat).
Semi-supervised (eq. 6): a second discriminator D_ano, normal against known anomalies; c is the sum of four maps and
D_ano(x) is added to D(x). With c = 1 and beta = 0 it is AnoVAEGAN, on the same weights.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import ClassVar, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import Optimizer, RMSprop

from edge.errors import UsageError
from train.gradcam import AutogradCam, ForwardCam, layer_near, mask_from_cam, normalised, sizes_of
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
from train.models.vae import SLOPE, ConvVae, image_loss
from train.processes import mean_over
from train.scoring import Heatmap, masked_error, squared_error

Cam = ForwardCam | AutogradCam


class ConvDiscriminator(nn.Module):
    """Four conv5x5/2 (w/2, w, 2w, 4w; no norm in the first), then one convolution over what is left to the logit."""

    def __init__(self, channels: int, base_width: int, size: tuple[int, int]) -> None:
        super().__init__()
        widths = [channels, max(1, base_width // 2), base_width, 2 * base_width, 4 * base_width]
        self.trunk = nn.ModuleList(
            ConvBlock(nn.Conv2d(a, b, 5, 2, 2), level > 0, SLOPE)
            for level, (a, b) in enumerate(itertools.pairwise(widths))
        )
        self.size, self.out = size, nn.Conv2d(widths[-1], 1, sizes_of(self.blocks, size)[-1])

    @property
    def blocks(self) -> Sequence[ConvBlock]:
        """The trunk with its type."""
        return [cast(ConvBlock, block) for block in self.trunk]

    def forward(self, x: Tensor) -> Tensor:
        """[N, C, H, W] -> logit [N]."""
        for block in self.trunk:
            x = block(x)
        return self.logit_of(x)

    def logit_of(self, last: Tensor) -> Tensor:
        """The logit [N] from the trunk's last map."""
        out: Tensor = self.out(last).flatten()
        return out


def cam_layer(net: ConvDiscriminator, rows: int) -> int:
    """The deepest map with at least `rows` rows; 0: the second. On the last map the head weighs every place for itself,
    the sums that Grad-CAM makes of these weights say nothing of a place, and the map is flat or all zero."""
    return layer_near(net.blocks, net.size, rows) if rows else 1


def forward_cam(net: ConvDiscriminator, rows: int) -> ForwardCam:
    """Grad-CAM without autograd at `cam_layer`."""
    copied = snapshot(net)
    return ForwardCam(copied.blocks, cam_layer(net, rows), copied.out.weight[0], net.size)


def autograd_cam(net: ConvDiscriminator, rows: int) -> AutogradCam:
    """The same by torch.autograd."""
    copied = snapshot(net)
    return AutogradCam(copied.blocks, cam_layer(net, rows), copied.logit_of)


class AddaScorer(nn.Module):
    """Eq. 5 with one discriminator, eq. 6 with two; `masked` False puts c = 1."""

    def __init__(self, vae: ConvVae, nets: Sequence[ConvDiscriminator], cams: Sequence[Cam], beta: float, masked: bool):
        super().__init__()
        self.vae, self.cams, self.beta, self.masked = vae, nn.ModuleList(cams), beta, masked
        self.heads = nn.ModuleList(net.out for net in nets)
        self.size, self.heatmap = nets[0].size, Heatmap(nets[0].size)

    def forward(self, frame: Tensor) -> Scoring:
        """uint8 [N, H, W, C] -> (score [N], masked_error [N], heatmap [N, H/2, W/2])."""
        x = images_from_frames(frame)
        x_hat, mask, belief = self._seen(x)
        error = squared_error(x, x_hat)
        first = masked_error(error, mask)
        return first - self.beta * belief, first, self.heatmap(error * mask)

    def explain(self, frame: Tensor) -> Explanation:
        """The reconstruction and c."""
        x_hat, mask, _ = self._seen(images_from_frames(frame))
        return Explanation(frames_from_images(x_hat), mask[:, 0] if self.masked else None)

    def _seen(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """x_hat, the mask c, and the sum of D(x) over the discriminators."""
        x_hat = self.vae(x)
        both = torch.cat([x, x_hat])
        total, belief = torch.zeros_like(x[:, :1, :1, :1]), torch.zeros_like(x[:, 0, 0, 0])
        for cam, head in zip(self.cams, self.heads, strict=True):
            maps, last = cam(both)
            here, there = normalised(F.relu(maps)).chunk(2)
            total = total + here + there
            belief = belief + torch.sigmoid(head(last.chunk(2)[0]).flatten())
        mask = mask_from_cam(total, self.size)
        return x_hat, mask if self.masked else torch.ones_like(mask), belief


class Adda:
    """The method: ADDA, with `semi` its semi-supervised form. See train.method.Method."""

    OPTIONS: ClassVar[dict[str, Option]] = {
        "semi": False,
        "masked": True,
        "beta": 0.2,  # noisy MNIST in the paper; 0.05 to 5 elsewhere, chosen on test data there
        "cam_rows": 0,  # least rows of the attention map; 0: the second of D's four maps, 21 rows at 84x84
        "latent": 128,
        "learning_rate": 3e-4,
        "kl": 1.0,
        "adv": 50.0,  # beside an image error that is summed over pixels; 1 is too little for the VAE to hear D
        "equilibrium": 0.33,  # D rests while the mean of its three terms is below this; 0: it never rests
    }

    def __init__(self, config: MethodConfig) -> None:
        self.config, size = config, (config.height, config.width)
        self.vae = ConvVae(config, 3, int(config.number("latent")))
        names = ["discriminator", "discriminator_ano"] if config.flag("semi") else ["discriminator"]
        self.judges = {name: ConvDiscriminator(config.channels, config.base_width, size) for name in names}
        self.networks = nn.ModuleDict({"vae": self.vae, **self.judges})

    @property
    def phases(self) -> tuple[Phase, ...]:
        """One phase: all networks together."""
        return (Phase("gan"),)

    def optimisers(self) -> dict[str, Optimizer]:
        """RMSProp at 0.0003 for all networks, as stated."""
        rate = self.config.number("learning_rate")
        return {name: RMSprop(net.parameters(), rate, alpha=0.9) for name, net in self.networks.items()}

    def step(self, phase: str, batch: Batch, minimise: Minimise) -> dict[str, float]:
        """L_image + L_prior + the VAE's part of L_GAN; then each discriminator's."""
        x = images_from_frames(batch.frames)
        judge = self.judges["discriminator"]
        z, kl = self.vae.sample(x, batch.noise)
        fakes = self.vae.decode(torch.cat([z, batch.noise.normal(len(x), self.vae.latent)]))
        losses = {
            "image": image_loss(x, fakes[: len(x)]),
            "prior": kl.mean(),
            "adv": F.softplus(-judge(fakes)).mean(),
        }
        weights = {"image": 1.0, "prior": self.config.number("kl"), "adv": self.config.number("adv")}
        minimise("vae", torch.stack([weights[name] * value for name, value in losses.items()]).sum())
        losses["discriminator"] = F.softplus(-judge(x)).mean() + 2 * F.softplus(judge(fakes.detach())).mean()
        if not self._rests(losses["discriminator"]):
            minimise("discriminator", losses["discriminator"])
        if "discriminator_ano" in self.judges:
            losses["discriminator_ano"] = self._known_loss(x, batch)
            minimise("discriminator_ano", losses["discriminator_ano"])
        return {name: float(value.detach()) for name, value in losses.items()}

    def _rests(self, loss: Tensor) -> bool:
        """D is so far ahead that it would saturate: it knows reconstructions by the noise they lack, and its map is
        then no longer of the object (the equilibrium rule of Larsen et al., whose VAE-GAN this is)."""
        return mean_over(float(loss.detach()), loss.device) < 3 * self.config.number("equilibrium")

    def _known_loss(self, x: Tensor, batch: Batch) -> Tensor:
        """D_ano: normal images are real, known anomalies fake."""
        if batch.known is None:
            raise UsageError("this method needs known anomalies", "the batch holds none", "add --known-anomalies DIR")
        # In one batch: in two, batch norm's statistics alone would tell the classes apart, which no test image can use.
        out = self.judges["discriminator_ano"](torch.cat([x, images_from_frames(batch.known)]))
        return F.softplus(-out[: len(x)]).mean() + F.softplus(out[len(x) :]).mean()

    def validate(self, phase: str, frames: Tensor) -> float:
        """Mean squared reconstruction error, images in -1..1."""
        x = images_from_frames(frames)
        return float(squared_error(x, self.vae(x)).mean())

    def scorer(self) -> nn.Module:
        """See train.method.Method."""
        return self._scorer(forward_cam)

    def reference_scorer(self) -> nn.Module:
        """See train.method.Method."""
        return self._scorer(autograd_cam)

    def _scorer(self, cam_of: Callable[[ConvDiscriminator, int], Cam]) -> nn.Module:
        rows, nets = int(self.config.number("cam_rows")), list(self.judges.values())
        cams = [cam_of(net, rows) for net in nets]
        beta, masked = self.config.number("beta"), self.config.flag("masked")
        return AddaScorer(snapshot(self.vae), [snapshot(net) for net in nets], cams, beta, masked).eval()
