"""Quality over latency: image AUROC of each method on a set, over the exported graph's time on one CPU thread.

    python -m benchmarks.frontier point RUN DATA --name "attention, width 24" --minutes 12 [--remove-brightness]
    python -m benchmarks.frontier peer ganomaly DATA --python ENVIRONMENT/bin/python --minutes 6
    python -m benchmarks.frontier time
    python -m benchmarks.frontier draw

`point` evaluates a trained run, `peer` trains one of anomalib's models in an environment of its own (a fresh one with
`pip install anomalib`); both write an entry to --json and keep the graph in --graphs. `time` measures all graphs in
turn with ONNX Runtime on one thread (wall clock: keep the machine quiet). `draw` makes the picture from --json and from
the paper methods' entries in docs/results/methods.json: each has name, set, image_auroc, p50_ms and minutes.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import torch
from numpy.typing import NDArray

from benchmarks.graphs import frames, in_turn, onnxruntime_call
from edge.files import atomic_path, write_atomic
from export.graph import graph_from_scorer
from export.rewrites.table import rewritten
from train.checkpoint import load_run
from train.evaluate import evaluate
from train.subject import RunSubject

Entry = dict[str, Any]
DOCS = Path(__file__).parents[1] / "docs"
PEERS = {"ganomaly": "anomalib GANomaly", "draem": "anomalib DRAEM"}
CONTROLS = {
    "control_brightness_auroc": ("brightness alone", ":", "0.4"),
    "control_contrast_auroc": ("contrast alone", "--", "0.4"),
}
MARKS = "osv^D<>pPXhd"


def main(arguments: Sequence[str]) -> int:
    """Run one of the four."""
    given = _parser().parse_args(arguments)
    torch.set_num_threads(1)
    {"point": point, "peer": peer, "time": timed, "draw": draw}[given.what](given)
    return 0


def point(given: argparse.Namespace) -> None:
    """Evaluate RUN on DATA and keep its graph."""
    run, data = load_run(Path(given.subject)), given.data
    figures = evaluate(RunSubject(run), data, given.remove_brightness).figures
    graph = rewritten(graph_from_scorer(run.scorer(), run.preprocessing))
    write_atomic(_graph(given, given.name), graph.SerializeToString())
    spec = run.preprocessing
    _add(
        given.json,
        {
            "name": given.name,
            "set": given.set or data.name,
            "brightness_removed": given.brightness_removed or given.remove_brightness,
            "image_auroc": round(float(figures["image_auroc"] or 0.0), 4),
            "p50_ms": None,
            "minutes": given.minutes,
            "image_size": spec.width,
            "parameters": run.parameters,
            **{key: round(float(figures[key] or 0.0), 4) for key in CONTROLS},
        },
    )


def peer(given: argparse.Namespace) -> None:
    """Train one of anomalib's models on DATA in its own environment and keep its graph."""
    out, script = given.graphs / "peers", Path(__file__).with_name("peer_training.py")
    command = [given.python, str(script), given.subject, str(given.data), str(out), "--size", str(given.size)]
    command += [
        "--cpu-minutes",
        str(given.minutes),
        "--batch-size",
        str(given.batch_size),
        "--precision",
        given.precision,
    ]
    done = subprocess.run(command, check=False, stdout=subprocess.PIPE, text=True)
    if done.returncode:
        sys.exit(f"{given.python} cannot train {given.subject}: pip install anomalib there")
    found = json.loads(done.stdout.strip().splitlines()[-1])
    name = PEERS[given.subject]
    write_atomic(_graph(given, name), (out / f"{given.subject}.onnx").read_bytes())
    place = {"set": given.set or given.data.name, "brightness_removed": given.brightness_removed}
    _add(given.json, {"name": name, **place, "p50_ms": None, "image_size": given.size, **found})


def timed(given: argparse.Namespace) -> None:
    """Median milliseconds of each graph, in turn, so that a disturbance hits all alike."""
    entries = _entries(given.json)
    files = {name: _graph(given, name) for name in dict.fromkeys(e["name"] for e in entries)}
    calls = {name: _call(onnx.load(file)) for name, file in files.items() if file.exists()}
    times = in_turn(calls, np.arange(4, dtype=np.uint8), given.rounds, cpu_time=False)
    medians = {name: round(float(np.median(values)), 2) for name, values in times.items()}
    _write(given.json, [{**e, "p50_ms": medians.get(e["name"], e["p50_ms"])} for e in entries])
    print(json.dumps(medians, indent=1))


