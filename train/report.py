"""The evaluation report: one HTML file, pictures inside, nothing fetched."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from html import escape
from pathlib import Path

import numpy as np

from edge.files import write_atomic
from train.evaluate import Evaluation
from train.figures import histogram_png, overlay_png, picture_png, roc_png
from train.subject import Frame, Subject

SIDE = 150
CASES = 4
STYLE = """
:root { color-scheme: light; font: 15px/1.5 system-ui, sans-serif; color: #222; background: #f4f5f6; }
body { max-width: 62rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.5rem; margin: 0 0 .2rem; } h2 { font-size: 1.1rem; margin: 2rem 0 .6rem; } p { margin: .3rem 0; }
.muted { color: #5c6670; } .warn { color: #a3301c; font-weight: 600; }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(7.4rem, 1fr)); gap: .7rem; margin-top: 1rem; }
.tile, .card { background: #fff; border: 1px solid #dde1e4; border-radius: 8px; padding: .7rem .9rem; }
.tile b { display: block; font-size: 1.45rem; font-variant-numeric: tabular-nums; }
.pair { display: grid; grid-template-columns: 46fr 58fr; gap: .7rem; } .pair img { width: 100%; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
td, th { padding: .2rem .9rem .2rem 0; text-align: left; }
th { color: #5c6670; font-weight: 500; } td.n { text-align: right; }
figure { margin: 0 0 .7rem; display: grid; grid-template-columns: 11rem auto; gap: .9rem; align-items: center; }
figcaption { overflow-wrap: anywhere; }
figure div { display: flex; gap: .5rem; flex-wrap: wrap; }
figure span { display: block; text-align: center; font-size: .8rem; color: #5c6670; }
 figure img { display: block; border-radius: 4px; width: 130px; }
"""


def write_report(file: Path, subject: Subject, result: Evaluation) -> None:
    """Write the report of `result` to `file`; `subject` redraws reconstructions and attention maps of the cases."""
    parts = [_head(result), _tiles(result), _plots(result), _tables(result), _cases(subject, result)]
    title = escape(f"Evaluation of {result.title}")
    page = f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{title}</title><style>{STYLE}</style>'
    write_atomic(file, (page + "<body>" + "\n".join(parts) + "</body></html>").encode())


def _head(result: Evaluation) -> str:
    f = result.figures
    notes = "".join(f'<p class="muted">{escape(note)}</p>' for note in result.notes)
    return (
        f"<h1>{escape(result.title)}</h1><p class='muted'>{escape(str(result.data))}: "
        f"{f['n_normal']} good and {f['n_anomalous']} bad test images. The test set chose nothing.</p>{notes}"
    )


def _tiles(result: Evaluation) -> str:
    shown = {
        "image AUROC": "image_auroc",
        "pixel AUROC": "pixel_auroc",
        "AUPRO (30 %)": "aupro",
        "IoU": "iou",
        "balanced accuracy": "balanced_accuracy",
        "brightness alone": "control_brightness_auroc",
        "contrast alone": "control_contrast_auroc",
    }
    tiles = "".join(
        f"<div class='tile'>{name}<b>{_number(result.figures[key])}</b></div>" for name, key in shown.items()
    )
    return f"<div class='tiles'>{tiles}</div>{_control_warning(result)}"


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
    histogram = _image(histogram_png(result.scored.score, bad, result.threshold))
    if not bad.any() or bad.all():
        return f"<h2>Scores</h2><div class='card'>{histogram}</div>"
    controls = {
        "brightness": np.asarray(frames.mean((1, 2, 3)), np.float32),
        "contrast": np.asarray(frames.std((1, 2, 3)), np.float32),
    }
    roc = _image(roc_png(result.scored.score, controls, bad))
    return f"<h2>Scores</h2><div class='pair'><div class='card'>{roc}</div><div class='card'>{histogram}</div></div>"


def _tables(result: Evaluation) -> str:
    return f"<h2>Decisions</h2><div class='pair'>{_confusion(result)}{_by_defect(result)}</div>"


def _confusion(result: Evaluation) -> str:
    threshold = result.threshold
    if threshold is None:
        return "<div class='card'>No threshold was fitted.</div>"
    bad, alarm = result.test.anomalous, result.scored.score > threshold.value
    rows = "".join(
        f"<tr><th>{name}</th><td class='n'>{int((chosen & ~alarm).sum())}</td>"
        f"<td class='n'>{int((chosen & alarm).sum())}</td></tr>"
        for name, chosen in (("good", ~bad), ("bad", bad))
    )
    low, high = threshold.rate_interval
    return (
        f"<div class='card'><table><tr><th></th><th>OK</th><th>ALARM</th></tr>{rows}</table>"
        f"<p class='muted'>ALARM above {threshold.value:.4g}, fitted ({escape(threshold.fit)}) on {threshold.frames} "
        f"held-out good frames for {threshold.false_alarm_rate:.2%} false alarms; {threshold.confidence:.0%} interval "
        f"of the true rate {low:.2%} to {high:.2%}. Seen here: {_number(result.figures['false_alarm_rate'])}.</p></div>"
    )


def _by_defect(result: Evaluation) -> str:
    kinds = list(result.test.kinds)
    rows = "".join(
        f"<tr><td>{escape(kind)}</td><td class='n'>{kinds.count(kind)}</td><td class='n'>{_number(value)}</td></tr>"
        for kind, value in result.per_defect.items()
    )
    return f"<div class='card'><table><tr><th>defect</th><th>images</th><th>AUROC</th></tr>{rows}</table></div>"


def _cases(subject: Subject, result: Evaluation) -> str:
    bad, score = result.test.anomalous, result.scored.score
    order = np.argsort(score)
    found, calm = [i for i in order[::-1] if bad[i]], [i for i in order if not bad[i]]
    groups = (
        ("Bad, highest scores", found[:CASES]),
        ("Bad, lowest scores: what it overlooks", found[::-1][:CASES]),
        ("Good, highest scores: its false alarms", calm[::-1][:CASES]),
        ("Good, lowest scores", calm[:CASES]),
    )
    return "".join(f"<h2>{name}</h2>{_strips(subject, result, chosen)}" for name, chosen in groups if chosen)


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
