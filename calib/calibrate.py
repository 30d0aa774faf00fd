"""The whole calibration: ranges once, then each variant quantised, judged and, if it passes, put into the bundle."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import onnx

from calib.evaluate import Court, Frame, Progress, median_times_ms, run_graph, run_in_brain
from calib.frames import CalibrationFrames, Frames, choose_frames, require_familiar
from calib.graph import Graph, multiply_accumulates, named_model
from calib.plan import Plan, is_depthwise, make_plan
from calib.qdq import quantised
from calib.ranges import Collected, Ranges, collect, tensors_to_watch
from calib.request import KINDS, Identity, Request, VariantKind, check_request, identify, is_done_already, rate_of
from calib.sensitivity import PROBE_FRAMES, LayerCost, cached_costs, layer_costs, smallest_exclusion
from edge.bundle import Bundle
from edge.errors import CheckFailed, EdgeError, InputError
from edge.files import cache_folder
from edge.gate import failures
from edge.golden import Outputs
from edge.manifest import GateResult, Threshold
from edge.threshold import frames_needed

Say = Callable[[str], None]


@dataclass(frozen=True)
class Bench:
    """Everything the variants have in common."""

    request: Request
    graph: Graph
    chosen: CalibrationFrames
    identity: Identity
    collected: Collected
    court: Court
    reference: Outputs
    progress: Progress

    @property
    def threshold(self) -> Threshold:
        """fp32's threshold, fitted on the same frames for the same rate as the variants'."""
        return self.court.threshold(self.reference)


@dataclass(frozen=True)
class Made:
    """One variant that was made. `times_ms`: medians on ONNX Runtime here, for the cpu dialect only."""

    name: str
    kind: VariantKind
    plan: Plan
    model: onnx.ModelProto
    ranges: Ranges
    outputs: Outputs
    threshold: Threshold
    gate: GateResult
    excluded: tuple[str, ...]
    costs: tuple[LayerCost, ...]
    times_ms: dict[str, float]


def calibrate(bundle: Bundle, request: Request, say: Say, progress: Progress) -> tuple[Bench, tuple[Made, ...]] | None:
    """Make the variants asked for; None if the bundle holds this very calibration already. Nothing is written.

    Raises InputError for frames that cannot be used, CheckFailed naming the costliest layers if a variant's decisions
    differ beyond the limits.
    """
    check_request(bundle, request)
    chosen = choose_frames(request.data, request.frames, request.use_all)
    identity = identify(bundle, request, chosen)
    if is_done_already(bundle, request, identity):
        return None
    bench = _prepared(bundle, request, chosen, identity, progress)
    _tell_preparation(bench, say)
    made = []
    for name, kind in wanted_kinds(bench.graph, request):
        made.append(_make(bench, name, kind))
        say(describe(bench, made[-1]))
        if name == "int8-cpu" and (mixed := _with_brain(bench, made[-1], say)) is not None:
            made.append(mixed)
            say(describe(bench, mixed))
    return bench, tuple(made)


def wanted_kinds(graph: Graph, request: Request) -> list[tuple[str, VariantKind]]:
    """The variants of the targets; the one without depthwise only where there is a depthwise layer to leave out."""
    grouped = any(is_depthwise(graph, graph.nodes[n]) for n in make_plan(graph, "tensorrt", request.exclude).convs)
    return [
        (n, k)
        for n, k in KINDS.items()
        if k.dialect in request.targets and (k.depthwise or grouped) and k.precision == "int8"
    ]


def describe(bench: Bench, made: Made) -> str:
    """One line about a variant: what runs in INT8, and what became of the decisions."""
    gate, total = made.gate, len(made.plan.convs) + len(made.plan.kept)
    parts = [
        f"{len(made.plan.convs)} of {total} weighted layers in int8 ({int8_share(bench.graph, made.plan):.0%} of MACs)"
    ]
    if gate.auroc_fp32 is not None and gate.auroc is not None:
        parts.append(f"AUROC {gate.auroc_fp32:.4f} -> {gate.auroc:.4f}")
    parts += [
        f"score order {gate.rank_correlation:.4f}",
        f"{gate.flipped} of {gate.frames} decisions moved",
        f"heatmaps overlap {gate.heatmap_iou:.2f}",
        f"threshold {made.threshold.value:.6g} (fp32 {bench.threshold.value:.6g})",
    ]
    if "fp32" in made.times_ms:
        parts.append(f"onnxruntime here {made.times_ms['fp32']:.1f} -> {made.times_ms[made.name]:.1f} ms")
    return f"{made.name}: {', '.join(parts)}"


def int8_share(graph: Graph, plan: Plan) -> float:
    """Share of the convolutions' multiply-accumulates that run in INT8."""
    macs = {n: multiply_accumulates(graph, graph.nodes[n]) for n in (*plan.convs, *plan.kept) if _is_conv(graph, n)}
    return sum(macs[n] for n in plan.convs) / max(sum(macs.values()), 1)


