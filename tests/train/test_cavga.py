"""CAVGA: the attention losses move the attention, losses and scores are the paper's, sizes of its networks."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import cast

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from edge.errors import UsageError
from tests.train.helpers import batch_of, known_frames, minimiser, random_frames, tiny, trained
from train.method import Batch, MethodConfig, Option, images_from_frames
from train.methods import METHODS, build
from train.models.cavga import Cavga, top_of
from train.models.cavga_cam import (
    ANOMALOUS,
    NORMAL,
    ForwardAttention,
    class_attention,
    expansion_loss,
    grad_cam,
    guided_loss,
    latent_attention,
)
from train.models.cavga_net import Code
from train.noise import Noise
from train.scoring import Heatmap, masked_error

ROWS = [name for name in METHODS if name.startswith("cavga")]
WEAK = [name for name in ROWS if "-w" in name]
UNSUPERVISED = [name for name in ROWS if name not in WEAK]


def cavga(name: str, **options: Option) -> Cavga:
    return cast(Cavga, tiny(name, **options))


def seen(method: Cavga) -> Tensor:
    return images_from_frames(random_frames(6, seed=5), 0.0)


def guided(method: Cavga, x: Tensor) -> Tensor:
    code = method.net.encode(x)
    maps = [class_attention(method.net, code, kind) for kind in (NORMAL, ANOMALOUS)]
    certain = torch.tensor([[1.0, 0.0]]).expand(len(x), 2)
    return guided_loss(maps[0], maps[1], certain)


def expanded(method: Cavga, x: Tensor) -> Tensor:
    return expansion_loss(latent_attention(method.net.encode(x)))


@pytest.mark.parametrize("name", ROWS)
def test_one_step_down_the_attention_loss_lowers_it(name: str) -> None:
    """On a fixed batch, in training mode: gradients of the gradients reach encoder and latent."""
    method = cavga(name, rows=4, latent=128)
    method.networks.train()
    x, loss_of = seen(method), guided if name in WEAK else expanded
    loss = loss_of(method, x)
    loss.backward()  # type: ignore[no-untyped-call]
    start = float(loss.detach())
    weights = [p for p in method.net.parameters() if p.grad is not None and p.grad.abs().max() > 0]
    assert len(weights) > 4
    squared = sum(float((p.grad**2).sum()) for p in weights if p.grad is not None)
    with torch.no_grad():
        for p in weights:
            p -= 0.01 * start / squared * cast(Tensor, p.grad)  # aims at 1 % less
    assert float(loss_of(method, x).detach()) < 0.998 * start


@pytest.mark.parametrize("name", ROWS)
def test_the_training_loop_lowers_it_too(name: str) -> None:
    """Weighted up, so that a few steps show it."""
    term = "cga" if name in WEAK else "ae"
    method = cavga(name, learning_rate=2e-3, **{term: 10.0})
    method.networks.train()
    minimise, batch = minimiser(method), batch_of(method)
    curve = [method.step("gan", batch, minimise)[term] for _ in range(8)]
    assert min(curve[-3:]) < curve[0]


def test_the_second_derivative_is_that_of_the_closed_form() -> None:
    """alpha is a sum of weights, so the loss's gradient can be had without differentiating a gradient."""
    method = cavga("cavga-d")
    net, x = method.net, seen(method)
    parameters = [net.mean.weight, *net.encoder.parameters()]
    twice = torch.autograd.grad(expanded(method, x), parameters)
    last = net.encoder(x)
    cam = F.relu(F.conv2d(last, net.mean.weight.sum(0, keepdim=True)))
    closed = torch.autograd.grad((1 - cam / cam.amax((1, 2, 3), keepdim=True)).mean(), parameters)
    for a, b in zip(twice, closed, strict=True):
        assert torch.allclose(a, b, rtol=1e-3, atol=1e-6)
    assert float(twice[0].abs().max()) > 0


