"""The evaluation report: one HTML file, pictures inside, nothing fetched."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from html import escape
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edge.files import write_atomic
from train.evaluate import Evaluation
from train.figures import histogram_png, overlay_png, picture_png, roc_png
from train.subject import Frame, Subject

Bools = NDArray[np.bool_]

SIDE = 176
CASES = 4
VIEWPORT = '<meta name="viewport" content="width=device-width, initial-scale=1">'
CONTROLS = (
    "AUROC: 1 is perfect, 0.5 is chance. The controls are what each image's mean brightness or contrast reaches alone, "
    "without any model: the image AUROC means something only as far as it is above them."
)
LEGEND = (
    "Green line: the true defect. Attention: where the model looks, scaled for each picture. "
    "Heatmap: how anomalous each place is, on one scale for all pictures of this page."
)
STYLE = """
:root { color-scheme: light; font: 15px/1.5 system-ui, sans-serif; color: #222; background: #f4f5f6; }
body { max-width: 62rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.5rem; margin: 0 0 .2rem; } h2 { font-size: 1.1rem; margin: 2rem 0 .6rem; } p { margin: .3rem 0; }
.muted { color: #5c6670; } .warn { color: #a3301c; font-weight: 600; }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(7.4rem, 1fr)); gap: .7rem; margin-top: 1rem; }
.tile, .card { background: #fff; border: 1px solid #dde1e4; border-radius: 8px; padding: .7rem .9rem; }
.tile { font-size: .9rem; color: #5c6670; } .tile b { display: block; font-size: 1.45rem; color: #222; }
.tile.control { background: #eceef0; } .tile b, table { font-variant-numeric: tabular-nums; }
.lead { font-size: 1.1rem; margin-top: .8rem; }
.pair { display: grid; grid-template-columns: 46fr 58fr; gap: .7rem; } .pair img { width: 100%; }
table { border-collapse: collapse; margin-bottom: .5rem; }
td, th { padding: .25rem 1.1rem .25rem 0; text-align: left; } td + td, th + th, th + td { text-align: right; }
th { color: #5c6670; font-weight: 500; } td.wrong { color: #a3301c; }
figure { margin: 0 0 .9rem; display: grid; grid-template-columns: 10.5rem auto; gap: .9rem; align-items: center; }
figcaption { overflow-wrap: anywhere; font-size: .9rem; }
figure div { display: flex; gap: .5rem; flex-wrap: wrap; }
figure span { display: block; text-align: center; font-size: .8rem; color: #5c6670; }
figure img { display: block; border-radius: 4px; width: 176px; }
@media (max-width: 44rem) { .pair, figure { grid-template-columns: 1fr; } figure img { width: 40vw; } }
"""


def write_report(file: Path, subject: Subject, result: Evaluation) -> None:
    """Write the report of `result` to `file`; `subject` redraws reconstructions and attention maps of the cases."""
    parts = [_head(result), _tiles(result), _plots(result), _tables(result), _cases(subject, result)]
    title = escape(f"Evaluation of {result.title}")
    page = (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{title}</title>{VIEWPORT}<style>{STYLE}</style>'
    )
    write_atomic(file, (page + "<body>" + "\n".join(parts) + "</body></html>").encode())


def _head(result: Evaluation) -> str:
    f = result.figures
    notes = "".join(f"<p class='muted'>{escape(note)}.</p>" for note in result.notes)
    return (
        f"<h1>{escape(result.data.name)}: how well good and bad are told apart</h1>"
        f"<p class='muted'>Model: {escape(result.title)}. Images: {escape(str(result.data))}, {f['n_normal']} good and "
        f"{f['n_anomalous']} bad test images. They chose nothing: the threshold comes from held-out good images.</p>"
        f"{_summary(result)}{notes}"
    )


def _summary(result: Evaluation) -> str:
    """One sentence for whoever reads no further."""
    found, false = result.figures["detection_rate"], result.figures["false_alarm_rate"]
    said = []
    if found is not None:
        said.append(f"<b>{found:.0%}</b> of the bad images are found")
    if false is not None:
        said.append(f"<b>{false:.1%}</b> of the good ones give a false alarm")
    return f"<p class='lead'>At its threshold: {', '.join(said)}.</p>" if said else ""


def _tiles(result: Evaluation) -> str:
    shown = {
        "image AUROC": "image_auroc",
        "pixel AUROC": "pixel_auroc",
        "AUPRO (30 %)": "aupro",
        "IoU": "iou",
        "balanced accuracy": "balanced_accuracy",
        "control: brightness": "control_brightness_auroc",
        "control: contrast": "control_contrast_auroc",
    }
    tiles = "".join(
        f"<div class='tile{' control' if 'control' in key else ''}'>{name}<b>{_number(result.figures[key])}</b></div>"
        for name, key in shown.items()
    )
    return f"<div class='tiles'>{tiles}</div><p class='muted'>{CONTROLS}</p>{_control_warning(result)}"


def _control_warning(result: Evaluation) -> str:
    """Say so where a trivial figure separates the classes: the AUROC above then proves little."""
    for name in ("brightness", "contrast"):
        value = result.figures[f"control_{name}_auroc"]
        if value is not None and abs(value - 0.5) > 0.2:
            return (
                f"<p class='warn'>Mean {name} alone reaches AUROC {value:.3f} (0.5 tells nothing, 0 or 1 all). "
                "Compare with --remove-brightness before you trust the figures.</p>"
            )
    return ""


def _plots(result: Evaluation) -> str:
    bad, frames = result.test.anomalous, result.test.frames
    histogram = _image(histogram_png(result.scored.score, bad, result.threshold, result.threshold_interval))
    if not bad.any() or bad.all():
        return f"<h2>Scores</h2><div class='card'>{histogram}</div>"
    controls = {
        "brightness": np.asarray(frames.mean((1, 2, 3)), np.float32),
        "contrast": np.asarray(frames.std((1, 2, 3)), np.float32),
    }
    roc = _image(roc_png(result.scored.score, controls, bad, result.threshold))
    return f"<h2>Scores</h2><div class='pair'><div class='card'>{roc}</div><div class='card'>{histogram}</div></div>"


def _tables(result: Evaluation) -> str:
    return f"<h2>Decisions</h2><div class='pair'>{_confusion(result)}{_by_defect(result)}</div>"


def _confusion(result: Evaluation) -> str:
    threshold = result.threshold
    if threshold is None:
        return "<div class='card'>No threshold was fitted.</div>"
    bad, alarm = result.test.anomalous, result.scored.score > threshold.value
    rows = "".join(
        f"<tr><th>{name} images</th>{_cell(chosen, ~alarm, name == 'bad')}{_cell(chosen, alarm, name == 'good')}</tr>"
        for name, chosen in (("good", ~bad), ("bad", bad))
        if chosen.any()
    )
    low, high = threshold.rate_interval
    return (
        f"<div class='card'><table><tr><th></th><th>called OK</th><th>called ALARM</th></tr>{rows}</table>"
        f"<p class='muted'>ALARM is a score above {threshold.value:.4g}. It was fitted on {threshold.frames} held-out "
        f"good images for {threshold.false_alarm_rate:.2%} false alarms ({escape(threshold.fit)}). So few leave "
        f"the true rate anywhere between {low:.2%} and {high:.2%}, at {threshold.confidence:.0%} confidence.</p></div>"
    )


def _cell(chosen: Bools, called: Bools, wrong: bool) -> str:
    count = int((chosen & called).sum())
    return f"<td{' class=wrong' if wrong and count else ''}>{count} ({count / chosen.sum():.1%})</td>"


def _by_defect(result: Evaluation) -> str:
    kinds, threshold = np.array(result.test.kinds), result.threshold
    rows = ""
    for kind, value in result.per_defect.items():
        score = result.scored.score[kinds == kind]
        found = "–" if threshold is None else f"{(score > threshold.value).mean():.0%}"
        rows += f"<tr><td>{escape(kind)}</td><td>{len(score)}</td><td>{_number(value)}</td><td>{found}</td></tr>"
    head = "<tr><th>defect</th><th>images</th><th>AUROC</th><th>found</th></tr>"
    return f"<div class='card'><table>{head}{rows}</table></div>"


def _cases(subject: Subject, result: Evaluation) -> str:
    bad, score = result.test.anomalous, result.scored.score
    order = np.argsort(score)
    found, calm = [i for i in order[::-1] if bad[i]], [i for i in order if not bad[i]]
    groups = (
        ("Bad, highest scores", found[:CASES]),
        ("Bad, lowest scores: what it overlooks", found[::-1][:CASES]),
        ("Good, highest scores: its false alarms, if any", calm[::-1][:CASES]),
        ("Good, lowest scores", calm[:CASES]),
    )
    strips = (f"<h2>{name}</h2>{_strips(subject, result, chosen)}" for name, chosen in groups if chosen)
    return f"<h2>Cases</h2><p class='muted'>{LEGEND}</p>{''.join(strips)}"


def _strips(subject: Subject, result: Evaluation, chosen: Sequence[int]) -> str:
    return "<div class='card'>" + "".join(_strip(subject, result, i) for i in chosen) + "</div>"


def _strip(subject: Subject, result: Evaluation, index: int) -> str:
    test, heatmap = result.test, result.scored.heatmap
    frame: Frame = test.frames[index]
    low, high = float(np.quantile(heatmap, 0.02)), float(np.quantile(heatmap, 0.998))
    pictures = [("input", picture_png(frame, test.masks[index], SIDE))]
    seen = subject.explain(frame)
    if seen is not None and seen.reconstruction is not None:
        pictures.append(("reconstruction", picture_png(seen.reconstruction[0].numpy(), None, SIDE)))
    if seen is not None and seen.attention is not None:
        attention = seen.attention[0].numpy()
        pictures.append(("attention", overlay_png(frame, attention, 0.0, float(attention.max()), SIDE)))
    pictures.append(("heatmap", overlay_png(frame, heatmap[index], low, high, SIDE)))
    verdict = _verdict(result, index)
    name = f"{test.kinds[index]}/{test.paths[index].name}"
    images = "".join(f"<span>{_image(png)}{label}</span>" for label, png in pictures)
    caption = f"{escape(name)}<br>score {result.scored.score[index]:.4g}{verdict}"
    return f"<figure><figcaption>{caption}</figcaption><div>{images}</div></figure>"


def _verdict(result: Evaluation, index: int) -> str:
    if result.threshold is None:
        return ""
    alarm = bool(result.scored.score[index] > result.threshold.value)
    wrong = alarm != bool(result.test.anomalous[index])
    text = ("ALARM" if alarm else "OK") + (", wrong" if wrong else "")
    return f"<br><em class='{'warn' if wrong else 'muted'}'>{text}</em>"


def _image(png: bytes) -> str:
    return f'<img alt="" src="data:image/png;base64,{base64.b64encode(png).decode()}">'


def _number(value: float | int | None) -> str:
    return "–" if value is None else f"{value:.3f}"
