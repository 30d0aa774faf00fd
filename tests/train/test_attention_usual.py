"""What is usual at each place: the template of good parts, how far they stray, and how far they may be moved."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from tests.train.helpers import minimiser, tiny
from train.augment.normal import WHOLE
from train.method import Batch, images_from_frames
from train.models.attention import Attention, AttentionScorer
from train.models.attention_batch import varied
from train.models.attention_net import normalised
from train.models.attention_usual import FIXED, LEAST, MOST, STILL, Good, Usual
from train.noise import Noise

SIZE = (64, 96)


def boards(count: int, jitter: float, seed: int = 0) -> Tensor:
    """Pictures of a board with three components, shifted by `jitter` pixels (deviation), uint8 [N, 64, 96, 1]."""
    random = np.random.default_rng(seed)
    board = np.full(SIZE, 60, np.float32)
    for top, left in ((10, 10), (30, 50), (44, 20)):
        cv2.rectangle(board, (left, top), (left + 14, top + 8), 200, -1)
    matrices = [np.array([[1, 0, dx], [0, 1, dy]]) for dx, dy in random.normal(0, jitter, (count, 2))]
    shifted = [cv2.warpAffine(board, matrix, SIZE[::-1], borderMode=cv2.BORDER_REFLECT_101) for matrix in matrices]
    noisy = np.stack(shifted) + random.normal(0, 3, (count, *SIZE))
    return torch.from_numpy(noisy.clip(0, 255).astype(np.uint8))[..., None]


def surfaces(count: int, seed: int = 0) -> Tensor:
    """Pictures of another piece of a rough surface each."""
    random = np.random.default_rng(seed)
    fields = [cv2.resize(random.normal(128, 40, (16, 24)), SIZE[::-1]) for _ in range(count)]
    return torch.from_numpy(np.stack(fields).clip(0, 255).astype(np.uint8))[..., None]


def learnt(frames: Tensor) -> tuple[Good, Usual]:
    good, usual = Good(1, SIZE), Usual(1, SIZE)
    for start in range(0, len(frames), 10):
        some = frames[start : start + 10]
        swayed = varied(some, range(start, start + len(some)), 0.0, 1.0)
        good.add(normalised(images_from_frames(some)), normalised(swayed))
        good.tell(usual)
    return good, usual


def odd_at(usual: Usual, frames: Tensor) -> Tensor:
    odd: Tensor = usual(normalised(images_from_frames(frames)))
    return odd


def test_a_missing_component_is_far_from_usual_and_good_boards_are_not() -> None:
    _, usual = learnt(boards(40, 0.5))
    unseen = boards(10, 0.5, seed=1)
    bad = unseen.clone()
    bad[:, 30:39, 50:65] = 60
    good_odd, bad_odd = odd_at(usual, unseen).abs(), odd_at(usual, bad).abs()
    assert float(good_odd.mean()) < 1
    assert float(bad_odd[:, :, 16:19, 26:31].mean()) > 4
    assert float(bad_odd.max()) == MOST


def test_without_a_fixture_nothing_is_odd() -> None:
    for usual in (learnt(surfaces(40))[1], learnt(boards(40, 3))[1], Usual(1, SIZE)):
        assert not odd_at(usual, surfaces(10, seed=1)).any()


def test_windows_are_compared_with_their_own_place() -> None:
    frames = boards(12, 0.5)
    _, usual = learnt(frames)
    x = normalised(images_from_frames(frames[:2]))
    whole = usual(x)
    part = np.s_[0:32, 32:96]
    two = usual(torch.stack([x[0][:, part[0], part[1]], x[1][:, 32:64, 0:64]]), [part, np.s_[32:64, 0:64]])
    assert torch.equal(two[0], whole[0, :, 0:16, 16:48]) and torch.equal(two[1], whole[1, :, 16:32, 0:32])
    assert torch.equal(usual(x, [WHOLE, WHOLE]), whole)


def test_what_lies_in_a_fixture_may_be_moved_little_and_a_surface_as_it_is() -> None:
    fixed, loose, surface = (learnt(frames)[0].movement() for frames in (boards(40, 0.3), boards(40, 3), surfaces(40)))
    assert STILL <= fixed < FIXED
    assert surface == loose == 1.0
    assert Good(1, SIZE).movement() == 1.0


def test_moments_do_not_hang_on_how_pictures_come_in() -> None:
    frames = boards(20, 0.3)
    x, swayed = normalised(images_from_frames(frames)), normalised(varied(frames, range(20), 0.0, 1.0))
    one, many = Good(1, SIZE), Good(1, SIZE)
    one.add(x, swayed)
    for i in range(20):
        many.add(x[i : i + 1], swayed[i : i + 1])
    for name, value in one.state_dict().items():
        torch.testing.assert_close(many.state_dict()[name], value)
    usual = Usual(1, SIZE)
    one.tell(usual)
    torch.testing.assert_close(usual.mean, F.avg_pool2d(x, 2).mean(0, keepdim=True))
    assert float(usual.rate.max()) <= 1 / LEAST


def test_one_picture_says_nothing_that_is_no_number() -> None:
    good, usual = learnt(boards(1, 0.0))
    assert torch.isfinite(usual.rate).all() and STILL <= good.movement() <= FIXED


@pytest.mark.parametrize(("frames", "words"), [(boards(16, 0.3), "as in a fixture"), (surfaces(16), "no place")])
def test_training_says_what_the_layout_is(frames: Tensor, words: str) -> None:
    method = tiny("attention", SIZE)
    assert isinstance(method, Attention)
    method.step("usual", Batch(frames, Noise(0)), minimiser(method))
    assert words in method.layout()


def test_parts_that_were_turned_by_their_face_have_a_template_though_light_was_not_turned() -> None:
    method = tiny("attention", SIZE)
    assert isinstance(method, Attention)
    restless = boards(16, 1.8)
    movements = []
    for faced in (False, True):
        other = Attention(replace(method.config, faced=faced))
        other.step("usual", Batch(restless, Noise(0)), minimiser(other))
        movements.append(other.good.movement())
        assert bool(other.usual.rate.any()) == faced
    assert movements[0] == 1 and FIXED < movements[1] < 1


@pytest.mark.parametrize("phase", ["usual", "attention", "features", "scales"])
def test_only_the_first_phase_changes_what_is_usual(phase: str) -> None:
    method = tiny("attention", SIZE)
    assert isinstance(method, Attention)
    method.networks.train()
    before = method.usual.mean.clone()
    method.step(phase, Batch(boards(8, 0.5), Noise(0)), minimiser(method))
    assert torch.equal(method.usual.mean, before) == (phase != "usual")
    scorer = method.scorer()
    assert isinstance(scorer, AttentionScorer)
    assert torch.equal(scorer.usual.mean, method.usual.mean)
