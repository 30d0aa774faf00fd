"""ResNet-18: torchvision's names and counts, and what becomes of weights that do or do not fit."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from edge.errors import InputError
from tests.train.helpers import tiny
from train.loop import Plan
from train.models.resnet import DEVIATION, MEAN, ImageNetScale, ResNet18, load_imagenet
from train.session import Request, start


def synthetic_state() -> dict[str, Tensor]:
    """A state dict with torchvision's keys and shapes, written down and not derived from our network."""
    generator = torch.Generator().manual_seed(0)
    shapes: dict[str, tuple[int, ...]] = {"conv1.weight": (64, 3, 7, 7), **norm("bn1", 64)}
    for stage, (before, width) in enumerate([(64, 64), (64, 128), (128, 256), (256, 512)], start=1):
        for block in (0, 1):
            name, inner = f"layer{stage}.{block}", before if block == 0 else width
            shapes[f"{name}.conv1.weight"], shapes[f"{name}.conv2.weight"] = (
                (width, inner, 3, 3),
                (width, width, 3, 3),
            )
            shapes |= norm(f"{name}.bn1", width) | norm(f"{name}.bn2", width)
            if block == 0 and before != width:
                shapes |= {f"{name}.downsample.0.weight": (width, before, 1, 1), **norm(f"{name}.downsample.1", width)}
    shapes |= {"fc.weight": (1000, 512), "fc.bias": (1000,)}
    return {name: 0.05 * torch.rand(shape, generator=generator) for name, shape in shapes.items()}


def norm(name: str, width: int) -> dict[str, tuple[int, ...]]:
    return {f"{name}.{part}": (width,) for part in ("weight", "bias", "running_mean", "running_var")}


@pytest.fixture(scope="module")
def state() -> dict[str, Tensor]:
    return synthetic_state()


def test_the_names_and_the_count_are_torchvisions(state: dict[str, Tensor]) -> None:
    net = ResNet18(3, 64, separable=False)
    assert sum(p.numel() for p in net.parameters()) == 11_176_512  # 11,689,512 less the classifier's 513,000
    ours = {name for name in net.state_dict() if not name.endswith("num_batches_tracked")}
    assert ours == {name for name in state if not name.startswith("fc.")}


@pytest.mark.parametrize(("pooled", "rows"), [(True, 2), (False, 4)])
def test_stride_with_and_without_the_stems_pooling(pooled: bool, rows: int) -> None:
    assert ResNet18(3, 4, False, pooled)(torch.zeros(1, 3, 64, 96)).shape == (1, 32, rows, rows * 3 // 2)
    assert ResNet18(3, 4, True, pooled)(torch.zeros(1, 3, 64, 96)).shape == (1, 32, rows, rows * 3 // 2)


def test_weights_are_taken_over_and_colours_turned_round(state: dict[str, Tensor]) -> None:
    net = ResNet18(3, 64, separable=False).eval()
    load_imagenet(net, state)
    taken = net.state_dict()
    assert torch.equal(taken["conv1.weight"], state["conv1.weight"].flip(1))
    for name in ("layer4.1.conv2.weight", "layer2.0.downsample.1.running_var", "bn1.bias"):
        assert torch.equal(taken[name], state[name])


def test_a_grey_picture_gives_what_three_equal_planes_give(state: dict[str, Tensor]) -> None:
    colour, grey = ResNet18(3, 64, False).eval(), ResNet18(1, 64, False).eval()
    load_imagenet(colour, state)
    load_imagenet(grey, state)
    x = torch.rand(1, 1, 32, 32)
    with torch.no_grad():
        assert torch.allclose(grey.conv1(x), colour.conv1(x.expand(1, 3, 32, 32)), rtol=1e-4, atol=1e-4)


def test_scale_of_imagenet_is_in_the_order_of_the_frames() -> None:
    x = torch.tensor(MEAN).view(1, 3, 1, 1) + torch.tensor(DEVIATION).view(1, 3, 1, 1)
    assert torch.allclose(ImageNetScale(3)(x), torch.ones(1, 3, 1, 1))
    assert MEAN[0] < MEAN[2]  # blue first, as frames are
    assert ImageNetScale(1)(torch.rand(2, 1, 4, 4)).shape == (2, 1, 4, 4)


def test_what_does_not_fit_is_named_and_changes_nothing(state: dict[str, Tensor]) -> None:
    net = ResNet18(3, 64, separable=False)
    before = net.conv1.weight.clone()
    deeper = {**state, "layer1.0.conv1.weight": torch.zeros(64, 64, 1, 1)}  # a bottleneck's
    with pytest.raises(InputError, match=r"layer1.0.conv1.weight is \[64, 64, 1, 1\] and should be \[64, 64, 3, 3\]"):
        load_imagenet(net, deeper)
    with pytest.raises(InputError, match=r"layer4\.1\.bn2\.bias is missing"):
        load_imagenet(net, {name: value for name, value in state.items() if name != "layer4.1.bn2.bias"})
    assert torch.equal(net.conv1.weight, before)
    for narrow_or_light in (ResNet18(3, 32, False), ResNet18(3, 64, True)):
        with pytest.raises(InputError, match="--width 64"):
            load_imagenet(narrow_or_light, state)


def test_from_the_command_line_in_one_line(tmp_path: Path, small_data: Path, state: dict[str, Tensor]) -> None:
    file = tmp_path / "resnet18.pth"
    torch.save(state, file)
    plan = Plan(4, 0, epochs=1)
    ready = start(Request("cavga-r", small_data, tmp_path / "run", plan, (32, 32), 64, pretrained=file))
    loaded = ready.method.networks["net"].state_dict()["encoder.1.conv1.weight"]
    assert torch.equal(loaded, state["conv1.weight"].sum(1, keepdim=True))
    with pytest.raises(InputError, match="do not fit") as caught:
        start(Request("cavga-r", small_data, tmp_path / "run", plan, (32, 32), 32, pretrained=file))
    assert "\n" not in str(caught.value)
    file.write_bytes(b"not a state dict")
    with pytest.raises(InputError, match=r"cannot use pretrained weights.*more than tensors"):
        start(Request("cavga-r", small_data, tmp_path / "run", plan, (32, 32), 64, pretrained=file))


def test_the_published_stem_is_used_where_enough_rows_are_left() -> None:
    for side, pooled in ((64, False), (256, True)):
        modules = tiny("cavga-r", (side, side)).networks["net"].modules()
        assert [m.pooled for m in modules if isinstance(m, ResNet18)] == [pooled]
