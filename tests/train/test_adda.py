"""ADDA: the mask's worth, its limits, and the semi-supervised form."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from edge.errors import UsageError
from edge.gate import auroc
from tests.train.helpers import batch_of, minimiser, random_frames, tiny, trained
from train.infer import Scored
from train.method import Batch, images_from_frames
from train.methods import build
from train.models.adda import Adda, AddaScorer, ConvDiscriminator, autograd_cam, cam_layer, forward_cam
from train.noise import Noise
from train.scoring import masked_error


def scored(method: Adda, frames: Tensor) -> Scored:
    with torch.no_grad():
        return Scored(*(part.numpy() for part in method.scorer()(frames)))


def with_options(method: Adda, name: str, **options: float | bool) -> Adda:
    """The same weights under other options."""
    config = method.config
    other = build(name, type(config)(config.height, config.width, config.channels, config.base_width, options))
    other.networks.load_state_dict(method.networks.state_dict())
    other.networks.eval()
    assert isinstance(other, Adda)
    return other


@pytest.fixture(scope="module")
def adda() -> Adda:
    method = trained("adda", size=(44, 44))
    assert isinstance(method, Adda)
    return method


def test_c_one_and_beta_zero_is_anovaegan_exactly(adda: Adda) -> None:
    frames = random_frames(4, (44, 44))
    plain = scored(with_options(adda, "adda", masked=False, beta=0.0), frames)
    baseline = scored(with_options(adda, "vae-gan"), frames)
    assert (plain.score == baseline.score).all()
    with torch.no_grad():
        x = images_from_frames(frames)
        error = ((x - adda.vae(x)) ** 2).mean((1, 2, 3))
    assert baseline.score == pytest.approx(error.numpy(), rel=1e-5)


def test_score_is_equation_5(adda: Adda) -> None:
    frames = random_frames(4, (44, 44))
    half, none = (scored(with_options(adda, "adda", beta=beta), frames) for beta in (0.5, 0.0))
    with torch.no_grad():
        x = images_from_frames(frames)
        belief = torch.sigmoid(adda.judges["discriminator"](x))
    assert none.score == pytest.approx(none.masked_error)
    assert half.score == pytest.approx(none.masked_error - 0.5 * belief.numpy(), rel=1e-4, abs=1e-6)
    assert (half.masked_error == none.masked_error).all()


def test_the_map_is_the_second_whatever_the_size() -> None:
    for side, rows in ((84, 21), (64, 16), (256, 64)):
        net = ConvDiscriminator(1, 2, (side, side))
        for cam in (forward_cam(net.eval(), 0), autograd_cam(net, 0)):
            assert cam(torch.zeros(1, 1, side, side))[0].shape == (1, 1, rows, rows)
        assert cam_layer(net, 6 if side == 84 else side // 16) == 3


def test_semi_supervised_adds_the_second_discriminator() -> None:
    method = trained("adda-semi")
    assert isinstance(method, Adda) and set(method.judges) == {"discriminator", "discriminator_ano"}
    scorer = method.scorer()
    assert isinstance(scorer, AddaScorer) and len(scorer.cams) == 2
    frames = random_frames(3)
    with torch.no_grad():
        x = images_from_frames(frames)
        score, first, _ = scorer(frames)
        belief = sum(torch.sigmoid(judge(x)) for judge in method.judges.values())
        assert torch.allclose(score, first - 0.2 * belief, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(("equilibrium", "names"), [(0.0, ["vae", "discriminator"]), (1e9, ["vae"])])
def test_the_discriminator_rests_while_it_is_far_ahead(equilibrium: float, names: list[str]) -> None:
    method = tiny("adda", equilibrium=equilibrium)
    stepped: list[str] = []
    losses = method.step("gan", batch_of(method), lambda name, loss: stepped.append(name))
    assert stepped == names and losses["discriminator"] > 0


def test_semi_supervised_without_known_anomalies_is_refused() -> None:
    method = tiny("adda-semi")
    batch = batch_of(method)
    with pytest.raises(UsageError, match="needs known anomalies"):
        method.step("gan", Batch(batch.frames, Noise(0)), minimiser(method))


def test_a_mask_on_the_object_beats_the_plain_error_under_background_noise() -> None:
    """An anomaly changes a known box a little; the background is noisy. Without the noise both are perfect."""
    generator = torch.Generator().manual_seed(0)
    mask = torch.full((1, 1, 40, 40), 0.02)
    mask[:, :, 12:28, 12:28] = 1.0

    def errors(noise: float, shift: float) -> Tensor:
        level = noise * torch.rand(200, 1, 1, 1, generator=generator)  # differs from picture to picture
        error = (level * torch.randn(200, 1, 40, 40, generator=generator)) ** 2
        error[:, :, 12:28, 12:28] = (0.02 * torch.randn(200, 1, 16, 16, generator=generator) + shift) ** 2
        return error

    for noise, wins in ((1.0, True), (0.0, False)):
        good, bad = errors(noise, 0.0), errors(noise, 0.03)
        masked = auroc(masked_error(good, mask).numpy(), masked_error(bad, mask).numpy())
        plain = auroc(good.mean((1, 2, 3)).numpy(), bad.mean((1, 2, 3)).numpy())
        assert masked is not None and plain is not None
        assert (masked > plain + 0.2) is wins
        assert wins or (masked == 1.0 and plain == 1.0)


def test_masked_error_is_the_ratio_of_norms() -> None:
    error, mask = torch.rand(3, 1, 5, 7), torch.rand(3, 1, 5, 7)
    expected = (mask**2 * error).sum((1, 2, 3)) / (mask**2).sum((1, 2, 3))
    assert torch.allclose(masked_error(error, mask), expected)
    assert torch.allclose(masked_error(error, torch.ones_like(mask)), error.mean((1, 2, 3)))
