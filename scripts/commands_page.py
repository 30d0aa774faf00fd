"""Writes docs/commands.md: what every command says of itself. `python scripts/commands_page.py` after a change.

tests/docs/test_manual.py compares the page with the commands, and every option in the other pages with this one.
"""

from __future__ import annotations

import configparser
import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "commands.md"
HEAD = """# Commands

Every command and every option, as the commands print them. Exit codes: 0 done, 2 usage, 3 bad input or config, 4 a
check failed (parity, gate, golden, signature), 5 a device or back end is missing, 130 interrupted.
"""


def commands() -> list[str]:
    """The console scripts that setup.cfg declares, in its order."""
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    return re.findall(r"^(edge-[a-z]+) =", config["options.entry_points"]["console_scripts"], re.M)


def page() -> str:
    """The whole page, made from the commands' own words."""
    return HEAD + "".join(f"\n## {name}\n\n{_helps(name)}" for name in commands())


def _helps(name: str) -> str:
    text = _help([name])
    listed = re.search(r"^Commands:\n((?:  .*\n)+)", text, re.M)
    parts = re.findall(r"^  ([a-z][a-z-]*)", listed[1], re.M) if listed else []
    return "\n".join(f"```\n{block}```\n" for block in [text, *(_help([name, part]) for part in parts)])


def _help(command: list[str]) -> str:
    """--help at a width of 100, without colours, with the trailing blanks removed."""
    environment = {**os.environ, "COLUMNS": "100", "TERMINAL_WIDTH": "100", "NO_COLOR": "1", "EDGE_HELP": "1"}
    done = subprocess.run(
        [str(Path(sys.executable).with_name(command[0])), *command[1:], "--help"],
        capture_output=True,
        text=True,
        env=environment,
        check=True,
    )
    return "\n".join(line.rstrip() for line in done.stdout.strip("\n").split("\n")) + "\n"


if __name__ == "__main__":
    PAGE.write_text(page())
    print(f"{PAGE.relative_to(ROOT)}: {len(commands())} commands")
