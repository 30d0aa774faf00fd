"""edge-eval: figures, controls, report, and errors in one line."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from edge.cli.base import run
from edge.errors import InputError
from edge.images import read_image, write_png
from tests.train.helpers import random_frames
from train.checkpoint import load_run
from train.cli.eval import command
from train.evaluate import Evaluation, evaluate
from train.loop import Plan
from train.processes import open_fabric
from train.session import Request, start
from train.subject import RunSubject

KEYS = {
    "image_auroc", "pixel_auroc", "aupro", "iou", "balanced_accuracy", "control_brightness_auroc",
    "control_contrast_auroc", "n_normal", "n_anomalous", "threshold", "false_alarm_rate",
}  # fmt: skip


@pytest.fixture(scope="module")
def folder(small_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A trained run of the smallest kind."""
    out = tmp_path_factory.mktemp("runs") / "vae"
    request = Request("vae", small_data, out, Plan(4, 0, epochs=10), size=(32, 32), base_width=4)
    start(request).train(open_fabric("cpu"))
    return out


@pytest.fixture(scope="module")
def result(folder: Path, small_data: Path) -> Evaluation:
    return evaluate(RunSubject(load_run(folder)), small_data)


def test_figures_are_those_of_the_scores(result: Evaluation) -> None:
    figures, bad, score = result.figures, result.test.anomalous, result.scored.score
    pairs = [(b > n) + 0.5 * (b == n) for b in score[bad] for n in score[~bad]]
    assert figures["image_auroc"] == pytest.approx(np.mean(pairs))
    assert (figures["n_normal"], figures["n_anomalous"]) == (4, 4)
    assert result.threshold is not None and figures["threshold"] == result.threshold.value
    assert figures["false_alarm_rate"] == pytest.approx((score[~bad] > result.threshold.value).mean())
    assert all(mask is not None and mask.shape == (32, 32) for mask in result.test.masks)
    assert all(0 <= value <= 1 for key in KEYS - {"threshold", "n_normal", "n_anomalous"} if (value := figures[key]))


def test_a_saved_run_decides_on_one_image_alone(folder: Path, result: Evaluation) -> None:
    """Nothing of the test set is needed: score and threshold are the run's own."""
    subject = RunSubject(load_run(folder))
    assert subject.threshold == result.threshold and subject.threshold is not None
    for index in (0, 7):
        alone = subject.score(result.test.frames[index : index + 1]).score
        assert alone == pytest.approx(result.scored.score[index : index + 1], rel=1e-5)
        decided = bool(alone[0] > subject.threshold.value)
        assert decided == bool(result.scored.score[index] > subject.threshold.value)


def test_no_image_is_in_two_parts_and_no_bad_one_is_trained_on(folder: Path, result: Evaluation) -> None:
    record = load_run(folder).record
    parts = [set(record.training), set(record.validation)]
    parts.append({str(path.relative_to(record.data_root)) for path in result.test.paths})
    assert sum(len(part) for part in parts) == len(set.union(*parts)) == 23
    assert all(name.startswith("train/good/") for name in parts[0] | parts[1])


def test_controls_are_measured_on_what_the_model_sees(result: Evaluation) -> None:
    frames, bad = result.test.frames, result.test.anomalous
    brightness = frames.mean((1, 2, 3))
    expected = np.mean([b > n for b in brightness[bad] for n in brightness[~bad]])
    assert result.figures["control_brightness_auroc"] == pytest.approx(expected)


