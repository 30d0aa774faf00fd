"""Bilinear Resize of a few planes (the attention mask) becomes two small matrix products.

Engines resize channel-wise vectors well and single planes badly; rows @ X @ columns has the weights ready.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto

from export.editor import Editor, attribute

MOST_PLANES = 4


def resize_by_products(graph: ModelProto) -> ModelProto:
    """Rewrite each linear Resize over at most MOST_PLANES planes (batch times channels), however it places corners."""
    edit = Editor(graph)
    edit.constants_to_initializers()
    for node in [n for n in edit.nodes if n.op_type == "Resize" and _is_small(edit, n)]:
        before, after = edit.shape(node.input[0]), edit.shape(node.output[0])
        corners = attribute(node, "coordinate_transformation_mode") == b"align_corners"
        out = node.output[0]
        rows = edit.add_weight(f"{out}_rows", interpolation(before[2], after[2], corners))
        columns = edit.add_weight(f"{out}_columns", interpolation(before[3], after[3], corners).T)
        wide = edit.fresh(f"{out}_wide")
        edit.replace(
            [node], [edit.node("MatMul", [node.input[0], columns], wide), edit.node("MatMul", [rows, wide], out)]
        )
    edit.remove_unused()
    return edit.model


def interpolation(before: int, after: int, align_corners: bool) -> NDArray[np.float32]:
    """[after, before] with Y = matrix @ X along one axis: linear, edges clamped, as ONNX Resize defines it."""
    at = np.arange(after, dtype=np.float64)
    if align_corners:
        source = at * (before - 1) / max(after - 1, 1)
    else:
        source = np.clip((at + 0.5) * before / after - 0.5, 0, before - 1)
    low = np.minimum(np.floor(source).astype(int), before - 1)
    high = np.minimum(low + 1, before - 1)
    matrix = np.zeros((after, before))
    np.add.at(matrix, (at.astype(int), low), 1 - (source - low))
    np.add.at(matrix, (at.astype(int), high), source - low)
    return matrix.astype(np.float32)


def _is_small(edit: Editor, node: NodeProto) -> bool:
    modes = (b"align_corners", b"half_pixel", b"pytorch_half_pixel")
    before, after = edit.shape(node.input[0]), edit.shape(node.output[0])
    return (
        attribute(node, "mode") == b"linear"
        and attribute(node, "coordinate_transformation_mode", b"half_pixel") in modes
        and len(before) == 4
        and before[:2] == after[:2]
        and before[0] * before[1] <= MOST_PLANES
        and min(after[2:]) > 1
    )
