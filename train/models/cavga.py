"""CAVGA, convolutional adversarial VAE with guided attention (Venkataramanan et al., ECCV 2020), in all its forms.

Unsupervised: L_R + KL + L_adv + 0.01 L_ae; the latent's attention shall cover the whole of a normal picture. Weakly
supervised (`weak`), with a few known anomalies: L_R + KL + L_adv + 0.001 L_bce + 0.01 L_cga; on normal pictures the
attention of "normal" shall cover everything and that of "anomalous" nothing.
Score: how far picture and reconstruction lie apart. Heatmap: 1 - A, weakly supervised of the normal class, which L_cga
trains. The paper's is A of the anomalous class (`map_of` anomalous), which nothing in its losses raises on a defect.

L_R is the binary cross-entropy in 0..1, a mean over pixel values. KL and the generator's L_adv, one number each for a
picture, are divided by how many values it has: so L_R + KL is the VAE's bound per pixel value, 0.01 L_ae weighs the
same at every size, and the discriminator does not drown the reconstruction, as it does undivided.
"""

from __future__ import annotations

import math
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import Optimizer

from edge.errors import UsageError
from train.gradcam import mask_from_cam, normalised
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
from train.models.blocks import exportable, snapshot
from train.models.cavga_cam import (
    ANOMALOUS,
    NORMAL,
    AutogradAttention,
    ForwardAttention,
    class_attention,
    expansion_loss,
    guided_loss,
    latent_attention,
)
from train.models.cavga_net import CavgaNet, Code, Discriminator
from train.models.resnet import ResNet18, load_imagenet
from train.scoring import Heatmap, masked_error, squared_error

MOST_TOP = 3840  # TensorRT's top-k takes no more


class CavgaScorer(nn.Module):
    """CAVGA's scoring graph. `top` 0: mean error; else the mean over this share of the blurred error's largest."""

    def __init__(self, net: CavgaNet, attend: ForwardAttention | AutogradAttention, config: MethodConfig) -> None:
        super().__init__()
        self.net, self.attend, self.size = net, attend, (config.height, config.width)
        self.top, self.heatmap = top_of(config), Heatmap(self.size)

    def forward(self, frame: Tensor) -> Scoring:
        """uint8 [N, H, W, C] -> (score [N], masked_error [N], heatmap [N, H/2, W/2])."""
        x = images_from_frames(frame, 0.0)
        x_hat, where = self._seen(x)
        wide = F.interpolate(where, self.size, mode="bilinear", align_corners=False)
        error = masked_error(squared_error(x, x_hat), self._mask(where))
        return self._score((x - x_hat).abs().mean(1, keepdim=True)), error, self.heatmap(wide)

    def explain(self, frame: Tensor) -> Explanation:
        """The reconstruction, and the mask of the masked error."""
        x_hat, where = self._seen(images_from_frames(frame, 0.0))
        return Explanation(frames_from_images(x_hat, 0.0), self._mask(where)[:, 0])

    def _seen(self, x: Tensor) -> tuple[Tensor, Tensor]:
        code = self.net.encode(x)
        return torch.sigmoid(self.net.decoder(code.mean)), self.attend(code)

    def _mask(self, where: Tensor) -> Tensor:
        return mask_from_cam(normalised(where), self.size)

    def _score(self, error: Tensor) -> Tensor:
        if self.top == 0:
            return error.mean((1, 2, 3))
        largest: Tensor = self.heatmap(error).flatten(1).topk(self.top, 1).values
        return largest.mean(1)