class _Builder:
    """Quantises the graph of one kind with any set of layers kept in float, and has it judged."""

    def __init__(self, bench: Bench, name: str, kind: VariantKind) -> None:
        self._bench, self._name, self._kind = bench, name, kind
        symmetric = kind.dialect == "tensorrt"
        self.ranges = bench.collected.ranges(bench.graph, bench.request.method, symmetric)

    def plan(self, exclude: Iterable[str]) -> Plan:
        everything = (*self._bench.request.exclude, *exclude)
        return make_plan(self._bench.graph, self._kind.dialect, everything, self._kind.depthwise)

    def model(self, exclude: Iterable[str]) -> onnx.ModelProto:
        return quantised(self._bench.graph, self.plan(exclude), self.ranges)

    def outputs(self, exclude: Collection[str], frames: Sequence[Frame]) -> Outputs:
        return run_graph(self.model(exclude), self._name, frames, self._bench.request.threads)

    def verdict(self, exclude: Collection[str]) -> GateResult:
        return self._bench.court.verdict(self._bench.reference, self.outputs(exclude, self._bench.court.frames))


def _prepared(
    bundle: Bundle, request: Request, chosen: CalibrationFrames, identity: Identity, progress: Progress
) -> Bench:
    spec = bundle.manifest.preprocessing
    frames = Frames(chosen.calibration, spec)
    if not request.force:
        require_familiar(frames, bundle.manifest.normal_images, request.data)
    row = bundle.manifest.variants["fp32"]
    graph = Graph(named_model(bundle.read(row.graph), row.graph))
    _require_known(graph, request.exclude)
    plans = [make_plan(graph, kind.dialect, request.exclude) for kind in KINDS.values()]
    if not plans[0].convs:
        raise InputError(f"nothing in {bundle.path} can run in int8", _reasons(plans[0]), "use fp16 or fp32")
    collected = collect(graph.model, tensors_to_watch(graph, plans), frames, lambda d, t: progress("ranges", d, t))
    judges = Frames((*chosen.held_out, *chosen.test), spec)
    labels = (*[None] * len(chosen.held_out), *chosen.labels)
    court = Court(judges, len(chosen.held_out), labels, rate_of(bundle, request), request.limits)
    reference = run_graph(graph.model, "fp32", judges, request.threads, lambda d, t: progress("fp32 scores", d, t))
    return Bench(request, graph, chosen, identity, collected, court, reference, progress)


def _make(bench: Bench, name: str, kind: VariantKind) -> Made:
    builder = _Builder(bench, name, kind)
    excluded: tuple[str, ...] = ()
    costs: tuple[LayerCost, ...] = ()
    model, outputs, gate = _tried(bench, builder, name, excluded)
    if not gate.passed:
        costs = _costs(bench, builder, name)
        if not bench.request.auto_exclude:
            raise _refusal(name, gate, costs)
        excluded = smallest_exclusion(builder, costs, bench.progress)
        if not builder.plan(excluded).convs:
            raise _nothing_left(name, gate)
        model, outputs, gate = _tried(bench, builder, name, excluded)
    times = _times(bench, builder, name, excluded) if kind.dialect == "cpu" else {}
    threshold = bench.court.carried_threshold(bench.reference, outputs)
    plan = builder.plan(excluded)
    return Made(name, kind, plan, model, builder.ranges, outputs, threshold, gate, excluded, costs, times)


