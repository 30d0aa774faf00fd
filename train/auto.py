"""`--model auto`: which method suits what the folder holds. The one place where that is decided."""

from __future__ import annotations

ONLY_NORMALS = ("attention", "the folder holds only normal images, and it makes its own anomalies to learn from")
WITH_KNOWN = ("attention", "it learns from known anomalies, however few, beside those that it makes itself")


def choose(known: int) -> tuple[str, str]:
    """(method, why) for a folder of normal images and `known` known anomalies."""
    return ONLY_NORMALS if known == 0 else WITH_KNOWN
