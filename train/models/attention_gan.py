"""Attention-map-guided two-stage anomaly detection with hard augmentation (arXiv 2103.16851).

Stage 1: a VAE-GAN with two heads, the image and an attention map that is 1 where the image is normal, trained on
normal images and synthetic anomalies: L_adv + L_adv^ano + L_G + L_att, all weights 1. Stage 2: the ADGAN redraws image
features weighted by the attention, on normal images. Score: how unlike normal its discriminator finds them.
What the paper leaves open: mean reductions, Adam 2e-4 (0.5, 0.999); an anomalous picture is no target of redrawing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import Optimizer

from train.augment.regions import turned_and_swapped, with_regions
from train.gradcam import mask_from_cam, normalised
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
from train.models.attention_gan_net import LATENT, AttentionNetwork, ImageFeatures, Redrawer, TwoHeads
from train.models.blocks import exportable, init_dcgan, snapshot
from train.models.dcgan import FeatureDiscriminator
from train.models.resnet import load_imagenet
from train.scoring import Heatmap, masked_error, squared_error


@dataclass(frozen=True)
class Pictures:
    """`normal`, `anomalous` float [N, C, H, W] in -1..1; `attention` [N, 1, H, W], what it should be on `anomalous`."""

    normal: Tensor
    anomalous: Tensor
    attention: Tensor


class TwoStageScorer(nn.Module):
    """Both stages in one graph."""

    def __init__(
        self, attention: AttentionNetwork, features: ImageFeatures, discriminator: FeatureDiscriminator
    ) -> None:
        super().__init__()
        self.attention, self.features, self.discriminator = attention, features, discriminator
        self.heatmap = Heatmap(discriminator.size)

    def forward(self, frame: Tensor) -> Scoring:
        """uint8 [N, H, W, C] -> (score [N], masked_error [N], heatmap [N, H/2, W/2]), all >= 0.

        The score is -log D(F), which orders images as the paper's 1 - D(F) does and does not saturate.
        """
        x = images_from_frames(frame)
        out: TwoHeads = self.attention(x)
        logit, _ = self.discriminator(self.features(x) * out.attention)
        error = masked_error(squared_error(x, out.image), self._mask(out))
        return F.softplus(-logit), error, self.heatmap(1 - out.attention)

    def explain(self, frame: Tensor) -> Explanation:
        """The redrawn image, and where the attention is not."""
        out: TwoHeads = self.attention(images_from_frames(frame))
        return Explanation(frames_from_images(out.image), self._mask(out)[:, 0])

    def _mask(self, out: TwoHeads) -> Tensor:
        return mask_from_cam(normalised(1 - out.attention), self.discriminator.size)


class AttentionGan:
    """The method: networks, losses and scorers. See train.method.Method."""

    OPTIONS: ClassVar[dict[str, Option]] = {
        "separable": False,  # depth-wise separable convolutions in encoders and heads: the light variant
        "learning_rate": 2e-4,
        "adv": 1.0,
        "adv_ano": 1.0,
        "nll": 1.0,
        "kl": 1.0,
        "att": 1.0,
        "redraw": 1.0,
        "anomalies_as_fakes": False,  # show stage 2's discriminator synthetic anomalies as well
    }

    def __init__(self, config: MethodConfig) -> None:
        self.config = config
        size, channels, width = (config.height, config.width), config.channels, config.base_width
        light = config.flag("separable")
        self.attention = AttentionNetwork(channels, width, light)
        self.judge = FeatureDiscriminator(channels + 1, width, size)
        self.features = ImageFeatures(channels, width)
        self.redrawer = Redrawer(width, width, light)
        self.discriminator = FeatureDiscriminator(width, width, size)
        self.networks = nn.ModuleDict(
            {
                "attention": self.attention,
                "judge": self.judge,
                "features": self.features,
                "redrawer": self.redrawer,
                "discriminator": self.discriminator,
            }
        )
        for network in (self.judge, self.discriminator):
            network.apply(init_dcgan)

    @property
    def phases(self) -> tuple[Phase, ...]:
        """Stage 1, then stage 2 with stage 1 frozen."""
        return Phase("attention", 0.6), Phase("adgan", 0.4)

    def optimisers(self) -> dict[str, Optimizer]:
        """Adam for each network that is trained."""
        names = ("attention", "judge", "redrawer", "discriminator")
        return adam_for_each({name: self.networks[name] for name in names}, self.config)

    def load_pretrained(self, state: dict[str, Tensor]) -> None:
        """Take the encoder's weights from torchvision's ResNet-18. Raises InputError if they do not fit."""
        load_imagenet(self.attention.encoder, state)

    def step(self, phase: str, batch: Batch, minimise: Minimise) -> dict[str, float]:
        """One step of each network of the phase."""
        pictures = _pictures(batch)
        losses = self._stage1(pictures, batch, minimise) if phase == "attention" else self._stage2(pictures, minimise)
        return numbers(losses)

    def _stage1(self, p: Pictures, batch: Batch, minimise: Minimise) -> dict[str, Tensor]:
        good, bad = self._seen(p.normal, batch), self._seen(p.anomalous, batch)
        attended = F.mse_loss(good.attention, torch.ones_like(good.attention)) + F.mse_loss(bad.attention, p.attention)
        kl = 0.5 * (good.mean**2 + good.log_variance.exp() - 1 - good.log_variance).mean()
        losses = {
            "adv": believed(self._judged(good.image, good.attention)),
            "adv_ano": believed(self._judged(bad.image, bad.attention)),
            "nll": F.mse_loss(good.image, p.normal),
            "kl": kl,
            "att": attended,
        }
        minimise("attention", weighted_sum(losses, self.config))
        losses["judge"] = self._judge_loss(p, good, bad)
        minimise("judge", losses["judge"])
        return losses

    def _judge_loss(self, p: Pictures, good: TwoHeads, bad: TwoHeads) -> Tensor:
        real = [(p.normal, torch.ones_like(p.attention)), (p.anomalous, p.attention)]
        fake = [(seen.image.detach(), seen.attention.detach()) for seen in (good, bad)]
        logits = [self._judged(*pair) for pair in (*real, *fake)]
        return told_apart(logits[0], logits[2]) + told_apart(logits[1], logits[3])

    def _judged(self, image: Tensor, attention: Tensor) -> Tensor:
        logit: Tensor = self.judge(torch.cat([image, attention], 1))[0]
        return logit

    def _seen(self, images: Tensor, batch: Batch) -> TwoHeads:
        shape = (LATENT * self.config.base_width, self.config.height // 16, self.config.width // 16)
        out: TwoHeads = self.attention(images, batch.noise.normal(len(images), *shape))
        return out

    def _stage2(self, p: Pictures, minimise: Minimise) -> dict[str, Tensor]:
        self.attention.eval()
        real = self._attended(p.normal)
        redrawn = self.redrawer(real)
        adversarial = believed(self.discriminator(redrawn)[0])
        losses = {"redraw": (redrawn - real).abs().mean(), "adgan": adversarial}
        minimise("redrawer", self.config.number("redraw") * losses["redraw"] + adversarial)
        judged = told_apart(self.discriminator(real)[0], self.discriminator(redrawn.detach())[0])
        if self.config.flag("anomalies_as_fakes"):
            judged = judged + F.softplus(self.discriminator(self._attended(p.anomalous))[0]).mean()
        losses["discriminator"] = judged
        minimise("discriminator", judged)
        return losses

    @torch.no_grad()
    def _attended(self, images: Tensor) -> Tensor:
        out: TwoHeads = self.attention(images)
        weighted: Tensor = self.features(images) * out.attention
        return weighted

    def validate(self, phase: str, frames: Tensor) -> float:
        """Stage 1: mean of 1 - attention; stage 2: mean absolute error of the redrawn features."""
        x = images_from_frames(frames)
        if phase == "attention":
            out: TwoHeads = self.attention(x)
            return float((1 - out.attention).mean())
        real = self._attended(x)
        return float((self.redrawer(real) - real).abs().mean())

    def scorer(self) -> nn.Module:
        """See train.method.Method."""
        parts = [exportable(part) for part in (self.attention, self.features, self.discriminator)]
        return cast(nn.Module, TwoStageScorer(*parts).eval())  # type: ignore[arg-type]

    def reference_scorer(self) -> nn.Module:
        """See train.method.Method; with grouped convolutions as they were trained."""
        parts = [snapshot(part) for part in (self.attention, self.features, self.discriminator)]
        return cast(nn.Module, TwoStageScorer(*parts).eval())  # type: ignore[arg-type]


def _pictures(batch: Batch) -> Pictures:
    """Every second anomalous picture or so is x', the others x''."""
    frames = batch.frames.cpu().numpy()
    changed, wanted = [], []
    for frame, seed in zip(frames, batch.noise.integers(2**31, len(frames)), strict=True):
        random = np.random.default_rng(int(seed))
        if random.random() < 0.5:
            changed.append(turned_and_swapped(frame, random))
            wanted.append(np.zeros(frame.shape[:2], np.float32))
        else:
            picture, attention = with_regions(frame, random)
            changed.append(picture)
            wanted.append(attention)
    device = batch.frames.device
    anomalous = torch.from_numpy(np.stack(changed)).to(device)
    target = torch.from_numpy(np.stack(wanted))[:, None].to(device)
    return Pictures(images_from_frames(batch.frames), images_from_frames(anomalous), target)
