"""First installation, run as root on the station by `edge-flash --bootstrap`: program, service, rights, settings.

Standard library only, because nothing of ours is there yet. Every step looks first and changes only what differs, so
it may run as often as one likes. It reads its own folder: wheels/, the templates, and trusted.pub if one was sent.
"""

from __future__ import annotations

import argparse
import grp
import hashlib
import os
import pwd
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
DEVICE_GROUPS = ("video", "dialout", "gpio", "render")
UNITS = ("edge-recover.service", "edge-station.service")


class BootstrapError(Exception):
    """One line for the user, with the exit code of the toolkit (3 bad input, 5 missing)."""

    def __init__(self, message: str, exit_code: int = 3) -> None:
        super().__init__(message)
        self.exit_code = exit_code


@dataclass(frozen=True)
class Plan:
    """What goes where. `system` False: files only, no users, groups, udev, sudo or systemd (tests, images)."""

    root: Path
    etc: Path
    owner: str
    station_user: str
    python: str
    requirement: str
    system: bool


def main(arguments: Sequence[str] | None = None) -> int:
    """Run every step, one line each; 0 if the station is ready."""
    plan = _plan(arguments)
    try:
        for step in (users, folders, program, settings, service):
            for line in step(plan):
                sys.stdout.write(f"{step.__name__}: {line}\n")
                sys.stdout.flush()
    except BootstrapError as error:
        sys.stderr.write(f"error: {error}\n")
        return error.exit_code
    except OSError as error:
        sys.stderr.write(f"error: {error.filename or plan.root}: {error.strerror}; bootstrap needs root: use sudo\n")
        return 3
    return 0


def users(plan: Plan) -> list[str]:
    """The station's own user without a shell, in the groups that own cameras, serial ports and GPIO chips."""
    if not plan.system:
        return ["left alone"]
    said = []
    for group in DEVICE_GROUPS:
        if not _has(grp.getgrnam, group):
            _run(["groupadd", "--system", group])
            said.append(f"group {group} made")
    if not _has(pwd.getpwnam, plan.station_user):
        home = ["--home-dir", "/var/lib/edge", "--no-create-home", "--shell", "/usr/sbin/nologin"]
        _run(["useradd", "--system", "--user-group", *home, plan.station_user])
        said.append(f"user {plan.station_user} made")
    missing = [g for g in DEVICE_GROUPS if plan.station_user not in grp.getgrnam(g).gr_mem]
    if missing:
        _run(["usermod", "-aG", ",".join(missing), plan.station_user])
        said.append(f"user {plan.station_user} added to {', '.join(missing)}")
    return said or ["unchanged"]


def folders(plan: Plan) -> list[str]:
    """The installation belongs to the one who flashes; state and cache to the station."""
    theirs = plan.station_user if plan.system else plan.owner
    wanted = [(plan.root / n, plan.owner) for n in ("", "releases", "staging", "log")]
    wanted += [(plan.root / n, theirs) for n in ("state", "cache")]
    made = [path for path, _ in wanted if not path.is_dir()]
    for path, user in wanted:
        path.mkdir(parents=True, exist_ok=True)
        if os.geteuid() == 0:
            shared = pwd.getpwnam(user)
            os.chown(path, shared.pw_uid, pwd.getpwnam(plan.owner).pw_gid)
            path.chmod(0o775 if path.name == "cache" else 0o755)
    return [f"{path} made" for path in made] or ["unchanged"]


def program(plan: Plan) -> list[str]:
    """A venv that sees the system's packages (TensorRT is one of them), filled from wheels/ without internet."""
    venv, wheels = plan.root / "venv", sorted((HERE / "wheels").glob("*"))
    stamp = hashlib.sha256()
    for wheel in wheels:
        stamp.update(wheel.name.encode() + hashlib.sha256(wheel.read_bytes()).digest())
    note = venv / ".wheels.sha256"
    if note.is_file() and note.read_text() == stamp.hexdigest():
        return ["unchanged"]
    if not (venv / "bin" / "python").exists():
        # Without pip: Ubuntu keeps venv's own pip in a package that may be absent; ours comes along.
        _run([plan.python, "-m", "venv", "--system-site-packages", "--without-pip", str(venv)])
    pip = next((w for w in wheels if w.name.startswith("pip-")), None)
    if pip is None:
        raise BootstrapError("the wheelhouse holds no pip; fill it again: make wheelhouse")
    install = [
        str(venv / "bin" / "python"),
        f"{pip}/pip",
        "install",
        "--no-index",
        "--quiet",
        "--no-warn-script-location",
    ]
    install += ["--disable-pip-version-check", "--find-links", str(HERE / "wheels")]
    _run([*install, "--force-reinstall", "--no-deps", plan.requirement.split("[")[0]])
    _run([*install, plan.requirement])
    note.write_text(stamp.hexdigest())
    return [f"{plan.requirement} from {len(wheels)} wheels in {venv}"]


