"""The build code through the real TensorRT-RTX builder, and through a stand-in for what only TensorRT 10 has."""

from __future__ import annotations

import types
from typing import Any

import pytest

from edge.bundle import Bundle
from edge.errors import CheckFailed, InputError, MissingError
from edge.tensorrt.build import BuildCancelled, Job, Watch, build_plan, layer_count
from edge.tensorrt.calibrator import cached_calibrator
from edge.tensorrt.library import Library, Messages, library_of, load_library
from edge.tensorrt.network import nodes_without_implementation, parse_network, quantised_layers, take_out_rounding
from tests.tensorrt_gate import require_tensorrt

SM86 = "SM86"


@pytest.fixture(scope="module")
def rtx() -> Library:
    return library_of(require_tensorrt())


@pytest.fixture(scope="module")
def int8(calibrated: Bundle) -> bytes:
    return calibrated.read("graphs/int8-tensorrt.onnx")


def built_by(library: Library, graph: bytes, **options: Any) -> tuple[dict[str, Any], bytes]:
    """(head, graph) of the stand-in's plan."""
    import json

    plan = build_plan(library, Job(graph, **options)).plan
    head, _, model = plan.partition(b"\n")
    return json.loads(head.removeprefix(b"STAND-IN PLAN ")), model


@pytest.mark.parametrize("variant", ["fp32", "fp16", "int8-tensorrt", "int8-nodw-tensorrt"])
def test_the_real_builder_makes_a_plan_without_a_gpu(rtx: Library, calibrated: Bundle, variant: str) -> None:
    row = calibrated.manifest.variants[variant]
    built = build_plan(rtx, Job(calibrated.read(row.graph), int8=row.precision == "int8", target=SM86))
    assert len(built.plan) > 10_000 and built.kept_float == ()
    assert not [w for w in built.warnings if "efaulting" in w]


def test_progress_comes_from_the_real_builder(rtx: Library, calibrated: Bundle) -> None:
    phases: dict[str, int] = {}
    steps: list[str] = []
    watch = Watch(start=phases.__setitem__, step=lambda phase, n: steps.append(phase) or True)
    build_plan(rtx, Job(calibrated.read("graphs/fp32.onnx"), target=SM86), watch)
    assert phases["Building engine"] > 0 and len(steps) > 20
    assert set(steps) <= set(phases)


def test_the_real_builder_is_cancelled_at_its_next_step(rtx: Library, calibrated: Bundle) -> None:
    with pytest.raises(BuildCancelled):
        build_plan(rtx, Job(calibrated.read("graphs/fp32.onnx"), target=SM86), Watch(step=lambda phase, n: n < 3))


def test_a_layer_is_taken_out_of_int8_in_the_real_network(rtx: Library, int8: bytes) -> None:
    network = parse_network(rtx, int8, Messages())
    before = quantised_layers(network)
    assert "depthwise" in before and "head" not in before
    assert take_out_rounding(network, ["depthwise", "head"]) == ("depthwise",)
    assert set(before) - set(quantised_layers(network)) == {"depthwise"}
    layer = next(layer for layer in network.layers if layer.name == "depthwise")
    assert [layer.get_input(i).name for i in range(2)] == ["concat6_out", "c4_output"]


def test_without_a_kernel_the_layer_goes_back_to_float_and_the_real_builder_ends(rtx: Library, int8: bytes) -> None:
    """The real builder never says this for a CPU-only build, so it is said for it, once for each of two layers."""
    missing = [
        "10: Could not find any implementation for node depthwise_weight_quantized_q + depthwise + relu8.",
        "Could not find any implementation for node {ForeignNode[deep_weight_dequantized_dq...deep]}.",
    ]
    told: list[str] = []
    built = build_plan(complaining(rtx, missing), Job(int8, int8=True, target=SM86), Watch(say=told.append))
    assert built.kept_float == ("depthwise", "deep")
    assert len(built.plan) > 10_000
    assert any("kept in float, building again" in line for line in told)


def test_what_is_not_int8_cannot_leave_int8(rtx: Library, calibrated: Bundle) -> None:
    said = ["Could not find any implementation for node first."]
    with pytest.raises(InputError, match=r"cannot build the graph: .*node first"):
        build_plan(complaining(rtx, said), Job(calibrated.read("graphs/fp32.onnx"), target=SM86))


def complaining(library: Library, messages: list[str]) -> Library:
    """The real library, whose builder fails with each of `messages` before it does its work."""
    real, left = library.module, list(messages)

    class Builder:
        def __init__(self, logger: Any) -> None:
            self.logger, self.real = logger, real.Builder(logger)
            self.create_network, self.create_builder_config = self.real.create_network, self.real.create_builder_config

        def build_serialized_network(self, network: Any, config: Any) -> Any:
            if not left:
                return self.real.build_serialized_network(network, config)
            self.logger.log(real.ILogger.ERROR, left.pop(0))
            return None

    changed = types.SimpleNamespace(**{name: getattr(real, name) for name in dir(real)})
    changed.Builder = Builder
    return Library(changed)


@pytest.mark.parametrize(
    ("message", "nodes"),
    [
        ("10: Could not find any implementation for node /enc/conv/Conv.", ("/enc/conv/Conv",)),
        ("Error Code 10: Internal Error (Could not find any implementation for node "
         "a.weight + QuantizeLinear_3 + /enc/conv.1/Conv + PWN(/relu).)",
         ("a.weight", "QuantizeLinear_3", "/enc/conv.1/Conv", "PWN(/relu)")),
        ("Could not find any implementation for node {ForeignNode[/a/Cast.../b/Add]}.", ("/a/Cast", "/b/Add")),
        ("could not find any implementation for node x. Try increasing the workspace size", ("x",)),
        ("all is well", ()),
    ],
)  # fmt: skip
def test_nodes_are_read_out_of_the_message(message: str, nodes: tuple[str, ...]) -> None:
    assert nodes_without_implementation([message]) == nodes


