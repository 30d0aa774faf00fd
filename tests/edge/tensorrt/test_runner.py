"""The runner against a GPU that keeps CUDA's rules: numbers, one thread, order of destruction, every call failing."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import pytest

from edge.bundle import Bundle
from edge.errors import CheckFailed, EdgeError, EngineFault, InputError
from edge.golden import check_golden, golden_frames
from edge.tensorrt.build import Job, build_plan
from edge.tensorrt.cuda import PycudaDriver, gpu_facts
from edge.tensorrt.engine import PlanEngine
from edge.tensorrt.library import Library
from edge.tensorrt.owner import Owner


@pytest.fixture
def plan(library: Library, calibrated: Bundle) -> bytes:
    return build_plan(library, Job(calibrated.read("graphs/fp32.onnx"))).plan


def opened(library: Library, jetson: Any, plan: bytes, bundle: Bundle) -> PlanEngine:
    return PlanEngine(library, PycudaDriver(jetson), plan, (bundle, "fp32"))


def assert_nothing_left(jetson: Any) -> None:
    state = jetson.STATE
    assert (state.alive, state.memory, state.streams, state.retained) == ({}, {}, {}, 0)
    assert state.violations == []


@pytest.mark.parametrize(("integrated", "copies"), [(True, ["d2h"] * 3), (False, ["h2d"] + ["d2h"] * 3)])
def test_golden_frames_come_out(library, jetson, plan, calibrated, integrated: bool, copies: list[str]) -> None:
    jetson.reset(integrated=integrated)
    engine = opened(library, jetson, plan, calibrated)
    assert check_golden(engine, calibrated).worst[1] < 1e-5
    assert jetson.STATE.copied == copies * len(golden_frames(calibrated))
    assert set(engine.device_ms) == {"h2d", "compute", "d2h"}
    assert engine.device_ms["compute"] > 0
    assert "tensorrt 10.3.0, fp32, Orin" in engine.description
    engine.close()
    assert_nothing_left(jetson)


def test_memory_that_the_cpu_does_not_cache_is_not_shared(library, jetson, plan, calibrated) -> None:
    jetson.reset(capability=(6, 2))
    engine = opened(library, jetson, plan, calibrated)
    engine.infer(golden_frames(calibrated)[0])
    assert jetson.STATE.copied[0] == "h2d"
    engine.close()


def test_buffers_are_made_once(library, jetson, plan, calibrated) -> None:
    engine = opened(library, jetson, plan, calibrated)
    frame = golden_frames(calibrated)[0]
    engine.infer(frame)
    memory, alive, before = set(jetson.STATE.memory), len(jetson.STATE.alive), jetson.STATE.calls
    engine.infer(frame)
    per_frame = jetson.STATE.calls - before
    for _ in range(200):
        engine.infer(frame)
    assert (set(jetson.STATE.memory), len(jetson.STATE.alive)) == (memory, alive)
    assert jetson.STATE.calls == before + 201 * per_frame
    engine.close()


def test_any_thread_may_ask(library, jetson, plan, calibrated) -> None:
    engine = opened(library, jetson, plan, calibrated)
    scores: list[float] = []
    for _ in range(3):
        thread = threading.Thread(target=lambda: scores.append(engine.infer(golden_frames(calibrated)[0]).score))
        thread.start()
        thread.join()
    assert len(set(scores)) == 1 and len(scores) == 3
    engine.close()
    assert_nothing_left(jetson)


def test_close_twice_and_use_after_close(library, jetson, plan, calibrated) -> None:
    engine = opened(library, jetson, plan, calibrated)
    engine.close()
    engine.close()
    with pytest.raises(EngineFault, match="after close"):
        engine.infer(golden_frames(calibrated)[0])


def test_a_frame_of_another_shape_is_refused_and_does_no_harm(library, jetson, plan, calibrated) -> None:
    engine = opened(library, jetson, plan, calibrated)
    with pytest.raises(InputError, match="expected uint8"):
        engine.infer(np.zeros((1, 1, 1), np.uint8))
    engine.infer(golden_frames(calibrated)[0])
    engine.close()


@pytest.mark.parametrize("sticky", [False, True])
def test_whatever_call_fails_it_is_a_fault_and_can_be_closed(library, jetson, plan, calibrated, sticky: bool) -> None:
    frame = golden_frames(calibrated)[0]
    engine = opened(library, jetson, plan, calibrated)
    expected = engine.infer(frame).score
    calls_until_closed = jetson.STATE.calls
    engine.close()
    for index in range(jetson.STATE.calls):
        jetson.reset(fail_at=index, sticky_failure=sticky)
        failed = attempt(library, jetson, plan, calibrated, index < calls_until_closed)
        assert failed or index >= calls_until_closed
        assert not jetson.STATE.violations, f"call {index}: {jetson.STATE.violations}"
        assert not jetson.STATE.alive and jetson.STATE.retained == 0, f"call {index}: {jetson.STATE.alive}"
    jetson.reset()
    again = opened(library, jetson, plan, calibrated)  # a fresh context runs as if nothing had been
    assert again.infer(frame).score == expected
    again.close()
    assert_nothing_left(jetson)


def attempt(library: Library, jetson: Any, plan: bytes, bundle: Bundle, must_fail: bool) -> bool:
    """Open, run twice, close, under an injected error; whether it was met as EngineFault."""
    frame = golden_frames(bundle)[0]
    try:
        engine = opened(library, jetson, plan, bundle)
    except EngineFault:
        return True
    try:
        engine.infer(frame)
    except EngineFault:
        with pytest.raises(EngineFault, match="failed before"):
            engine.infer(frame)
        return True
    finally:
        engine.close()
    return False


def test_an_illegal_address_is_a_fault_that_names_it(library, jetson, plan, calibrated) -> None:
    engine = opened(library, jetson, plan, calibrated)
    jetson.STATE.memory.clear()
    with pytest.raises(EngineFault, match="illegal memory access"):
        engine.infer(golden_frames(calibrated)[0])
    engine.close()
    jetson.STATE.violations.clear()  # the stand-in noticed that memory was gone before it was freed: we took it away


def test_a_plan_of_another_version_names_both(library, jetson, plan, calibrated) -> None:
    with pytest.raises(CheckFailed, match=r"expecting 10\.3\.0 got 10\.0\.1.*edge-build") as told:
        opened(library, jetson, plan.replace(b"10.3.0", b"10.0.1"), calibrated)
    assert told.value.exit_code == 4
    assert_nothing_left(jetson)


def test_a_plan_of_another_graph_is_refused(library, jetson, calibrated) -> None:
    from tests.calib.making import scoring_net

    other = build_plan(library, Job(scoring_net().SerializeToString().replace(b"heatmap", b"hotmaps"))).plan
    with pytest.raises(CheckFailed, match="not of this bundle"):
        opened(library, jetson, other, calibrated)
    assert_nothing_left(jetson)


def test_the_gpu_is_asked_without_leaving_a_context(driver: PycudaDriver, jetson) -> None:
    facts = gpu_facts(driver)
    assert (facts.capability, facts.cuda, facts.zero_copy) == ((8, 7), "12.6", True)
    assert_nothing_left(jetson)
    assert not jetson.has_context()


@pytest.mark.parametrize("index", range(6))
def test_asking_a_broken_gpu_is_a_fault(driver: PycudaDriver, jetson, index: int) -> None:
    jetson.reset(fail_at=index)
    with pytest.raises(EdgeError):
        gpu_facts(driver)
    assert jetson.STATE.retained == 0


def test_a_gpu_that_never_answers_is_a_fault_not_a_hang() -> None:
    owner, stuck = Owner("test"), threading.Event()
    with pytest.raises(EngineFault, match="does not answer"):
        owner.call(stuck.wait, timeout_s=0.05)
    assert not owner.end(0.05)
    stuck.set()
    assert owner.end(5)
    with pytest.raises(EngineFault, match="closed"):
        owner.call(lambda: None, 1)
