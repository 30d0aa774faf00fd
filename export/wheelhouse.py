"""The wheelhouse: every wheel a station needs, for aarch64 and each JetPack's Python, so that no internet is needed.

pip evaluates environment markers for the machine it runs on, also when it downloads for another one. So the download is
checked with the station's own environment afterwards, and what a marker hid is fetched, until nothing is missing.
pycuda is not here: it exists as source only and is built on the station against its own CUDA (edge-doctor says how).
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from email.parser import BytesParser
from importlib.metadata import requires
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name, parse_wheel_filename

from edge.errors import InputError, MissingError
from edge.version import VERSION

PYTHONS = ("310", "312")  # JetPack 6, JetPack 7
EXTRAS = ("device", "page", "fleet", "modbus")
BUILT_ON_STATION = {"pycuda"}
PACKAGES = ("edge", "export", "calib", "firmware_bridge", "train")
TOOLS = ("pip", "setuptools", "wheel")  # the station's Ubuntu may have no pip


@dataclass(frozen=True)
class Target:
    """A station's Python on its machine."""

    python: str  # "310"
    machine: str = "aarch64"
    glibcs: tuple[int, ...] = (17, 24, 26, 27, 28, 31, 34, 35)  # manylinux_2_<n>; Ubuntu 22.04 has glibc 2.35

    @property
    def folder(self) -> str:
        return f"cp{self.python}-{self.machine}"

    @property
    def environment(self) -> dict[str, str]:
        """Marker values on the station."""
        version = f"{self.python[0]}.{self.python[1:]}"
        return {
            "python_version": version,
            "python_full_version": f"{version}.0",
            "implementation_name": "cpython",
            "platform_python_implementation": "CPython",
            "os_name": "posix",
            "sys_platform": "linux",
            "platform_system": "Linux",
            "platform_machine": self.machine,
        }

    def pip_options(self) -> list[str]:
        """What tells pip to look for this target's wheels and no others."""
        platforms = [f"manylinux_2_{n}_{self.machine}" for n in self.glibcs] + [f"manylinux2014_{self.machine}"]
        tags = ["--implementation", "cp", "--python-version", self.python]
        tags += [o for abi in (f"cp{self.python}", "abi3", "none") for o in ("--abi", abi)]
        return ["--only-binary=:all:", *tags, *(o for p in platforms for o in ("--platform", p))]


def fill(folder: Path, targets: tuple[Target, ...], own_wheel: Path) -> dict[Target, list[Path]]:
    """Download everything a station needs into FOLDER/cp310-aarch64/ and so on; add our own wheel and pip.

    Raises InputError naming the requirement that has no wheel for the target, MissingError without a package index.
    """
    return {target: _fill_one(folder / target.folder, target, own_wheel) for target in targets}


def device_requirements(target: Target) -> list[Requirement]:
    """What edge-anomaly itself asks for on this target, without what is built on the station."""
    wanted = [Requirement(text) for text in requires("edge-anomaly") or []]
    return [r for r in wanted if _applies(r, target, EXTRAS) and r.name not in {*BUILT_ON_STATION, "edge-anomaly"}]


def missing_from(folder: Path, target: Target) -> list[Requirement]:
    """Requirements, of ours and of every wheel in `folder`, that no wheel in `folder` satisfies on the target."""
    present = {canonicalize_name(n): v for n, v in (parse_wheel_filename(p.name)[:2] for p in folder.glob("*.whl"))}
    wanted = device_requirements(target) + [Requirement(t) for t in TOOLS]
    wanted += [r for wheel in folder.glob("*.whl") for r in _requirements_of(wheel, target)]
    return [r for r in wanted if not _satisfied(r, present.get(canonicalize_name(r.name)))]


def build_own_wheel(folder: Path) -> Path:
    """Our own wheel, from the source tree this program runs from. Raises MissingError if there is none."""
    source = Path(__file__).parents[1]
    if not (source / "setup.cfg").is_file():
        raise MissingError("no source tree", f"{source} holds no setup.cfg", "run it from a checkout")
    with tempfile.TemporaryDirectory() as scratch:  # setuptools builds in place: an old build folder would creep in
        copy = Path(scratch) / "source"
        for name in PACKAGES:
            shutil.copytree(source / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
        for name in ("setup.cfg", "pyproject.toml", "README.md", "LICENSE"):
            shutil.copy(source / name, copy / name)
        _pip(["wheel", "--no-deps", "--quiet", "--wheel-dir", str(folder), str(copy)])
    return next(folder.glob(f"edge_anomaly-{VERSION}-*.whl"))


def _fill_one(folder: Path, target: Target, own_wheel: Path) -> list[Path]:
    folder.mkdir(parents=True, exist_ok=True)
    asked: set[str] = set()
    while missing := [r for r in missing_from(folder, target) if str(r) not in asked]:
        asked |= {str(r) for r in missing}
        names = sorted({f"{r.name}{r.specifier}" for r in missing})
        _pip(["download", "--quiet", "--dest", str(folder), *target.pip_options(), *names])
    if left := missing_from(folder, target):
        raise InputError(f"wheelhouse {folder} is not complete", ", ".join(map(str, left)), "empty it and try again")
    (folder / own_wheel.name).write_bytes(own_wheel.read_bytes())
    return sorted(folder.glob("*.whl"))


def _requirements_of(wheel: Path, target: Target) -> Iterator[Requirement]:
    with zipfile.ZipFile(wheel) as archive:
        name = next(n for n in archive.namelist() if n.endswith(".dist-info/METADATA") and n.count("/") == 1)
        texts = BytesParser().parsebytes(archive.read(name)).get_all("Requires-Dist") or []
    if wheel.name.startswith("edge_anomaly-"):
        return
    yield from (r for r in map(Requirement, texts) if _applies(r, target, ("",)))


def _applies(requirement: Requirement, target: Target, extras: tuple[str, ...]) -> bool:
    marker = requirement.marker
    return marker is None or any(marker.evaluate(target.environment | {"extra": e}) for e in ("", *extras))


def _satisfied(requirement: Requirement, version: object) -> bool:
    return version is not None and requirement.specifier.contains(str(version), prereleases=True)


def _pip(arguments: list[str]) -> None:
    done = subprocess.run([sys.executable, "-m", "pip", *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        errors = [line for line in done.stderr.splitlines() if line.startswith("ERROR")]
        why = errors[-1] if errors else done.stderr.strip()[-200:]
        raise InputError("pip could not get what a station needs", why, "check the network and the package index")


def main() -> None:
    """python -m export.wheelhouse [FOLDER]: what `make wheelhouse` runs."""
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else "wheelhouse")
    with tempfile.TemporaryDirectory() as scratch:
        own = build_own_wheel(Path(scratch))
        for target, wheels in fill(folder, tuple(Target(p) for p in PYTHONS), own).items():
            size = sum(w.stat().st_size for w in wheels) / 1e6
            print(f"{folder / target.folder}: {len(wheels)} wheels, {size:.0f} MB")


if __name__ == "__main__":
    main()
