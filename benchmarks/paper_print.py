"""Records of a table as markdown."""

from __future__ import annotations

from typing import Any

import numpy as np

Record = dict[str, Any]


def markdown(records: list[Record]) -> str:
    """paper | ours | control, one line per row and column; a mean over seeds with its deviation.

    Where a column has several rows, its mean over them follows, beside the paper's mean over the same rows.
    """
    lines = [
        "| normal | score | paper | ours | brightness alone | contrast alone |",
        "|---|---|---|---|---|---|",
    ]
    for row, column in dict.fromkeys((r["row"], r["column"]) for r in records):
        lines.append(_line(row, column, [r for r in records if (r["row"], r["column"]) == (row, column)]))
    for column in dict.fromkeys(r["column"] for r in records):
        mine = [r for r in records if r["column"] == column]
        if len({r["row"] for r in mine}) > 1:
            lines.append(_mean_line(column, mine))
    return "\n".join(lines)


def _line(row: str, column: str, mine: list[Record]) -> str:
    ours = [r["ours"] for r in mine]
    spread = f" ± {np.std(ours):.3f}" if len(ours) > 1 else ""
    return f"| {row} | {column} | {mine[0]['paper'] or '–'} | {np.mean(ours):.3f}{spread} | {_controls(mine)} |"


def _mean_line(column: str, mine: list[Record]) -> str:
    """Over rows, each of which counts once; the deviation is that between seeds, of the means over rows."""
    seeds = sorted({r["seed"] for r in mine})
    means = [np.mean([r["ours"] for r in mine if r["seed"] == seed]) for seed in seeds]
    spread = f" ± {np.std(means):.3f}" if len(means) > 1 else ""
    papers = [r["paper"] for r in mine]
    paper = "–" if None in papers else f"{np.mean(papers):.3f}"
    return f"| **mean** | {column} | {paper} | **{np.mean(means):.3f}**{spread} | {_controls(mine)} |"


def _controls(mine: list[Record]) -> str:
    return " | ".join(f"{np.mean([r[c] for r in mine]):.3f}" for c in ("brightness", "contrast"))


def folder_markdown(records: list[Record]) -> str:
    """One line per method, with and without brightness."""
    keys = ["image_auroc", "balanced_accuracy", "pixel_auroc", "aupro", "iou", "control_brightness_auroc"]
    keys += ["control_contrast_auroc"]
    lines = ["| method | brightness removed | " + " | ".join(keys) + " |", "|---" * (len(keys) + 2) + "|"]
    for r in records:
        cells = " | ".join("–" if r[key] is None else f"{r[key]:.3f}" for key in keys)
        lines.append(f"| {r['method']} | {'yes' if r['brightness removed'] else 'no'} | {cells} |")
    return "\n".join(lines)