def test_a_graph_in_the_cpu_dialect_is_refused(rtx: Library, int8: bytes) -> None:
    import numpy as np
    import onnx
    from onnx import numpy_helper

    model = onnx.load_from_string(int8)
    for constant in model.graph.initializer:
        if constant.name.endswith("_zero") and "weight" not in constant.name:
            constant.CopyFrom(numpy_helper.from_array(np.uint8(0), constant.name))
    with pytest.raises(CheckFailed, match="reads a type as another"):
        build_plan(rtx, Job(model.SerializeToString(), int8=True, target=SM86))


def test_bytes_that_are_no_graph_are_refused(rtx: Library) -> None:
    with pytest.raises(InputError, match="not an ONNX graph"):
        build_plan(rtx, Job(b"\xff\xff\xff", target=SM86))


def test_layers_are_counted_for_the_expected_time(rtx: Library, int8: bytes) -> None:
    assert layer_count(rtx, int8) > 30


@pytest.mark.parametrize(
    ("options", "told"),
    [({"weak": True}, "no INT8 and FP16 flags"), ({"weak": True, "calibration_cache": b"x"}, "no calibrators")],
)
def test_what_ended_with_version_10_is_refused_by_11(rtx: Library, int8: bytes, options: Any, told: str) -> None:
    with pytest.raises(InputError, match=told):
        build_plan(rtx, Job(int8, **options))


def test_a_version_with_flags_only_is_built_with_flags(library: Library, int8: bytes, monkeypatch) -> None:
    class Flags:
        EXPLICIT_BATCH = 0

    monkeypatch.setattr(library.module, "NetworkDefinitionCreationFlag", Flags)
    assert built_by(library, int8, int8=True, weak=True)[0]["strong"] is False
    with pytest.raises(InputError, match="has only flags"):
        build_plan(library, Job(int8, int8=True))


def test_strong_typing_is_taken_where_it_is(library: Library, int8: bytes) -> None:
    head, _ = built_by(library, int8, int8=True, workspace_bytes=1 << 20, optimisation_level=2)
    assert (head["strong"], head["flags"], head["workspace"], head["level"]) == (True, [], 1 << 20, 2)


def test_weak_typing_sets_flags_and_pins_the_score(library: Library, int8: bytes) -> None:
    head, _ = built_by(library, int8, int8=True, weak=True)
    assert (head["strong"], head["flags"]) == (False, ["FP16", "INT8", "OBEY_PRECISION_CONSTRAINTS"])
    assert head["pinned"] > 5
    assert built_by(library, int8, weak=True)[0]["flags"] == ["FP16", "OBEY_PRECISION_CONSTRAINTS"]


def test_the_calibration_cache_of_the_bundle_is_taken(library: Library, calibrated: Bundle) -> None:
    cache = calibrated.read(calibrated.manifest.variants["int8-tensorrt"].calibration_cache or "")
    head, _ = built_by(
        library, calibrated.read("graphs/fp32.onnx"), int8=True, weak=True,
        calibration_cache=cache.replace(b"TRT-100300-", b"TRT-8601-"),
    )  # fmt: skip
    assert "INT8" in head["flags"]


def test_a_calibration_cache_that_is_not_taken_is_an_error(library: Library, calibrated: Bundle, monkeypatch) -> None:
    monkeypatch.setitem(library.module.SETTINGS, "calibrates", True)
    job = Job(
        calibrated.read("graphs/fp32.onnx"), int8=True, weak=True, calibration_cache=b"TRT-1-EntropyCalibration2\na: 3c"
    )
    with pytest.raises(InputError, match="did not take the calibration cache"):
        build_plan(library, job)
    with pytest.raises(InputError, match="no calibration cache"):
        cached_calibrator(library, b"something else")


def test_an_implicit_layer_without_a_kernel_is_pinned(library: Library, calibrated: Bundle, monkeypatch) -> None:
    monkeypatch.setitem(library.module.SETTINGS, "no_kernel", ["depthwise"])
    cache = calibrated.read(calibrated.manifest.variants["int8-tensorrt"].calibration_cache or "")
    job = Job(calibrated.read("graphs/fp32.onnx"), int8=True, weak=True, calibration_cache=cache)
    assert build_plan(library, job).kept_float == ("depthwise",)


def test_the_timing_cache_grows(library: Library, int8: bytes) -> None:
    assert build_plan(library, Job(int8, int8=True, timing_cache=b"before;")).timing_cache == b"before;timed;"
    assert build_plan(library, Job(int8, int8=True)).timing_cache is None


def test_an_old_tensorrt_is_named(library: Library) -> None:
    old = types.SimpleNamespace(__version__="8.2.1", ICudaEngine=type("ICudaEngine", (), {}))
    with pytest.raises(MissingError, match=r"TensorRT 8\.2\.1 is too old") as told:
        library_of(old)
    assert told.value.exit_code == 5


def test_an_absent_tensorrt_is_named() -> None:
    with pytest.raises(MissingError, match=r"no tensorrt_of_nowhere here.*edge-doctor"):
        load_library("tensorrt_of_nowhere")


@pytest.mark.parametrize(
    ("version", "number"), [("8.6.2.3", 8602), ("10.3.0", 100300), ("10.16.2.10", 101602), ("11", 110000)]
)
def test_version_numbers_of_calibration_caches(version: str, number: int) -> None:
    assert Library(types.SimpleNamespace(__version__=version, __name__="tensorrt")).version_number == number
