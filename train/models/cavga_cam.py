"""CAVGA's attention: Grad-CAM from the latent, by autograd for training and as one convolution for the device.

Unsupervised, the paper leaves open what is differentiated and where; here y is the sum of the latent's mean, and A the
encoder's last map. Weakly supervised, y is the classifier's logit at z = mean, and A the mean itself. Either way y is
linear in A, so alpha does not depend on the picture: it is a sum, or a mean, of weights, and the map is a 1x1
convolution (Selvaraju et al., eq. 1-2, with the factor 1/Z). Maps are divided by their own peak, picture by picture.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from train.gradcam import normalised
from train.models.cavga_net import CavgaNet, Code

NORMAL, ANOMALOUS = 0, 1


def grad_cam(y: Tensor, maps: Tensor) -> Tensor:
    """The attention map [N, 1, h, w] in 0..1 of y [N] at `maps` [N, K, h, w]; may be differentiated again."""
    (gradient,) = torch.autograd.grad(y.sum(), maps, create_graph=True)
    alpha = gradient.mean((2, 3), keepdim=True)
    return normalised(F.relu((alpha * maps).sum(1, keepdim=True)))


def latent_attention(code: Code) -> Tensor:
    """A of the unsupervised methods: y is the sum of the latent's mean."""
    return grad_cam(code.mean.sum((1, 2, 3)), code.last)


def class_attention(net: CavgaNet, code: Code, kind: int) -> Tensor:
    """A^c of the weakly supervised methods: y is the logit of class `kind`."""
    return grad_cam(net.classify(code.mean)[:, kind], code.mean)


def expansion_loss(attention: Tensor) -> Tensor:
    """L_ae = mean of 1 - A over pixels and pictures."""
    return (1 - attention).mean()


def guided_loss(normal: Tensor, anomalous: Tensor, logits: Tensor) -> Tensor:
    """L_cga of normal pictures: mean of 1 - A^normal + A^anomalous over pixels, summed over those that the classifier
    finds normal, divided by the number of all.

    Maps [N, 1, h, w], logits [N, 2].
    """
    found = logits.detach().argmax(1) == NORMAL
    return ((1 - normal + anomalous).mean((1, 2, 3)) * found).mean()


class ForwardAttention(nn.Module):
    """Where the anomaly may be, [N, 1, h, w] in 0..1, as forward operators.

    Without a classifier 1 - A; with one 1 - A^normal or, with `kind` ANOMALOUS, A^anomalous as published.
    """

    alpha: Tensor

    def __init__(self, net: CavgaNet, kind: int = NORMAL) -> None:
        super().__init__()
        self.weak = net.classifier is not None
        self.inverted = not self.weak or kind == NORMAL
        self.register_buffer("alpha", _alpha(net, kind).detach()[None, :, None, None].clone())

    def forward(self, code: Code) -> Tensor:
        """See the class."""
        cam = normalised(F.relu(F.conv2d(code.mean if self.weak else code.last, self.alpha)))
        return 1 - cam if self.inverted else cam


class AutogradAttention(nn.Module):
    """The same by torch.autograd, from a copy of the network."""

    def __init__(self, net: CavgaNet, kind: int = NORMAL) -> None:
        super().__init__()
        self.net, self.kind = net, kind

    def forward(self, code: Code) -> Tensor:
        """See ForwardAttention."""
        with torch.enable_grad():
            last = code.last.detach().requires_grad_()
            again = Code(last, self.net.mean(last), code.log_variance)
            if self.net.classifier is None:
                where = 1 - latent_attention(again)
            else:
                cam = class_attention(self.net, again, self.kind)
                where = 1 - cam if self.kind == NORMAL else cam
        return where.detach()


def _alpha(net: CavgaNet, kind: int) -> Tensor:
    """The spatial mean of dy/dA, [K]."""
    if net.classifier is None:
        return net.mean.weight.sum((0, 2, 3))
    return net.classifier.weight[kind].view(net.shape).mean((1, 2))
