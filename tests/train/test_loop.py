"""Training: repeatable, resumable to the bit, and safe to stop."""

from __future__ import annotations

import csv
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from edge.cli.base import run
from edge.errors import CheckFailed, InputError, UsageError
from edge.images import write_png
from tests.train.helpers import random_frames
from train.checkpoint import load_run
from train.cli.train import command
from train.curves import read_curves
from train.loop import Loop, Plan, Progress, epochs_of
from train.method import Phase
from train.processes import open_fabric
from train.session import Request, Session, resume, start

PLAN = Plan(batch_size=4, seed=1, epochs=3)
COMMAND = str(Path(sys.executable).parent / "edge-train")


def request(data: Path, out: Path, plan: Plan = PLAN, model: str = "vae") -> Request:
    return Request(model, data, out, plan, size=(32, 32), base_width=4)


def train(session: Session, stop_after: int | None = None) -> tuple[str, Loop]:
    """Train; with `stop_after`, as if Ctrl-C came after so many steps."""
    steps = []
    interrupted = (lambda: len(steps) >= stop_after) if stop_after else (lambda: False)
    return session.train(open_fabric("cpu"), watch=lambda p: steps.append(p.step), interrupted=interrupted)


def weights(out: Path) -> dict[str, torch.Tensor]:
    return load_run(out).method.networks.state_dict()


