"""Nested channel concatenations become one: a skip connection that is joined and then duplicated is copied once."""

from __future__ import annotations

from onnx import ModelProto

from export.editor import Editor, attribute


def flat_concat(graph: ModelProto) -> ModelProto:
    """Concat(Concat(a, b), Concat(a, b)) -> Concat(a, b, a, b). Moves the same numbers."""
    edit = Editor(graph)
    for node in [n for n in edit.nodes if n.op_type == "Concat"]:
        axis = attribute(node, "axis")
        parts = [part for name in node.input for part in _parts(edit, name, axis)]
        if len(parts) > len(node.input):
            edit.replace([node], [edit.node("Concat", parts, node.output[0], axis=axis)])
    edit.remove_unused()
    return edit.model


def _parts(edit: Editor, tensor: str, axis: int) -> list[str]:
    maker = edit.maker(tensor)
    if maker is None or maker.op_type != "Concat" or attribute(maker, "axis") != axis:
        return [tensor]
    return [part for name in maker.input for part in _parts(edit, name, axis)]
