"""Whether parts are located is decided from normal pictures; the way from training to the bundle keeps to it."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import pytest

from calib.frames import Frames as CalibrationFrames
from calib.frames import require_familiar
from edge.bundle import open_bundle
from edge.cli.base import run
from edge.dataset import list_dataset
from edge.errors import InputError
from edge.images import read_image, write_png
from edge.locate import laid_back, view_of
from edge.preprocess import Preprocessing, Region, prepared
from edge.station.events import EventStore
from export.bundle import Request as ExportRequest
from export.bundle import export_bundle
from tests.edge.station.running import ENGINE, run_to_end
from tests.edge.test_locate import tack
from train.boltset import write_dataset
from train.checkpoint import load_run
from train.cli.eval import command as eval_command
from train.cli.train import command
from train.evaluate import evaluate
from train.locating import agreement, located
from train.subject import BundleSubject, RunSubject

PLAIN = Preprocessing(height=96, width=96, colour="grey")
TINY = ["--image-size", "96", "--width", "4", "--batch-size", "4", "--epochs", "3", "--threads", "1", "--device", "cpu"]


def loose_parts(folder: Path, normal: int = 24, test: int = 4) -> Path:
    """Parts that lie anywhere at any angle, in MVTec layout; the bad ones have a bright spot."""
    random = np.random.default_rng(7)
    for name, count in (("train/good", normal), ("test/good", test), ("test/spot", test)):
        (folder / name).mkdir(parents=True)
        (folder / "ground_truth/spot").mkdir(parents=True, exist_ok=True)
        for number in range(count):
            angle, place = random.uniform(-np.pi, np.pi), tuple(random.uniform(64, 96, 2))
            picture = tack(angle, place)[:, :, 0]
            if name == "test/spot":
                spot = np.zeros_like(picture)
                middle = (round(place[0] + 20 * np.cos(angle)), round(place[1] + 20 * np.sin(angle)))
                cv2.circle(spot, middle, 3, 255, -1)
                picture = np.where(spot > 0, np.uint8(230), picture)
                cv2.imwrite(str(folder / f"ground_truth/spot/{number:03}_mask.png"), spot)
            grain = random.normal(0, 3, picture.shape)
            cv2.imwrite(str(folder / name / f"{number:03}.png"), np.clip(picture + grain, 0, 255).astype(np.uint8))
    return folder


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return loose_parts(tmp_path_factory.mktemp("loose") / "parts")


def test_loose_parts_are_located(parts: Path) -> None:
    spec, why = located(PLAIN, list_dataset(parts).train_normal, 32)
    assert spec is not None and spec.locate is not None, why
    assert spec.locate.turned and spec.width > spec.height
    assert spec.height % 32 == spec.width % 32 == 0 and spec.height * spec.width <= 1.05 * 96 * 96
    views = [prepared(read_image(path), spec).frame for path in list_dataset(parts).train_normal]
    assert agreement(views) > 0.95


def test_half_a_part_is_none(parts: Path) -> None:
    spec, _ = located(PLAIN, list_dataset(parts).train_normal, 32)
    assert spec is not None and spec.locate is not None
    half = tack(0.0, (80.0, 80.0))
    half[:, 80:] = 190
    middle = view_of(None, spec.locate, (spec.height, spec.width))
    assert np.allclose(prepared(half, spec).place, middle)
    assert not np.allclose(prepared(tack(0.0, (80.0, 80.0)), spec).place, middle)


def test_a_region_is_looked_at_alone(parts: Path, tmp_path: Path) -> None:
    """Beside the region there is something that would be taken for the part."""
    paths = []
    for number, path in enumerate(list_dataset(parts).train_normal):
        picture = np.full((200, 400), 60, np.uint8)
        picture[20:180, 200:360] = read_image(path)
        paths.append(tmp_path / f"{number}.png")
        cv2.imwrite(str(paths[-1]), picture)
    region = Region(x=200, y=20, width=160, height=160)
    spec, why = located(PLAIN.model_copy(update={"region": region}), paths, 32)
    assert spec is not None and spec.region == region, why
    assert located(PLAIN, paths, 32)[0] is None


def test_several_parts_in_a_picture_are_all_looked_at(parts: Path, tmp_path: Path) -> None:
    paths = list_dataset(parts).train_normal
    for number, (one, other) in enumerate(pairwise(paths)):
        cv2.imwrite(str(tmp_path / f"{number}.png"), np.hstack([read_image(one), read_image(other)]))
    spec, why = located(PLAIN, sorted(tmp_path.iterdir()), 32)
    assert spec is None and "no single part" in why


@pytest.mark.parametrize(("pieces", "expected"), [(1, True), (2, False)])
def test_coloured_rods_are_located_but_not_if_they_are_in_pieces(pieces: int, expected: bool, tmp_path: Path) -> None:
    """Equal colours are no agreement; and what would be painted over might be a piece of the part."""
    random = np.random.default_rng(1)
    for number in range(20):
        picture = np.full((160, 160, 3), (150, 90, 60), np.uint8)
        angle, middle = random.uniform(0, np.pi), random.uniform(60, 100, 2)
        ends = middle + np.outer([-50, -14, 14, 50], (np.cos(angle), np.sin(angle)))
        for start, end in [(ends[0], ends[3])] if pieces == 1 else [(ends[0], ends[1]), (ends[2], ends[3])]:
            cv2.line(picture, start.round().astype(int).tolist(), end.round().astype(int).tolist(), (180, 200, 205), 5)
        cv2.imwrite(str(tmp_path / f"{number:02}.png"), picture)
    spec, why = located(PLAIN.model_copy(update={"colour": "bgr"}), sorted(tmp_path.iterdir()), 32)
    assert (spec is not None) == expected, why


def test_parts_in_a_fixture_stay_as_they_are(tmp_path: Path) -> None:
    write_dataset(tmp_path / "bolts", 12, 0, 64, seed=0)
    paths = list_dataset(tmp_path / "bolts").train_normal
    assert located(Preprocessing(height=64, width=64, colour="bgr"), paths, 32)[0] is None


def test_textures_stay_as_they_are(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    for number in range(12):
        noise = cv2.GaussianBlur(random.normal(120, 60, (64, 64)), (0, 0), 1.5)
        cv2.imwrite(str(tmp_path / f"{number}.png"), np.clip(noise, 0, 255).astype(np.uint8))
    assert located(PLAIN, sorted(tmp_path.iterdir()), 32)[0] is None


def test_real_pictures(real_data: Path) -> None:
    """Screws at any angle are located, tiles that fill the picture are not."""
    wide = Preprocessing(height=256, width=256, colour="grey")
    screws, why = located(wide, list_dataset(real_data / "mvtec_screw").train_normal, 32)
    assert screws is not None and screws.locate is not None and screws.locate.turned, why
    assert screws.width > 2 * screws.height
    assert located(wide, list_dataset(real_data / "magnetic_tile").train_normal, 32)[0] is None


def test_from_training_to_the_bundle(parts: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    folder, bundle = tmp_path / "run", tmp_path / "part.edge"
    assert run(command, ["--data", str(parts), "--out", str(folder), *TINY]) == 0
    assert "laid straight" in capfd.readouterr().out
    trained = load_run(folder)
    spec = trained.preprocessing
    assert spec.locate is not None and trained.record.method == "attention"

    found = evaluate(RunSubject(trained), parts)
    assert found.test.wholes is not None and len(found.test.wholes) == len(found.test.paths)
    spot = next(i for i, kind in enumerate(found.test.kinds) if kind == "spot")
    whole, view = found.test.wholes[spot], found.test.masks[spot]
    assert whole.size == (160, 160) and whole.mask is not None and view is not None and view.any()
    back = whole.heatmap(view.astype(np.float32)) > 0.5
    assert (back & whole.mask).sum() > 0.5 * (back | whole.mask).sum(), "heat maps are laid back where they were seen"

    export_bundle(ExportRequest(trained, bundle))
    opened = open_bundle(bundle)
    assert opened.manifest.preprocessing == spec
    assert opened.manifest.heatmap_shape == (spec.height // 4, spec.width // 4)
    # the camera is judged by whole pictures: mostly background, brighter than the part
    assert opened.manifest.normal_images.brightness[1] > 150
    reference = cv2.imdecode(np.frombuffer(opened.read("health/reference.png"), np.uint8), cv2.IMREAD_GRAYSCALE)
    assert reference is not None and reference.shape == spec.locate.overview
    require_familiar(CalibrationFrames(list_dataset(parts).train_normal, spec), opened.manifest.normal_images, parts)
    same = evaluate(BundleSubject(opened, "fp32", "onnxruntime", 1), parts)
    assert np.allclose(same.scored.score, found.scored.score, rtol=1e-3)
    _on_the_station(bundle, parts, tmp_path / "events", spec)
    capfd.readouterr()
    assert run(eval_command, [str(folder), "--data", str(parts), "--html", str(tmp_path / "e.html")]) == 0
    assert "pixels are judged in whole pictures" in capfd.readouterr().out


def _on_the_station(bundle: Path, parts: Path, events: Path, spec: Preprocessing) -> None:
    """The camera is healthy, and an alarm's picture is hot in the view of the part and nowhere else."""
    code, out, err = run_to_end(
        "--bundle", bundle, "--camera", parts / "test/spot", "--threshold", 0, "--events", events, *ENGINE
    )
    assert (code, err) == (0, "") and "1 alarms, 0 faults" in out, out + err
    store = EventStore(events, must_exist=True)
    (alarm,) = store.find()
    store.close()
    frame, shown = read_image(events / alarm.frame_picture), cv2.imread(str(events / alarm.overlay_picture))
    assert shown is not None and shown.shape[:2] == frame.shape[:2]
    changed = np.abs(shown.astype(int) - frame[:, :, None]).max(2)
    size, place = (spec.height, spec.width), prepared(frame, spec).place
    view = cv2.dilate(laid_back(np.ones(size, np.float32), place, (160, 160)), np.ones((9, 9)))
    assert changed[view > 0].max() > 40 and np.quantile(changed[view == 0], 0.99) < 16


