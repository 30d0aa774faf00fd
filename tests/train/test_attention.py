"""The default method: feature distances, losses with unknown truth, known anomalies, and that it learns."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from tests.train.helpers import batch_of, minimiser, random_frames, tiny, trained
from train.method import UNKNOWN, Batch
from train.models.attention import Attention, AttentionScorer, follow, one_cycle
from train.models.attention_batch import Lesson, examples_of, tensors_of
from train.models.attention_loss import cells_of, losses
from train.models.attention_mirror import Mirrors, mirrored_frame, mirrored_images
from train.models.attention_net import AttentionNet, normalised
from train.models.attention_normal import Distance, Moments, ReferenceDistance, Scales
from train.noise import Noise


def test_distance_is_mahalanobis_over_the_root_of_the_channels() -> None:
    generator = torch.Generator().manual_seed(0)
    mixing = torch.eye(6) + 0.2 * torch.randn(6, 6, generator=generator)
    features = torch.einsum("oc,nchw->nohw", mixing, torch.randn(40, 6, 8, 8, generator=generator)) + 3
    features[:, :, 0] += 5  # in the first row something else is usual
    moments = Moments(6, (8, 8))
    moments.add(features[:20])
    moments.add(features[20:])
    ours, reference = Distance(moments)(features), ReferenceDistance(moments)(features)
    assert torch.allclose(ours, reference, atol=1e-4)
    assert float((ours**2).mean()) == pytest.approx(1, rel=0.2)  # the ridge keeps it below 1
    mean, covariance = moments.gaussian()
    assert torch.allclose(mean, features.double().mean(0))
    around = (features - mean).permute(0, 2, 3, 1).reshape(-1, 6)
    assert torch.allclose(covariance.trace(), 1.1 * around.var(0, unbiased=False).sum(), rtol=1e-6)
    assert float(Distance(moments)(features + 10).mean()) > 2
    assert float(Distance(moments)(features.roll(1, 2)).mean()) > float(ours.mean()) + 0.3, "places differ"


def test_without_normal_images_the_distance_is_the_norm() -> None:
    features = torch.randn(2, 4, 3, 3, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(Distance(Moments(4, (3, 3)))(features)[:, 0], features.norm(dim=1) / 2, atol=1e-5)


def test_scales_are_the_mean_of_cells_and_the_deviation_of_peaks() -> None:
    heights = torch.tensor([[2.0, 20.0], [4.0, 50.0], [6.0, 20.0], [8.0, 50.0]])
    maps = torch.zeros(4, 2, 8, 8)
    maps[:, :, 2:5, 3:6] = heights[:, :, None, None]
    scales = Scales(2)
    scales.add(maps[:3])
    scales.add(maps[3:])
    assert torch.allclose(scales.mean(), maps.mean((0, 2, 3)))
    assert torch.allclose(scales.peak_deviation(), heights.std(0, unbiased=False), atol=1e-4)


def test_without_normal_images_scales_change_nothing() -> None:
    assert not Scales(3).mean().any() and (Scales(3).peak_deviation() == 1).all()


def test_score_ignores_brightness_contrast_and_tint() -> None:
    scorer = trained("attention", 2, (64, 64), channels=3).scorer()
    frames = random_frames(4, (64, 64), 3) // 4 * 2 + 20
    tint = torch.tensor([20, -10, 5], dtype=torch.int16)
    other = (frames.to(torch.int16) // 2 * 3 + tint).clamp(0, 255).to(torch.uint8)
    assert other.max() < 255
    with torch.no_grad():
        for ours, tinted in zip(scorer(frames), scorer(other), strict=True):
            assert torch.allclose(ours, tinted, rtol=0.05, atol=0.02)


def test_score_is_the_peak_of_a_heatmap_that_is_not_negative() -> None:
    scorer = trained("attention", 2, (64, 96)).scorer()
    with torch.no_grad():
        score, error, heatmap = scorer(random_frames(3, (64, 96)))
    assert heatmap.shape == (3, 16, 24) and heatmap.min() >= 0
    assert (heatmap.amax((1, 2)) <= score + 1e-5).all() and (error >= 0).all()


def test_cells_of_a_mask_are_kept_when_small() -> None:
    mask = torch.zeros(1, 1, 32, 32)
    mask[..., 4:8, 4:6] = 1  # half of one 4x4 corner
    assert cells_of(mask, 8).flatten().tolist() == [1.0] + [0.0] * 15


def test_unknown_truth_has_no_part_in_the_map_loss() -> None:
    method = tiny("attention", (64, 64))
    assert isinstance(method, Attention)
    batch = batch_of(method, 4)
    examples = examples_of(batch, Lesson())
    unmarked = [e for e in examples if (e.mask == UNKNOWN).all()]
    assert len(examples) == 4 + 4 + 2 and not unmarked  # the first two known ones of this batch are marked
    blank = replace(examples[0], mask=np.full((64, 64), UNKNOWN, np.float32))
    images, truth = tensors_of([blank, examples[1]], torch.device("cpu"))
    seen = method.network(images, method.usual(images))
    gradient = torch.autograd.grad(losses(seen, truth)["map"], seen.logits)[0]
    assert not gradient[0].any() and gradient[1].any()


def test_known_anomalies_are_learnt() -> None:
    """With a bright square as the known anomaly, its score rises above the normal images', and the map shows it."""
    method = tiny("attention", (64, 64), middle_part=0.0, deep_part=0.0)
    minimise = minimiser(method)
    frames = random_frames(8, (64, 64))
    known, masks = frames.clone(), torch.zeros(8, 64, 64, dtype=torch.uint8)
    known[:, 20:44, 20:44], masks[:, 20:44, 20:44] = 255, 1
    for phase, steps in zip(method.phases, (1, 40, 2, 2), strict=True):
        method.networks.train()
        for i in range(steps):
            method.step(phase.name, Batch(frames, Noise(i), known, masks, i / steps), minimise)
    method.networks.eval()
    scorer = method.scorer()
    assert isinstance(scorer, AttentionScorer)
    with torch.no_grad():
        assert float(scorer(known)[0].min()) > float(scorer(frames)[0].max())
        heatmap = scorer(known)[2]
    assert float(heatmap[:, 5:11, 5:11].mean()) > 2 * float(heatmap[:, :3].mean())


