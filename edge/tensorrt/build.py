"""One build: ONNX bytes in, plan out. Runs in a process of its own (edge.tensorrt.child)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from edge.errors import CheckFailed, InputError
from edge.tensorrt.calibrator import cached_calibrator
from edge.tensorrt.library import Library, Messages
from edge.tensorrt.network import (
    Network,
    nodes_without_implementation,
    parse_network,
    pin_to_single,
    quantised_layers,
    take_out_rounding,
)

RETRIES = 8
MIB = 1 << 20


@dataclass(frozen=True)
class Job:
    """What to build and how.

    `graph`: serialised ONNX. `int8`: it has Q/DQ nodes, or comes with a `calibration_cache` (implicit). `weak`: flags
    decide the precision (TensorRT up to 10), else the graph's own types. `target`: name of a chip such as SM86, for
    TensorRT-RTX on a machine without a GPU. `timing_cache`: from an earlier build, or empty; None: none is used.
    """

    graph: bytes
    int8: bool = False
    weak: bool = False
    calibration_cache: bytes | None = None
    workspace_bytes: int = 1 << 30
    optimisation_level: int | None = None
    timing_cache: bytes | None = None
    target: str | None = None


@dataclass(frozen=True)
class Watch:
    """Where progress goes. `step(phase, number)` returns False to cancel the build. Any thread may call these."""

    start: Callable[[str, int], None] = lambda phase, steps: None
    step: Callable[[str, int], bool] = lambda phase, number: True
    finish: Callable[[str], None] = lambda phase: None
    say: Callable[[str], None] = lambda text: None


@dataclass(frozen=True)
class Built:
    """A plan; the layers that left INT8 because TensorRT has no kernel for them; the timing cache to keep."""

    plan: bytes
    kept_float: tuple[str, ...] = ()
    timing_cache: bytes | None = None
    warnings: tuple[str, ...] = field(default=())


class BuildCancelled(Exception):
    """The watch said stop."""


def layer_count(library: Library, graph: bytes) -> int:
    """Layers of the parsed graph: what the expected time is guessed from."""
    return int(parse_network(library, graph, Messages()).definition.num_layers)


def build_plan(library: Library, job: Job, watch: Watch | None = None) -> Built:
    """Build `job`. A layer without an INT8 kernel goes back to float and the build is tried again, RETRIES times.

    Raises InputError where the graph is refused or cannot be built, CheckFailed where a type is misread, BuildCancelled
    when the watch says so.
    """
    watch = watch or Watch()
    _require_typing(library, job)
    kept: tuple[str, ...] = ()
    for _ in range(RETRIES + 1):
        messages = Messages(watch.say)
        network = parse_network(library, job.graph, messages, job.weak)
        told = _taken_out(network, job, kept)
        config, cancelled, calibrator = _configured(network, job, watch, kept)
        plan = network.builder.build_serialized_network(network.definition, config)
        if cancelled:
            raise BuildCancelled
        if calibrator is not None and calibrator.refused:
            raise InputError("TensorRT did not take the calibration cache", messages.last(), "build without --implicit")
        if plan is not None:
            return Built(bytes(plan), told, _timing_cache(config, job), tuple(messages.all()))
        more = _without_kernel(network, job, messages, kept)
        if not more:
            raise _failed(library, messages)
        watch.say(f"no INT8 kernel for {', '.join(more)}: kept in float, building again")
        kept = (*kept, *more)
    raise CheckFailed(
        "no engine after taking layers out of INT8",
        f"{len(kept)} layers in {RETRIES} tries: {', '.join(kept)[:300]}",
        "use --precision fp16",
    )


def _require_typing(library: Library, job: Job) -> None:
    if job.calibration_cache is not None and not library.implicit:
        why = f"TensorRT {library.version} has no calibrators; they ended with version 10"
        raise InputError("cannot build from a calibration cache", why, "build without --implicit: it reads Q/DQ nodes")
    if job.weak and not library.weak:
        why = f"TensorRT {library.version} has no INT8 and FP16 flags; they ended with version 10"
        raise InputError("cannot build with flags", why, "build without --weak")
    if not job.weak and not library.strong:
        why = f"TensorRT {library.version} has only flags"
        raise InputError("cannot build a strongly typed network", why, "build with --weak")


def _taken_out(network: Network, job: Job, kept: tuple[str, ...]) -> tuple[str, ...]:
    """Bring `kept` back to float: around Q/DQ nodes, or by pinning where a calibration cache says what is INT8."""
    told = take_out_rounding(network, kept) if kept else ()
    if job.weak:
        pin_to_single(network, kept)
    return tuple(dict.fromkeys((*told, *kept)))


def _configured(network: Network, job: Job, watch: Watch, kept: tuple[str, ...]) -> tuple[Any, list[bool], Any]:
    """(builder configuration, a list that is not empty once cancelled, the calibrator or None)."""
    trt, config = network.library.module, network.builder.create_builder_config()
    cancelled: list[bool] = []
    config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, job.workspace_bytes)
    if job.optimisation_level is not None and hasattr(config, "builder_optimization_level"):
        config.builder_optimization_level = job.optimisation_level
    if job.target is not None:
        config.num_compute_capabilities = 1
        config.set_compute_capability(getattr(trt.ComputeCapability, job.target), 0)
    if job.timing_cache is not None:
        cache = config.create_timing_cache(job.timing_cache) or config.create_timing_cache(b"")  # None: it was damaged
        config.set_timing_cache(cache, False)
    if hasattr(trt, "IProgressMonitor"):
        config.progress_monitor = _monitor(trt, watch, cancelled)
    calibrator = _allow_by_flags(network.library, config, job) if job.weak else None
    return config, cancelled, calibrator


def _allow_by_flags(library: Library, config: Any, job: Job) -> Any:
    flags = library.module.BuilderFlag
    config.set_flag(flags.FP16)
    if hasattr(flags, "OBEY_PRECISION_CONSTRAINTS"):
        config.set_flag(flags.OBEY_PRECISION_CONSTRAINTS)
    if not job.int8:
        return None
    config.set_flag(flags.INT8)
    if job.calibration_cache is None:
        return None
    calibrator = cached_calibrator(library, job.calibration_cache)
    config.int8_calibrator = calibrator
    return calibrator


def _monitor(trt: Any, watch: Watch, cancelled: list[bool]) -> Any:
    class Monitor(trt.IProgressMonitor):  # type: ignore[misc]
        def __init__(self) -> None:
            trt.IProgressMonitor.__init__(self)

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
            watch.start(phase_name, num_steps)

        def step_complete(self, phase_name: str, step: int) -> bool:
            if cancelled or not watch.step(phase_name, step):
                cancelled.append(True)
            return not cancelled

        def phase_finish(self, phase_name: str) -> None:
            watch.finish(phase_name)

    return Monitor()


def _without_kernel(network: Network, job: Job, messages: Messages, kept: tuple[str, ...]) -> tuple[str, ...]:
    """Layers in INT8 that the messages name and that are not taken out yet."""
    named = nodes_without_implementation(messages.all())
    if job.calibration_cache is not None:
        found = tuple(layer.name for layer in network.layers if layer.name in named)
    else:
        found = quantised_layers(network, named) if named else ()
    return tuple(name for name in found if name not in kept)


def _failed(library: Library, messages: Messages) -> InputError:
    said = "; ".join(messages.all()[-3:]) or "no message"
    return InputError(f"TensorRT {library.version} cannot build the graph", said, "use another --precision")


def _timing_cache(config: Any, job: Job) -> bytes | None:
    if job.timing_cache is None:
        return None
    return bytes(config.get_timing_cache().serialize())
