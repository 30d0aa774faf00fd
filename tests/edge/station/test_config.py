from __future__ import annotations

from pathlib import Path

import pytest

from edge.errors import InputError
from edge.station.config import StationConfig, load_config


def test_all_errors_come_at_once(tmp_path: Path) -> None:
    path = tmp_path / "station.toml"
    path.write_text(
        "nmae = 'x'\n[camera]\nurl = '0'\nexposure_ms = -1\n[decision]\nk = 5\nn = 3\n"
        "[outputs]\nwire = 'morse'\n[supervisor]\nrestarts = 'many'\n"
    )
    with pytest.raises(InputError) as caught:
        load_config(path, {})
    text = str(caught.value)
    for key in ("nmae: no such setting", "camera.exposure_ms", "decision", "outputs.wire", "supervisor.restarts"):
        assert key in text
    assert "5 bad settings" in text and "\n" not in text


def test_the_command_line_wins_over_the_file(tmp_path: Path) -> None:
    path = tmp_path / "station.toml"
    path.write_text("[camera]\nurl = '0'\n[decision]\nk = 1\n")
    config = load_config(path, {"camera.url": "clip.mp4", "decision.n": 4, "engine.threads": None})
    assert (config.camera.url, config.decision.k, config.decision.n, config.engine.threads) == ("clip.mp4", 1, 4, 0)


@pytest.mark.parametrize("text", ["[camera", "a = ", "x = 1\nx = 2"])
def test_what_is_not_toml_is_said(tmp_path: Path, text: str) -> None:
    path = tmp_path / "station.toml"
    path.write_text(text)
    with pytest.raises(InputError, match="is not TOML"):
        load_config(path, {})


def test_a_value_where_a_section_belongs_is_said(tmp_path: Path) -> None:
    path = tmp_path / "station.toml"
    path.write_text("camera = 3\n")
    with pytest.raises(InputError, match="camera"):
        load_config(path, {"camera.url": "0"})


def test_the_version_changes_with_any_setting_and_survives_saving() -> None:
    config = StationConfig()
    assert config.version == StationConfig.model_validate_json(config.model_dump_json()).version
    assert config.version != load_config(None, {"decision.k": 1}).version


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -1.0])
def test_times_must_be_numbers(value: float) -> None:
    with pytest.raises(InputError, match="max_age_s"):
        load_config(None, {"decision.max_age_s": value})