def assert_same_weights(a: Path, b: Path) -> None:
    first, second = weights(a), weights(b)
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_a_run_is_complete_and_repeatable(small_data: Path, tmp_path: Path) -> None:
    for name in "ab":
        outcome, loop = train(start(request(small_data, tmp_path / name)))
        assert outcome == "finished" and loop.steps_per_epoch == 3
    assert_same_weights(tmp_path / "a", tmp_path / "b")
    done = load_run(tmp_path / "a")
    assert done.record.finished and done.record.epochs_done == 3
    assert done.record.threshold is not None and done.record.threshold.frames == 3
    assert len(done.training_paths()) == 12 and len(done.validation_paths()) == 3
    assert not set(done.record.training) & set(done.record.validation)
    assert sorted(p.name for p in (tmp_path / "a").iterdir()) == [
        "last.pt", "losses.csv", "losses.png", "run.json", "weights.pt",
    ]  # fmt: skip
    with (tmp_path / "a" / "losses.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert {row["name"] for row in rows} == {"image", "prior", "validation"}
    assert [row["epoch"] for row in rows if row["name"] == "validation"] == ["1", "2", "3"]


def test_another_seed_is_another_run(small_data: Path, tmp_path: Path) -> None:
    train(start(request(small_data, tmp_path / "a")))
    train(start(request(small_data, tmp_path / "b", replace(PLAN, seed=2))))
    a, b = weights(tmp_path / "a"), weights(tmp_path / "b")
    assert any(not torch.equal(a[name], b[name]) for name in a)


@pytest.mark.parametrize("stop_after", [3, 7])
def test_stopped_and_resumed_equals_never_stopped(small_data: Path, tmp_path: Path, stop_after: int) -> None:
    train(start(request(small_data, tmp_path / "whole")))
    outcome, _ = train(start(request(small_data, tmp_path / "parts")), stop_after)
    assert outcome == "interrupted"
    assert load_run(tmp_path / "parts").record.finished is False
    outcome, _ = train(resume(tmp_path / "parts", None, None))
    assert outcome == "finished"
    assert_same_weights(tmp_path / "whole", tmp_path / "parts")
    assert (tmp_path / "whole/losses.csv").read_text() == (tmp_path / "parts/losses.csv").read_text()


def test_a_finished_run_can_be_made_longer(small_data: Path, tmp_path: Path) -> None:
    train(start(request(small_data, tmp_path / "a", replace(PLAN, epochs=2))))
    with pytest.raises(InputError, match="is finished"):
        resume(tmp_path / "a", None, None)
    train(resume(tmp_path / "a", 3, None))
    train(start(request(small_data, tmp_path / "b")))
    assert_same_weights(tmp_path / "a", tmp_path / "b")


def test_a_timed_plan_stops_by_the_clock(small_data: Path, tmp_path: Path) -> None:
    _, loop = train(start(request(small_data, tmp_path / "a", Plan(4, 1, minutes=0.02))))
    assert 1.2 <= loop.progress.seconds < 6


class Ticks:
    """A clock that moves on by a second whenever it is read."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        self.now += 1.0
        return self.now


def test_a_plans_minutes_hold_looks_at_held_out_images(small_data: Path, tmp_path: Path) -> None:
    """An epoch of three steps takes 10 s by this clock, so every second one is looked at, and the last."""
    session = start(request(small_data, tmp_path / "a", Plan(4, 1, minutes=2.0)))
    session.clock = clock = Ticks()
    _, loop = train(session)
    assert 120 <= loop.progress.seconds < 125
    assert clock.now < 2 * 125
    looked = [epoch for _, epoch, name, _ in loop.progress.points if name == "validation"]
    assert loop.progress.epochs_done == 12 and looked == [1, 3, 5, 7, 9, 11, 12]


def test_resume_refuses_other_images(small_data: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    shutil.copytree(small_data, data)
    train(start(request(data, tmp_path / "run")), stop_after=2)
    first = sorted((data / "train" / "good").iterdir())[0]
    write_png(first, random_frames(1, seed=99).numpy()[0, :, :, 0])
    with pytest.raises(InputError, match="have changed"):
        resume(tmp_path / "run", None, None)
    first.unlink()
    with pytest.raises(InputError, match="1 of 12 training images are gone"):
        resume(tmp_path / "run", None, None)


def test_divergence_stops_and_keeps_the_last_good_checkpoint(small_data: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    train(start(request(small_data, out)), stop_after=4)
    good = weights(out)
    session = resume(out, 30, None)
    loaded = session.method.networks.load_state_dict
    session.method.networks.load_state_dict = lambda state: loaded({k: v * float("nan") for k, v in state.items()})  # type: ignore[assignment, method-assign]
    with pytest.raises(CheckFailed, match=r"not a number: phase vae, epoch 2, step 2; the last good checkpoint is in"):
        train(session)
    kept = weights(out)
    assert all(torch.equal(good[name], kept[name]) for name in good)


def test_weights_that_are_no_numbers_are_never_saved(
    small_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last step of epoch 2 ruins them after a good loss; what the first epoch saved stays."""
    monkeypatch.setattr(Loop, "save_every_s", 0.0)
    session, steps = start(request(small_data, tmp_path / "run")), []

    def ruin(progress: Progress) -> None:
        steps.append(progress.step)
        if len(steps) == 6:
            next(session.method.networks.parameters()).data.fill_(float("nan"))

    with pytest.raises(CheckFailed, match=r"1 weights, first .*: phase vae, epoch 2, after its steps; the last good"):
        session.train(open_fabric("cpu"), watch=ruin)
    assert load_run(tmp_path / "run").record.epochs_done == 1
    assert all(value.isfinite().all() for value in weights(tmp_path / "run").values())


def test_the_first_epoch_is_saved_at_once(small_data: Path, tmp_path: Path) -> None:
    """So a folder that cannot be written is told after an epoch, and not after the whole training."""
    out = tmp_path / "run"
    seen = []
    start(request(small_data, out)).train(open_fabric("cpu"), watch=lambda p: seen.append((out / "run.json").exists()))
    assert seen == [False] * 3 + [True] * 6


def test_a_learning_rate_that_explodes_is_told_with_exit_code_4(
    small_data: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    options = ["--model", "sagan", "--image-size", "32", "--width", "4", "--batch-size", "4", "--epochs", "50"]
    code = run(
        command, ["--data", str(small_data), "--out", str(tmp_path / "r"), *options, "--set", "learning_rate=1e30"]
    )
    error = capfd.readouterr().err
    assert code == 4
    assert "diverged" in error and "epoch" in error and "learning_rate" in error and "Traceback" not in error


def test_a_full_folder_is_refused(small_data: Path, tmp_path: Path) -> None:
    (tmp_path / "note.txt").write_text("mine")
    with pytest.raises(UsageError, match="is not empty"):
        start(request(small_data, tmp_path))
    assert [p.name for p in tmp_path.iterdir()] == ["note.txt"]


def test_bad_data_leaves_nothing_behind(tmp_path: Path) -> None:
    data, out = tmp_path / "data", tmp_path / "run"
    for n in range(6):
        write_png(data / f"{n}.png", random_frames(1, seed=n).numpy()[0, :, :, 0])
    (data / "3.png").write_bytes(b"no image")
    with pytest.raises(InputError, match=r"3\.png"):
        start(request(data, out))
    for n in (3, 5):  # one to train, one held out: told together
        write_png(data / f"{n}.png", np.full((32, 32), 90, np.uint8))
    with pytest.raises(InputError, match="2 of 6 images have no contrast"):
        start(request(data, out))
    for path in sorted(data.iterdir())[1:]:
        path.unlink()
    with pytest.raises(InputError, match="too few normal images"):
        start(request(data, out))
    assert not out.exists()


def test_ctrl_c_stops_saves_and_says_how_to_go_on(small_data: Path, tmp_path: Path) -> None:
    """A real process, a real signal, in the middle of training."""
    out = tmp_path / "run"
    options = ["--image-size", "32", "--width", "4", "--batch-size", "4", "--epochs", "100000", "--threads", "1"]
    arguments = [sys.executable, "-m", "train.cli.train", "--data", str(small_data), "--out", str(out), *options]
    code = "import sys; from train.cli.train import main; from train.loop import Loop; Loop.save_every_s = 0; main()"
    process = subprocess.Popen(
        [sys.executable, "-c", code, "--model", "sagan", *arguments[3:]],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    while not (out / "losses.csv").exists() and process.poll() is None:
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    said, error = process.communicate(timeout=120)
    assert process.returncode == 130, error
    assert f"next: edge-train --out {out} --resume" in said
    assert "images/s" in said and "stopped at" in said
    run_ = load_run(out)
    assert run_.record.epochs_done >= 1 and not run_.record.finished
    assert not [p for p in out.iterdir() if p.name.endswith(".tmp")]


def test_phases_share_the_epochs() -> None:
    assert epochs_of((Phase("a", 3), Phase("b", 1)), 20) == [15, 5]
    assert epochs_of((Phase("a"), Phase("b", 0.01)), 4) == [4, 1]
    assert epochs_of((Phase("a", 0.01, looks=True), Phase("b", 0.6), Phase("c", 0.2)), 8) == [1, 6, 2]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--epochs", "1", "--minutes", "1"], "give one"),
        (["--image-size", "33"], "multiples of"),
        (["--image-size", "big"], "bad --image-size"),
        (["--colour", "red"], "bad --colour"),
        (["--region", "1,2"], "bad --region"),
        (["--set", "speed"], "NAME=VALUE"),
        (["--device", "tpu"], "no device"),
        (["--precision", "half"], "no precision"),
        (["--pretrained", "none.pt", "--model", "sagan"], "takes no pretrained"),
        (["--model", "best"], "no method best"),
    ],
)
def test_usage_errors_are_one_line(
    small_data: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], arguments: list[str], words: str
) -> None:
    assert run(command, ["--data", str(small_data), "--out", str(tmp_path / "r"), *arguments]) == 2
    error = capfd.readouterr().err.strip()
    assert words in error and "\n" not in error
    assert not (tmp_path / "r").exists()


