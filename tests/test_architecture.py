"""docs/architecture.md draws exactly the imports between our packages that the code has."""

from __future__ import annotations

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
ARCHITECTURE = ROOT / "docs" / "architecture.md"
PACKAGES = {"edge", "export", "calib", "firmware_bridge", "train"}


def _imports(package: str) -> set[str]:
    found: set[str] = set()
    for file in (ROOT / package).rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Import):
                found |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                found.add(node.module.split(".")[0])
    return (found & PACKAGES) - {package}


def test_the_picture_shows_every_import_and_no_other() -> None:
    block = re.search(r"```mermaid\n(.*?)```", ARCHITECTURE.read_text(), re.S)
    assert block is not None
    drawn = set(re.findall(r"(\w+) --> (\w+)", block[1]))
    assert drawn == {(package, other) for package in PACKAGES for other in _imports(package)}


def test_only_the_composition_root_of_edge_knows_the_wire() -> None:
    knowing = {
        str(file.relative_to(ROOT))
        for file in (ROOT / "edge").rglob("*.py")
        if re.search(r"^\s*(from|import) firmware_bridge", file.read_text(), re.M)
    }
    assert knowing <= {"edge/station/outputs.py"}


def test_init_files_are_empty() -> None:
    assert not [f for p in PACKAGES for f in (ROOT / p).rglob("__init__.py") if f.read_text().strip()]


def test_every_folder_of_edge_and_train_is_described() -> None:
    described = set(re.findall(r"`(\w+)`", "".join(re.findall(r"^\| (`\w+`.*?) \|", ARCHITECTURE.read_text(), re.M))))
    folders = {p.parent.name for package in ("edge", "train") for p in (ROOT / package).glob("*/__init__.py")}
    assert folders <= described
    assert described - folders <= PACKAGES
