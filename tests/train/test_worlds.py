"""Drawn worlds, and the weights that a network begins with after having seen many of them."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.errors import UsageError
from train import head_start
from train.augment.hard import seen_change
from train.method import MethodConfig, Option
from train.models.attention import Attention
from train.models.attention_net import AttentionNet
from train.models.attention_start import begin, fresh_share
from train.worlds.flaws import FLAWS, Flaw, Relief
from train.worlds.patterns import KINDS, Pattern
from train.worlds.world import World, drawn_world

SIZE = 64
SEEDS = st.integers(0, 2**31)


def world(seed: int) -> tuple[World, np.random.Generator]:
    random = np.random.default_rng(seed)
    return drawn_world(random, SIZE), random


@settings(max_examples=25, deadline=None)
@given(SEEDS)
def test_every_world_draws_pictures_that_differ_and_can_be_drawn_again(seed: int) -> None:
    drawn, random = world(seed)
    first, second = drawn.picture(random), drawn.picture(random)
    assert first.shape == (SIZE, SIZE, 3) and first.dtype == np.uint8
    again, other = world(seed)
    assert np.array_equal(first, again.picture(other)) and np.array_equal(second, again.picture(other))


@settings(max_examples=25, deadline=None)
@given(SEEDS)
def test_a_flaw_leaves_the_rest_of_its_picture_as_it_was(seed: int) -> None:
    drawn, random = world(seed)
    good, bad = (image.astype(np.float32) for image in drawn.pair(random))
    seen = seen_change(good, bad)
    assert seen.shape == (SIZE, SIZE) and seen.min() >= 0 and seen.max() <= 1
    far = cv2.dilate((good != bad).any(2).astype(np.uint8), np.ones((11, 11))) == 0
    assert not seen[far].any()


def test_most_flaws_can_be_seen_and_cover_little() -> None:
    seen = np.stack([seen_change(*(p.astype(np.float32) for p in drawn.pair(r))) for drawn, r in map(world, range(60))])
    assert (seen.max((1, 2)) > 0.5).mean() > 0.8
    assert np.median((seen > 0.5).mean((1, 2))) < 0.1


@pytest.mark.parametrize("flaw", [chosen[0] for chosen, _ in FLAWS], ids=lambda flaw: flaw.__name__)
@settings(max_examples=10, deadline=None)
@given(SEEDS)
def test_a_flaw_is_where_it_is_meant_to_be(flaw: Flaw, seed: int) -> None:
    random = np.random.default_rng(seed)
    relief = Relief(*(random.random((SIZE, SIZE, *c), dtype=np.float32) for c in ((), (3,), ())))
    ground = Relief(relief.height - 4, 0 * relief.colour, relief.gloss)
    nowhere, where = np.zeros((SIZE, SIZE), np.float32), np.zeros((SIZE, SIZE), np.float32)
    where[20:30, 20:40] = 1
    same, other = flaw(relief, ground, nowhere, random), flaw(relief, ground, where, random)
    for plane in ("height", "colour", "gloss"):
        np.testing.assert_allclose(getattr(same, plane), getattr(relief, plane), atol=1e-6)
        np.testing.assert_allclose(getattr(other, plane)[:5], getattr(relief, plane)[:5], atol=1e-3)
    assert not np.allclose(other.height, relief.height) or not np.allclose(other.colour, relief.colour)


def test_pictures_of_one_world_resemble_each_other_more_than_those_of_two() -> None:
    def described(seed: int, count: int) -> np.ndarray:  # colour and contrast
        drawn, random = world(seed)
        pictures = [drawn.picture(random).astype(float) for _ in range(count)]
        return np.array([[*p.mean((0, 1)), *p.std((0, 1))] for p in pictures])

    worlds = np.stack([described(seed, 4) for seed in range(40)])
    within = np.abs(worlds - worlds.mean(1, keepdims=True)).mean()
    between = np.abs(worlds.mean(1) - worlds.mean((0, 1))).mean()
    assert within < 0.2 * between


@pytest.mark.parametrize("kind", KINDS, ids=[kind.__name__ for kind in KINDS])
@settings(max_examples=15, deadline=None)
@given(SEEDS)
def test_patterns_have_no_mean_and_are_never_louder_than_one(kind: Pattern, seed: int) -> None:
    random = np.random.default_rng(seed)
    piece = kind(random, SIZE)(random)  # type: ignore[call-arg, operator]
    assert piece.shape == (SIZE, SIZE) and piece.dtype == np.float32
    assert abs(float(piece.mean())) < 1e-3 and float(piece.std()) <= 1.001


def network(channels: int, width: int = head_start.WIDTH) -> AttentionNet:
    return AttentionNet(channels, width, (SIZE, SIZE), 20).eval()


def test_grey_pictures_are_seen_as_grey_ones_in_colour() -> None:
    grey, colour = network(1), network(3)
    assert begin(grey, 1.0) and begin(colour, 1.0)
    picture, odd = torch.randn(1, 1, SIZE, SIZE), torch.randn(1, 1, SIZE // 2, SIZE // 2)
    with torch.no_grad():
        one, three = grey(picture, odd), colour(picture.expand(-1, 3, -1, -1), odd.expand(-1, 3, -1, -1))
    torch.testing.assert_close(one.logits, three.logits, rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(one.redrawn[:, 0], three.redrawn.mean(1), rtol=1e-3, atol=1e-3)


def test_another_width_begins_from_nothing_and_is_left_alone() -> None:
    other = network(1, 16)
    before = {name: value.clone() for name, value in other.state_dict().items()}
    assert not begin(other, 0.5)
    assert all(torch.equal(value, before[name]) for name, value in other.state_dict().items())


def test_what_was_learnt_is_mixed_with_random_weights_that_differ_between_seeds() -> None:
    def mixed(seed: int) -> torch.Tensor:
        torch.manual_seed(seed)
        net = network(3)
        before = net.state_dict()["fine.0.weight"].clone()
        assert begin(net, 0.5)
        learnt: torch.Tensor = net.state_dict()["fine.0.weight"] - fresh_share(0.5) * before
        return learnt

    torch.testing.assert_close(mixed(0), mixed(1))


@pytest.mark.parametrize(
    ("width", "options", "words"),
    [
        (24, {}, "drawn surfaces"),
        (24, {"head_start": 0.0}, "from nothing"),
        (16, {}, "another width than 16"),
    ],
)
def test_training_says_where_it_begins(width: int, options: dict[str, Option], words: str) -> None:
    method = Attention(MethodConfig(SIZE, SIZE, 1, width, {**Attention.OPTIONS, **options}))
    assert words in method.begin()
    for slow, fast in zip(method.average.parameters(), method.network.parameters(), strict=True):
        assert torch.equal(slow, fast)


@pytest.mark.parametrize("kept", [-0.1, 1.5])
def test_a_share_is_from_0_to_1(kept: float) -> None:
    method = Attention(MethodConfig(SIZE, SIZE, 1, 24, {**Attention.OPTIONS, "head_start": kept}))
    with pytest.raises(UsageError, match="from 0 to 1"):
        method.begin()


def test_the_head_start_can_be_made_again(tmp_path: Path) -> None:
    lines: list[str] = []
    ticks = iter(range(10**6))
    made = head_start.trained(3 / 60, worlds=2, seed=0, clock=lambda: float(next(ticks)), say=lines.append)
    head_start.save(made, tmp_path / "start.npz")
    with np.load(tmp_path / "start.npz", allow_pickle=False) as arrays:
        assert arrays["attention.weight"].dtype == np.float16
    fresh = network(3)
    assert begin(fresh, 0.5, file=tmp_path / "start.npz")
    found, wanted = (net.state_dict()["attention.bias"] for net in (fresh, made))
    torch.testing.assert_close(found, wanted, rtol=1e-2, atol=1e-3)