class Cavga:
    """The method: networks, losses and scorers. See train.method.Method."""

    OPTIONS: ClassVar[dict[str, Option]] = {
        "encoder": "dcgan",  # or "resnet"
        "weak": False,
        "separable": False,  # the light form
        "latent": 0,  # channels of the latent map; 0: 128, or fewer for a small picture
        "rows": 0,  # of the latent map, with the dcgan encoder; 0: 8, or a sixteenth of a small picture's
        "map_of": "normal",  # weakly supervised heatmap: 1 - A of that class; "anomalous": A of that, as published
        "top": 0.0,  # share of the error map that the score is taken from; 0: its mean, as in the paper
        "learning_rate": 1e-3,  # 1e-4 is for pretrained networks and very many epochs
        "discriminator_rate": 2e-4,  # DCGAN's own; at the others' rate it wins at once and drowns the reconstruction
        "decay": False,  # the learning rate falls to a fiftieth along half a cosine: for short training
        "reconstruction": 1.0,
        "kl": 1.0,
        "kl_rise": 0.0,  # share of the training over which KL's weight rises from 0, so that the latent comes into use
        "adv": 1.0,
        "ae": 0.01,
        "bce": 0.001,
        "cga": 0.01,
    }

    def __init__(self, config: MethodConfig) -> None:
        self.config = config
        top_of(config), kind_of(config)  # bad ones are refused before training, not after
        self.net = CavgaNet(config)
        self.discriminator = Discriminator(config.channels, config.base_width, (config.height, config.width))
        self.networks = nn.ModuleDict({"net": self.net, "discriminator": self.discriminator})
        self._optimisers: dict[str, Optimizer] = {}

    @property
    def phases(self) -> tuple[Phase, ...]:
        """One phase: all networks together."""
        return (Phase("gan"),)

    def optimisers(self) -> dict[str, Optimizer]:
        """Adam for each network."""
        self._optimisers = {name: adam(network, self._rate(name)) for name, network in self.networks.items()}
        return self._optimisers

    def _rate(self, name: str) -> float:
        return self.config.number("discriminator_rate" if name == "discriminator" else "learning_rate")

    def load_pretrained(self, state: dict[str, Tensor]) -> None:
        """Take the encoder's weights from torchvision's ResNet-18. Raises InputError if they do not fit."""
        load_imagenet(next(module for module in self.net.encoder.modules() if isinstance(module, ResNet18)), state)

    def step(self, phase: str, batch: Batch, minimise: Minimise) -> dict[str, float]:
        """One step of encoder, decoder and classifier, then one of the discriminator on the same reconstructions."""
        self._schedule(batch.progress)
        x = images_from_frames(batch.frames, 0.0)
        code = self.net.encode(torch.cat([x, *self._known(batch)]))
        z = code.mean + torch.exp(0.5 * code.log_variance) * self._noise(code, batch)
        raw = self.net.decoder(z[: len(x)])
        x_hat = torch.sigmoid(raw)
        losses = self._losses(x, raw, code)
        losses["adv"] = F.softplus(-self.discriminator(x_hat)).mean() / x[0].numel()
        losses |= self._weak(code, z, len(x)) if self.config.flag("weak") else self._unsupervised(code)
        weights = {name: self.config.number(name) for name in losses} | {"kl": self._kl_weight(batch.progress)}
        minimise("net", torch.stack([weights[name] * value for name, value in losses.items()]).sum())
        real, fake = self.discriminator(x), self.discriminator(x_hat.detach())
        losses["discriminator"] = F.softplus(-real).mean() + F.softplus(fake).mean()
        minimise("discriminator", losses["discriminator"])
        return {name: float(value.detach()) for name, value in losses.items()}

    def _schedule(self, progress: float) -> None:
        if self.config.flag("decay"):
            factor = 0.02 + 0.49 * (1 + math.cos(math.pi * min(progress, 1.0)))
            for name, optimiser in self._optimisers.items():
                for group in optimiser.param_groups:
                    group["lr"] = factor * self._rate(name)

    def _kl_weight(self, progress: float) -> float:
        rise = self.config.number("kl_rise")
        return self.config.number("kl") * (min(1.0, progress / rise) if rise else 1.0)

    def validate(self, phase: str, frames: Tensor) -> float:
        """Mean absolute reconstruction error, images in 0..1."""
        x = images_from_frames(frames, 0.0)
        return float((x - self.net(x)).abs().mean())

    def scorer(self) -> nn.Module:
        """See train.method.Method."""
        net = exportable(self.net)
        return CavgaScorer(net, ForwardAttention(net, kind_of(self.config)), self.config).eval()

    def reference_scorer(self) -> nn.Module:
        """See train.method.Method."""
        net = snapshot(self.net)
        return CavgaScorer(net, AutogradAttention(net, kind_of(self.config)), self.config).eval()

    def _known(self, batch: Batch) -> list[Tensor]:
        if not self.config.flag("weak"):
            return []
        if batch.known is None:
            raise UsageError("this method needs known anomalies", "the batch holds none", "add --known-anomalies DIR")
        return [images_from_frames(batch.known, 0.0)]

    def _noise(self, code: Code, batch: Batch) -> Tensor:
        count = len(batch.frames)
        draws = [batch.noise.normal(count, *self.net.shape) for _ in range(len(code.mean) // count)]
        return torch.cat(draws)

    def _losses(self, x: Tensor, raw: Tensor, code: Code) -> dict[str, Tensor]:
        """L_R and KL of the normal pictures, per pixel value."""
        mean, log_variance = code.mean[: len(x)], code.log_variance[: len(x)]
        kl = -0.5 * (1 + log_variance - mean**2 - log_variance.exp()).sum() / x.numel()
        return {"reconstruction": F.binary_cross_entropy_with_logits(raw, x), "kl": kl}

    def _unsupervised(self, code: Code) -> dict[str, Tensor]:
        if self.config.number("ae") == 0:
            return {}
        return {"ae": expansion_loss(latent_attention(code))}

    def _weak(self, code: Code, z: Tensor, normals: int) -> dict[str, Tensor]:
        """The classifier on all pictures, its attention on the normal ones; the attention is that of z = mean."""
        logits = self.net.classify(z)
        kinds = (torch.arange(len(z), device=z.device) >= normals).long()
        losses = {"bce": F.cross_entropy(logits, kinds)}
        if self.config.number("cga"):
            mean = code.mean[:normals]
            good = Code(code.last[:normals], mean, code.log_variance[:normals])
            maps = [class_attention(self.net, good, kind) for kind in (NORMAL, ANOMALOUS)]
            losses["cga"] = guided_loss(maps[0], maps[1], logits[:normals])
        return losses


def kind_of(config: MethodConfig) -> int:
    """The class whose attention the weakly supervised heatmap is made of. Raises UsageError for another name."""
    kinds = {"normal": NORMAL, "anomalous": ANOMALOUS}
    name = str(config.options["map_of"])
    if name not in kinds:
        raise UsageError(f"no class {name}", "there are " + ", ".join(kinds), "correct --set map_of=...")
    return kinds[name]


def top_of(config: MethodConfig) -> int:
    """How many values of the half-size error map the score is the mean of; 0 for the whole picture.

    Raises UsageError for a share outside 0..1, or more values than an engine can sort.
    """
    share = config.number("top")
    count = round(share * ((config.height + 1) // 2) * ((config.width + 1) // 2))
    if not 0 <= share <= 1 or count > MOST_TOP:
        raise UsageError(f"top {share:g} cannot be used", f"it would sort out {count} values", f"at most {MOST_TOP}")
    return max(count, 1) if share else 0
