"""What every method of the table promises."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from edge.errors import UsageError
from tests.train.helpers import batch_of, minimiser, random_frames, tiny, trained
from train.method import Method, MethodConfig
from train.methods import METHODS, build

EXPORTED = [name for name, row in METHODS.items() if not row.no_export]


@pytest.fixture(scope="module", params=EXPORTED)
def method(request: pytest.FixtureRequest) -> Method:
    return trained(request.param)


def scores_of(method: Method, frames: Tensor, reference: bool = False) -> list[Tensor]:
    scorer = method.reference_scorer() if reference else method.scorer()
    with torch.no_grad():
        return [part.detach() for part in scorer(frames)]


def relative(a: Tensor, b: Tensor) -> float:
    return float((a - b).abs().max() / b.abs().max().clamp(min=1e-6))


def test_scorer_equals_the_autograd_reference(method: Method) -> None:
    frames = random_frames(5, seed=7)
    for ours, reference in zip(scores_of(method, frames), scores_of(method, frames, reference=True), strict=True):
        assert relative(ours, reference) < 1e-4


def test_outputs_have_the_face_of_the_scoring_graph(method: Method) -> None:
    score, error, heatmap = scores_of(method, random_frames(5, seed=7))
    assert (score.shape, error.shape, heatmap.ndim, heatmap.shape[0]) == ((5,), (5,), 3, 5)
    assert all(part.dtype == torch.float32 and torch.isfinite(part).all() for part in (score, error, heatmap))
    assert score.std() > 0


def test_score_depends_on_the_image_alone(method: Method) -> None:
    """Order, batch size and repetition change nothing: no batch statistics, no random numbers."""
    frames = random_frames(64, seed=8)
    together = scores_of(method, frames)
    order = torch.randperm(64, generator=torch.Generator().manual_seed(0))
    for whole, shuffled in zip(together, scores_of(method, frames[order]), strict=True):
        assert relative(shuffled, whole[order]) < 1e-5
    alone = [scores_of(method, frames[i : i + 1]) for i in range(0, 64, 9)]
    for index, whole in enumerate(together):
        assert relative(torch.cat([one[index] for one in alone]), whole[::9]) < 1e-5
    for whole, again in zip(together, scores_of(method, frames), strict=True):
        assert torch.equal(whole, again)


def test_blank_frames_give_finite_scores(method: Method) -> None:
    frames = torch.stack([torch.full((32, 32, 1), value, dtype=torch.uint8) for value in (0, 128, 255)])
    assert all(torch.isfinite(part).all() for part in scores_of(method, frames))


def test_scorer_is_a_snapshot_in_eval_mode(method: Method) -> None:
    scorer = method.scorer()
    assert not any(module.training for module in scorer.modules())
    own = {p.data_ptr() for p in method.networks.parameters()}
    assert not own & {p.data_ptr() for p in scorer.parameters()}


def test_validation_is_a_finite_figure(method: Method) -> None:
    with torch.no_grad():
        assert all(0 <= method.validate(phase.name, random_frames(4)) < 1e6 for phase in method.phases)


def first_losses(name: str, half: bool) -> tuple[Method, dict[str, float], set[torch.dtype]]:
    """A step and a validation of each phase under autocast, as the loop does them, and what convolutions put out."""
    method, seen = tiny(name, **({"bfloat16": False} if name == "attention" else {})), set()  # its own, on CPUs
    for module in method.networks.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
            module.register_forward_hook(lambda module, inputs, out: seen.add(out.dtype))
    minimise, losses = minimiser(method), {}
    for phase in method.phases:
        with torch.autocast("cpu", torch.bfloat16, enabled=half):
            method.networks.train()
            losses |= method.step(phase.name, batch_of(method), minimise)
            method.networks.eval()
            with torch.no_grad():
                losses[f"{phase.name} validation"] = method.validate(phase.name, random_frames(4))
    return method, losses, seen


@pytest.mark.parametrize("name", list(METHODS))
def test_mixed_precision_gives_the_same_losses_and_leaves_weights_in_fp32(name: str) -> None:
    """What a GPU does, on the CPU: the same autocast, the same steps."""
    _, full, seen = first_losses(name, half=False)
    assert seen == {torch.float32}
    method, half, seen = first_losses(name, half=True)
    assert torch.bfloat16 in seen
    assert all(half[key] == pytest.approx(value, rel=0.05, abs=2e-3) for key, value in full.items())
    assert all(p.dtype == torch.float32 and p.isfinite().all() for p in method.networks.parameters())


def test_options_are_checked() -> None:
    config = MethodConfig(32, 32, 1, 4, {"no_such": 1.0})
    with pytest.raises(UsageError, match="no option no_such"):
        build("sagan", config)
    with pytest.raises(UsageError, match="takes a float"):
        tiny("sagan", learning_rate="fast")
    with pytest.raises(UsageError, match="the methods are sagan"):
        build("nothing", config)
    assert tiny("sagan", con=50).config.options["con"] == 50.0
    assert tiny("sagan-plain").config.options["separable"] is False
