"""The manual says what is so: options exist, links lead somewhere, commands run, settings are those of the station.

Every block of the manual says what it is. `sh run` is run here, in a copy of what the quickstart left. `sh station`
needs a board, another machine, a server or many minutes: its options are checked here, and what the flashing blocks do
(bootstrap, flash, status, rollback, several hosts) is done by tests/export/flash over a real sshd. `toml` goes through
the station's own configuration, `json` is parsed; `yaml` is for Prometheus. `text` and `mermaid` hold no command.
"""

from __future__ import annotations

import importlib
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from edge.station.config import load_config
from edge.station.sinks import SINKS
from scripts.commands_page import PAGE, commands, page
from tests.edge.page.conftest import free_port

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
MANUAL = [p for p in PAGES if "decisions" not in p.parts and "results" not in p.parts and p != PAGE]
BOOK = [p for p in MANUAL if p != ROOT / "README.md"]
NAMES = set(commands())
WITH_SBIN = f"{os.environ['PATH']}:/usr/sbin"
KINDS = ("sh run", "sh station", "toml", "yaml", "json", "text", "mermaid")
QUICKSTART = ROOT / "docs" / "quickstart.md"
# The same commands on less: what a page recommends takes minutes.
SMALLER = {
    "--train 240 --test 60": "--train 24 --test 12",
    "--minutes 3": "--minutes 0.02 --width 8",
    "--frames all": "--frames all --max-flips 1 --max-auroc-drop 1 --min-rank -1 --min-heatmap-iou 0",
    "--width 16 --epochs 20": "--width 4 --epochs 1",
    "--resume --epochs 30": "--resume --epochs 2",
    "--out shared-run --epochs 20": "--out shared-run --image-size 64 --width 4 --epochs 1",
    "--compare": "--compare --frames 10",
    "--seconds 300": "--seconds 3",
    "simulate 200": "simulate 10",
}
PORTS = ("8080", "1884")  # of the page and of the broker; a free one is taken instead


def blocks(text: str, info: str) -> Iterator[str]:
    """Bodies of the fenced blocks whose info string matches `info`."""
    for block in re.finditer(rf"^[ ]*```({info})\n(.*?)^[ ]*```", text, re.M | re.S):
        yield block[2]


def typed(text: str) -> Iterator[list[str]]:
    """Every command of ours in a page, in its blocks and between backticks, as words."""
    lines = [line for body in blocks(text, "[a-z ]*") for line in body.replace("\\\n", " ").split("\n")]
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


@pytest.mark.parametrize("path", MANUAL, ids=name_of)
def test_every_option_in_the_manual_exists(path: Path) -> None:
    for words in typed(path.read_text()):
        for word in words[1:]:
            option = word.split("=")[0]
            if option.startswith("--"):
                assert re.search(rf"{option}\b", section(words[0])), f"{path.name}: {' '.join(words)}: no {option}"


@pytest.mark.parametrize("path", PAGES, ids=name_of)
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


@pytest.mark.parametrize("path", BOOK, ids=name_of)
def test_no_command_of_the_manual_escapes(path: Path) -> None:
    """Every block says what it is, and a command stands in no other block than those that are checked."""
    text = path.read_text()
    fences = re.findall(r"^[ ]*```(.*)$", text, re.M)
    assert len(fences) % 2 == 0 and not any(fences[1::2])
    assert set(fences[::2]) <= set(KINDS), f"{path.name}: a block is none of {KINDS}"
    rest = re.sub(r"^[ ]*```sh (run|station)\n.*?^[ ]*```", "", text, flags=re.M | re.S)
    found = [line for line in rest.split("\n") if re.match(rf"[\s$>]*(sudo )?({'|'.join(NAMES)})\b", line)]
    assert not found, f"{path.name}: not in a block `sh run` or `sh station`: {found}"


@pytest.mark.parametrize("path", BOOK, ids=name_of)
def test_make_targets_of_the_manual_exist(path: Path) -> None:
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.M)
    in_blocks = re.findall(r"^make ([a-z-]+)", "".join(blocks(path.read_text(), "sh .*")), re.M)
    assert set(in_blocks) | set(re.findall(r"`make ([a-z-]+)", path.read_text())) <= set(targets)


@pytest.mark.parametrize("path", BOOK, ids=name_of)
def test_settings_of_the_manual_are_those_of_the_station(path: Path, tmp_path: Path) -> None:
    """Unknown keys are refused by the configuration, unknown listeners and their options here."""
    for body in blocks(path.read_text(), "toml"):
        (tmp_path / "station.toml").write_text(body)
        config = load_config(tmp_path / "station.toml", {})
        assert set(config.sinks) <= set(SINKS)
        for name, options in config.sink_options.items():
            assert set(options) <= importlib.import_module(SINKS[name].split(":")[0]).KNOWN, f"{path.name}: {name}"


@pytest.mark.parametrize("path", BOOK, ids=name_of)
def test_json_in_the_manual_can_be_read(path: Path) -> None:
    for body in blocks(path.read_text(), "json"):
        json.loads(body)


def run_blocks(path: Path, folder: Path) -> None:
    """Type the `sh run` blocks of a page in `folder`; its home is beside it, and nothing is left running."""
    ports = {port: str(free_port()) for port in PORTS}
    for body in blocks(path.read_text(), "sh run"):
        for long, short in {**SMALLER, **ports}.items():
            body = body.replace(long, short)
        with (folder.parent / "output.txt").open("w+") as said:
            shell = ["bash", "-euo", "pipefail", "-c", body]
            process = subprocess.Popen(
                shell, cwd=folder, env=environment(folder), stdout=said, stderr=said, start_new_session=True
            )
            try:
                code = process.wait(timeout=600)
            finally:
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
            said.seek(0)
            assert code == 0, f"{path.name}:\n{body}\n{said.read()[-5000:]}"


def environment(folder: Path) -> dict[str, str]:
    """Ours, with a home and a place for temporary files beside `folder`, and the commands of this environment first."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("EDGE_", "XDG_"))}
    places = {name: folder.parent / name.lower() for name in ("HOME", "TMPDIR")}
    for place in places.values():
        place.mkdir(exist_ok=True)
    path = f"{Path(sys.executable).parent}:{WITH_SBIN}"
    return {**kept, **{name: str(place) for name, place in places.items()}, "PATH": path, "OMP_NUM_THREADS": "2"}


@pytest.fixture(scope="module")
def quickstart(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the quickstart leaves: pictures, run, bundle, clip, events."""
    folder = tmp_path_factory.mktemp("manual") / "work"
    folder.mkdir()
    run_blocks(QUICKSTART, folder)
    return folder


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_the_quickstart_runs(quickstart: Path) -> None:
    names = {p.name for p in quickstart.iterdir()}
    assert {"bolts", "run", "bolt.edge", "camera.mp4", "events", "report.html"} <= names


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("path", [p for p in MANUAL if p != QUICKSTART and "```sh run" in p.read_text()], ids=name_of)
def test_the_blocks_of_a_page_run(path: Path, quickstart: Path, tmp_path: Path) -> None:
    """Each page alone, with what the quickstart left."""
    for program, package in {"mosquitto": "mosquitto", "curl": "curl"}.items():
        if re.search(rf"^{program} ", path.read_text(), re.M) and not shutil.which(program, path=WITH_SBIN):
            pytest.skip(f"sudo apt install {package}")
    shutil.copytree(quickstart, tmp_path / "work")
    run_blocks(path, tmp_path / "work")
