"""The product's own method: an attention network trained on hard synthetic anomalies, and how far features are off.

The idea is the two-stage attention paper's attention loss (hard augmentation, no GAN): a network marks what was
changed. Here the changes are richer, the network also says what was done and redraws the normal image, and the score
adds the distance of its features from those of normal images, which finds defects that no synthetic one resembles.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import ClassVar, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import Optimizer

from edge.errors import UsageError
from train.augment.hard import KINDS
from train.gradcam import mask_from_cam
from train.gradcam import normalised as peak_normalised
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
from train.models import attention_start
from train.models.attention_batch import Example, Lesson, examples_of, tensors_of, varied, windows_allowed
from train.models.attention_loss import losses
from train.models.attention_mirror import ORIENTATIONS, UPRIGHT, Mirrors, mirrored_images
from train.models.attention_net import AttentionNet, Seen, light_of, normalised
from train.models.attention_normal import Distance, Moments, ReferenceDistance, Scales, enlarged, smoothed
from train.models.attention_usual import FIXED, Good, Usual
from train.models.blocks import snapshot
from train.scoring import masked_error, squared_error

PARTS = 3  # of the score: attention logit, distance of the middle and of the deep features
LOOK = (0.55, 0.6)  # share of the training in which mirrored pictures are judged; the lessons after it are harder
WARM_UP = 0.1  # share of the training in which the learning rate rises


class AttentionScorer(nn.Module):
    """The scoring graph: three maps in units of their normal peaks' deviation, added, smoothed; the score is the peak.

    A part whose peaks differ much between good pictures is a poor witness, however sharp its map is.
    """

    scale: Tensor
    shift: Tensor

    def __init__(
        self, seeing: tuple[Usual, AttentionNet], distances: list[nn.Module], scales: Scales, weights: Tensor
    ) -> None:
        super().__init__()
        (self.usual, self.network), (self.middle, self.deep) = seeing, distances
        mean, deviation = scales.mean(), scales.peak_deviation()
        share = weights.to(deviation) / deviation
        self.register_buffer("scale", share[None, :, None, None])
        self.register_buffer("shift", (share * mean).sum()[None, None, None])

    def forward(self, frame: Tensor) -> Scoring:
        """uint8 [N, H, W, C] -> (score [N], masked_error [N], heatmap [N, H/4, W/4]), all >= 0."""
        x = normalised(images_from_frames(frame))
        seen = self.network(x, self.usual(x))
        odd = (self.parts(seen) * self.scale).sum(1, keepdim=True) - self.shift
        smooth = smoothed(F.softplus(odd))
        error = squared_error(F.avg_pool2d(x, 4), seen.redrawn)
        sharp = smooth * torch.sqrt(torch.sigmoid(seen.logits))  # distances reach far around what is odd
        heatmap = enlarged(sharp, (frame.shape[1] // 4, frame.shape[2] // 4))
        return smooth.amax((1, 2, 3)), masked_error(error, self._mask(seen)), heatmap[:, 0]

    def parts(self, seen: Seen) -> Tensor:
        """The maps that are added, [N, 3, H/8, W/8]."""
        size = (seen.logits.shape[2], seen.logits.shape[3])
        middle, deep = self.middle(seen.middle), self.deep(seen.deep)
        return torch.cat([seen.logits, enlarged(middle, size), enlarged(deep, size)], 1)

    def explain(self, frame: Tensor) -> Explanation:
        """The redrawn normal image and the attention map."""
        images = images_from_frames(frame)
        x = normalised(images)
        seen = self.network(x, self.usual(x))
        size = (frame.shape[1], frame.shape[2])
        mean, deviation = light_of(images)
        redrawn = enlarged(seen.redrawn, size) * deviation + mean
        return Explanation(frames_from_images(redrawn), enlarged(self._mask(seen), size)[:, 0])

    def _mask(self, seen: Seen) -> Tensor:
        """The attention, its peak 1, at the redrawn image's size, [N, 1, H/4, W/4]."""
        size = (seen.redrawn.shape[2], seen.redrawn.shape[3])
        return mask_from_cam(peak_normalised(torch.sigmoid(seen.logits)), size)


