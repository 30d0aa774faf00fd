"""Pictures of an evaluation report: plots and case strips, as PNG bytes."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import cv2
import numpy as np
from numpy.typing import NDArray

from edge.gate import auroc
from edge.images import encode_png
from edge.manifest import Threshold
from train.infer import Array

if TYPE_CHECKING:
    from matplotlib.figure import Figure

NORMAL, BAD, INK = "#2a7f9e", "#c8452f", "#333333"
Frame = NDArray[np.uint8]


def roc_png(score: Array, controls: dict[str, Array], bad: NDArray[np.bool_], threshold: Threshold | None) -> bytes:
    """ROC of the score in colour and of the controls in grey, with the threshold's point; an image of each kind."""
    from matplotlib.figure import Figure
    from sklearn.metrics import roc_curve

    figure = Figure(figsize=(4.6, 4.2), layout="constrained")
    axes = figure.add_subplot()
    axes.plot([0, 1], [0, 1], color="#cccccc", linewidth=1)
    for (name, values), style in zip(controls.items(), ("--", ":"), strict=False):
        rate, found, _ = roc_curve(bad, values)
        axes.plot(rate, found, style, color="#888888", label=f"{name} alone {auroc(values[~bad], values[bad]):.3f}")
    rate, found, _ = roc_curve(bad, score)
    axes.plot(rate, found, color=BAD, linewidth=2.2, label=f"score {auroc(score[~bad], score[bad]):.3f}")
    if threshold is not None:
        here = [float((score[kind] > threshold.value).mean()) for kind in (~bad, bad)]
        axes.plot(*here, "o", color=INK, markersize=7, clip_on=False, zorder=5, label="at the threshold")
    shares = {"xlabel": "share of good images with a false alarm", "ylabel": "share of bad images found"}
    axes.set(**shares, xlim=(-0.01, 1.01), ylim=(-0.01, 1.01))
    axes.legend(loc="lower right", frameon=False, title="AUROC")
    return _png(figure)


def histogram_png(
    score: Array, bad: NDArray[np.bool_], threshold: Threshold | None, interval: tuple[float, float] | None = None
) -> bytes:
    """Scores of good and bad images, with the threshold and the interval in which it might as well have come to lie."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import LogLocator

    figure = Figure(figsize=(5.8, 4.2), layout="constrained")
    axes = figure.add_subplot()
    low, high = float(score.min()), float(score.max())
    wide = low > 0 and high / low > 30
    bins = np.geomspace(low, high, 36) if wide else np.linspace(low, high + 1e-9, 36)
    for values, colour, label in ((score[~bad], NORMAL, "good"), (score[bad], BAD, "bad")):
        if values.size:
            axes.hist(values, bins=bins.tolist(), color=colour, alpha=0.65, label=f"{label} ({values.size})")
    if threshold is not None:
        axes.axvline(threshold.value, color=INK, linewidth=1.5, label=f"threshold {threshold.value:.4g}: ALARM above")
        if interval is not None:
            label = f"its {threshold.confidence:.0%} interval, {interval[0]:.4g} to {interval[1]:.4g}"
            axes.axvspan(*interval, color=INK, alpha=0.13, linewidth=0, label=label)
    if wide:
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))  # matplotlib's own labels cover each other
        axes.xaxis.set_major_formatter("{x:g}")
        axes.xaxis.set_minor_formatter("")
    axes.set(xlabel="score (high = anomalous)", ylabel="images")
    axes.margins(y=0.35)  # room for the legend above the bars
    axes.legend(frameon=False, loc="upper left")
    return _png(figure)


def picture_png(frame: Frame, outline: NDArray[np.bool_] | None, side: int) -> bytes:
    """A frame, uint8 [H, W, C], enlarged to about `side`, with the true defect outlined."""
    shown = _enlarged(_bgr(frame), side)
    if outline is not None and outline.any():
        mask = cv2.resize(outline.astype(np.uint8), shown.shape[1::-1], interpolation=cv2.INTER_NEAREST)
        contours, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
        cv2.drawContours(shown, contours, -1, (60, 220, 60), 1, cv2.LINE_AA)
    return encode_png(shown)


def overlay_png(frame: Frame, values: Array, low: float, high: float, side: int) -> bytes:
    """Values [h, w] from `low` (clear) to `high` (red) over the grey frame."""
    shown = _enlarged(_bgr(frame), side)
    level = cv2.resize(np.clip((values - low) / max(high - low, 1e-12), 0, 1), shown.shape[1::-1])
    colours = cv2.applyColorMap((level * 255).astype(np.uint8), cv2.COLORMAP_INFERNO).astype(np.float32)
    grey = cv2.cvtColor(cv2.cvtColor(shown, cv2.COLOR_BGR2GRAY), cv2.COLOR_GRAY2BGR).astype(np.float32)
    alpha = (0.25 + 0.6 * level)[..., None]
    return encode_png(np.asarray(grey * 0.8 * (1 - alpha) + colours * alpha, np.uint8))


def _enlarged(image: Frame, side: int) -> Frame:
    scale = side / max(image.shape[:2])
    way = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(image, None, fx=scale, fy=scale, interpolation=way), np.uint8)


def _bgr(frame: Frame) -> Frame:
    return np.repeat(frame, 3, 2) if frame.shape[2] == 1 else frame


def _png(figure: Figure) -> bytes:
    figure.get_axes()[0].spines[["top", "right"]].set_visible(False)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=130)
    return buffer.getvalue()
