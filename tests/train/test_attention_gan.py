"""The two-stage attention method: shapes, targets, what trains when, and its light variant."""

from __future__ import annotations

import pytest
import torch

from edge.errors import InputError
from tests.train.helpers import batch_of, minimiser, tiny, trained
from train.models.attention_gan import AttentionGan
from train.models.resnet import ResNet18


def test_encoder_is_resnet18_without_its_pooling_and_classifier() -> None:
    encoder = ResNet18(3, 64, separable=False, pooled=False)
    assert sum(p.numel() for p in encoder.parameters()) == 11_176_512  # torchvision's 11,689,512 less fc 513,000
    assert encoder(torch.zeros(1, 3, 32, 64)).shape == (1, 512, 2, 4)


def test_light_variant_is_smaller_and_trains() -> None:
    plain, light = (tiny("attention-gan", separable=flag) for flag in (False, True))
    count = [sum(p.numel() for p in m.networks["attention"].parameters()) for m in (plain, light)]
    assert count[1] < 0.7 * count[0]
    trained("attention-gan", 1, separable=True)


def test_each_stage_trains_its_own_networks() -> None:
    method = tiny("attention-gan")
    minimise = minimiser(method)
    stages = {"attention": ("attention", "judge"), "adgan": ("redrawer", "discriminator")}
    for phase, moving in stages.items():
        method.networks.train()
        before = {name: [p.clone() for p in net.parameters()] for name, net in method.networks.items()}
        losses = method.step(phase, batch_of(method), minimise)
        assert all(value == value for value in losses.values())
        for name, net in method.networks.items():
            moved = any(not torch.equal(a, b) for a, b in zip(net.parameters(), before[name], strict=True))
            assert moved == (name in moving), (phase, name)


def test_stage_two_leaves_the_statistics_of_stage_one_alone() -> None:
    method = tiny("attention-gan")
    minimise = minimiser(method)
    before = [b.clone() for b in method.networks["attention"].buffers()]
    method.networks.train()
    method.step("adgan", batch_of(method), minimise)
    assert all(torch.equal(a, b) for a, b in zip(method.networks["attention"].buffers(), before, strict=True))


def test_attention_is_a_probability_and_the_mask_its_complement() -> None:
    method = trained("attention-gan", 2)
    assert isinstance(method, AttentionGan)
    out = method.attention(torch.rand(2, 1, 32, 32) * 2 - 1)
    assert out.attention.min() >= 0 and out.attention.max() <= 1
    assert out.image.abs().max() <= 1 and out.attention.shape == (2, 1, 32, 32)


def test_pretrained_weights_must_fit() -> None:
    with pytest.raises(InputError, match="do not fit"):
        tiny("attention-gan").load_pretrained({"conv1.weight": torch.zeros(64, 3, 7, 7)})  # type: ignore[attr-defined]