def _with_brain(bench: Bench, whole: Made, say: Say) -> Made | None:
    """The graph of `whole` with its float part in bfloat16, judged for itself; None, and why, where it is not to be."""
    name = "int8-bf16-cpu"
    try:
        outputs = run_in_brain(whole.model, name, bench.court.frames, bench.request.threads)
    except (ImportError, EdgeError) as error:
        say(f"{name} left out: {error}")
        return None
    gate = bench.court.verdict(bench.reference, outputs)
    if not gate.passed:
        say(f"{name} left out: {'; '.join(failures(gate))}")
        return None
    threshold = bench.court.carried_threshold(bench.reference, outputs)
    return replace(
        whole, name=name, kind=KINDS[name], outputs=outputs, threshold=threshold, gate=gate, costs=(), times_ms={}
    )


def _tried(
    bench: Bench, builder: _Builder, name: str, excluded: tuple[str, ...]
) -> tuple[onnx.ModelProto, Outputs, GateResult]:
    model = builder.model(excluded)
    frames, threads = bench.court.frames, bench.request.threads
    outputs = run_graph(model, name, frames, threads, lambda d, t: bench.progress(f"{name} scores", d, t))
    return model, outputs, bench.court.verdict(bench.reference, outputs)


def _costs(bench: Bench, builder: _Builder, name: str) -> tuple[LayerCost, ...]:
    """Leave-one-out costs on frames spread over the held-out ones; kept under this calibration's fingerprint."""
    count = bench.court.held_out
    indices = np.unique(np.linspace(0, count - 1, min(PROBE_FRAMES, count)).astype(int))
    frames = [bench.court.frames[int(i)] for i in indices]
    source = bench.reference
    reference = Outputs(source.score[indices], source.masked_error[indices], source.heatmap[indices])
    path = cache_folder() / f"sensitivity-{name}-{bench.identity.ranges_sha256[:32]}.json"
    convs = builder.plan(()).convs
    return cached_costs(path, lambda: layer_costs(builder, convs, frames, reference, bench.progress))


def _times(bench: Bench, builder: _Builder, name: str, excluded: tuple[str, ...]) -> dict[str, float]:
    """Medians of fp32, of the variant, and of the variant with each excluded layer back in INT8."""
    models = {"fp32": bench.graph.model, name: builder.model(excluded)}
    models |= {layer: builder.model([e for e in excluded if e != layer]) for layer in excluded}
    return median_times_ms(models, bench.court.frames[0], bench.request.threads)


def _refusal(name: str, gate: GateResult, costs: Sequence[LayerCost]) -> CheckFailed:
    worst = ", ".join(f"{c.name} ({c.gain:+.3f})" for c in costs[:5])
    return CheckFailed(
        f"{name} does not decide like fp32",
        f"{'; '.join(failures(gate))}; the layers that cost most: {worst}",
        "add --auto-exclude to keep the fewest layers in float, try another --method, or widen the limits",
    )


def _nothing_left(name: str, gate: GateResult) -> CheckFailed:
    return CheckFailed(
        f"{name} does not decide like fp32",
        f"{'; '.join(failures(gate))}, and no layer alone could stay in int8 within the limits",
        "run fp16 or fp32, try another --method, or widen the limits",
    )


def _tell_preparation(bench: Bench, say: Say) -> None:
    chosen, threshold, rate = bench.chosen, bench.threshold, bench.court.rate
    say(
        f"frames: {len(chosen.calibration)} used of {chosen.asked} asked for ranges, {len(chosen.held_out)} held out "
        f"for thresholds, {len(chosen.test)} labelled"
    )
    say(f"ranges by {bench.request.method}: {bench.collected.convergence(bench.request.method)}")
    low, high = threshold.rate_interval
    missing = frames_needed(rate) - len(chosen.held_out)
    more = f"; {missing} more held-out frames would bring it within twice the rate" if missing > 0 else ""
    say(f"false alarms: {rate:.2%} stated, {low:.2%} to {high:.2%} with {threshold.confidence:.0%} confidence{more}")


def _require_known(graph: Graph, exclude: Iterable[str]) -> None:
    unknown = [name for name in exclude if name not in graph.nodes]
    if unknown:
        some = ", ".join(n for n in graph.nodes if _is_conv(graph, n))
        raise InputError(f"no layer {', '.join(unknown)}", f"the convolutions are {some[:600]}", "name one of these")


def _is_conv(graph: Graph, name: str) -> bool:
    return bool(graph.nodes[name].op_type == "Conv")


def _reasons(plan: Plan) -> str:
    return ", ".join(sorted(set(plan.kept.values()))) or "it has no convolution"
