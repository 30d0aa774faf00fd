"""SPADE, SPADER and CNN regression: the equation, its sign, and what the exported graph leaves out."""

from __future__ import annotations

import pytest
import torch

from edge.errors import UsageError
from tests.train.helpers import batch_of, known_frames, minimiser, random_frames, tiny, trained
from train.method import Batch, images_from_frames
from train.models.regression import CnnRegression
from train.models.spade import Spader, SpaderScorer, weighted_error
from train.noise import Noise


@pytest.fixture(scope="module")
def spader() -> Spader:
    method = trained("spader", steps=30)
    assert isinstance(method, Spader)
    return method


def test_score_is_the_papers_equation_negated(spader: Spader) -> None:
    frames = random_frames(4)
    scorer = spader.scorer()
    assert isinstance(scorer, SpaderScorer)
    with torch.no_grad():
        x = images_from_frames(frames, 0.0)
        x_hat = spader.vae(x)
        cam, _ = scorer.attend(x, x_hat)
        e = (x - x_hat).abs().mean(1, keepdim=True)
        first = (e * cam).sum((1, 2, 3)) / cam.flatten(1).sum(1)  # ||cam|| as l1
        papers = -first + torch.sigmoid(spader.cnn(x))  # high = normal
        assert torch.allclose(scorer(frames)[0], -papers, rtol=1e-4)


def test_known_anomalies_score_higher_than_normals(spader: Spader) -> None:
    """The paper's face is high = normal; ours is the other way round."""
    normal, known = random_frames(16, seed=50), known_frames(16, seed=50)
    with torch.no_grad():
        scores = spader.scorer()(normal)[0], spader.scorer()(known)[0]
    assert scores[1].mean() > scores[0].mean()


def test_norms() -> None:
    error, mask = torch.rand(2, 1, 6, 6), torch.rand(2, 1, 6, 6)
    flat_error, flat_mask = error.flatten(1), mask.flatten(1)
    product = (flat_error * flat_mask).sum(1)
    assert torch.allclose(weighted_error(error, mask, "l2"), product / flat_mask.norm(dim=1))
    assert torch.allclose(weighted_error(error, mask, "l1"), product / flat_mask.sum(1))
    with pytest.raises(UsageError, match="no norm l3"):
        tiny("spader", norm="l3").scorer()


def test_maps_are_abs_on_the_image_and_relu_on_the_reconstruction(spader: Spader) -> None:
    scorer = spader.scorer()
    assert isinstance(scorer, SpaderScorer)
    with torch.no_grad():
        x = images_from_frames(random_frames(3), 0.0)
        x_hat = spader.vae(x)
        mask, _ = scorer.attend(x, x_hat)
        here, there = scorer.cam(torch.cat([x, x_hat]))[0].chunk(2)
        cam = here.abs() + there.clamp(min=0)
        cam = torch.nn.functional.interpolate(cam / cam.amax((1, 2, 3), keepdim=True), (32, 32), mode="bilinear")
    assert torch.allclose(mask, cam, atol=1e-5)


def test_sampled_passes_scatter_around_the_mean_pass(spader: Spader) -> None:
    frames = random_frames(4)
    with torch.no_grad():
        once = spader.scorer()(frames)[0]
    few, again = spader.sampled_scores(frames, 5, seed=1), spader.sampled_scores(frames, 5, seed=1)
    assert torch.equal(few, again)
    assert not torch.equal(few, once)
    assert torch.allclose(few, once, atol=0.5)


def test_spade_leaves_the_regression_out() -> None:
    method = trained("spade")
    frames = random_frames(3)
    with torch.no_grad():
        assert (method.scorer()(frames)[0] >= 0).all()


def test_regression_learns_which_is_which_and_keeps_the_mean_image() -> None:
    method = trained("cnn-regression", steps=30)
    assert isinstance(method, CnnRegression)
    normal, known = random_frames(16, seed=50), known_frames(16, seed=50)
    with torch.no_grad():
        scores = method.scorer()(normal)[0], method.scorer()(known)[0]
    assert scores[1].min() > scores[0].max()
    batches = torch.cat([random_frames(8, seed=index) for index in range(30)])
    assert torch.allclose(method.mean.value(), images_from_frames(batches, 0.0).mean(0, keepdim=True), atol=1e-5)


@pytest.mark.parametrize("name", ["spader", "cnn-regression"])
def test_without_known_anomalies_it_is_refused(name: str) -> None:
    method = tiny(name)
    with pytest.raises(UsageError, match="needs known anomalies"):
        method.step("cnn", Batch(batch_of(method).frames, Noise(0)), minimiser(method))


def test_the_networks_are_trained_apart() -> None:
    method = tiny("spader")
    before = {name: value.clone() for name, value in method.networks["cnn"].state_dict().items()}
    method.step("vae", batch_of(method), minimiser(method))
    assert all(torch.equal(before[name], value) for name, value in method.networks["cnn"].state_dict().items())
