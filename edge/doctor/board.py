"""The board: JetPack, memory, disk, power, cameras, serial ports, GPIO chips, and this user's rights to them."""

from __future__ import annotations

import re
from dataclasses import dataclass

from edge.doctor.finding import Finding, gap, info, ok, warn
from edge.doctor.machine import Machine

# L4T release -> JetPack, longest prefix first.
JETPACKS = {
    "32.6": "4.6", "32.7": "4.6", "35.2": "5.1", "35.3": "5.1.1", "35.4": "5.1.2", "35.5": "5.1.3", "35.6": "5.1.4",
    "36.3": "6.0", "36.4.0": "6.1", "36.4.3": "6.2", "36.4": "6.2.1", "36.5": "6.2.2", "38.2": "7.0", "38.4": "7.1",
    "39.0": "7.2", "39.2": "7.2",
}  # fmt: skip
LOW_MEMORY_BYTES = 2 << 30
LOW_DISK_BYTES = 2 << 30
SWAP_COMMAND = (
    "sudo sh -c 'fallocate -l 8G /swapfile && chmod 600 /swapfile && mkswap /swapfile && swapon /swapfile"
    " && echo /swapfile none swap sw 0 0 >> /etc/fstab'"
)
PINMUX_COMMAND = "sudo /opt/nvidia/jetson-io/jetson-io.py"


@dataclass(frozen=True, slots=True)
class Board:
    """What the machine is: None where it is no Jetson."""

    model: str | None
    l4t: str | None
    jetpack: str | None


def detect(machine: Machine) -> Board:
    """Board and JetPack from the device tree and the L4T release file, or from its package."""
    model = machine.read("/proc/device-tree/model")
    if model is None or not re.search("jetson|tegra|nvidia", model, re.IGNORECASE):
        return Board(model, None, None)
    text = machine.read("/etc/nv_tegra_release") or ""
    match = re.search(r"R(\d+) \(release\), REVISION: ([\d.]+)", text)
    l4t = f"{match[1]}.{match[2]}" if match else _package_release(machine)
    return Board(model, l4t, _jetpack(l4t) if l4t else None)


def jetpack(board: Board) -> Finding:
    """Which JetPack runs, and whether the toolkit supports it."""
    if board.model is None or board.l4t is None:
        return info("board", f"not a Jetson: {board.model or 'no device tree'}; CPU back ends only")
    known = f"{board.model}, L4T {board.l4t}, JetPack {board.jetpack or 'unknown'}"
    if int(board.l4t.split(".")[0]) < 36:
        return gap("board", f"{known}: its Python is too old", "flash JetPack 6 or later with NVIDIA SDK Manager")
    return ok("board", known)


def memory(machine: Machine) -> tuple[Finding, int, int]:
    """Finding, available bytes and free swap bytes. An engine build may need several GB."""
    rows = dict(re.findall(r"^(\w+):\s+(\d+) kB", machine.read("/proc/meminfo") or "", re.MULTILINE))
    available, swap = int(rows.get("MemAvailable", 0)) << 10, int(rows.get("SwapFree", 0)) << 10
    found = f"{available / 1e9:.1f} GB available, {swap / 1e9:.1f} GB swap free"
    if available + swap < LOW_MEMORY_BYTES:
        return warn("memory", f"{found}; a TensorRT build may be killed", SWAP_COMMAND), available, swap
    return ok("memory", found), available, swap


def disk(machine: Machine, root: str) -> tuple[Finding, int]:
    """Finding and free bytes where the installation lives."""
    free = machine.free_bytes(root)
    found = f"{free / 1e9:.1f} GB free under {root}"
    if free < LOW_DISK_BYTES:
        return warn("disk", found, "sudo apt-get clean && sudo journalctl --vacuum-size=100M"), free
    return ok("disk", found), free


def cameras(machine: Machine) -> Finding:
    """Camera nodes, and whether this user may open them."""
    nodes = machine.paths("/dev/video[0-9]*")
    if not nodes:
        return warn("cameras", "no camera node /dev/video*", "plug in a camera, then: v4l2-ctl --list-devices")
    return _rights(machine, "cameras", nodes, "video")


