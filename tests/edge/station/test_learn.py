from __future__ import annotations

from pathlib import Path

import pytest

from edge.bundle import open_bundle
from edge.errors import InputError
from edge.station.events import EventStore
from edge.station.learned import Learned, Learning, limit_of, load_learned, save_learned
from edge.threshold import fit_threshold, score_statistics
from tests.edge.station.running import ENGINE, run_to_end, write_clip
from tests.edge.tiny_bundle import make_tiny_bundle

SCORES = [5.0 + 0.01 * i for i in range(50)]


def learned_for(bundle: Path, scores: list[float]) -> Learned:
    return Learned(
        bundle_identity=open_bundle(bundle).identity,
        variant="fp32",
        camera="here",
        learned_at="2026-01-01T00:00:00Z",
        threshold=fit_threshold(scores, 0.01),
        normal_scores=score_statistics(scores),
    )


def test_what_was_learned_goes_before_the_bundle_and_after_the_typed(tiny: Path, tmp_path: Path) -> None:
    bundle = open_bundle(tiny)
    assert limit_of(bundle, "fp32", None, tmp_path).source == "from the bundle"
    learned = learned_for(tiny, SCORES)
    save_learned(tmp_path, learned)
    limit = limit_of(bundle, "fp32", None, tmp_path)
    assert limit.threshold == learned.threshold.value and limit.spread == learned.normal_scores.std
    assert limit.source.startswith("learned here")
    typed = limit_of(bundle, "fp32", 99.0, tmp_path)
    assert (typed.threshold, typed.source) == (99.0, "set by hand")


def test_the_old_threshold_is_kept(tiny: Path, tmp_path: Path) -> None:
    save_learned(tmp_path, learned_for(tiny, SCORES))
    path = save_learned(tmp_path, learned_for(tiny, [s + 1 for s in SCORES]))
    old = [p for p in tmp_path.iterdir() if p != path]
    assert len(old) == 1 and old[0].name.endswith(".old.json")


def test_an_altered_threshold_is_refused(tiny: Path, tmp_path: Path) -> None:
    path = save_learned(tmp_path, learned_for(tiny, SCORES))
    path.write_text(path.read_text().replace('"frames": 50', '"frames": 51'))
    with pytest.raises(InputError, match="altered"):
        load_learned(open_bundle(tiny).identity, "fp32", tmp_path)
    path.write_text("{")
    with pytest.raises(InputError, match="cannot use learned threshold"):
        load_learned(open_bundle(tiny).identity, "fp32", tmp_path)


@pytest.mark.parametrize("frames", [0, 1, -3])
def test_a_fit_needs_frames(frames: int) -> None:
    with pytest.raises(InputError, match="cannot learn"):
        Learning(frames, 0.01)


def test_edge_run_learns_keeps_and_uses_a_threshold(tmp_path: Path) -> None:
    bundle = make_tiny_bundle(tmp_path / "tiny.edge")
    clip = write_clip(tmp_path / "clip.mkv", 60, {30: 5})
    base = ("--bundle", bundle, "--events", tmp_path / "events", *ENGINE)
    assert run_to_end("--camera", clip, *base)[0] == 0
    store = EventStore(tmp_path / "events", must_exist=True)
    store.mark("A1", "false-alarm", "me")
    store.close()
    good = write_clip(tmp_path / "good.mkv", 80, {})
    code, out, err = run_to_end("--camera", good, "--learn", 50, *base)
    assert (code, err) == (0, ""), err
    assert "OK" not in out and "51 frames" in out  # 50 of the clip and the one marked as a false alarm
    code, out, _ = run_to_end("--camera", clip, *base)
    assert code == 0 and "learned here on" in out and "0 alarms" in out
    code, _, err = run_to_end("--camera", good, "--learn", 5000, *base)
    assert code == 3 and "learned from 80 of 5000 frames" in err