def test_the_map_is_a_cam_of_known_weights() -> None:
    maps = torch.rand(3, 4, 5, 6, requires_grad=True)
    weight = torch.tensor([1.0, -0.5, 2.0, 0.25])
    cam = grad_cam((maps * weight[:, None, None]).sum((1, 2, 3)), maps)
    expected = F.relu((maps * weight[:, None, None]).sum(1, keepdim=True))
    assert torch.allclose(cam, expected / expected.amax((1, 2, 3), keepdim=True), atol=1e-6)
    assert torch.equal(grad_cam(-maps.sum((1, 2, 3)), maps), torch.zeros(3, 1, 5, 6))  # nothing positive, no NaN


def test_guided_loss_counts_what_the_classifier_finds_normal() -> None:
    normal, anomalous = torch.rand(4, 1, 3, 3), torch.rand(4, 1, 3, 3)
    logits = torch.tensor([[2.0, 1.0], [0.0, 1.0], [3.0, 1.0], [0.0, 5.0]])
    each = (1 - normal + anomalous).mean((1, 2, 3))
    assert guided_loss(normal, anomalous, logits) == pytest.approx(float((each[0] + each[2]) / 4))


@pytest.mark.parametrize("name", UNSUPERVISED)
def test_attention_is_awake_at_the_start(name: str) -> None:
    """A map that is zero everywhere gives no gradient; the latent's sign is chosen so that it is not."""
    for seed in range(4):
        torch.manual_seed(seed)
        method = cast(Cavga, build(name, MethodConfig(32, 32, 1, 8)))
        assert float(latent_attention(method.net.encode(seen(method))).detach().mean()) > 0.02


@pytest.mark.parametrize("name", WEAK)
def test_without_known_anomalies_it_is_refused(name: str) -> None:
    method = cavga(name)
    with pytest.raises(UsageError, match="needs known anomalies"):
        method.step("gan", Batch(random_frames(4), Noise(0)), minimiser(method))
    assert METHODS[name].needs_known and METHODS[name].uses_known


@pytest.mark.parametrize("name", ["cavga-d", "cavga-d-w"])
def test_losses_and_weights_are_the_stated_ones(name: str) -> None:
    method, taken = cavga(name), {}
    method.networks.train()
    losses = method.step("gan", batch_of(method), lambda which, loss: taken.update({which: float(loss.detach())}))
    stated = {"reconstruction": 1, "kl": 1, "adv": 1}
    stated |= {"bce": 0.001, "cga": 0.01} if name in WEAK else {"ae": 0.01}
    assert set(losses) == {*stated, "discriminator"}
    assert taken["net"] == pytest.approx(sum(weight * losses[key] for key, weight in stated.items()), rel=1e-5)
    assert taken["discriminator"] == pytest.approx(losses["discriminator"])


@pytest.mark.parametrize(
    ("rise", "progress", "factor"), [(0.0, 0.0, 1.0), (0.5, 0.0, 0.0), (0.5, 0.25, 0.5), (0.5, 0.9, 1.0)]
)
def test_kl_rises_only_if_asked(rise: float, progress: float, factor: float) -> None:
    method = cavga("cavga-d", kl_rise=rise)
    taken: dict[str, float] = {}
    batch = replace(batch_of(method), progress=progress)
    losses = method.step("gan", batch, lambda which, loss: taken.update({which: float(loss.detach())}))
    rest = losses["reconstruction"] + losses["adv"] + 0.01 * losses["ae"]
    assert taken["net"] == pytest.approx(rest + factor * losses["kl"], rel=1e-5)


def test_reconstruction_and_kl_are_the_bound_per_pixel_value() -> None:
    method = cavga("cavga-d")
    x = seen(method)
    code, raw = method.net.encode(x), torch.randn(x.shape)
    code = Code(code.last.detach(), code.mean.detach(), code.log_variance.detach())
    losses = method._losses(x, raw, code)
    p = torch.sigmoid(raw)
    likelihood = (x * p.log() + (1 - x) * (1 - p).log()).sum((1, 2, 3))
    q = torch.distributions.Normal(code.mean, torch.exp(0.5 * code.log_variance))
    kl = torch.distributions.kl_divergence(q, torch.distributions.Normal(0.0, 1.0)).sum((1, 2, 3))
    values = x[0].numel()
    assert float(losses["reconstruction"]) == pytest.approx(-float(likelihood.mean()) / values, rel=1e-4)
    assert float(losses["kl"]) == pytest.approx(float(kl.mean()) / values, rel=1e-4)


