"""Windows: where they lie, what they show, and that they are lit, placed and labelled as the whole picture is."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.train.helpers import batch_of, minimiser, random_frames, tiny
from train.augment.normal import WHOLE, drawn_light
from train.method import Batch
from train.models.attention import Attention
from train.models.attention_batch import Lesson, examples_of, tensors_of, windows_allowed
from train.models.attention_net import light_of
from train.models.attention_window import LEAST, window_on, window_size
from train.noise import Noise

SIZE = (256, 320)


@given(seed=st.integers(0, 2**31), height=st.integers(8, 20), width=st.integers(8, 20))
def test_windows_lie_in_the_picture_on_the_grid_of_cells(seed: int, height: int, width: int) -> None:
    random = np.random.default_rng(seed)
    mask = np.zeros((32 * height, 32 * width), np.float32)
    y, x = int(random.integers(mask.shape[0])), int(random.integers(mask.shape[1]))
    mask[y, x] = 1
    rows, columns = window_on(mask, random)
    size = window_size(*mask.shape)
    assert size is not None and min(size) >= LEAST
    for span, length, side in zip((rows, columns), size, mask.shape, strict=True):
        assert 0 <= span.start < span.stop <= side
        assert span.stop - span.start == length and span.start % 8 == 0


def test_windows_show_the_marked_pixel_nearly_always() -> None:
    mask = np.zeros((256, 256), np.float32)
    mask[200, 30] = 1
    shown = [mask[window_on(mask, np.random.default_rng(seed))].any() for seed in range(200)]
    assert np.mean(shown) > 0.9


def test_small_pictures_are_shown_whole() -> None:
    assert window_size(224, 224) is None
    assert window_on(np.zeros((128, 128), np.float32), np.random.default_rng(0)) == WHOLE


def test_of_a_long_picture_only_the_long_side_is_halved() -> None:
    assert window_size(96, 416) == (96, 192)
    assert window_size(160, 416) == (160, 192)
    assert window_size(256, 416) == (128, 192)


def test_a_pair_shows_the_same_window_and_the_defect() -> None:
    frames = random_frames(4, SIZE)
    examples = examples_of(Batch(frames, Noise(0)), Lesson(graded=False, windows=True))
    for good, bad in zip(examples[:4], examples[4:], strict=True):
        assert good.part == bad.part != WHOLE
        assert bad.image.shape == (128, 160, 1) and bad.mask.shape == bad.kind.shape == (128, 160)
        assert not good.mask.any() and good.anomalous == 0
        assert bad.anomalous == bad.mask.max()
    assert sum(bad.mask.any() for bad in examples[4:]) >= 3
    images, truth = tensors_of(examples, torch.device("cpu"))
    assert images.shape == (8, 1, 128, 160) and truth.kind.shape == (8, 16, 20) and truth.normal.shape == (8, 1, 32, 40)


def test_a_window_is_as_bright_and_harsh_as_in_the_whole_picture() -> None:
    random = np.random.default_rng(3)
    pictures = [cell.repeat(8, 0).repeat(8, 1) for cell in random.uniform(0, 255, (6, 32, 40, 1)).astype(np.float32)]
    for picture in pictures:
        light = replace(drawn_light(SIZE, random), noise=0.0, blur=0.0)
        glimpse = light.glimpse(picture)
        whole = light.on([picture], random)[0]
        of_glimpse, of_whole = (
            light_of(torch.from_numpy(image.transpose(2, 0, 1)[None]) / 127.5 - 1) for image in (glimpse, whole)
        )
        for ours, exact in zip(of_glimpse, of_whole, strict=True):
            assert torch.allclose(ours, exact, atol=0.01)


def test_cells_of_a_window_know_where_they_lie() -> None:
    method = tiny("attention", SIZE)
    assert isinstance(method, Attention)
    network = method.network.eval()
    frame, odd = torch.zeros(2, 1, 128, 160), torch.zeros(2, 1, 64, 80)
    parts = [np.s_[0:128, 0:160], np.s_[128:256, 160:320]]
    with torch.no_grad():
        first, second = network(frame, odd, parts).logits
        alone = network(frame[1:], odd[1:], parts[1:]).logits[0]
    assert torch.allclose(second, alone, atol=1e-5)
    assert not torch.allclose(first, second, atol=1e-5)  # same grey, other place


def test_unmarked_known_anomalies_forbid_windows() -> None:
    batch = batch_of(tiny("attention", (64, 64)), 4)
    assert batch.known_masks is not None
    assert not windows_allowed(batch)
    assert windows_allowed(replace(batch, known_masks=batch.known_masks.clamp(max=1)))
    assert windows_allowed(replace(batch, known=None, known_masks=None))


def test_training_takes_windows_first_and_whole_pictures_then() -> None:
    method = tiny("attention", (256, 256))
    assert isinstance(method, Attention)
    seen: list[tuple[int, ...]] = []
    method.network.stem[0].register_forward_hook(lambda module, given, found: seen.append(tuple(given[0].shape[2:])))
    known = random_frames(2, (256, 256), seed=5)  # 2 + 2 + 1 examples: see Residual on odd batches
    masks = torch.zeros(2, 256, 256, dtype=torch.uint8)
    masks[:, 30:60, 40:90] = 1
    for progress in (0.0, 0.5, 0.7):
        method.networks.train()
        method.step(
            "attention", Batch(random_frames(2, (256, 256)), Noise(1), known, masks, progress), minimiser(method)
        )
    assert seen == [(128, 128), (128, 128), (256, 256)]
