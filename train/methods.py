"""The table of methods. Nothing is imported until a method is built."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import cast

from edge.errors import UsageError
from train.method import Method, MethodConfig, Option


@dataclass(frozen=True)
class Row:
    """One method. `preset` are option values that make this row differ from others of the same class.

    `needs_known`, `uses_known`: it cannot, or need not, do without known anomalies. `multiple`: the image's sides must
    be divisible by it. `no_export`: why it cannot be a scoring graph; empty if it can. `pretrained`: it takes
    `--pretrained`, and the class has `load_pretrained(state: dict[str, Tensor]) -> None`. `locates`: loose parts are
    found and laid straight for it without being asked. `begins`: the class has `begin() -> str`, which loads weights
    that come with the code, and says so, and `layout() -> str`, which says how parts were found to lie.
    `image_size` (side), `base_width`, `batch_size` and `minutes` (None: a number of epochs) are what edge-train takes
    where nothing is said.
    """

    target: str
    summary: str
    preset: Mapping[str, Option] = field(default_factory=dict)
    needs_known: bool = False
    uses_known: bool = False
    pretrained: bool = False
    multiple: int = 16
    image_size: int = 128
    base_width: int = 32
    batch_size: int = 16
    minutes: float | None = None
    no_export: str = ""
    locates: bool = False
    begins: bool = False


METHODS: dict[str, Row] = {
    "sagan": Row("train.models.sagan:Sagan", "SAGAN: skip-attention GAN with depth-wise separable convolutions"),
    "sagan-plain": Row("train.models.sagan:Sagan", "SAGAN with plain convolutions", {"separable": False}),
    "adda": Row("train.models.adda:Adda", "ADDA: VAE-GAN, error masked by the discriminator's Grad-CAM", multiple=4),
    "adda-semi": Row(
        "train.models.adda:Adda",
        "ADDA with a second discriminator on known anomalies",
        {"semi": True},
        needs_known=True,
        uses_known=True,
        multiple=4,
    ),
    "vae": Row("train.models.vae:Vae", "AnoVAE: reconstruction error of a VAE", multiple=4),
    "vae-gan": Row(
        "train.models.adda:Adda",
        "AnoVAEGAN: ADDA's networks, plain reconstruction error",
        {"masked": False, "beta": 0.0},
        multiple=4,
    ),
    "spade": Row(
        "train.models.spade:Spader",
        "SPADE: VAE error weighted by where a CNN that knows some anomalies looks",
        {"regression": False},
        needs_known=True,
        uses_known=True,
        multiple=4,
    ),
    "spader": Row(
        "train.models.spade:Spader",
        "SPADER: SPADE and the CNN's regression together",
        needs_known=True,
        uses_known=True,
        multiple=4,
    ),
    "cnn-regression": Row(
        "train.models.regression:CnnRegression",
        "supervised CNN on normals and known anomalies",
        needs_known=True,
        uses_known=True,
        multiple=4,
    ),
    "ganomaly": Row("train.models.ganomaly:Ganomaly", "GANomaly: distance of two latents"),
    "skip-ganomaly": Row("train.models.skip_ganomaly:SkipGanomaly", "Skip-GANomaly: U-Net GAN", multiple=32),
    "egbad": Row("train.models.egbad:Egbad", "EGBAD: BiGAN"),
    "anogan": Row(
        "train.models.anogan:Anogan",
        "AnoGAN: searches the closest generated image; torch only",
        no_export="it searches a latent by gradient descent for every image, which no static graph can do",
    ),
    "cavga-d": Row("train.models.cavga:Cavga", "CAVGA with DCGAN's encoder: VAE-GAN whose attention covers the normal"),
    "cavga-d-light": Row("train.models.cavga:Cavga", "light cavga-d: separable convolutions", {"separable": True}),
    "cavga-d-w": Row(
        "train.models.cavga:Cavga",
        "cavga-d with a classifier of known anomalies, whose attention is guided",
        {"weak": True},
        needs_known=True,
        uses_known=True,
    ),
    "cavga-d-w-light": Row(
        "train.models.cavga:Cavga",
        "light cavga-d-w: separable convolutions",
        {"weak": True, "separable": True},
        needs_known=True,
        uses_known=True,
    ),
    "cavga-r": Row(
        "train.models.cavga:Cavga",
        "CAVGA with ResNet-18 as encoder and a residual decoder",
        {"encoder": "resnet"},
        pretrained=True,
    ),
    "cavga-r-light": Row(
        "train.models.cavga:Cavga",
        "light cavga-r: separable convolutions",
        {"encoder": "resnet", "separable": True},
        pretrained=True,
    ),
    "cavga-r-w": Row(
        "train.models.cavga:Cavga",
        "cavga-r with a classifier of known anomalies, whose attention is guided",
        {"encoder": "resnet", "weak": True},
        needs_known=True,
        uses_known=True,
        pretrained=True,
    ),
    "cavga-r-w-light": Row(
        "train.models.cavga:Cavga",
        "light cavga-r-w: separable convolutions",
        {"encoder": "resnet", "weak": True, "separable": True},
        needs_known=True,
        uses_known=True,
        pretrained=True,
    ),
    "attention": Row(
        "train.models.attention:Attention",
        "attention network trained on hard synthetic anomalies, with feature distances: the default",
        uses_known=True,
        multiple=32,
        image_size=256,
        base_width=24,
        batch_size=8,
        minutes=20.0,
        locates=True,
        begins=True,
    ),
    "attention-gan": Row(
        "train.models.attention_gan:AttentionGan",
        "two-stage attention: attention map from hard augmentation, then a GAN on masked features",
        pretrained=True,
    ),
}


def row_of(name: str) -> Row:
    """The table's row. Raises UsageError that lists the names if there is no such method."""
    if name not in METHODS:
        raise UsageError(f"no method {name}", "the methods are " + ", ".join(METHODS), "choose one with --model")
    return METHODS[name]


def build(name: str, config: MethodConfig) -> Method:
    """A new, untrained method; options that `config` leaves out take the row's preset, then the class's default.

    Raises UsageError for an unknown method or option, or an option of another type than its default.
    """
    row = row_of(name)
    if config.height % row.multiple or config.width % row.multiple:
        raise UsageError(
            f"{name} cannot take images of {config.width}x{config.height}",
            f"its sides must be multiples of {row.multiple}",
            "choose another --image-size",
        )
    module, _, attribute = row.target.partition(":")
    factory = getattr(importlib.import_module(module), attribute)
    defaults = {**factory.OPTIONS, **row.preset}
    given = {key: _checked(name, defaults, key, value) for key, value in config.options.items()}
    return cast(Method, factory(replace(config, options={**defaults, **given})))


def _checked(name: str, defaults: Mapping[str, Option], key: str, value: Option) -> Option:
    if key not in defaults:
        known = ", ".join(defaults) or "none"
        raise UsageError(f"method {name} has no option {key}", f"its options are {known}", "correct --set")
    wanted = type(defaults[key])
    if wanted is float and type(value) is int:
        return float(value)
    if type(value) is not wanted:
        raise UsageError(f"option {key} of {name} is not {value!r}", f"it takes a {wanted.__name__}", "correct --set")
    return value
