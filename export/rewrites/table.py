"""The rewrites, in order; each is exact to fp32 rounding and pays: docs/results/speed.md has the figures."""

from __future__ import annotations

from collections.abc import Callable

from onnx import ModelProto

from export.graph import checked

Rewrite = Callable[[ModelProto], ModelProto]

REWRITES: dict[str, Rewrite] = {}


def rewritten(graph: ModelProto, rewrites: dict[str, Rewrite] | None = None) -> ModelProto:
    """`graph` after every rewrite, checked again."""
    for rewrite in (REWRITES if rewrites is None else rewrites).values():
        graph = checked(rewrite(graph))
    return graph
