"""The pages, and how they are read.

Every block says what it is. `sh run` is typed by a test as it stands, on smaller numbers. `sh station` needs a board,
another machine, a server or a camera: a test types it with stand-ins for those (tests/docs/stand_ins.py). `toml` goes
through the station's own configuration, `json` is parsed; `yaml` is for Prometheus; `text`, `mermaid` hold no command.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

from scripts.commands_page import PAGE, commands

ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"
QUICKSTART = ROOT / "docs" / "quickstart.md"
PAGES = [README, *sorted((ROOT / "docs").rglob("*.md"))]
MANUAL = [p for p in PAGES if "decisions" not in p.parts and "results" not in p.parts and p != PAGE]
NAMES = set(commands())
KINDS = ("sh run", "sh station", "toml", "yaml", "json", "text", "mermaid")


def blocks(text: str, kinds: str) -> Iterator[tuple[str, str]]:
    """(kind, body) of the fenced blocks whose kind matches `kinds`, in their order."""
    for block in re.finditer(rf"^[ ]*```({kinds})\n(.*?)^[ ]*```", text, re.M | re.S):
        yield block[1], block[2]


def bodies(text: str, kinds: str) -> list[str]:
    """The same without the kinds."""
    return [body for _, body in blocks(text, kinds)]


def typed(text: str) -> Iterator[list[str]]:
    """Every command of ours in a page, in its blocks and between backticks, as words."""
    lines = [line for body in bodies(text, "[a-z ]*") for line in body.replace("\\\n", " ").split("\n")]
    for line in [*lines, *re.findall(r"`(edge-[^`]+)`", text)]:
        words = line.strip().removeprefix("$ ").split("#")[0].strip(" &")
        words = re.sub(r"^torchrun .*?(?=edge-)", "", words)
        if words.split(" ")[0] in NAMES and "Options:" not in words:
            yield shlex.split(words)


def name_of(path: Path) -> str:
    """A page by its path in the repository."""
    return str(path.relative_to(ROOT))


def section(name: str) -> str:
    """What docs/commands.md says of one command."""
    found = re.search(rf"^## {name}\n(.*?)(?=^## |\Z)", PAGE.read_text(), re.M | re.S)
    assert found is not None, f"{name} is not in docs/commands.md"
    return found[1]