def test_pictures_without_a_part_are_left_out(parts: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    for number in range(3):
        for path in list_dataset(parts).train_normal:
            write_png(tmp_path / "plain" / f"{number}-{path.name}", read_image(path))
    write_png(tmp_path / "plain/0-empty.png", np.random.default_rng(0).integers(180, 200, (160, 160), np.uint8))
    assert run(command, ["--data", str(tmp_path / "plain"), "--out", str(tmp_path / "r"), *TINY]) == 0
    assert "pictures left out, no single whole part: first 0-empty.png" in capfd.readouterr().out
    record = load_run(tmp_path / "r").record
    assert len(record.training) + len(record.validation) == 72


def test_it_can_be_switched_off(parts: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert run(command, ["--data", str(parts), "--out", str(tmp_path / "r"), *TINY, "--locate", "off"]) == 0
    assert json.loads((tmp_path / "r/run.json").read_text())["preprocessing"]["locate"] is None
    assert "laid straight" not in capfd.readouterr().out


def test_papers_methods_see_whole_pictures_unless_asked(parts: Path, tmp_path: Path) -> None:
    sagan = ["--data", str(parts), "--model", "sagan", "--image-size", "64", "--width", "4", "--epochs", "1"]
    for name, extra, expected in (("plain", [], False), ("asked", ["--locate", "on"], True)):
        assert run(command, ["--out", str(tmp_path / name), *sagan, "--batch-size", "4", *extra]) == 0
        assert (load_run(tmp_path / name).preprocessing.locate is not None) == expected


def test_asked_for_in_vain_it_says_why(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    write_dataset(tmp_path / "bolts", 12, 0, 64, seed=0)
    out = tmp_path / "r"
    assert run(command, ["--data", str(tmp_path / "bolts"), "--out", str(out), *TINY, "--locate", "on"]) == 3
    error = capfd.readouterr().err
    assert "parts cannot be located" in error and "\n" not in error.strip()
    assert run(command, ["--data", str(tmp_path / "bolts"), "--out", str(out), "--locate", "maybe"]) == 2
    assert not out.exists()


def test_calibration_on_other_light_is_refused(parts: Path, tmp_path: Path) -> None:
    spec, _ = located(PLAIN, list_dataset(parts).train_normal, 32)
    assert spec is not None
    from edge.health import baseline_from_images

    overviews = [prepared(read_image(p), spec).overview for p in list_dataset(parts).train_normal]
    statistics, _ = baseline_from_images(overviews)
    for path in list_dataset(parts).train_normal[:6]:
        cv2.imwrite(str(tmp_path / path.name), read_image(path) // 2)
    with pytest.raises(InputError, match="brightness"):
        require_familiar(CalibrationFrames(sorted(tmp_path.iterdir()), spec), statistics, tmp_path)