def serial_ports(machine: Machine) -> Finding:
    """Serial ports, the rights to them, and the console that NVIDIA puts on the header's UART."""
    nodes = [p for kind in ("THS", "USB", "ACM", "AMA") for p in machine.paths(f"/dev/tty{kind}[0-9]*")]
    if not nodes:
        return info("serial", "no serial port /dev/ttyTHS*, ttyUSB*, ttyACM*")
    if any("ttyTHS" in n for n in nodes) and machine.run(("systemctl", "is-active", "nvgetty")).code == 0:
        return gap("serial", "nvgetty writes a console to the header's UART", "sudo systemctl disable --now nvgetty")
    stable = machine.paths("/dev/serial/by-id/*")
    return _rights(machine, "serial", [*stable, *nodes], "dialout")


def gpio(machine: Machine, board: Board) -> Finding:
    """GPIO chips and rights; from JetPack 6 the kernel no longer sets the pinmux, so no pin is proven by opening it."""
    chips = machine.paths("/dev/gpiochip[0-9]*")
    if not chips:
        return info("gpio", "no GPIO chip /dev/gpiochip*")
    finding = _rights(machine, "gpio", chips, "gpio")
    if finding.level == "ok" and board.l4t and int(board.l4t.split(".")[0]) >= 36:
        note = "; since JetPack 6 a pin that is not muxed as GPIO never moves, and says nothing"
        return warn("gpio", finding.found + note, PINMUX_COMMAND)
    return finding


def power_mode(machine: Machine, board: Board) -> Finding:
    """nvpmodel's mode: anything but the largest makes figures incomparable."""
    if board.l4t is None:
        return info("power", "no power modes here")
    ran = machine.run(("nvpmodel", "-q"))
    match = re.search(r"Power Mode:\s*(\S+)\s*\n\s*(\d+)", ran.output)
    if not match:
        return warn("power", f"power mode unknown: {ran.last_line}", "sudo nvpmodel -q")
    if match[1].upper().startswith("MAXN"):
        return ok("power", f"mode {match[2]} {match[1]}")
    return warn("power", f"mode {match[2]} {match[1]} is not the fastest", "sudo nvpmodel -m 0")


def service(machine: Machine) -> Finding:
    """The station's systemd unit."""
    ran = machine.run(("systemctl", "is-active", "edge-station.service"))
    if ran.code == 0:
        return ok("service", "edge-station.service is active")
    bootstrap = "edge-flash --bootstrap USER@HOST (from the workstation)"
    return info("service", f"edge-station.service is {ran.last_line}; installed by {bootstrap}")


def pinned_key(machine: Machine, path: str) -> Finding:
    """The public key that this station trusts."""
    if machine.read(path) is not None:
        return ok("key", f"bundles must be signed by the key in {path}")
    fix = f"sudo install -D -m 644 signing.pub {path}"
    return warn("key", f"no trusted key {path}: nothing can be installed", fix)


def _rights(machine: Machine, topic: str, nodes: list[str], group: str) -> Finding:
    shown = ", ".join(nodes[:4]) + (f" and {len(nodes) - 4} more" if len(nodes) > 4 else "")
    locked = [n for n in nodes if not machine.can_use(n)]
    if not locked:
        return ok(topic, shown)
    if group in machine.groups():
        return gap(topic, f"{locked[0]} may not be opened though you are in {group}", "sudo udevadm trigger")
    return gap(topic, f"{locked[0]} may not be opened: not in group {group}", f"sudo usermod -aG {group} $USER")


def _package_release(machine: Machine) -> str | None:
    ran = machine.run(("dpkg-query", "-W", "-f", "${Version}", "nvidia-l4t-core"))
    match = re.match(r"(\d+\.\d+(?:\.\d+)?)", ran.output) if ran.code == 0 else None
    return match[1] if match else None


def _jetpack(l4t: str) -> str | None:
    return next((JETPACKS[p] for p in sorted(JETPACKS, key=len, reverse=True) if f"{l4t}.".startswith(f"{p}.")), None)