def test_the_discriminators_part_is_per_pixel_value() -> None:
    method = cavga("cavga-d")
    method.networks.train()
    batch = batch_of(method)
    losses = method.step("gan", batch, lambda which, loss: None)
    x = images_from_frames(batch.frames, 0.0)
    z = batch_of(method).noise.normal(len(x), *method.net.shape)
    code = method.net.encode(x)
    x_hat = torch.sigmoid(method.net.decoder(code.mean + torch.exp(0.5 * code.log_variance) * z))
    fooled = -torch.log(torch.sigmoid(method.discriminator(x_hat))).mean()
    assert losses["adv"] == pytest.approx(float(fooled.detach()) / x[0].numel(), rel=1e-3)


@pytest.mark.parametrize("name", ["cavga-d", "cavga-r-w"])
def test_scores_are_error_attention_and_their_product(name: str) -> None:
    method = cast(Cavga, trained(name))
    frames = known_frames(3)
    with torch.no_grad():
        x = images_from_frames(frames, 0.0)
        error = x - method.net(x)
        where = ForwardAttention(method.net)(method.net.encode(x))
        score, masked, heatmap = method.scorer()(frames)
    wide = F.interpolate(where, (32, 32), mode="bilinear")
    peak = where.amax((1, 2, 3), keepdim=True)
    mask = torch.where(peak > 1e-6, wide / peak, torch.ones_like(wide))
    assert torch.allclose(score, error.abs().mean((1, 2, 3)), rtol=1e-4)
    assert torch.allclose(masked, masked_error((error**2).mean(1, keepdim=True), mask), rtol=1e-3)
    assert torch.allclose(heatmap, Heatmap((32, 32))(wide), atol=1e-5)


def test_heatmap_is_the_inverse_of_a_or_that_of_the_normal_class() -> None:
    for name in ("cavga-d", "cavga-d-w"):
        method = cast(Cavga, trained(name))
        code = method.net.encode(images_from_frames(random_frames(3), 0.0))
        a = class_attention(method.net, code, NORMAL) if name in WEAK else latent_attention(code)
        assert torch.allclose(ForwardAttention(method.net)(code), 1 - a, atol=1e-5)


@pytest.mark.parametrize("name", ["cavga-d-w", "cavga-r-w-light"])
def test_heatmap_may_be_the_published_one_of_the_anomalous_class(name: str) -> None:
    method = cast(Cavga, trained(name, map_of="anomalous"))
    code = method.net.encode(images_from_frames(random_frames(3), 0.0))
    by_hand = class_attention(method.net, code, ANOMALOUS)
    assert torch.allclose(ForwardAttention(method.net, ANOMALOUS)(code), by_hand, atol=1e-5)
    with torch.no_grad():
        heatmaps = [scorer(random_frames(3))[2] for scorer in (method.scorer(), method.reference_scorer())]
        wide = F.interpolate(by_hand.detach(), (32, 32), mode="bilinear")
    assert torch.allclose(heatmaps[0], heatmaps[1], atol=1e-4)
    assert torch.allclose(heatmaps[0], Heatmap((32, 32))(wide), atol=1e-4)


class Flat(nn.Module):
    """Attention on everything alike: 1 - A is zero."""

    def forward(self, code: Code) -> Tensor:
        return torch.zeros_like(code.last[:, :1])


def test_a_flat_attention_leaves_the_error_unmasked() -> None:
    """1 - A is zero everywhere: the mask is uniform, not a division by zero."""
    method = cast(Cavga, trained("cavga-d"))
    scorer = method.scorer()
    scorer.attend = Flat()
    with torch.no_grad():
        x = images_from_frames(random_frames(2), 0.0)
        _, masked, heatmap = scorer(random_frames(2))
        assert torch.allclose(masked, ((x - method.net(x)) ** 2).mean((1, 2, 3)), rtol=1e-4)
    assert torch.equal(heatmap, torch.zeros(2, 16, 16))


