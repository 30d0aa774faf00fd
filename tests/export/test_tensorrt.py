"""The real TensorRT-RTX parser and builder take what is exported, without a single warning."""

from __future__ import annotations

import pytest
from onnx import ModelProto

from export.fp16 import half_from_single
from export.rewrites.table import rewritten
from tests.tensorrt_gate import build


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_the_graph_is_parsed_and_built(graph: ModelProto, precision: str) -> None:
    final = rewritten(graph)
    plan, messages = build((final if precision == "fp32" else half_from_single(final)).SerializeToString())
    assert len(plan) > 10_000
    assert messages == []
