"""The virtual machine: what it needs, how it is started, and the host's end of its serial lines.

Software emulation only (-accel tcg): many build machines have a /dev/kvm that starts and then hangs.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

HERE = Path(__file__).parent
CHECKOUT = HERE.parents[1]
MEMORY_MIB = 512
GPIO_PAGE = "4K$0x1f000000"  # below the end of the memory, as guest/gpio.asl says
LIMIT_S = 280.0

# program -> Debian package
NEEDS = {
    "qemu-system-x86_64": "qemu-system-x86",
    "busybox": "busybox-static",
    "cpio": "cpio",
    "modprobe": "kmod",
    "iasl": "acpica-tools",
    "strip": "binutils",
    "xz": "xz-utils",
    "apt-get": "apt",
    "dpkg-deb": "dpkg",
}


def missing_packages() -> list[str]:
    """Debian packages that the virtual machine needs and this machine lacks."""
    path = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
    return sorted(package for program, package in NEEDS.items() if shutil.which(program, path=path) is None)


def cache_folder() -> Path:
    """Where kernel and initrd are kept: EDGE_VM_CACHE, else a folder in the user's cache."""
    return Path(os.environ.get("EDGE_VM_CACHE", "~/.cache/edge-anomaly/vm")).expanduser()


def build(cache: Path) -> None:
    """Make or refresh kernel, initrd and ACPI table in `cache`."""
    subprocess.run([str(HERE / "build.sh"), str(cache)], check=True, timeout=300)


def run(cache: Path, out: Path) -> str:
    """Boot, run guest/run.sh, power off. Results are in `out`; returns what the console said."""
    out.mkdir(parents=True)
    _write_orders(out)
    sockets = out.parent / "sockets"
    sockets.mkdir()
    stop = threading.Event()
    machine = subprocess.Popen(_command(cache, out, sockets), stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    helpers = [
        threading.Thread(target=_echo, args=(sockets / "uart", stop), daemon=True),
        threading.Thread(target=_usb_adapter, args=(sockets / "usb", out, stop), daemon=True),
    ]
    for helper in helpers:
        helper.start()
    try:
        console, _ = machine.communicate(timeout=LIMIT_S)
    except subprocess.TimeoutExpired:
        machine.kill()
        console, _ = machine.communicate()
        console += f"\nstopped after {LIMIT_S} s".encode()
    finally:
        stop.set()
        for helper in helpers:
            helper.join(5.0)
    return console.decode("utf-8", "replace")


def _shares() -> dict[str, Path]:
    """Folders that the guest sees, read only, at the same paths: tag -> folder."""
    shares = {"usr": Path("/usr")}
    for tag, folder in (("python", sys.base_prefix), ("venv", sys.prefix), ("checkout", str(CHECKOUT))):
        path = Path(folder)
        if not any(path == shared or path.is_relative_to(shared) for shared in shares.values()):
            shares[tag] = path
    return shares


def _write_orders(out: Path) -> None:
    (out / "mounts").write_text("".join(f"{tag} {path}\n" for tag, path in _shares().items()))
    (out / "environment").write_text(f"PYTHON='{sys.executable}'\nCHECKOUT='{CHECKOUT}'\n")
    shutil.copy(HERE / "guest" / "run.sh", out / "run.sh")


def _command(cache: Path, out: Path, sockets: Path) -> list[str]:
    command = ["qemu-system-x86_64", "-nodefaults", "-no-user-config", "-display", "none", "-M", "pc", "-no-reboot"]
    command += ["-accel", "tcg,thread=multi,tb-size=128", "-cpu", "max", "-smp", "1", "-m", str(MEMORY_MIB)]
    command += ["-kernel", str(cache / "vmlinux"), "-initrd", str(cache / "initrd.gz")]
    kernel = f"console=ttyS0 quiet panic=-1 mitigations=off tsc=reliable random.trust_cpu=on memmap={GPIO_PAGE}"
    command += ["-append", kernel, "-acpitable", f"file={cache / 'gpio.aml'}"]
    command += ["-chardev", "stdio,id=console,signal=off", "-device", "isa-serial,chardev=console"]
    command += ["-chardev", f"socket,id=uart,path={sockets / 'uart'},server=on,wait=off"]
    command += ["-device", "isa-serial,chardev=uart", "-device", "qemu-xhci,id=usb"]
    command += ["-chardev", f"socket,id=adapter,path={sockets / 'usb'},server=on,wait=off"]
    command += ["-device", "usb-serial,chardev=adapter,bus=usb.0,always-plugged=off"]
    for tag, path in {**_shares(), "out": out}.items():
        access = "" if tag == "out" else ",readonly=on,multidevs=remap"
        command += ["-fsdev", f"local,id={tag},path={path},security_model=none{access}"]
        command += ["-device", f"virtio-9p-pci,fsdev={tag},mount_tag={tag}"]
    return command


def _connect(path: Path, stop: threading.Event) -> socket.socket | None:
    while not stop.wait(0.05):
        with suppress(OSError):
            connection = socket.socket(socket.AF_UNIX)
            connection.connect(str(path))
            connection.settimeout(0.05)
            return connection
        connection.close()
    return None


def _echo_once(connection: socket.socket) -> None:
    try:
        connection.sendall(connection.recv(4096))
    except TimeoutError:
        return
    except OSError:
        time.sleep(0.05)  # the machine is going down


def _echo(path: Path, stop: threading.Event) -> None:
    """The other end of the UART: sends back what it receives."""
    connection = _connect(path, stop)
    while connection is not None and not stop.is_set():
        _echo_once(connection)
    if connection is not None:
        connection.close()


def _usb_adapter(path: Path, out: Path, stop: threading.Event) -> None:
    """The other end of the USB adapter. A connection is the plug: the guest's wishes close and open it."""
    connection = _connect(path, stop)
    wish = out / "wish"
    while not stop.is_set():
        if connection is not None:
            _echo_once(connection)
        else:
            stop.wait(0.05)
        if wish.exists() and (text := wish.read_text()):
            wish.unlink()
            if connection is not None:
                connection.close()
                connection = None
            if text == "plug":
                connection = _connect(path, stop)
            (out / "granted").write_text(text)
    if connection is not None:
        connection.close()
