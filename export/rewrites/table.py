"""The rewrites, in order; each is exact to fp32 rounding and pays: docs/results/speed.md has the figures."""

from __future__ import annotations

from collections.abc import Callable

from onnx import ModelProto

from export.graph import checked
from export.rewrites.attention import blocked_attention
from export.rewrites.mlp import shared_mlp
from export.rewrites.resize import resize_by_products

Rewrite = Callable[[ModelProto], ModelProto]

REWRITES: dict[str, Rewrite] = {
    "resize-by-products": resize_by_products,
    "blocked-attention": blocked_attention,
    "shared-mlp": shared_mlp,
}


def rewritten(graph: ModelProto, rewrites: dict[str, Rewrite] | None = None) -> ModelProto:
    """`graph` after every rewrite, checked again."""
    for rewrite in (REWRITES if rewrites is None else rewrites).values():
        graph = checked(rewrite(graph))
    return graph