def draw(given: argparse.Namespace) -> None:
    """The picture: a panel for each set, paper methods small, ours and the peers large."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    papers = [e for e in _entries(given.papers) if _usable(e)]
    ours = [e for e in _entries(given.json) if _usable(e)]
    sets = list(dict.fromkeys(_label(e) for e in ours))
    figure = Figure(figsize=(4.2 * len(sets) + 3.4, 6.0), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(1, len(sets), sharex=True, sharey=True, squeeze=False)[0]
    styles = _styles([e["name"] for e in papers], [e["name"] for e in ours])
    for axis, label in zip(axes, sets, strict=True):
        for entry in (e for e in (*papers, *ours) if _label(e) == label):
            axis.plot(entry["p50_ms"], entry["image_auroc"], **styles[entry["name"]])
        axis.set(xscale="log", title=label, xlabel="ms per frame, median, one CPU thread", ylim=(0.0, 1.02))
        for level, line, colour in _levels([e for e in (*papers, *ours) if _label(e) == label]):
            axis.axhline(level, color=colour, linestyle=line, linewidth=1, zorder=0)
        axis.grid(alpha=0.25)
        axis.xaxis.set_major_formatter("{x:g}")
        axis.xaxis.set_minor_formatter("")
    axes[0].set_ylabel("image AUROC")
    figure.supxlabel(given.note, fontsize=8)
    figure.legend(handles=[*_handles(styles), *_line_handles()], loc="outside right center", fontsize=8, frameon=False)
    given.out.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(given.out) as part:
        figure.savefig(part, format="png")


def _styles(papers: Sequence[str], ours: Sequence[str]) -> dict[str, dict[str, Any]]:
    """How each method is drawn: paper methods in soft colours, anomalib's black, ours red with a width's own mark."""
    from matplotlib import colormaps

    styles: dict[str, dict[str, Any]] = {}
    for number, name in enumerate(dict.fromkeys(ours)):
        peer = name in PEERS.values()
        mark = "*" if not peer and not any(s["marker"] == "*" for s in styles.values()) else MARKS[number % len(MARKS)]
        styles[name] = {
            "color": "black" if peer else "crimson",
            "marker": mark,
            "markersize": 15 if mark == "*" else 10,
        }
    for number, name in enumerate(dict.fromkeys(papers)):
        colour = colormaps["tab20"](number % 20)
        styles.setdefault(name, {"color": colour, "marker": MARKS[number % len(MARKS)], "markersize": 6})
    return {name: {"linestyle": "none", "label": name, **style} for name, style in styles.items()}


def _handles(styles: dict[str, dict[str, Any]]) -> list[Any]:
    from matplotlib.lines import Line2D

    return [Line2D([], [], **{**style, "markersize": min(10, style["markersize"])}) for style in styles.values()]


def _levels(entries: Sequence[Entry]) -> list[tuple[float, str, str]]:
    """(AUROC, line style, colour) of guessing and of the set's controls: the better side of each."""
    levels = [(0.5, "-", "0.8")]
    for key, (_, line, colour) in CONTROLS.items():
        known = next((e[key] for e in entries if e.get(key) is not None), None)
        if known is not None:
            levels.append((max(known, 1 - known), line, colour))
    return levels


def _line_handles() -> list[Any]:
    from matplotlib.lines import Line2D

    lines = [("guessing", "-", "0.8"), *CONTROLS.values()]
    return [Line2D([], [], linestyle=line, color=colour, linewidth=1, label=label) for label, line, colour in lines]


def _call(model: onnx.ModelProto) -> Callable[[NDArray[Any]], Any]:
    """Our graph takes bytes as a station gives them; a peer takes floats, whose conversion is timed with it."""
    taken = model.graph.input[0].type.tensor_type
    shape = [d.dim_value for d in taken.shape.dim]
    if taken.elem_type == onnx.TensorProto.UINT8:
        ours, (height, width, channels) = onnxruntime_call(model, 1), shape[1:]
        pictures = frames(max(height, width))[:, :height, :width, :channels].copy()
        return lambda number: ours(pictures[int(number)])
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    name, pictures = model.graph.input[0].name, frames(shape[2])
    return lambda number: session.run(
        None, {name: pictures[int(number)].transpose(2, 0, 1)[None].astype(np.float32) / np.float32(255)}
    )


def _usable(entry: Entry) -> bool:
    return entry.get("p50_ms") is not None and entry.get("image_auroc") is not None


def _label(entry: Entry) -> str:
    return str(entry["set"]) + (", brightness removed" if entry.get("brightness_removed") else "")


def _graph(given: argparse.Namespace, name: str) -> Path:
    file: Path = given.graphs / f"{name.replace(' ', '-').replace(',', '')}.onnx"
    file.parent.mkdir(parents=True, exist_ok=True)
    return file


def _entries(file: Path) -> list[Entry]:
    found: list[Entry] = json.loads(file.read_text()) if file.exists() else []
    return found


def _add(file: Path, entry: Entry) -> None:
    """Write `entry`, in place of an older one of the same name and set."""
    others = [e for e in _entries(file) if (e["name"], _label(e)) != (entry["name"], _label(entry))]
    _write(file, [*others, entry])
    print(json.dumps(entry), flush=True)


def _write(file: Path, entries: list[Entry]) -> None:
    write_atomic(file, ("[\n" + ",\n".join(json.dumps(entry) for entry in entries) + "\n]\n").encode())


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("point", "peer", "time", "draw"))
    parser.add_argument("subject", nargs="?", help="a trained run, or ganomaly or draem")
    parser.add_argument("data", type=Path, nargs="?", help="folder in MVTec layout")
    parser.add_argument("--name", default="attention")
    parser.add_argument("--set", help="the set's name, if the folder has another")
    parser.add_argument("--minutes", type=float, default=6.0, help="CPU minutes of training")
    parser.add_argument("--remove-brightness", action="store_true", help="from every test image")
    parser.add_argument("--brightness-removed", action="store_true", help="DATA was made without brightness")
    parser.add_argument("--python", default=sys.executable, help="an interpreter that has anomalib")
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--precision", default="32-true", help="of a peer's training, as Lightning names it")
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--note", default="", help="small print under the picture")
    parser.add_argument("--json", type=Path, default=DOCS / "results" / "frontier.json")
    parser.add_argument("--papers", type=Path, default=DOCS / "results" / "methods.json")
    parser.add_argument("--graphs", type=Path, default=Path("frontier-graphs"))
    parser.add_argument("--out", type=Path, default=DOCS / "images" / "frontier.png")
    return parser


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
