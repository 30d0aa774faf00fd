"""The README and the manual say what is so: options exist, links lead somewhere, settings are those of the station."""

from __future__ import annotations

import importlib
import json
import re
from pathlib import Path

import pytest

from edge.station.config import load_config
from edge.station.sinks import SINKS
from scripts.commands_page import PAGE, page
from tests.docs.book import KINDS, MANUAL, NAMES, PAGES, README, ROOT, bodies, name_of, section, typed


@pytest.mark.parametrize("path", MANUAL, ids=name_of)
def test_every_option_in_the_manual_exists(path: Path) -> None:
    for words in typed(path.read_text()):
        for word in words[1:]:
            option = word.split("=")[0]
            if option.startswith("--"):
                assert re.search(rf"{option}\b", section(words[0])), f"{path.name}: {' '.join(words)}: no {option}"


@pytest.mark.parametrize("path", PAGES, ids=name_of)
def test_every_link_leads_somewhere(path: Path) -> None:
    """To a file that is there, and to a heading that this file has."""
    for target, _, heading in (link.partition("#") for link in links(path)):
        there = path.parent / target if target else path
        assert there.exists(), f"{path.name}: {target}"
        assert not heading or heading in headings(there), f"{path.name}: {there.name} has no heading {heading}"


def links(path: Path) -> list[str]:
    """Targets of the links and pictures of a page that stay in the repository."""
    return [link for link in re.findall(r"\]\(([^)]+)\)", path.read_text()) if "://" not in link]


def headings(path: Path) -> set[str]:
    """Anchors that a page has: its headings in small letters, blanks as hyphens, without punctuation."""
    titles = re.findall(r"^#+ (.*)$", path.read_text(), re.M)
    return {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}


def test_every_page_is_reached_from_the_readme() -> None:
    seen, waiting = set(), [README]
    while waiting:
        page_path = waiting.pop().resolve()
        if page_path in seen or page_path.suffix != ".md" or not page_path.exists():
            continue
        seen.add(page_path)
        waiting += [page_path.parent / link.partition("#")[0] for link in links(page_path)]
    assert not [name_of(p) for p in PAGES if p.resolve() not in seen]


def test_every_picture_is_shown_somewhere() -> None:
    shown = {(path.parent / link).resolve() for path in PAGES for link in links(path)}
    assert not [name_of(p) for p in (ROOT / "docs" / "images").iterdir() if p.resolve() not in shown]


@pytest.mark.slow
def test_the_commands_page_is_what_the_commands_say() -> None:
    assert PAGE.read_text() == page(), "run python scripts/commands_page.py"


@pytest.mark.parametrize("path", MANUAL, ids=name_of)
def test_no_command_of_the_manual_escapes(path: Path) -> None:
    """Every block says what it is, and a command stands in no other block than those that are typed by a test."""
    text = path.read_text()
    fences = re.findall(r"^[ ]*```(.*)$", text, re.M)
    assert len(fences) % 2 == 0 and not any(fences[1::2])
    assert set(fences[::2]) <= set(KINDS), f"{path.name}: a block is none of {KINDS}"
    rest = re.sub(r"^[ ]*```sh (run|station)\n.*?^[ ]*```", "", text, flags=re.M | re.S)
    found = [line for line in rest.split("\n") if re.match(rf"[\s>]*(sudo )?({'|'.join(NAMES)})\b", line)]
    assert not found, f"{path.name}: not in a block `sh run` or `sh station`: {found}"


@pytest.mark.parametrize("path", MANUAL, ids=name_of)
def test_make_targets_of_the_manual_exist(path: Path) -> None:
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.M)
    in_blocks = re.findall(r"^\s*make ([a-z-]+)", "".join(bodies(path.read_text(), "sh .*")), re.M)
    assert set(in_blocks) | set(re.findall(r"`make ([a-z-]+)", path.read_text())) <= set(targets)


@pytest.mark.parametrize("path", MANUAL, ids=name_of)
def test_settings_of_the_manual_are_those_of_the_station(path: Path, tmp_path: Path) -> None:
    """Unknown keys are refused by the configuration, unknown listeners and their options here."""
    for body in bodies(path.read_text(), "toml"):
        (tmp_path / "station.toml").write_text(body)
        config = load_config(tmp_path / "station.toml", {})
        assert set(config.sinks) <= set(SINKS)
        for name, options in config.sink_options.items():
            assert set(options) <= importlib.import_module(SINKS[name].split(":")[0]).KNOWN, f"{path.name}: {name}"


@pytest.mark.parametrize("path", MANUAL, ids=name_of)
def test_json_in_the_manual_can_be_read(path: Path) -> None:
    for body in bodies(path.read_text(), "json"):
        json.loads(body)
