"""From one trained method to the columns of a paper's table: several scores of the same networks, side by side."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

import numpy as np
import paper_data as data
import torch
from numpy.typing import NDArray
from torch import Tensor

from train.data import ArrayFrames
from train.infer import Scored, score_frames
from train.method import Method, MethodConfig
from train.methods import build
from train.models.spade import Spader, SpaderScorer, weighted_error

Scores = NDArray[np.float32]
Parts = Callable[[Method, data.Images], dict[str, Scores]]


def named(name: str) -> Parts:
    """The method's score as column `name`."""
    return lambda method, images: {name: scored(method, images).score}


def adda_parts(method: Method, images: data.Images) -> dict[str, Scores]:
    """ADDA's ablation from one set of networks: with c = 1 and beta = 0 it is AnoVAEGAN."""
    beta = method.config.number("beta")
    out = scored(method, images)
    c = method.config
    plain = build("vae-gan", MethodConfig(c.height, c.width, c.channels, c.base_width))
    plain.networks.load_state_dict(method.networks.state_dict())
    return {
        "AnoVAEGAN": scored(plain, images).score,
        "D only": (out.score - out.masked_error) / beta,
        "CAM only": out.masked_error,
        "CAM+D": out.score,
    }


def semi_parts(method: Method, images: data.Images) -> dict[str, Scores]:
    """ADDA's semi-supervised columns."""
    out = scored(method, images)
    return {"CAM_ano only": out.masked_error, "CAM+D_G+D_ano": out.score}


def spader_parts(method: Method, images: data.Images) -> dict[str, Scores]:
    """SPADER's ablation from one pair of networks; SPADE's term with ||cam|| as l1 (a mean error in 0..1), and as l2.

    The paper does not say which. Adding f to the plain error changes the paper's AUROC by .10 to .26, which a sum over
    7056 pixels would not let it do: there, the two must have been of one size.
    """
    spader = cast(Spader, method)
    columns: dict[str, list[Tensor]] = {}
    with torch.no_grad():
        for chunk in np.array_split(images, max(1, len(images) // 32)):
            for name, part in _spader_columns(spader, torch.from_numpy(chunk)).items():
                columns.setdefault(name, []).append(part)
    return {name: torch.cat(part).numpy() for name, part in columns.items()}


def scored(method: Method, images: data.Images) -> Scored:
    """The method's outputs on `images`, in eval mode."""
    return score_frames(method.scorer(), ArrayFrames(images), batch_size=32)


def _spader_columns(spader: Spader, frames: Tensor) -> dict[str, Tensor]:
    scorer = cast(SpaderScorer, spader.scorer())
    x = frames.permute(0, 3, 1, 2).float() / 255
    x_hat = scorer.vae(x)
    (mask, f), error = scorer.attend(x, x_hat), (x - x_hat).abs().mean(1, keepdim=True)
    spade = {norm: weighted_error(error, mask, norm) for norm in ("l1", "l2")}
    plain = error.mean((1, 2, 3))
    return {
        "VAE": plain,
        "SPADE": spade["l1"],
        "SPADE, l2": spade["l2"],
        "CNN-Reg": -f,
        "VAE+CNN-Reg": plain - f,
        "SPADER": spade["l1"] - f,
        "SPADER, l2": spade["l2"] - f,
        "SPADER, 5 passes": spader.sampled_scores(frames, 5, seed=0),
    }
