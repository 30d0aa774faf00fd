"""What the board draws, from the INA3221 or other hwmon power sensors; nothing where there is none."""

from __future__ import annotations

from pathlib import Path

HWMON = Path("/sys/class/hwmon")


def watts(root: Path = HWMON) -> float | None:
    """Power of the whole board (a rail named VDD_IN or alike, else the sum of all rails) in watts; None if unknown."""
    rails = dict(_rails(root))
    whole = next((value for name, value in rails.items() if name.upper() in ("VDD_IN", "POM_5V_IN")), None)
    return whole if whole is not None else (sum(rails.values()) if rails else None)


def _rails(root: Path) -> list[tuple[str, float]]:
    found = []
    for voltage in sorted(root.glob("hwmon*/in*_input")):
        number = voltage.name.removeprefix("in").removesuffix("_input")
        label = _text(voltage.with_name(f"in{number}_label"))
        millivolts, milliamperes = _text(voltage), _text(voltage.with_name(f"curr{number}_input"))
        if label and label != "NC" and millivolts.isdigit() and milliamperes.isdigit():
            found.append((label, int(millivolts) * int(milliamperes) / 1e6))
    return found


def _text(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""
