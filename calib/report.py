"""The gate report: one HTML page without scripts or links, a member of the bundle."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape

from calib.calibrate import Bench, Made, int8_share
from calib.graph import multiply_accumulates
from edge.version import VERSION

STYLE = (
    "body{font:15px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#222}"
    "table{border-collapse:collapse;margin:1rem 0}th,td{border:1px solid #ccc;padding:.25rem .6rem;text-align:left}"
    "th{background:#f2f2f2}td.n{text-align:right;font-variant-numeric:tabular-nums}.ok{color:#06672b}.no{color:#a40000}"
)


def report_html(name: str, bench: Bench, made: Sequence[Made]) -> str:
    """The page for the variants `made` of bundle `name`."""
    sections = [_frames(bench), _gate(bench, made), _thresholds(bench, made), *[_layers(bench, m) for m in made]]
    title = escape(f"INT8 calibration of {name}")
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{title}</title><style>{STYLE}</style>'
        f"<h1>{title}</h1>{''.join(sections)}<p>edge-anomaly {escape(VERSION)}</p></html>\n"
    )


def _frames(bench: Bench) -> str:
    chosen, method = bench.chosen, bench.request.method
    rows = [
        ("ranges", f"{method}, {len(chosen.calibration)} frames used of {chosen.asked} asked"),
        ("convergence", bench.collected.convergence(method)),
        ("held out for thresholds", f"{len(chosen.held_out)} normal frames"),
        ("labelled test part", f"{len(chosen.test)} frames, {sum(chosen.labels)} anomalous"),
        ("frames hash", bench.identity.data.sha256),
        ("fingerprint", bench.identity.sha256),
    ]
    return "<h2>What it rests on</h2>" + _table((), rows)


def _gate(bench: Bench, made: Sequence[Made]) -> str:
    head = (
        "variant",
        "gate",
        "decisions moved",
        "AUROC fp32",
        "AUROC",
        "score order",
        "heatmap overlap",
        "score shift",
    )
    rows = [
        (
            m.name,
            "passed" if m.gate.passed else "failed",
            f"{m.gate.flipped} of {m.gate.frames}",
            _number(m.gate.auroc_fp32),
            _number(m.gate.auroc),
            _number(m.gate.rank_correlation),
            _number(m.gate.heatmap_iou),
            _number(m.gate.score_shift_median),
        )
        for m in made
    ]
    limits = bench.request.limits
    note = (
        f"Limits: decisions moved at most {limits.flipped:.2%}, AUROC drop at most {limits.auroc_drop}, score order at "
        f"least {limits.rank_correlation}, heatmap overlap at least {limits.heatmap_iou}. The shift is in "
        "interquartile ranges of the fp32 scores; the variant's own threshold follows it."
    )
    return f"<h2>Decisions against fp32</h2>{_table(head, rows)}<p>{escape(note)}</p>"


def _thresholds(bench: Bench, made: Sequence[Made]) -> str:
    head = ("variant", "threshold", "stated rate", "true rate lies in", "frames", "fit")
    fitted = [("fp32", bench.threshold), *[(m.name, m.threshold) for m in made]]
    rows = [
        (
            name,
            f"{t.value:.6g}",
            f"{t.false_alarm_rate:.3%}",
            f"{t.rate_interval[0]:.2%} to {t.rate_interval[1]:.2%} ({t.confidence:.0%})",
            str(t.frames),
            t.fit,
        )
        for name, t in fitted
    ]
    return "<h2>Thresholds</h2>" + _table(head, rows)


def _layers(bench: Bench, made: Made) -> str:
    share = int8_share(bench.graph, made.plan)
    text = f"<h2>{escape(made.name)}</h2><p>{len(made.plan.convs)} convolutions in INT8, {share:.1%} of the work.</p>"
    if made.times_ms:
        text += _table(("onnxruntime here", "median ms"), [(n, f"{t:.2f}") for n, t in _timed(made)])
    if made.costs:
        rows = [(c.name, f"{c.gain:+.4f}") for c in made.costs[:20]]
        text += "<h3>Layers that cost most</h3>" + _table(("layer", "disturbance gone if it stays in float"), rows)
    kept = [(n, why, f"{_macs(bench, n):,}") for n, why in made.plan.kept.items()]
    return text + "<h3>Kept in float</h3>" + _table(("layer", "why", "multiply-accumulates"), kept)


def _timed(made: Made) -> list[tuple[str, float]]:
    names = {layer: f"with {layer} back in INT8" for layer in made.excluded}
    return [(names.get(name, name), time) for name, time in made.times_ms.items()]


def _macs(bench: Bench, name: str) -> int:
    node = bench.graph.nodes[name]
    return multiply_accumulates(bench.graph, node) if node.op_type == "Conv" else 0


def _number(value: float | None) -> str:
    return "not known" if value is None else f"{value:.4f}"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    top = "<tr>" + "".join(f"<th>{escape(h)}</th>" for h in head) + "</tr>" if head else ""
    return "<table>" + top + "".join(_row(row) for row in rows) + "</table>"


def _row(row: Sequence[str]) -> str:
    return "<tr>" + "".join(f'<td class="{_style(cell)}">{escape(cell)}</td>' for cell in row) + "</tr>"


def _style(cell: str) -> str:
    return {"passed": "ok", "failed": "no"}.get(cell, "n" if cell[:1].isdigit() else "t")