def settings(plan: Plan) -> list[str]:
    """/etc/edge: the pinned key (never replaced by another one) and station.toml (never replaced at all)."""
    folder, said = plan.etc / "edge", []
    folder.mkdir(parents=True, exist_ok=True)
    key, sent = folder / "trusted.pub", HERE / "trusted.pub"
    if sent.is_file():
        if key.is_file() and key.read_bytes() != sent.read_bytes():
            raise BootstrapError(
                f"{key} pins another key; remove it by hand on the station if the key really changed", 4
            )
        said += _put(key, sent.read_bytes())
    if not (folder / "station.toml").exists():
        said += _put(folder / "station.toml", _filled(plan, "station.toml"))
    return said or ["unchanged"]


def service(plan: Plan) -> list[str]:
    """systemd units, udev rules, and the one sudo line that lets the one who flashes restart the station."""
    said = []
    for unit in UNITS:
        said += _put(plan.etc / "systemd" / "system" / unit, _filled(plan, unit))
    rules = _put(plan.etc / "udev" / "rules.d" / "99-edge.rules", _filled(plan, "99-edge.rules"))
    said += rules
    if plan.owner != "root":
        said += _sudo_line(plan)
    if not plan.system:
        return said or ["unchanged"]
    if rules and shutil.which("udevadm"):
        _run(["udevadm", "control", "--reload-rules"])
        _run(["udevadm", "trigger"])
    if not Path("/run/systemd/system").is_dir():
        return [*said, "systemd does not run here: start edge-run yourself"]
    _run(["systemctl", "daemon-reload"])
    _run(["systemctl", "enable", "--quiet", UNITS[1]])
    return said or ["unchanged"]


def _sudo_line(plan: Plan) -> list[str]:
    systemctl = shutil.which("systemctl") or "/usr/bin/systemctl"
    line = f"{plan.owner} ALL=(root) NOPASSWD: {systemctl} restart edge-station.service\n"
    path = plan.etc / "sudoers.d" / "edge-station"
    said = _put(path, line.encode(), 0o440)
    if said and shutil.which("visudo"):
        try:
            _run(["visudo", "-cqf", str(path)])
        except BootstrapError:
            path.unlink()
            raise
    return said


def _filled(plan: Plan, name: str) -> bytes:
    text = (HERE / name).read_text(encoding="utf-8")
    groups = " ".join(DEVICE_GROUPS)
    values = {
        "ROOT": plan.root,
        "ETC": plan.etc,
        "OWNER": plan.owner,
        "STATION_USER": plan.station_user,
        "GROUPS": groups,
    }
    for word, value in values.items():
        text = text.replace(f"@{word}@", str(value))
    return text.encode()


def _put(path: Path, content: bytes, mode: int = 0o644) -> list[str]:
    if path.is_file() and path.read_bytes() == content:
        return []
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_name(f".{path.name}.new")
    new.write_bytes(content)
    new.chmod(mode)
    with new.open("rb") as file:
        os.fsync(file.fileno())
    os.replace(new, path)
    return [f"{path} written"]


def _run(command: list[str]) -> None:
    try:
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    except FileNotFoundError as error:
        raise BootstrapError(f"{command[0]} is not installed on the station", 5) from error
    if done.returncode:
        last = (done.stdout.strip().splitlines() or ["no message"])[-1]
        raise BootstrapError(f"{' '.join(command[:4])} failed: {last}")


def _has(lookup: object, name: str) -> bool:
    try:
        lookup(name)  # type: ignore[operator]
    except KeyError:
        return False
    return True


def _plan(arguments: Sequence[str] | None) -> Plan:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--root", type=Path, default=Path("/opt/edge"))
    parser.add_argument("--etc", type=Path, default=Path("/etc"))
    parser.add_argument("--owner", required=True)
    parser.add_argument("--station-user", default="edge")
    parser.add_argument("--python", default="/usr/bin/python3")
    parser.add_argument("--requirement", default="edge-anomaly[device]")
    parser.add_argument("--files-only", action="store_true")
    given = parser.parse_args(arguments)
    return Plan(
        given.root, given.etc, given.owner, given.station_user, given.python, given.requirement, not given.files_only
    )


if __name__ == "__main__":
    sys.exit(main())