def test_mirrored_pictures_are_good_where_they_look_no_stranger() -> None:
    generator = torch.Generator().manual_seed(0)
    upright = torch.randn(64, generator=generator) * 2 + 5
    mirrors = Mirrors()
    assert mirrors.good() == (0,)
    peaks = torch.stack([upright, upright + 1, upright + 9, upright - 9])
    mirrors.add(peaks[:, :30])
    mirrors.add(peaks[:, 30:])
    assert mirrors.good() == (0, 1, 3)


def test_mirrored_pictures_are_judged_before_they_are_used() -> None:
    method = tiny("attention", (64, 64))
    assert isinstance(method, Attention)
    minimise, frames = minimiser(method), random_frames(8, (64, 64))
    for progress in (0.1, 0.56, 0.59, 0.8):
        method.networks.train()
        method.step("attention", Batch(frames, Noise(0), progress=progress), minimise)
    assert int(method.mirrors.count) == 16


@pytest.mark.parametrize("orientation", range(4))
def test_frames_and_images_are_mirrored_alike(orientation: int) -> None:
    frame = np.arange(4 * 6 * 3, dtype=np.uint8).reshape(4, 6, 3)
    found = mirrored_frame(frame, np.random.default_rng(0), (orientation,))
    image = torch.from_numpy(frame.copy()).permute(2, 0, 1)[None]
    assert np.array_equal(mirrored_images(image, orientation)[0].permute(1, 2, 0).numpy(), found)
    assert found.flags.c_contiguous and found.dtype == np.float32
    assert sum(np.array_equal(found, mirrored_frame(frame, np.random.default_rng(0), (o,))) for o in range(4)) == 1


def test_average_follows_weights_and_statistics() -> None:
    network, average = (AttentionNet(1, 4, (32, 32), 3) for _ in range(2))
    before = [p.clone() for p in average.parameters()]
    follow(average, network, 0.75)
    for now, old, goal in zip(average.parameters(), before, network.parameters(), strict=True):
        assert torch.allclose(now, 0.75 * old + 0.25 * goal, atol=1e-6)


def test_learning_rate_rises_and_falls_once() -> None:
    rates = [one_cycle(i / 100) for i in range(101)]
    peak = rates.index(max(rates))
    assert peak == 10 and rates[:11] == sorted(rates[:11]) and rates[10:] == sorted(rates[10:], reverse=True)
    assert rates[-1] == pytest.approx(0.01)


def test_normalised_images_have_no_mean() -> None:
    images = torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(normalised(images).mean((2, 3)), torch.zeros(2, 3), atol=1e-6)
    assert torch.allclose(normalised(images).flatten(1).std(1), torch.ones(2), atol=0.1)
    assert float(normalised(torch.full((1, 1, 8, 8), 0.3)).abs().max()) < 1e-5
