"""Grad-CAM without autograd against torch.autograd, and the rules for empty maps."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import Tensor, nn

from train.gradcam import AutogradCam, ForwardCam, layer_near, mask_from_cam, normalised, sizes_of
from train.models.blocks import ConvBlock


def trunk(kernel: int, padding: int, slope: float = 0.2) -> list[ConvBlock]:
    torch.manual_seed(1)
    widths = [1, 6, 8, 10, 12]
    blocks = [
        ConvBlock(nn.Conv2d(a, b, kernel, 2, padding, bias=False), i > 0, slope)
        for i, (a, b) in enumerate(itertools.pairwise(widths))
    ]
    for block in blocks:
        if isinstance(block.norm, nn.BatchNorm2d):
            nn.init.normal_(block.norm.weight, 1.0, 0.3)
            nn.init.normal_(block.norm.bias, 0.0, 0.3)
            assert block.norm.running_mean is not None and block.norm.running_var is not None
            block.norm.running_mean.normal_(0, 0.2)
            block.norm.running_var.uniform_(0.3, 2.0)
        block.eval()
    return blocks


def relative(a: Tensor, b: Tensor) -> float:
    return float((a - b).abs().max() / b.abs().max())


@pytest.mark.parametrize("layer", [0, 1, 2, 3])
@pytest.mark.parametrize(
    ("kernel", "padding", "size", "slope"),
    [(4, 1, (64, 64), 0.2), (4, 1, (64, 96), 0.2), (5, 2, (84, 84), 0.2), (3, 1, (45, 52), 0.0)],
)
def test_forward_operators_equal_autograd(
    layer: int, kernel: int, padding: int, size: tuple[int, int], slope: float
) -> None:
    blocks = trunk(kernel, padding, slope)
    rest = sizes_of(blocks, size)[-1]
    head = torch.randn(12, *rest)
    forward = ForwardCam(blocks, layer, head, size)
    reference = AutogradCam(blocks, layer, lambda last: (last * head).sum((1, 2, 3)))
    x = torch.randn(3, 1, *size)
    with torch.no_grad():
        cam, last = forward(x)
        cam_reference, last_reference = reference(x)
    assert relative(cam, cam_reference) < 2e-6
    assert torch.equal(last, last_reference)


def test_only_nine_sums_are_needed_for_the_usual_convolution() -> None:
    blocks = trunk(4, 1)
    cam = ForwardCam(blocks, 1, torch.randn(12, 4, 4), (64, 64))
    assert cam.sums.shape == (8 * 8, 9)
    assert cam.weight.shape == (9 * 10, 8)


def test_linear_head_has_the_closed_form() -> None:
    """With A the last map and logit = sum(head * A), alpha is the head's mean over positions (here: sum)."""
    blocks = trunk(4, 1)
    head = torch.randn(12, 4, 4)
    x = torch.randn(2, 1, 64, 64)
    with torch.no_grad():
        cam, last = ForwardCam(blocks, 3, head, (64, 64))(x)
    expected = (head.sum((1, 2))[None, :, None, None] * last).sum(1, keepdim=True)
    assert relative(cam, expected) < 1e-6


def test_probability_target_is_the_logit_map_scaled() -> None:
    """d sigmoid(s) = p (1 - p) ds: the map keeps its shape, which is why the logit is the target."""
    blocks, head = trunk(4, 1), 0.01 * torch.randn(12, 4, 4)

    def logit(last: Tensor) -> Tensor:
        return (last * head).sum((1, 2, 3))

    x = torch.randn(2, 1, 64, 64)
    cam, last = AutogradCam(blocks, 2, logit)(x)
    squashed, _ = AutogradCam(blocks, 2, lambda m: torch.sigmoid(logit(m)))(x)
    p = torch.sigmoid(logit(last))
    assert relative(squashed, (p * (1 - p))[:, None, None, None] * cam) < 1e-5


def test_maps_are_normalised_per_image_and_zero_maps_become_uniform() -> None:
    cam = torch.rand(3, 1, 4, 4) * torch.tensor([1.0, 50.0, 0.0])[:, None, None, None]
    scaled = normalised(cam)
    assert scaled.amax((1, 2, 3)).tolist() == pytest.approx([1.0, 1.0, 0.0])
    alone = torch.cat([normalised(cam[i : i + 1]) for i in range(3)])
    assert torch.equal(scaled, alone)
    mask = mask_from_cam(scaled, (8, 8))
    assert torch.isfinite(mask).all()
    assert torch.equal(mask[2], torch.ones(1, 8, 8))
    assert mask[0].min() < 1.0


def test_layer_is_chosen_by_rows() -> None:
    blocks = trunk(4, 1)
    assert [layer_near(blocks, (128, 128), rows) for rows in (8, 16, 64, 100)] == [3, 2, 0, 0]
