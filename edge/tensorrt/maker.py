"""From a bundle's variant to a proven engine in the cache: look up, build, check the golden frames."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path

from edge.bundle import Bundle
from edge.errors import EdgeError, InputError, MissingError
from edge.files import sha256_of
from edge.golden import check_golden
from edge.tensorrt import process
from edge.tensorrt.cache import EngineCache, Entry, Place, place_of
from edge.tensorrt.cuda import CudaDriver, GpuFacts, PycudaDriver, gpu_facts
from edge.tensorrt.engine import PlanEngine
from edge.tensorrt.library import Library
from edge.tensorrt.request import BuildAnswer, BuildRequest
from edge.tensorrt.screen import BuildScreen

MIB = 1 << 20
# What may be typed for a variant's key.
SHORT_NAMES = {"int8": "int8-tensorrt", "int8-nodw": "int8-nodw-tensorrt"}


@dataclass(frozen=True)
class Options:
    """How to build. `workspace_mb`, `memory_limit_mb`: in MiB, None: from the free memory, no limit.

    `implicit`: INT8 from the calibration cache; `weak`: flags decide the precision (both: TensorRT up to 10).
    """

    workspace_mb: int | None = None
    optimisation_level: int | None = None
    implicit: bool = False
    weak: bool = False
    memory_limit_mb: int | None = None
    rebuild: bool = False

    def named(self) -> dict[str, str]:
        """What an engine depends on, as words for the cache."""
        return {
            "workspace_mb": str(self.workspace_mb or "auto"),
            "optimisation_level": "default" if self.optimisation_level is None else str(self.optimisation_level),
            "typing": "calibration cache" if self.implicit else "flags" if self.weak else "graph",
        }


@dataclass
class Maker:
    """Makes engines on this machine. `report` gets one line per step."""

    library: Library
    options: Options = field(default_factory=Options)
    report: Callable[[str], None] = print
    cache: EngineCache = field(default_factory=EngineCache)
    driver: Callable[[], CudaDriver] = PycudaDriver
    build: Callable[[BuildRequest, process.Screen, process.Limits], BuildAnswer] = process.build_in_child
    screen: Callable[[float | None], BuildScreen] = field(default=lambda seconds: BuildScreen(last_seconds=seconds))
    _gpu: GpuFacts | None = None

    @property
    def gpu(self) -> GpuFacts:
        """The GPU, asked once. Raises MissingError without pycuda, EngineFault without a GPU."""
        if self._gpu is None:
            self._gpu = gpu_facts(self.driver())
        return self._gpu

    @property
    def place(self) -> Place:
        """What engines depend on here."""
        return place_of(self.library, self.gpu)

    def make(self, bundle: Bundle, variant: str) -> Entry:
        """The proven engine of `variant`: from the cache, or built now.

        Raises InputError or CheckFailed if it cannot be built, CheckFailed or EngineFault if it misses the golden
        frames; such an engine is thrown away.
        """
        variant = variant_of(bundle, variant)
        self._require_int8(bundle, variant)
        found = self.cache.look_up(bundle, variant, self.place, self.options.named())
        if found.entry is not None and not self.options.rebuild:
            self.report(f"{variant}: in the cache, {self.cache.plan_path(found.entry)}")
            entry = found.entry
        else:
            self.report(f"{variant}: build, {'; '.join(found.reasons) or 'asked for with --rebuild'}")
            entry = self._built(bundle, variant)
        return entry if entry.proven is not None else self._proven(bundle, entry)

    def open(self, bundle: Bundle, entry: Entry) -> PlanEngine:
        """The engine of an entry."""
        plan = self.cache.plan_path(entry).read_bytes()
        return PlanEngine(self.library, self.driver(), plan, (bundle, entry.variant))

    def try_out(self, bundle: Bundle, variant: str, target: str | None) -> BuildAnswer:
        """Build and throw the plan away: does TensorRT take the graph? TensorRT-RTX with a `target` needs no GPU."""
        with tempfile.TemporaryDirectory() as folder:
            request = self._request(bundle, variant_of(bundle, variant), Path(folder) / "plan", target)
            return self._run(request, None)

    def _built(self, bundle: Bundle, variant: str) -> Entry:
        place, start = self.place, time.monotonic()
        before = self.cache.entries(bundle.manifest.name, variant)
        with tempfile.TemporaryDirectory(dir=_folder(self.cache)) as folder:
            out = Path(folder) / "plan"
            request = self._request(bundle, variant, out, None)
            answer = self._run(request, before[0].seconds if before else None)
            plan = out.read_bytes()
        entry = Entry(
            name=bundle.manifest.name,
            identity=bundle.identity,
            variant=variant,
            place=asdict(place),
            options=self.options.named(),
            sha256=sha256_of(plan),
            size_bytes=len(plan),
            seconds=time.monotonic() - start,
            created=self.cache.now(),
            kept_float=answer.kept_float,
        )
        stays = f"; no INT8 kernel, kept in float: {', '.join(answer.kept_float)}" if answer.kept_float else ""
        self.report(f"{variant}: built in {entry.seconds:.0f} s, {answer.bytes / 1e6:.1f} MB{stays}")
        return self.cache.add(entry, plan)

    def _run(self, request: BuildRequest, last_seconds: float | None) -> BuildAnswer:
        limit = self.options.memory_limit_mb
        screen = self.screen(last_seconds)
        try:
            return self.build(request, screen, process.Limits(None if limit is None else limit * MIB))
        finally:
            screen.clear()

    def _request(self, bundle: Bundle, variant: str, out: Path, target: str | None) -> BuildRequest:
        rows, options = bundle.manifest.variants, self.options
        row, available = rows[variant], process.available_bytes()
        process.require_memory(available)
        asked = options.workspace_mb
        if options.implicit and row.calibration_cache is None:
            raise InputError(
                f"{variant} has no calibration cache", "it is not INT8 for TensorRT", "leave out --implicit"
            )
        cpu_only = target is not None
        return BuildRequest(
            library=self.library.name,
            bundle=str(bundle.path.resolve()),
            identity=bundle.identity,
            graph=rows["fp32"].graph if options.implicit else row.graph,
            int8=row.precision == "int8",
            weak=options.weak or options.implicit or not self.library.strong,
            calibration_cache=row.calibration_cache if options.implicit else None,
            workspace_bytes=process.workspace_from(available) if asked is None else asked * MIB,
            optimisation_level=options.optimisation_level,
            timing_cache=None if cpu_only else str(self.cache.timing_cache(self.place)),
            target=target,
            out=str(out),
        )

    def _proven(self, bundle: Bundle, entry: Entry) -> Entry:
        try:
            engine = self.open(bundle, entry)
            try:
                result = check_golden(engine, bundle)
            finally:
                engine.close()
        except EdgeError:
            self.cache.remove(entry)
            raise
        name, size = result.worst
        self.report(
            f"{entry.variant}: {result.frames} golden frames, worst {name} {size:.1e} of {result.tolerance:.0e} allowed"
        )
        return self.cache.prove(entry, size)

    def _require_int8(self, bundle: Bundle, variant: str) -> None:
        capability = self.gpu.capability
        if bundle.manifest.variants[variant].precision == "int8" and (capability < (6, 1) or capability == (6, 2)):
            why = "its compute capability is {}.{}; INT8 needs 6.1 or 7.0 and later".format(*capability)
            raise MissingError(f"{self.gpu.name} has no INT8", why, "use --precision fp16")


def variant_of(bundle: Bundle, asked: str) -> str:
    """The key in the manifest for what was typed. Raises InputError listing what there is."""
    name = SHORT_NAMES.get(asked, asked)
    row = bundle.manifest.variants.get(name)
    if row is None or row.dialect == "cpu" or row.precision == "bf16":
        there = [n for n, r in bundle.manifest.variants.items() if r.dialect != "cpu" and r.precision != "bf16"]
        fix = "run edge-calibrate --target tensorrt for INT8" if "int8" in asked else "name one of these"
        raise InputError(f"{bundle.path} holds no {asked} for TensorRT", f"it holds {', '.join(there)}", fix)
    return name


def _folder(cache: EngineCache) -> Path:
    try:
        cache.folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(
            f"cannot write {cache.folder}", error.strerror or str(error), "name another folder with --cache"
        ) from error
    return cache.folder
