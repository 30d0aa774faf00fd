"""Opening an engine: which variant of a bundle runs on which back end. Nothing here falls back by itself."""

from __future__ import annotations

import importlib
import importlib.util
import logging
from collections.abc import Callable
from typing import Any

from edge.bundle import Bundle
from edge.engine.base import BACKENDS, Candidate, Engine
from edge.errors import CheckFailed, InputError, MissingError
from edge.manifest import Variant

# back end -> the (precision, dialect) pairs that it runs well enough to be chosen.
FITS: dict[str, tuple[tuple[str, str], ...]] = {
    "onnxruntime": (("fp32", "plain"), ("int8", "cpu")),
    "openvino": (("fp32", "plain"), ("bf16", "plain"), ("int8", "cpu"), ("int8-bf16", "cpu")),
    "tensorrt": (("fp32", "plain"), ("fp16", "plain"), ("int8", "tensorrt")),
}
REMEDIES = {
    "onnxruntime": "pip install 'edge-anomaly[device]'",
    "openvino": "pip install 'edge-anomaly[openvino]'",
    "tensorrt": "TensorRT comes with JetPack and pycuda is built on the device: run edge-doctor",
}


def open_engine(
    bundle: Bundle,
    precision: str = "auto",
    backend: str = "auto",
    threads: int = 0,
    report: Callable[[str], None] = logging.getLogger(__name__).info,
) -> Engine:
    """Open a scoring engine for `bundle`.

    `precision`: fp32, fp16, bf16, int8, int8-bf16, a variant's own key (such as int8-nodw-tensorrt), or auto.
    `backend`: a key of BACKENDS, or auto. `threads` 0 means one per usable CPU. Where auto leaves a choice, the
    candidates that passed their gate are timed on this machine (edge.engine.choose); `report` gets the timings and the
    reason in one line.

    Raises InputError for a precision that the bundle does not hold, CheckFailed for one that failed its gate, and
    MissingError for a back end that is not installed.
    """
    candidates = candidates_of(bundle, precision, backend)
    if len(candidates) == 1:
        return open_candidate(bundle, candidates[0], threads)
    from edge.engine.choose import choose  # starts a process; only where there is a choice

    choice = choose(bundle, candidates, threads)
    report(choice.reason)
    return open_candidate(bundle, choice.candidate, threads)


def open_candidate(bundle: Bundle, candidate: Candidate, threads: int) -> Engine:
    """Open exactly this back end on this variant. Raises MissingError if the back end is not installed."""
    backend, variant = candidate
    engine: Engine = backend_class(backend)(bundle, variant, threads=threads)
    return engine


def backend_class(backend: str) -> Any:
    """The engine class in the table. Raises InputError for an unknown name, MissingError if its library is absent."""
    if backend not in BACKENDS:
        raise InputError(f"no back end {backend}", f"there are {', '.join(BACKENDS)} and auto", "name one of them")
    module, name = BACKENDS[backend].split(":")
    try:
        return getattr(importlib.import_module(module), name)
    except ImportError as error:
        raise MissingError(f"back end {backend} is not installed", str(error), REMEDIES[backend]) from error


def is_installed(backend: str) -> bool:
    """Whether the back end's library is there; it is not imported, so that a station loads only what it runs."""
    return importlib.util.find_spec(backend) is not None


def candidates_of(bundle: Bundle, precision: str = "auto", backend: str = "auto") -> list[Candidate]:
    """Every (back end, variant) that answers the wish, is installed and passed its gate; an error if there is none."""
    if backend != "auto":
        backend_class(backend)
    variants = _variants(bundle, precision)
    backends = [backend] if backend != "auto" else [name for name in BACKENDS if is_installed(name)]
    found = [(b, name) for b in backends for name, row in variants.items() if fits(b, row)]
    if not found:
        raise InputError(
            f"no back end here runs {precision} of {bundle.path}",
            f"asked for back end {backend}; the bundle holds {', '.join(bundle.manifest.variants)}; "
            f"installed: {', '.join(b for b in BACKENDS if is_installed(b)) or 'none'}",
            "name another precision or back end, or run edge-calibrate for INT8",
        )
    return _without_unbuilt(found, bundle)


def fits(backend: str, row: Variant) -> bool:
    """Whether `backend` runs a graph written like this."""
    return (row.precision, row.dialect) in FITS[backend]


def _without_unbuilt(found: list[Candidate], bundle: Bundle) -> list[Candidate]:
    """Of several TensorRT variants only those that edge-build made; all of them if it made none, which is then told."""
    if sum(backend == "tensorrt" for backend, _ in found) < 2:
        return found
    from edge.tensorrt.cache import EngineCache  # knows this module

    built = EngineCache().built_variants(bundle)
    return [(b, name) for b, name in found if b != "tensorrt" or name in built or not built]


def _variants(bundle: Bundle, precision: str) -> dict[str, Variant]:
    rows = bundle.manifest.variants
    asked = {name: row for name, row in rows.items() if precision in ("auto", name, row.precision)}
    if not asked:
        raise InputError(
            f"{bundle.path} holds no {precision}", f"it holds {', '.join(rows)}", "name one of these, or export again"
        )
    passed = {name: row for name, row in asked.items() if row.gate is None or row.gate.passed}
    if not passed:
        raise CheckFailed(
            f"{precision} in {bundle.path} failed its gate against fp32",
            "its decisions differ too much",
            "use --precision fp32, or calibrate again",
        )
    return passed
