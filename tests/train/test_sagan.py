"""SAGAN: the paper's parameter counts, exact separable rewrite, score equation."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from tests.train.helpers import random_frames, trained
from train.method import images_from_frames
from train.models.blocks import Cbam, DepthwiseSeparable, DuplicatedDepthwise, exportable
from train.models.dcgan import FeatureDiscriminator, forward_cam
from train.models.sagan import AttentionUnet, Sagan

SHARED_MLPS = 77_852  # the paper's tool counts a module at each call, and CBAM calls its MLP twice


def count(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


@pytest.mark.parametrize(
    ("separable", "paper", "working"), [(False, 18_498_481, 18_415_575), (True, 5_181_089, 5_102_035)]
)
def test_parameter_counts_of_the_paper(separable: bool, paper: int, working: int) -> None:
    discriminator = count(FeatureDiscriminator(3, 64, (32, 32)))
    assert count(AttentionUnet(12, 1, 64, separable)) + SHARED_MLPS + discriminator == paper
    assert count(AttentionUnet(3, 3, 64, separable)) + discriminator == working


def test_discriminator_and_attention_counts() -> None:
    counts = [count(FeatureDiscriminator(c, 64, (s, s))) for c, s in [(3, 32), (1, 32), (3, 64), (3, 128)]]
    assert counts == [1_069_700, 1_067_652, 3_577_476, 12_787_332]
    assert sum(count(Cbam(c)) for c in (64, 128, 256, 512, 512)) == 78_352


def test_channel_duplication_is_the_same_function() -> None:
    torch.manual_seed(0)
    grouped = DepthwiseSeparable(6, 10)
    duplicated = exportable(nn.Sequential(grouped))[0]
    assert isinstance(duplicated, DuplicatedDepthwise)
    assert count(duplicated) == count(grouped)
    x = torch.randn(2, 6, 9, 9)
    assert torch.allclose(duplicated(x), grouped(x), atol=1e-6)


def test_score_is_the_weighted_sum_of_image_and_feature_difference() -> None:
    method = trained("sagan", channels=3)
    assert isinstance(method, Sagan)
    frames = random_frames(4, channels=3)
    with torch.no_grad():
        x = images_from_frames(frames)
        x_hat = method.generator(x)
        (_, f), (_, f_hat) = method.discriminator(x), method.discriminator(x_hat)
        expected = 0.2 * ((x - x_hat) ** 2).mean((1, 2, 3)) + 0.8 * ((f - f_hat) ** 2).mean(1)
        assert torch.allclose(method.scorer()(frames)[0], expected, rtol=1e-4)


@pytest.mark.parametrize(
    ("size", "cells"),
    [((32, 32), (8, 8)), ((64, 64), (8, 8)), ((128, 96), (16, 12)), ((256, 256), (8, 8)), ((8, 8), (4, 4))],
)
def test_the_attention_map_lies_one_convolution_below_the_last(size: tuple[int, int], cells: tuple[int, int]) -> None:
    """There its coefficient needs no transposed convolution, whatever the picture's size."""
    net = FeatureDiscriminator(1, 2, size).eval()
    cam = forward_cam(net)
    with torch.no_grad():
        found, _ = cam(torch.zeros(1, 1, *size))
    assert found.shape == (1, 1, *cells)
    assert len(cam.blocks) - cam.layer <= 2


def test_head_is_the_logit() -> None:
    net = FeatureDiscriminator(1, 4, (32, 48)).eval()
    last = torch.rand(3, 16, 4, 6)
    assert torch.allclose((net.head() * last).sum((1, 2, 3)), net.logit_of(last), atol=1e-5)
