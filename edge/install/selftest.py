"""The golden self-test of a bundle on this machine, run by the installer in a process of its own."""

from __future__ import annotations

from collections.abc import Callable

from edge.bundle import Bundle
from edge.engine.open import open_engine
from edge.golden import check_golden


def self_test(bundle: Bundle, precision: str, backend: str, report: Callable[[str], None]) -> str:
    """Open the engine as the station will and compare it with the golden frames; one line that says how close.

    Raises CheckFailed if an output differs too much, EngineFault if it is not finite, MissingError if the back end is
    not installed. Where precision or back end is auto, the timings of the choice are kept in $EDGE_CACHE for the
    station's own start.
    """
    engine = open_engine(bundle, precision, backend, report=report)
    try:
        result = check_golden(engine, bundle)
    finally:
        engine.close()
    name, size = result.worst
    return (
        f"{engine.description}: {result.frames} golden frames, worst {name} {size:.1e} "
        f"of {result.tolerance:.0e} relative allowed"
    )
