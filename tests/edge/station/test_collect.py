"""Marked frames join the next training's folders, from any number of stations, each once."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from edge.cli.base import run
from edge.cli.events import app
from edge.dataset import list_dataset, split_validation
from edge.errors import InputError
from edge.images import encode_png, read_image, write_png
from edge.station.channel import Pictures
from edge.station.collect import collect, normal_folder
from edge.station.events import EventRecord, EventStore


def _picture(number: int) -> np.ndarray:
    return np.full((8, 8), number, np.uint8)


def _store(folder: Path, marks: dict[int, str]) -> Path:
    with closing(EventStore(folder)) as store:
        for number, mark in marks.items():
            store.add(EventRecord(id=f"A{number}", kind="alarm", number=number, began_at=1000.0 + number))
            store.save_pictures(Pictures(f"A{number}", 0, encode_png(_picture(number)), b""))
            store.mark(f"A{number}", mark, "me")
    return folder


def _data(folder: Path) -> Path:
    for number in range(10):
        write_png(folder / "train" / "good" / f"{number}.png", _picture(100 + number))
    return folder


def test_false_alarms_of_two_stations_join_the_normal_pictures_once(tmp_path: Path) -> None:
    data = _data(tmp_path / "data")
    one = _store(tmp_path / "a" / "events", {1: "false-alarm", 2: "true-alarm", 3: "none"})
    two = _store(tmp_path / "b" / "events", {1: "none", 5: "false-alarm", 6: "false-alarm"})
    found = collect([one, two], "false-alarm", normal_folder(data))
    assert (found.added, found.there, found.lost) == (3, 0, ())
    again = collect([one, two], "false-alarm", normal_folder(data))
    assert (again.added, again.there) == (0, 3)
    joined = [p for p in list_dataset(data).train_normal if p.name.startswith("marked-")]
    assert {int(read_image(p).mean()) for p in joined} == {1, 5, 6}
    training, held_out = split_validation(list_dataset(data).train_normal)
    assert set(joined) <= set(training) and len(held_out) == 2


def test_a_false_alarm_outlives_the_picture_of_its_event_and_a_true_one_is_told_as_lost(tmp_path: Path) -> None:
    store = _store(tmp_path / "events", {1: "false-alarm", 2: "true-alarm"})
    with closing(EventStore(store)) as opened:
        assert opened.trim(0.0, 1e9, 2000.0) == ["A1", "A2"]
    assert collect([store], "false-alarm", tmp_path / "n").added == 1
    assert collect([store], "true-alarm", tmp_path / "d").lost == ("events A2",)


def test_the_command_says_what_it_did_and_what_comes_next(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store, data = _store(tmp_path / "events", {1: "false-alarm", 2: "true-alarm"}), _data(tmp_path / "data")
    known = tmp_path / "known"
    assert run(app, ["collect", str(data), "--events", str(store), "--defects", str(known)]) == 0
    told = capsys.readouterr().out
    assert "1 false alarms into" in told and "1 true alarms into" in told
    assert f"next: edge-train --data {data} --known-anomalies {known}" in told
    assert len(list(known.iterdir())) == 1


def test_missing_folders_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no data folder"):
        normal_folder(tmp_path / "nowhere")
    with pytest.raises(InputError, match="no event store"):
        collect([tmp_path / "nowhere"], "false-alarm", tmp_path)
    assert normal_folder(tmp_path) == tmp_path