def test_removing_brightness_leaves_one_mean_for_all(folder: Path, small_data: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    shutil.copytree(small_data, data)
    for path in (data / "test" / "inverted").iterdir():  # a set that brightness alone separates
        write_png(path, np.asarray(read_image(path) // 2 + 120, np.uint8))
    subject = RunSubject(load_run(folder))
    assert evaluate(subject, data).figures["control_brightness_auroc"] == 1.0
    flat = evaluate(subject, data, remove_brightness=True)
    means = flat.test.frames.mean((1, 2, 3))
    normals = flat.normals
    assert normals is not None and np.abs(means - normals.brightness).max() < 3
    assert flat.figures["control_brightness_auroc"] == 1.0  # of the pictures as they are
    assert "mean brightness was removed" in flat.notes[-1]


def test_images_known_in_training_are_left_out_of_the_test(small_data: Path, tmp_path: Path) -> None:
    """Known anomalies may lie in a data folder that is evaluated later."""
    data = tmp_path / "data"
    shutil.copytree(small_data, data)
    known = data / "test" / "inverted"
    for n, path in enumerate(sorted(known.iterdir())):  # no longer the test images of small_data
        write_png(path, random_frames(1, seed=70 + n).numpy()[0, :, :, 0])
    plan = Plan(4, 0, epochs=1)
    start(Request("cnn-regression", small_data, tmp_path / "run", plan, (32, 32), 4, known=known)).train(
        open_fabric("cpu")
    )
    found = evaluate(RunSubject(load_run(tmp_path / "run")), data)
    assert found.figures["n_anomalous"] == 0 and found.figures["image_auroc"] is None
    assert found.notes[0] == "4 test images left out: they were known in training"


def test_command_writes_json_and_report(
    folder: Path, small_data: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    json_, html = tmp_path / "e.json", tmp_path / "e.html"
    assert run(command, [str(folder), "--data", str(small_data), "--json", str(json_), "--html", str(html)]) == 0
    assert "control: brightness alone" in capfd.readouterr().out
    assert set(json.loads(json_.read_text())) >= KEYS
    page = html.read_text()
    assert page.count("data:image/png;base64,") >= 2 + 3 * 8
    assert "reconstruction" in page and "held-out good images" in page and 'src="http' not in page
    said = json.loads(json_.read_text())
    assert f"<b>{said['detection_rate']:.0%}</b> of the bad images are found" in page
    assert f"{round(4 * said['detection_rate'])} ({said['detection_rate']:.1%})</td></tr>" in page


def test_a_mask_of_another_size_is_refused(folder: Path, small_data: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    shutil.copytree(small_data, data)
    write_png(data / "ground_truth" / "inverted" / "2_mask.png", np.zeros((32, 40), np.uint8))
    with pytest.raises(InputError, match=r"2_mask\.png does not fit its image: mask 40x32, image 32x32"):
        evaluate(RunSubject(load_run(folder)), data)


@pytest.mark.parametrize(("left", "words"), [(1, "only one good test image"), (0, "no good test images")])
def test_a_class_of_one_image_or_none_is_said(
    folder: Path, small_data: Path, tmp_path: Path, left: int, words: str
) -> None:
    data = tmp_path / "data"
    shutil.copytree(small_data, data)
    good = sorted((data / "test" / "good").iterdir())
    for path in good[left:]:
        path.unlink()
    if not left:
        (data / "test" / "good").rmdir()
    found = evaluate(RunSubject(load_run(folder)), data)
    assert any(words in note for note in found.notes)
    assert (found.figures["image_auroc"] is None) == (left == 0)


def test_without_anomalies_only_false_alarms_are_told(folder: Path, small_data: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    shutil.copytree(small_data, data)
    shutil.rmtree(data / "test" / "inverted")
    figures = evaluate(RunSubject(load_run(folder)), data).figures
    assert figures["image_auroc"] is None and figures["pixel_auroc"] is None and figures["false_alarm_rate"] is not None


def test_bad_input_is_one_line(
    folder: Path, small_data: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    for arguments, words in (
        ([str(folder), "--data", str(small_data / "train" / "good")], "no test images"),
        ([str(tmp_path), "--data", str(small_data)], "is not a run"),
        ([str(tmp_path / "none.edge"), "--data", str(small_data)], "none.edge"),
    ):
        assert run(command, arguments) == 3
        error = capfd.readouterr().err.strip()
        assert words in error and "\n" not in error