class Attention:
    """The method: networks, losses and scorers. See train.method.Method."""

    OPTIONS: ClassVar[dict[str, Option]] = {
        "learning_rate": 3e-3,
        "weight_decay": 0.3,  # with less, the network knows its training pictures by heart after ten CPU minutes
        "coarse": 0.3,
        "image": 0.3,
        "kinds": 0.3,
        "redraw": 0.3,
        "attention_part": 1.0,  # weights in the score
        "middle_part": 1.0,
        "deep_part": 1.0,
        "head_start": 0.5,  # share of what was learnt on drawn worlds with which training begins, 0 to 1
        "bfloat16": True,  # on processors that have it: training takes less than half the time
    }

    def __init__(self, config: MethodConfig) -> None:
        self.config = config
        size = config.height, config.width
        self.good = Good(config.channels, size, 1.0 if config.faced else FIXED)
        self.usual = Usual(config.channels, size)
        self.network = AttentionNet(config.channels, config.base_width, size, KINDS)
        self.network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.average = snapshot(self.network)
        self.moments = nn.ModuleList(
            Moments(4 * config.base_width, (config.height // stride, config.width // stride)) for stride in (16, 32)
        )
        self.scales, self.steps, self.mirrors = Scales(PARTS), Steps(), Mirrors()
        self.networks = nn.ModuleDict(
            {
                "network": self.network,
                "average": self.average,
                "good": self.good,
                "usual": self.usual,
                "moments": self.moments,
                "scales": self.scales,
                "steps": self.steps,
                "mirrors": self.mirrors,
            }
        )
        self._optimiser: Optimizer | None = None
        self._scoring: AttentionScorer | None = None

    def begin(self) -> str:
        """Load the head start, if it is wanted and there is one of this width; what was done, for people."""
        kept = self.config.number("head_start")
        if not 0 <= kept <= 1:
            raise UsageError(f"option head_start is not {kept:g}", "it is a share", "set a number from 0 to 1")
        if not kept:
            return "network: begins from nothing"
        if not attention_start.begin(self.network, kept):
            return f"network: begins from nothing, the head start has another width than {self.config.base_width}"
        self.average.load_state_dict(self.network.state_dict())
        return "network: begins from what it learnt on drawn surfaces (--set head_start=0: from nothing)"

    def layout(self) -> str:
        """What the good pictures' layout was found to be, for people."""
        if self.good.movement() < 1:
            return "layout: parts lie as in a fixture, so what is missing or moved there counts"
        return "layout: parts or surfaces differ from picture to picture, so no place has a template"

    @property
    def phases(self) -> tuple[Phase, ...]:
        """Look at normal images, train the network, look again: their features' Gaussians, then the maps' scales."""
        return (
            Phase("usual", 0.01, looks=True),
            Phase("attention", 0.91),
            Phase("features", 0.04, looks=True),
            Phase("scales", 0.04, looks=True),
        )

    def optimisers(self) -> dict[str, Optimizer]:
        """AdamW; no weight decay on biases and batch norm."""
        parameters = list(self.network.parameters())
        groups = [
            {"params": [p for p in parameters if p.ndim > 1], "weight_decay": self.config.number("weight_decay")},
            {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
        ]
        self._optimiser = torch.optim.AdamW(groups, lr=self.config.number("learning_rate"), betas=(0.9, 0.99))
        return {"network": self._optimiser}

    def step(self, phase: str, batch: Batch, minimise: Minimise) -> dict[str, float]:
        """One training step, or one look at normal images."""
        if phase == "attention":
            if LOOK[0] <= batch.progress < LOOK[1]:
                self._look(batch.frames)
            examples = examples_of(batch, self._lesson(batch))
            return self.learn(examples, batch.progress, batch.frames.device, minimise)
        self.average.eval()
        with torch.no_grad(), torch.autocast(batch.frames.device.type, enabled=False):
            seeds = [int(s) for s in batch.noise.integers(2**31, len(batch.frames))]
            if phase == "usual":
                still, swayed = images_from_frames(batch.frames), varied(batch.frames, seeds, 0.0, 1.0)
                self.good.add(normalised(still), normalised(swayed))
                self.good.tell(self.usual)
                return {}
            x = normalised(varied(batch.frames, seeds, 0.5, 0.5 * self.good.movement(), self.mirrors.good()))
            seen = self.average(x, self.usual(x))
            if phase == "features":
                self.moments[0].add(seen.middle)  # type: ignore[operator]
                self.moments[1].add(seen.deep)  # type: ignore[operator]
            else:
                self._scoring = self._scoring or self._scorer([Distance(m) for m in self._gaussians()])
                self.scales.add(self._scoring.parts(seen))
        return {}

    def learn(
        self,
        examples: Sequence[Example],
        progress: float,
        device: torch.device,
        minimise: Minimise,
        usual: Sequence[Usual] = (),
    ) -> dict[str, float]:
        """One step on `examples` at `progress` 0..1 of the training; the losses. `usual`: each example's own, or the
        method's."""
        images, truth = tensors_of(examples, device)
        parts = [example.part for example in examples]
        with torch.no_grad():
            odd = self.usual(images, parts)
            if usual:
                odd = torch.cat([own(images[i : i + 1], parts[i : i + 1]) for i, own in enumerate(usual)])
        with self._half(device):
            seen = self.network(images, odd, parts)
        found = losses(seen, truth)
        weights = {"map": 1.0, **{name: self.config.number(name) for name in ("coarse", "image", "kinds", "redraw")}}
        total = torch.stack([weights[name] * loss for name, loss in found.items()]).sum()
        self._schedule(progress)
        minimise("network", total)
        self.steps.count += 1
        follow(self.average, self.network, min(0.998, float((self.steps.count + 1) / (self.steps.count + 10))))
        return {name: float(loss.detach()) for name, loss in found.items()}

    def _lesson(self, batch: Batch) -> Lesson:
        movement = self.good.movement()
        if batch.progress >= LOOK[1]:
            return Lesson(self.mirrors.good(), graded=True, movement=movement)
        return Lesson(UPRIGHT, graded=False, windows=windows_allowed(batch), movement=movement)

    def _look(self, frames: Tensor) -> None:
        """Let the averaged network see good pictures, mirrored too."""
        images = normalised(images_from_frames(frames))
        self.average.eval()
        turned = [mirrored_images(images, o) for o in range(ORIENTATIONS)]
        with torch.no_grad(), self._half(frames.device):
            maps = [self.average(x, self.usual(x)).logits.float() for x in turned]
        self.mirrors.add(torch.stack([smoothed(m).amax((1, 2, 3)) for m in maps]))

    def _schedule(self, progress: float) -> None:
        """One cycle over the phase: a linear rise, then half a cosine down to a hundredth."""
        assert self._optimiser is not None
        rate = self.config.number("learning_rate") * one_cycle(progress)
        for group in self._optimiser.param_groups:
            group["lr"] = rate

    def _half(self, device: torch.device) -> AbstractContextManager[object]:
        """bfloat16 on a processor that has it; elsewhere what the loop has chosen stands, mixed or not."""
        if device.type == "cpu" and self.config.flag("bfloat16") and torch.cpu._is_avx512_bf16_supported():
            return torch.autocast("cpu", torch.bfloat16)
        return nullcontext()

    def validate(self, phase: str, frames: Tensor) -> float:
        """Mean over images of the averaged network's mean attention, 0..1: what it marks on normal images."""
        with self._half(frames.device):
            x = normalised(images_from_frames(frames))
            seen: Seen = self.average(x, self.usual(x))
        return float(torch.sigmoid(seen.logits.float()).mean())

    def scorer(self) -> nn.Module:
        """See train.method.Method."""
        return self._scorer([Distance(m) for m in self._gaussians()])

    def reference_scorer(self) -> nn.Module:
        """See train.method.Method; distances from the inverse covariances."""
        return self._scorer([ReferenceDistance(m) for m in self._gaussians()])

    def _scorer(self, distances: list[nn.Module]) -> AttentionScorer:
        names = ("attention_part", "middle_part", "deep_part")
        weights = torch.tensor([self.config.number(name) for name in names])
        seeing = snapshot(self.usual), snapshot(self.average)
        scorer = AttentionScorer(seeing, distances, self.scales, weights)
        return scorer.to(memory_format=torch.contiguous_format).eval()  # type: ignore[call-overload, no-any-return]

    def _gaussians(self) -> list[Moments]:
        return [cast(Moments, moments) for moments in self.moments]


class Steps(nn.Module):
    """How many steps the averaged network has followed; saved with it."""

    count: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("count", torch.zeros((), dtype=torch.int64))


def one_cycle(progress: float) -> float:
    """Learning rate factor at `progress` 0..1 of the training."""
    if progress < WARM_UP:
        return 0.02 + 0.98 * progress / WARM_UP
    rest = (min(progress, 1.0) - WARM_UP) / (1 - WARM_UP)
    return 0.01 + 0.99 * 0.5 * (1 + float(torch.cos(torch.tensor(torch.pi * rest))))


@torch.no_grad()
def follow(average: nn.Module, network: nn.Module, decay: float) -> None:
    """Move all weights and running statistics of `average` by 1 - `decay` of the way to `network`'s."""
    for slow, fast in zip(average.state_dict().values(), network.state_dict().values(), strict=True):
        if slow.is_floating_point():
            slow.lerp_(fast, 1 - decay)
        else:
            slow.copy_(fast)
