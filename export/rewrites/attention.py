"""CBAM's 7x7 convolution from two planes to one, on blocks of 4x4 pixels as channels.

With two channels in and one out, a vector unit of 16 lanes does a sixteenth of its work. The same sum over 32 channels
(2 planes x 16 pixels) and 16 outputs with a 3x3 kernel of blocks fills it. The zeros that this adds are free.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto

from export.editor import Editor, attribute

BLOCK = 4
SMALLEST = 32  # pixels; smaller maps cost nothing either way


def blocked_attention(graph: ModelProto) -> ModelProto:
    """SpaceToDepth -> Conv 3x3 -> DepthToSpace in place of each k x k (k <= 9) convolution of a few joined planes."""
    edit = Editor(graph)
    for node in [n for n in edit.nodes if _fits(edit, n)]:
        out = node.output[0]
        planes = _planes(edit, node.input[0])
        packed = [edit.fresh(f"{out}_packed") for _ in planes]
        joined, inner = edit.fresh(f"{out}_joined"), edit.fresh(f"{out}_blocks")
        inputs = [joined, edit.add_weight(f"{out}_weight", blocked_weight(edit.array(node.input[1])))]
        if len(node.input) > 2:
            inputs.append(edit.add_weight(f"{out}_bias", np.repeat(edit.array(node.input[2]), BLOCK**2)))
        new = [edit.node("SpaceToDepth", [x], y, blocksize=BLOCK) for x, y in zip(planes, packed, strict=True)]
        new.append(edit.node("Concat", packed, joined, axis=1))
        new.append(edit.node("Conv", inputs, inner, kernel_shape=[3, 3], pads=[1, 1, 1, 1]))
        new.append(edit.node("DepthToSpace", [inner], out, blocksize=BLOCK))
        edit.replace([node], new)
    edit.remove_unused()
    return edit.model


def blocked_weight(weight: NDArray[np.float32]) -> NDArray[np.float32]:
    """[1, C, k, k] for pixels -> [16, 16 C, 3, 3] for blocks, channels in the order (plane, y, x)."""
    channels, side = weight.shape[1], weight.shape[2]
    blocks = np.zeros((BLOCK**2, channels, BLOCK**2, 3, 3), np.float32)
    for row, column, u, v in np.ndindex(BLOCK, BLOCK, side, side):
        block_y, y = divmod(row + u - side // 2, BLOCK)
        block_x, x = divmod(column + v - side // 2, BLOCK)
        blocks[row * BLOCK + column, :, y * BLOCK + x, block_y + 1, block_x + 1] = weight[0, :, u, v]
    return blocks.reshape(BLOCK**2, -1, 3, 3)


def _planes(edit: Editor, tensor: str) -> list[str]:
    """The single planes that are joined into `tensor`; joining blocks is cheap, interleaving pixels is not."""
    maker = edit.maker(tensor)
    joined = maker is not None and maker.op_type == "Concat" and attribute(maker, "axis") == 1
    return list(maker.input) if joined and maker is not None else []


def _fits(edit: Editor, node: NodeProto) -> bool:
    if node.op_type != "Conv" or node.input[1] not in edit.weights:
        return False
    out, channels, high, wide = edit.shape(node.input[1])
    height, width = edit.shape(node.input[0])[2:]
    same = attribute(node, "pads") == [high // 2] * 4 and attribute(node, "strides", [1, 1]) == [1, 1]
    planes = _planes(edit, node.input[0])
    single = len(planes) == channels and all(edit.shape(name)[1] == 1 for name in planes)
    plain = single and attribute(node, "group", 1) == 1 and attribute(node, "dilations", [1, 1]) == [1, 1]
    fits = out == 1 and 1 < channels <= 4 and high == wide and high in (5, 7, 9)
    return fits and same and plain and height % BLOCK == 0 and width % BLOCK == 0 and min(height, width) >= SMALLEST
