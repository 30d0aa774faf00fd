"""Options of a listener, `[sink_options.NAME]` in station.toml: known names only, secrets from file or environment."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from edge.errors import InputError

Option = str | int | float | bool


class Options:
    """Reads typed options. Raises InputError for an unknown name or a value of the wrong kind or range."""

    def __init__(self, listener: str, values: Mapping[str, Option], known: frozenset[str]) -> None:
        self._listener, self._values = listener, values
        if unknown := sorted(values.keys() - known):
            raise self._error(unknown[0], f"there are {', '.join(sorted(known))}", "mend the name")

    def text(self, name: str, default: str = "") -> str:
        """A string."""
        value = self._values.get(name, default)
        if not isinstance(value, str):
            raise self._error(name, f"a text is expected, found {value!r}", "put it in quotes")
        return value

    def number(self, name: str, default: float, low: float, high: float) -> float:
        """A number within [low, high]."""
        value = self._values.get(name, default)
        if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
            raise self._error(name, f"a number from {low:g} to {high:g} is expected, found {value!r}", "mend it")
        return float(value)

    def flag(self, name: str, default: bool) -> bool:
        """true or false."""
        value = self._values.get(name, default)
        if not isinstance(value, bool):
            raise self._error(name, f"true or false is expected, found {value!r}", "mend it")
        return value

    def file(self, name: str) -> Path | None:
        """A file that must be there; None if the option is not given."""
        given = self.text(name)
        if not given:
            return None
        if not Path(given).is_file():
            raise self._error(name, f"there is no file {given}", "check the path")
        return Path(given)

    def secret(self, name: str) -> str:
        """A secret: option `name`, or the first line of the file `name_file`, or $EDGE_LISTENER_NAME; "" if none."""
        path = self.file(f"{name}_file")
        if path is None:
            return self.text(name) or os.environ.get(f"EDGE_{self._listener}_{name}".upper(), "")
        try:
            lines = path.read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise self._error(f"{name}_file", str(error), "make it readable for edge-run") from error
        if not lines or not lines[0].strip():
            raise self._error(f"{name}_file", f"{path} is empty", "put the secret in its first line")
        return lines[0].strip()

    def _error(self, name: str, why: str, fix: str) -> InputError:
        return InputError(f"bad setting sink_options.{self._listener}.{name}", why, fix)