def test_the_score_of_the_largest_errors() -> None:
    method = cast(Cavga, trained("cavga-d", top=0.1))
    frames = random_frames(3)
    with torch.no_grad():
        x = images_from_frames(frames, 0.0)
        errors = Heatmap((32, 32))((x - method.net(x)).abs()).flatten(1)
        expected = errors.sort(1, descending=True).values[:, :26].mean(1)
        assert torch.allclose(method.scorer()(frames)[0], expected, rtol=1e-4)


def test_options_that_cannot_be_are_refused() -> None:
    assert top_of(MethodConfig(64, 64, 1, 4, {"top": 0.001})) == 1
    for bad in ({"top": -0.1}, {"top": 1.5}):
        with pytest.raises(UsageError, match="cannot be used"):
            tiny("cavga-d", **bad)
    with pytest.raises(UsageError, match="at most 3840"):
        build("cavga-d", MethodConfig(256, 256, 1, 4, {"top": 0.5}))
    with pytest.raises(UsageError, match="no class odd"):
        tiny("cavga-d-w", map_of="odd")
    with pytest.raises(UsageError, match="no encoder vgg"):
        tiny("cavga-d", encoder="vgg")
    with pytest.raises(UsageError, match="multiples of 16"):
        tiny("cavga-r", (40, 40))


@pytest.mark.parametrize(("size", "rows", "shape"), [(64, 0, 8), (256, 0, 8), (64, 4, 4), (64, 2, 2)])
def test_rows_of_the_latent_map(size: int, rows: int, shape: int) -> None:
    assert cast(Cavga, tiny("cavga-d", (size, size), rows=rows)).net.shape == (128, shape, shape)


def test_the_latent_of_a_small_picture_holds_a_sixteenth_of_its_numbers() -> None:
    for size, channels, shape in ((32, 1, (16, 2, 2)), (32, 3, (48, 2, 2)), (48, 1, (16, 3, 3))):
        net = cast(Cavga, build("cavga-d", MethodConfig(size, size, channels, 4))).net
        assert net.shape == shape and 16 * math.prod(shape) == channels * size**2
    assert cast(Cavga, tiny("cavga-d", latent=128, rows=4)).net.shape == (128, 4, 4)


def test_the_rate_falls_only_if_asked() -> None:
    for decay, last in ((False, 1.0), (True, 0.02)):
        method = cavga("cavga-d", decay=decay)
        optimisers = method.optimisers()
        batch = batch_of(method)
        for progress in (0.0, 1.0):
            method.step("gan", replace(batch, progress=progress), lambda which, loss: None)
            factor = 1.0 if progress == 0 else last
            for name, rate in {"net": 1e-3, "discriminator": 2e-4}.items():
                assert optimisers[name].param_groups[0]["lr"] == pytest.approx(rate * factor)


@pytest.mark.parametrize("name", UNSUPERVISED)
@pytest.mark.parametrize("size", [(32, 32), (48, 80), (176, 64), (256, 256)])
def test_reconstructions_have_the_pictures_size(name: str, size: tuple[int, int]) -> None:
    method = cast(Cavga, tiny(name, size))
    with torch.no_grad():
        x = torch.rand(1, 1, *size)
        code: Code = method.net.encode(x)
        assert method.net(x).shape == x.shape
    assert code.mean.shape == (1, *method.net.shape)


PARAMETERS = {  # at 128x128 in colour, base width 64: the network that is exported
    "cavga-d": 6_236_035,
    "cavga-d-light": 997_955,
    "cavga-d-w": 6_252_421,
    "cavga-d-w-light": 1_014_341,
    "cavga-r": 13_118_499,
    "cavga-r-light": 3_446_563,
    "cavga-r-w": 13_134_885,
    "cavga-r-w-light": 3_462_949,
}


@pytest.mark.parametrize("name", ROWS)
def test_number_of_parameters(name: str) -> None:
    method = cast(Cavga, build(name, MethodConfig(128, 128, 3, 64)))
    assert sum(p.numel() for p in method.net.parameters()) == PARAMETERS[name]


def test_light_forms_are_light() -> None:
    for name, light in PARAMETERS.items():
        if name.endswith("-light"):
            assert light < 0.4 * PARAMETERS[name.removesuffix("-light")]
