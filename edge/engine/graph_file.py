"""Reads the outline of an ONNX file without the onnx package: enough to refuse weights kept in other files.

A graph that is loaded from memory resolves external data against the working directory, so a bundle could be made to
read files that its manifest does not vouch for.
"""

from __future__ import annotations

from collections.abc import Iterator

from edge.errors import InputError

# Message -> {field number: message of that field}; only the way down to tensors. Numbers are those of onnx.proto.
_PATHS: dict[str, dict[int, str]] = {
    "model": {7: "graph", 25: "function"},
    "function": {7: "node"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
    "tensor": {},
}
_EXTERNAL_DATA, _DATA_LOCATION = 13, 14
_MAX_DEPTH = 32


def require_self_contained(graph: bytes, name: str) -> None:
    """Raise InputError if `graph` (serialised ONNX) is not well formed or keeps tensor data in another file."""
    try:
        external = _has_external(memoryview(graph), "model", 0)
    except (IndexError, ValueError) as error:
        raise InputError(
            f"{name} is not an ONNX graph", str(error) or "it ends too early", "export the bundle again"
        ) from error
    if external:
        raise InputError(
            f"{name} keeps weights in another file",
            "a bundle's graphs must hold their own weights",
            "export the bundle again without external data",
        )


def _has_external(message: memoryview, kind: str, depth: int) -> bool:
    if depth > _MAX_DEPTH:
        raise ValueError(f"messages nested deeper than {_MAX_DEPTH}")
    for field, value in _fields(message):
        if kind == "tensor" and (field == _EXTERNAL_DATA or (field == _DATA_LOCATION and value == 1)):
            return True
        child = _PATHS[kind].get(field)
        if child and isinstance(value, memoryview) and _has_external(value, child, depth + 1):
            return True
    return False


def _fields(message: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    at = 0
    while at < len(message):
        key, at = _varint(message, at)
        kind = key & 7
        if kind == 0:
            value, at = _varint(message, at)
            yield key >> 3, value
            continue
        size, at = _varint(message, at) if kind == 2 else (_fixed_size(kind), at)
        if at + size > len(message):
            raise ValueError(f"field {key >> 3} is cut off")
        yield key >> 3, message[at : at + size]
        at += size


def _fixed_size(kind: int) -> int:
    if kind not in (1, 5):
        raise ValueError(f"unknown wire type {kind}")
    return 8 if kind == 1 else 4


def _varint(message: memoryview, at: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        byte = message[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    raise ValueError("a number has more than ten bytes")
