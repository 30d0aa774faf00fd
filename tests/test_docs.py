"""The manual says what is so: its options exist, its links lead somewhere, and its blocks marked `sh run` are run."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from scripts.commands_page import PAGE, commands, page

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
MANUAL = [p for p in PAGES if "decisions" not in p.parts and "results" not in p.parts and p != PAGE]
NAMES = set(commands())
# The same commands on less: what a page recommends takes minutes.
SMALLER = {
    "--train 240 --test 60": "--train 24 --test 12",
    "--minutes 3": "--minutes 0.02 --width 8",
    "--frames all": "--frames all --max-flips 1 --max-auroc-drop 1 --min-rank -1 --min-heatmap-iou 0",
}


def blocks(text: str, info: str) -> Iterator[str]:
    """Bodies of the fenced blocks whose info string matches `info`."""
    for block in re.finditer(rf"^```({info})\n(.*?)^```", text, re.M | re.S):
        yield block[2]


def typed(text: str) -> Iterator[list[str]]:
    """Every command of ours in a page, in its blocks and between backticks, as words."""
    lines = [line for body in blocks(text, "[a-z ]*") for line in body.replace("\\\n", " ").split("\n")]
    for line in [*lines, *re.findall(r"`(edge-[^`]+)`", text)]:
        words = line.removeprefix("$ ").split("#")[0].strip(" &")
        if words.split(" ")[0] in NAMES and "Options:" not in words:
            yield shlex.split(words)


def section(name: str) -> str:
    """What docs/commands.md says of one command."""
    found = re.search(rf"^## {name}\n(.*?)(?=^## |\Z)", PAGE.read_text(), re.M | re.S)
    assert found is not None, f"{name} is not in docs/commands.md"
    return found[1]


@pytest.mark.parametrize("path", MANUAL, ids=lambda p: str(p.relative_to(ROOT)))
def test_every_option_in_the_manual_exists(path: Path) -> None:
    for words in typed(path.read_text()):
        for word in words[1:]:
            option = word.split("=")[0]
            if option.startswith("--"):
                assert re.search(rf"{option}\b", section(words[0])), f"{path.name}: {' '.join(words)}: no {option}"


@pytest.mark.parametrize("path", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_every_link_leads_somewhere(path: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+?)(?:#[^)]*)?\)", path.read_text()):
        if "://" not in target:
            assert (path.parent / target).exists(), f"{path.name}: {target}"


def test_every_manual_page_is_reached_from_the_readme() -> None:
    seen, waiting = set(), [ROOT / "README.md"]
    while waiting:
        page_path = waiting.pop().resolve()
        if page_path in seen or page_path.suffix != ".md" or not page_path.exists():
            continue
        seen.add(page_path)
        links = re.findall(r"\]\(([^)#]+?)(?:#[^)]*)?\)", page_path.read_text())
        waiting += [page_path.parent / link for link in links if "://" not in link]
    assert not [str(p.relative_to(ROOT)) for p in PAGES if p.resolve() not in seen]


@pytest.mark.slow
def test_the_commands_page_is_what_the_commands_say() -> None:
    assert PAGE.read_text() == page(), "run python scripts/commands_page.py"


@pytest.mark.slow
def test_the_blocks_of_the_manual_run(tmp_path: Path) -> None:
    """Quickstart first: what it makes, the other pages use."""
    order = sorted(MANUAL, key=lambda p: (p.name != "quickstart.md", p.name))
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "OMP_NUM_THREADS": "2"}
    for path in order:
        for body in blocks(path.read_text(), "sh run"):
            for long, short in SMALLER.items():
                body = body.replace(long, short)
            done = subprocess.run(
                ["bash", "-euo", "pipefail", "-c", body], cwd=tmp_path, env=environment, capture_output=True, text=True
            )
            assert done.returncode == 0, f"{path.name}:\n{body}\n{done.stdout[-2000:]}\n{done.stderr[-3000:]}"
