"""The baselines: score equations, loss weights, parameter counts, and what makes AnoGAN different."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from edge.errors import UsageError
from tests.train.helpers import batch_of, minimiser, random_frames, tiny, trained
from train.auto import choose
from train.method import Method, images_from_frames
from train.methods import METHODS
from train.models.egbad import Egbad
from train.models.ganomaly import DcganEncoder, Ganomaly
from train.models.skip_ganomaly import PixUnet, SkipGanomaly
from train.models.vae import ConvVae, Vae
from train.noise import Noise


def scores(method: Method, frames: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        score: torch.Tensor = method.scorer()(frames)[0]
    return score


def test_vae_scores_the_mean_absolute_error_of_the_mean_latent() -> None:
    method = trained("vae", size=(84, 84))
    assert isinstance(method, Vae)
    frames = random_frames(2, (84, 84))
    x = images_from_frames(frames)
    with torch.no_grad():
        assert torch.allclose(scores(method, frames), (x - method.vae(x)).abs().mean((1, 2, 3)), rtol=1e-5)
    assert method.vae.encoder.sizes == [(84, 84), (42, 42), (21, 21), (11, 11)]


def test_kl_is_adda_s_prior_term() -> None:
    method = tiny("vae")
    assert isinstance(method, Vae)
    vae: ConvVae = method.vae.eval()
    x = images_from_frames(random_frames(3))
    with torch.no_grad():
        mean, log_variance = vae.encoder(x)
        _, kl = vae.sample(x, Noise(0))
        normal = torch.distributions.Normal
        expected = torch.distributions.kl_divergence(
            normal(mean, (0.5 * log_variance).exp()), normal(torch.zeros_like(mean), torch.ones_like(mean))
        ).sum(1)
    assert torch.allclose(kl, expected, rtol=1e-4, atol=1e-4)


def test_ganomaly_scores_the_distance_of_the_latents() -> None:
    method = trained("ganomaly")
    assert isinstance(method, Ganomaly)
    frames = random_frames(3)
    with torch.no_grad():
        z = method.first(images_from_frames(frames))
        expected = ((z - method.second(method.decoder(z))) ** 2).mean((1, 2, 3))
    assert torch.allclose(scores(method, frames), expected, rtol=1e-5)
    assert dict(method.OPTIONS) == {"latent": 100, "learning_rate": 2e-4, "con": 50.0, "enc": 1.0, "adv": 1.0}


def test_skip_ganomaly_weighs_image_and_feature_9_to_1() -> None:
    method = trained("skip-ganomaly")
    assert isinstance(method, SkipGanomaly)
    frames = random_frames(3)
    with torch.no_grad():
        x = images_from_frames(frames)
        x_hat = method.generator(x)
        f, f_hat = method.discriminator(x)[1], method.discriminator(x_hat)[1]
        expected = 0.9 * ((x - x_hat) ** 2).mean((1, 2, 3)) + 0.1 * ((f - f_hat) ** 2).mean(1)
    assert torch.allclose(scores(method, frames), expected, rtol=1e-5)


def test_egbad_scores_both_differences_and_uses_the_moving_averages() -> None:
    method = trained("egbad")
    assert isinstance(method, Egbad)
    frames = random_frames(3)
    mean = method.networks["mean"]
    assert isinstance(mean, nn.ModuleDict)
    with torch.no_grad():
        x = images_from_frames(frames)
        z = mean["encoder"](x)
        x_hat = mean["decoder"](z)
        f, f_hat = mean["judge"](x, z.flatten(1))[1], mean["judge"](x_hat, z.flatten(1))[1]
        expected = (0.9 * (x - x_hat).abs().sum((1, 2, 3)) + 0.1 * (f - f_hat).abs().sum(1)) / x[0].numel()
    assert torch.allclose(scores(method, frames), expected, rtol=1e-4)
    live, kept = method.networks["live"].state_dict(), mean.state_dict()
    assert not torch.equal(live["encoder.out.weight"], kept["encoder.out.weight"])


def test_anogan_searches_and_says_why_it_cannot_be_exported() -> None:
    method = trained("anogan", search_steps=15)
    frames = random_frames(3)
    assert torch.equal(scores(method, frames), scores(method, frames))
    alone = torch.cat([scores(method, frames[i : i + 1]) for i in range(3)])
    assert torch.equal(alone, scores(method, frames))
    assert torch.equal(scores(method, frames.flip(0)), scores(method, frames).flip(0))
    longer = trained("anogan", search_steps=60)
    assert (scores(longer, frames) < scores(method, frames)).all()
    assert "gradient descent" in METHODS["anogan"].no_export


def test_dcgan_discriminator_count() -> None:
    """ganomaly's NetD for 32x32: the trunk 64, 128, 256 and a 4x4 convolution to one number."""
    assert sum(p.numel() for p in DcganEncoder(3, 64, (32, 32), 1).parameters()) == 663_296


def test_pix2pix_unet_keeps_the_size() -> None:
    net = PixUnet(3, 4).eval()
    assert net(torch.zeros(1, 3, 64, 96)).shape == (1, 3, 64, 96)


def test_sides_that_a_method_cannot_take_are_refused() -> None:
    with pytest.raises(UsageError, match="multiples of 32"):
        tiny("skip-ganomaly", size=(48, 48))
    assert tiny("adda", size=(84, 84)).config.height == 84


@pytest.mark.parametrize("name", [name for name, row in METHODS.items() if row.needs_known])
def test_methods_that_need_known_anomalies_also_say_that_they_use_them(name: str) -> None:
    assert METHODS[name].uses_known


def test_auto_names_a_method_that_exports_and_says_why() -> None:
    for known in (0, 5):
        name, why = choose(known)
        assert not METHODS[name].no_export and len(why) > 10


@pytest.mark.parametrize("name", list(METHODS))
def test_a_step_returns_finite_losses_and_colour_works(name: str) -> None:
    method = tiny(name, channels=3)
    minimise = minimiser(method)
    method.networks.train()
    losses: dict[str, float] = {}
    for phase in method.phases:
        losses |= method.step(phase.name, batch_of(method), minimise)
    assert losses and all(abs(value) < 1e7 for value in losses.values())
