"""What `make demo` runs: on bolts that it draws, on a plain folder of pictures of mixed sizes, and what it refuses."""

from __future__ import annotations

import itertools
import shutil
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from edge.cli.base import run
from edge.errors import InputError
from edge.images import read_image, write_png
from scripts.demo_camera import HOLD, Part, make_camera, parts_of_clip, summary
from train.bolts import draw_scene, render
from train.cli.bolts import command as bolts

ROOT = Path(__file__).parents[1]
ANY = "--max-flips 1 --max-auroc-drop 1 --min-rank -1 --min-heatmap-iou 0"


def demo(*words: object) -> tuple[int, str]:
    """Exit code and everything said."""
    command = [sys.executable, "-m", "scripts.demo", *map(str, words)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr


def plain_folder(folder: Path, count: int) -> Path:
    """Good bolts as a user might have them: a flat folder, sizes and formats mixed, blanks in the names."""
    folder.mkdir()
    for n in range(count):
        image, _ = render(draw_scene(np.random.default_rng(n), None), (96, 128, 160)[n % 3])
        assert cv2.imwrite(str(folder / f"part {n:03}{('.png', '.jpg', '.BMP')[n % 3]}"), image)
    return folder


def test_the_camera_shows_each_part_for_some_frames_and_none_twice_the_same(tmp_path: Path) -> None:
    assert run(bolts, [str(tmp_path / "bolts"), "--train", "4", "--test", "12", "--size", "64"]) == 0
    parts = make_camera(tmp_path / "bolts", tmp_path / "camera")
    assert [p.bad for p in parts] == [False, False, False, True] * 6 + [False] * 3
    kinds = [p.name.split("/")[0] for p in parts if p.bad]
    assert len(set(kinds[:5])) == 5, "one of each kind before a second of any"
    frames = [read_image(path) for path in sorted((tmp_path / "camera").iterdir())]
    assert len(frames) == HOLD * len(parts)
    assert all((one != other).any() for one, other in itertools.pairwise(frames))


def test_a_folder_without_bad_pictures_gets_a_stroke_and_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    parts = make_camera(plain_folder(tmp_path / "plain", 20), tmp_path / "camera")
    assert sum(p.bad for p in parts) == 3
    assert "holds no bad pictures: the demo draws a stroke on 3 good ones" in capsys.readouterr().out


def test_what_passed_is_held_against_the_alarms() -> None:
    parts = [Part("a", False, 4), Part("b", True, 4), Part("c", False, 4), Part("d", True, 4)]
    said = summary(parts, [5, 8])
    assert said == "2 bad parts passed, 1 raised an alarm, missed: d\n2 good parts passed, 1 raised a false alarm: c"


def test_a_clip_says_what_it_shows(tmp_path: Path) -> None:
    words = "--train 1 --test 0 --size 64 --bolts 5 --hold 3".split()
    assert run(bolts, [str(tmp_path / "bolts"), *words, "--clip", str(tmp_path / "camera.mp4")]) == 0
    parts = parts_of_clip(tmp_path / "camera.json")
    assert [p.bad for p in parts] == [False, False, False, True, False] and {p.frames for p in parts} == {3}


def test_a_folder_that_is_not_a_demo_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    code, said = demo("--out", tmp_path)
    assert code == 2 and "not empty" in said and len(said.splitlines()) == 1
    assert (tmp_path / "mine.txt").read_text() == "mine"


@pytest.mark.parametrize("made", [None, "empty", "one", "text"])
def test_data_that_is_none_is_told_in_one_line(tmp_path: Path, made: str | None) -> None:
    data = tmp_path / "data"
    if made is not None:
        data.mkdir()
    if made == "one":
        write_png(data / "a.png", np.zeros((32, 32), np.uint8))
    if made == "text":
        (data / "a.png").write_text("no picture")
        (data / "b.png").write_text("no picture")
    with pytest.raises(InputError):
        make_camera(data, tmp_path / "camera")
    assert not (tmp_path / "camera").exists()


def test_the_one_line_is_the_only_one(tmp_path: Path) -> None:
    code, said = demo("--data", tmp_path / "none", "--out", tmp_path / "demo")
    assert code == 3 and said.startswith("error: no data folder") and len(said.splitlines()) == 1


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_demo_on_bolts(tmp_path: Path) -> None:
    out = tmp_path / "demo"
    code, said = demo("--out", out, "--epochs", 2, "--bolts", 24, "--calibrate", ANY)
    assert code == 0, said
    assert "4 bad parts passed" in said and "16 good parts passed" in said and "hello from station" in said
    assert {"bolts", "bolt.edge", "report.html", "bolt.html", "events"} <= {p.name for p in out.iterdir()}
    code, said = demo("--out", out, "--data", tmp_path / "none")
    assert code == 3 and not (out / "bolts").exists(), "an earlier demo is replaced"


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_demo_on_a_plain_folder(tmp_path: Path) -> None:
    data, out = plain_folder(tmp_path / "my parts", 24), tmp_path / "demo"
    code, said = demo("--data", data, "--out", out, "--epochs", 2, "--calibrate", ANY)
    assert code == 0, said
    assert "3 bad parts passed" in said and "12 good parts passed" in said
    assert "FAULT camera" not in said, "sizes may differ"
    assert (out / "part.html").exists()
    shutil.rmtree(out)
