"""SPADE and SPADER (Kimura et al.): a VAE of normal images, weighted by where a CNN that knows some anomalies looks.

CNN f: regression to 1 (normal) or 0 (known anomaly). The paper's score is high for *normal*:
S(x) = -(1/M) sum_m sum_ij e_ij cam_ij / ||cam|| + f(x), e = |x - g(x)|, cam = |CAM_f(x)| + ReLU(CAM_f(g(x))).
Here every score is high for anomalous, so it is -S. SPADE is the first term alone, CNN-regression is -f alone.
The exported graph takes the latent's mean once (M = 1); `sampled_scores` is the paper's M passes.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import ClassVar, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import Optimizer

from edge.errors import UsageError
from train.gradcam import EPSILON, AutogradCam, ForwardCam, mask_from_cam, sizes_of
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
from train.models.blocks import ConvBlock, snapshot
from train.models.vae import ConvVae, image_loss
from train.noise import Noise
from train.scoring import Heatmap, masked_error, squared_error

Cam = ForwardCam | AutogradCam
PIXELS_LOW = 0.0  # images in 0..1: the balance of the two terms depends on it


class RegressionCnn(nn.Module):
    """conv3x3/2 x 3 (w/2, w, 2w; batch norm, ReLU), mean over positions, linear to one number."""

    def __init__(self, channels: int, base_width: int, size: tuple[int, int]) -> None:
        super().__init__()
        widths = [channels, max(1, base_width // 2), base_width, 2 * base_width]
        self.trunk = nn.ModuleList(
            ConvBlock(nn.Conv2d(a, b, 3, 2, 1), True, 0.0) for a, b in itertools.pairwise(widths)
        )
        self.size, self.out = size, nn.Linear(widths[-1], 1)

    @property
    def blocks(self) -> Sequence[ConvBlock]:
        """The trunk with its type."""
        return [cast(ConvBlock, block) for block in self.trunk]

    def forward(self, x: Tensor) -> Tensor:
        """[N, C, H, W] -> logit [N]; f is its sigmoid."""
        for block in self.trunk:
            x = block(x)
        return self.logit_of(x)

    def logit_of(self, last: Tensor) -> Tensor:
        """The logit [N] from the last map."""
        out: Tensor = self.out(last.mean((2, 3))).flatten()
        return out

    def head(self) -> Tensor:
        """[C, h, w] with logit = sum(head * last) + bias."""
        height, width = sizes_of(self.blocks, self.size)[-1]
        weight = self.out.weight[0] / (height * width)
        return weight[:, None, None].expand(-1, height, width)


def forward_cam(net: RegressionCnn) -> ForwardCam:
    """Grad-CAM at the last convolution; there alpha is a constant of the weights."""
    copied = snapshot(net)
    return ForwardCam(copied.blocks, len(copied.blocks) - 1, copied.head(), net.size)


def autograd_cam(net: RegressionCnn) -> AutogradCam:
    """The same by torch.autograd."""
    copied = snapshot(net)
    return AutogradCam(copied.blocks, len(copied.blocks) - 1, copied.logit_of)


def weighted_error(error: Tensor, mask: Tensor, norm: str) -> Tensor:
    """sum(e * cam) / ||cam||, [N], from e and cam [N, 1, H, W]; norm "l1" (a mean error in 0..1, as f is) or "l2".

    The paper does not say which; docs/decisions/spader-norm.md does.

    Written with means, which stay inside half precision's range.
    """
    if norm == "l1":
        return (error * mask).mean((1, 2, 3)) / mask.mean((1, 2, 3))
    pixels = float(mask.shape[2] * mask.shape[3])
    out: Tensor = pixels**0.5 * (error * mask).mean((1, 2, 3)) / (mask * mask).mean((1, 2, 3)).sqrt()
    return out


class SpaderScorer(nn.Module):
    """-S(x); `regression` False leaves f out (SPADE)."""

    def __init__(self, vae: ConvVae, cnn: RegressionCnn, cam: Cam, norm: str, regression: bool) -> None:
        super().__init__()
        self.vae, self.cam, self.norm, self.regression = vae, cam, norm, regression
        self.out, self.size, self.heatmap = cnn.out, cnn.size, Heatmap(cnn.size)

    def forward(self, frame: Tensor) -> Scoring:
        """uint8 [N, H, W, C] -> (score [N], masked_error [N], heatmap [N, H/2, W/2])."""
        x = images_from_frames(frame, PIXELS_LOW)
        return self.of(x, self.vae(x))

    def of(self, x: Tensor, x_hat: Tensor) -> Scoring:
        """The scores of images x whose reconstructions are x_hat, [N, C, H, W] in 0..1."""
        mask, believed = self.attend(x, x_hat)
        error = (x - x_hat).abs().mean(1, keepdim=True)
        score = weighted_error(error, mask, self.norm)
        if self.regression:
            score = score - believed
        return score, masked_error(squared_error(x, x_hat), mask), self.heatmap(error * mask)

    def attend(self, x: Tensor, x_hat: Tensor) -> tuple[Tensor, Tensor]:
        """cam at image size [N, 1, H, W] (scaled to a peak of 1, which cancels), and f(x) [N]."""
        maps, last = self.cam(torch.cat([x, x_hat]))
        here, there = maps.chunk(2)
        cam = here.abs() + F.relu(there)
        cam = cam / cam.amax((1, 2, 3), keepdim=True).clamp(min=EPSILON)
        believed = torch.sigmoid(self.out(last.chunk(2)[0].mean((2, 3))).flatten())
        return mask_from_cam(cam, self.size), believed

    def explain(self, frame: Tensor) -> Explanation:
        """The reconstruction and cam."""
        x = images_from_frames(frame, PIXELS_LOW)
        x_hat = self.vae(x)
        return Explanation(frames_from_images(x_hat, PIXELS_LOW), self.attend(x, x_hat)[0][:, 0])


class Spader:
    """The method: a VAE on normals, then a CNN on normals and known anomalies. See train.method.Method."""

    OPTIONS: ClassVar[dict[str, Option]] = {
        "regression": True,
        "norm": "l1",  # a mean error: beside a sum over l2, f would decide nothing
        "latent": 128,
        "learning_rate": 1e-3,
        "kl": 1.0,
    }

    def __init__(self, config: MethodConfig) -> None:
        self.config = config
        self.vae = ConvVae(config, 4, int(config.number("latent")), PIXELS_LOW)
        self.cnn = RegressionCnn(config.channels, config.base_width, (config.height, config.width))
        self.networks = nn.ModuleDict({"vae": self.vae, "cnn": self.cnn})

    @property
    def phases(self) -> tuple[Phase, ...]:
        """The VAE, then the CNN; they share nothing."""
        return (Phase("vae", 2.0), Phase("cnn", 1.0))

    def optimisers(self) -> dict[str, Optimizer]:
        """Adam for each."""
        rate = self.config.number("learning_rate")
        return {"vae": adam(self.vae, rate, 0.9), "cnn": adam(self.cnn, rate, 0.9)}

    def step(self, phase: str, batch: Batch, minimise: Minimise) -> dict[str, float]:
        """MSE + KL, or the regression."""
        x = images_from_frames(batch.frames, PIXELS_LOW)
        if phase == "cnn":
            loss = regression_loss(self.cnn, x, batch)
            minimise("cnn", loss)
            return {"regression": float(loss.detach())}
        z, kl = self.vae.sample(x, batch.noise)
        image, prior = image_loss(x, self.vae.decode(z)), kl.mean()
        minimise("vae", image + self.config.number("kl") * prior)
        return {"image": float(image.detach()), "prior": float(prior.detach())}

    def validate(self, phase: str, frames: Tensor) -> float:
        """Mean squared reconstruction error (VAE); mean squared distance of f from 1 (CNN)."""
        x = images_from_frames(frames, PIXELS_LOW)
        if phase == "cnn":
            return float(((1 - torch.sigmoid(self.cnn(x))) ** 2).mean())
        return float(squared_error(x, self.vae(x)).mean())

    def scorer(self) -> nn.Module:
        """See train.method.Method; M = 1 with the latent's mean."""
        return self._scorer(forward_cam).eval()

    def reference_scorer(self) -> nn.Module:
        """See train.method.Method."""
        return self._scorer(autograd_cam).eval()

    def sampled_scores(self, frames: Tensor, passes: int, seed: int) -> Tensor:
        """The paper's score with `passes` stochastic latents per image, high = anomalous, [N]."""
        scorer = cast(SpaderScorer, self.scorer())
        x, noise = images_from_frames(frames, PIXELS_LOW), Noise(seed, device=frames.device)
        with torch.no_grad():
            draws = [scorer.of(x, scorer.vae.decode(scorer.vae.sample(x, noise)[0]))[0] for _ in range(passes)]
        return torch.stack(draws).mean(0)

    def _scorer(self, cam_of: Callable[[RegressionCnn], Cam]) -> nn.Module:
        norm, regression = str(self.config.options["norm"]), self.config.flag("regression")
        if norm not in ("l1", "l2"):
            raise UsageError(f"no norm {norm}", "there are l1 and l2", "correct --set norm=...")
        return SpaderScorer(snapshot(self.vae), snapshot(self.cnn), cam_of(self.cnn), norm, regression)


def regression_loss(cnn: RegressionCnn, x: Tensor, batch: Batch) -> Tensor:
    """Mean of (y - f(x))^2, y = 1 on normals and 0 on as many known anomalies."""
    if batch.known is None:
        raise UsageError("this method needs known anomalies", "the batch holds none", "add --known-anomalies DIR")
    f = torch.sigmoid(cnn(torch.cat([x, images_from_frames(batch.known, PIXELS_LOW)])))
    truth = torch.cat([torch.ones(len(x)), torch.zeros(len(batch.known))]).to(f.device)
    return ((truth - f) ** 2).mean()
