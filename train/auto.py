"""`--model auto`: which method suits what the folder holds. The one place where that is decided."""

from __future__ import annotations

ONLY_NORMALS = ("sagan", "the folder holds only normal images")
WITH_KNOWN = ("sagan", "known anomalies are few, and this method needs none")


def choose(known: int) -> tuple[str, str]:
    """(method, why) for a folder of normal images and `known` known anomalies."""
    return ONLY_NORMALS if known == 0 else WITH_KNOWN
