"""Pages that stand alone: no scripts, no links, pictures inside, and they print well. Everything is escaped here."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape

STYLE = """
@page { margin: 15mm; }
body { font: 15px/1.5 system-ui, "DejaVu Sans", sans-serif; color: #17212a; background: #fff; max-width: 66rem;
  margin: 2rem auto; padding: 0 1.2rem; }
h1 { font-size: 1.7rem; margin: 0; } h2 { font-size: 1.15rem; margin: 2.2rem 0 .6rem; break-after: avoid; }
.sub { color: #566570; margin: .2rem 0 1.4rem; overflow-wrap: anywhere; }
.numbers { display: flex; flex-wrap: wrap; gap: .8rem; margin: 0; }
.numbers div { border: 1px solid #ccd4da; border-radius: 8px; padding: .6rem 1rem; min-width: 8rem; }
.numbers dt { color: #566570; font-size: .82rem; } .numbers dd { margin: 0; font-size: 1.6rem; font-weight: 650; }
.numbers .bad dd { color: #b01c26; }
table { border-collapse: collapse; width: 100%; margin-bottom: 1.2rem; font-size: .9rem;
  font-variant-numeric: tabular-nums; }
th, td { text-align: left; padding: .35rem .6rem; border-bottom: 1px solid #dde3e7; vertical-align: top;
  overflow-wrap: anywhere; }
th { color: #566570; font-weight: 600; white-space: nowrap; } tr { break-inside: avoid; }
figure { display: inline-block; width: 15rem; margin: 0 .9rem 1rem 0; vertical-align: top; break-inside: avoid; }
figure img { width: 100%; border-radius: 6px; display: block; } figcaption { font-size: .85rem; margin-top: .3rem; }
.note { color: #566570; font-size: .88rem; } svg { width: 100%; height: auto; }
.yes { color: #1f7a4d; font-weight: 600; } .no { color: #b01c26; font-weight: 600; }
footer { margin-top: 3rem; color: #566570; font-size: .82rem; border-top: 1px solid #dde3e7; padding-top: .6rem; }
@media print { body { margin: 0; max-width: none; font-size: 11pt; } th, td { font-size: 9.5pt; } }
"""


@dataclass(frozen=True, slots=True)
class Raw:
    """Markup of ours, which is not escaped again."""

    markup: str


def page(title: str, subtitle: str, parts: Iterable[Raw], footer: str) -> str:
    """A whole document."""
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<style>{STYLE}</style></head>\n<body><h1>{escape(title)}</h1>"
        f'<p class="sub">{escape(subtitle)}</p>\n'
        + "\n".join(part.markup for part in parts)
        + f"\n<footer>{escape(footer)}</footer></body></html>\n"
    )


def section(title: str, *parts: Raw) -> Raw:
    """A heading and what belongs to it."""
    return Raw(f"<section><h2>{escape(title)}</h2>{''.join(part.markup for part in parts)}</section>")


def text(content: str, *, note: bool = False) -> Raw:
    """A paragraph."""
    return Raw(f"<p{' class=note' if note else ''}>{escape(content)}</p>")


def numbers(pairs: Iterable[tuple[str, str, bool]]) -> Raw:
    """The few figures that matter: (name, value, whether it is bad)."""
    cells = (
        f"<div{' class=bad' if bad else ''}><dt>{escape(name)}</dt><dd>{escape(value)}</dd></div>"
        for name, value, bad in pairs
    )
    return Raw(f'<dl class="numbers">{"".join(cells)}</dl>')


def table(head: Sequence[str], rows: Iterable[Sequence[str | Raw]]) -> Raw:
    """A table; without a head the first cell of each row is one."""
    top = f"<thead><tr>{''.join(f'<th>{escape(h)}</th>' for h in head)}</tr></thead>" if any(head) else ""
    body = "".join(f"<tr>{''.join(_cell(cell, i, any(head)) for i, cell in enumerate(row))}</tr>" for row in rows)
    return Raw(f"<table>{top}<tbody>{body}</tbody></table>")


def figure(picture: bytes, kind: str, caption: str) -> Raw:
    """A picture (its bytes, its media type) with its caption."""
    source = f"data:{kind};base64,{base64.b64encode(picture).decode()}"
    return Raw(
        f'<figure><img src="{source}" alt="{escape(caption)}"><figcaption>{escape(caption)}</figcaption></figure>'
    )


def mark(good: bool, words: str) -> Raw:
    """Words in green or red, with a sign that prints in black and white."""
    return Raw(f'<span class="{"yes" if good else "no"}">{"✓" if good else "✗"} {escape(words)}</span>')


def bars(title: str, values: Sequence[tuple[str, float]]) -> Raw:
    """A bar chart of (label, value >= 0)."""
    top = max((value for _, value in values), default=0.0) or 1.0
    width, height = 920, 150
    step = width / max(1, len(values))
    every = max(1, len(values) // 12)
    parts = [f'<svg viewBox="-20 0 {width + 20} {height + 26}" role="img" aria-label="{escape(title)}">']
    parts.append(f'<path d="M0 {height} H{width}" stroke="#ccd4da"/>')
    for n, (label, value) in enumerate(values):
        tall = (height - 18) * value / top
        x, middle = n * step, (n + 0.5) * step
        if value:
            parts.append(
                f'<rect x="{x + 0.12 * step:.1f}" y="{height - tall:.1f}" width="{0.76 * step:.1f}" '
                f'height="{tall:.1f}" rx="2" fill="#c3202b"/>'
            )
            parts.append(_label(middle, height - tall - 4, "#17212a", f"{value:g}"))
        if n % every == 0:
            parts.append(_label(middle, height + 17, "#566570", label))
    return Raw("".join(parts) + "</svg>")


def _label(x: float, y: float, colour: str, words: str) -> str:
    place = f'x="{x:.1f}" y="{y:.1f}" font-size="12" text-anchor="middle" fill="{colour}"'
    return f"<text {place}>{escape(words)}</text>"


def _cell(cell: str | Raw, index: int, has_head: bool) -> str:
    if isinstance(cell, Raw):
        return f"<td>{cell.markup}</td>"
    if index == 0 and not has_head:
        return f"<th>{escape(cell)}</th>"
    return f"<td>{escape(cell)}</td>"