def test_mixed_precision_by_option_on_the_cpu(
    small_data: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """The path that a GPU takes by itself; the threshold is fitted on fp32 scores either way."""
    options = ["--model", "sagan", "--image-size", "32", "--width", "4", "--batch-size", "4", "--epochs", "2"]
    common = ["--data", str(small_data), *options, "--device", "cpu", "--threads", "1"]
    for precision in ("fp32", "bf16"):
        assert run(command, ["--out", str(tmp_path / precision), *common, "--precision", precision]) == 0
    full, half = ({(p.epoch, p.name): p.value for p in read_curves(tmp_path / n)} for n in ("fp32", "bf16"))
    assert full != half
    assert all(half[key] == pytest.approx(value, rel=0.1) for key, value in full.items() if key[0] == 1)
    assert all(v.dtype == torch.float32 for v in weights(tmp_path / "bf16").values() if v.is_floating_point())
    assert load_run(tmp_path / "bf16").record.threshold is not None


@pytest.mark.slow
def test_two_processes_train_like_one(small_data: Path, tmp_path: Path) -> None:
    """torchrun with gloo, same global batch: the same model within rounding."""
    options = ["--model", "sagan", "--image-size", "32", "--width", "4", "--batch-size", "8", "--epochs", "4"]
    common = ["--data", str(small_data), *options, "--device", "cpu", "--threads", "1"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    subprocess.run(
        [*launch, "--no-python", COMMAND, "--out", str(tmp_path / "two"), *common], check=True, env=environment
    )
    assert run(command, ["--out", str(tmp_path / "one"), *common]) == 0
    one, two = ({(p.epoch, p.name): p.value for p in read_curves(tmp_path / name)} for name in ("one", "two"))
    for (epoch, name), value in one.items():
        limit = 1e-4 if epoch == 1 else 0.1  # one step is the same; then rounding grows, as it does in any GAN
        assert two[epoch, name] == pytest.approx(value, rel=1e-3 if name == "validation" else limit), (epoch, name)
