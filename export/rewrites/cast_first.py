"""Transpose(uint8) -> Cast becomes Cast -> Transpose: TensorRT transposes no uint8. The same numbers."""

from __future__ import annotations

from onnx import ModelProto

from export.editor import Editor


def cast_first(graph: ModelProto) -> ModelProto:
    """Cast the frame before anything else touches it."""
    edit = Editor(graph)
    move = edit.only_reader("frame")
    cast = edit.only_reader(move.output[0]) if move is not None and move.op_type == "Transpose" else None
    if move is None or cast is None or cast.op_type != "Cast":
        return edit.model
    between = edit.fresh("frame_as_float")
    first = edit.node("Cast", ["frame"], between, to=cast.attribute[0].i)
    second = edit.node("Transpose", [between], cast.output[0], perm=move.attribute[0].ints)
    edit.replace([move, cast], [first, second])
    return edit.model
