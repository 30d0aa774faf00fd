"""One contract, every port: loop-back, kernel pseudo-terminal, TCP, and a real one named by EDGE_TEST_PORT."""

from __future__ import annotations

import os
import socket
import stat
import threading
import time
import tty
from contextlib import ExitStack, closing

import pytest

from firmware_bridge import port as port_module
from firmware_bridge.address import parse_port
from firmware_bridge.errors import AddressError, BusyDevice, DeniedDevice, MissingDevice
from firmware_bridge.port import open_port
from firmware_bridge.pty_port import PtyPort

PATTERN = bytes(range(256))


class Echo:
    """Gives back what it reads, as a TX-RX plug does: on a descriptor, until it is stopped."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor
        self.thread = threading.Thread(target=self._run)
        self.thread.start()

    def _run(self) -> None:
        try:
            while data := os.read(self.descriptor, 4096):
                os.write(self.descriptor, data)
        except OSError:
            return  # the other end is closed


def pty_url() -> tuple[str, int]:
    """A raw pseudo-terminal: the path to open, and the descriptor of its other end."""
    near, far = os.openpty()
    tty.setraw(far)
    name = os.ttyname(far)
    os.close(far)
    return name, near


NAMED = os.environ.get("EDGE_TEST_PORT", "")


@pytest.fixture(params=["loop://", "pty", "spy", "socket", "pty://", *(["named"] if NAMED else [])])
def echoing(request, tmp_path):
    """A port whose bytes come back."""
    with ExitStack() as stack:
        yield {"pty": _on_pty, "spy": _on_pty, "socket": _on_socket, "pty://": _on_our_pty}.get(request.param, _plain)(
            request.param, stack, tmp_path
        )


def _plain(kind, stack, _tmp_path):
    url = NAMED if kind == "named" else kind
    return stack.enter_context(closing(open_port(parse_port(url))))


def _on_pty(kind, stack, tmp_path):
    url, near = pty_url()
    port = open_port(parse_port(f"spy://{url}?file={tmp_path}/spy.txt" if kind == "spy" else url))
    echo = Echo(near)
    stack.callback(os.close, near)
    stack.callback(echo.thread.join, 5)
    return stack.enter_context(closing(port))


def _on_socket(_kind, stack, _tmp_path):
    server = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
    port = open_port(parse_port(f"socket://127.0.0.1:{server.getsockname()[1]}"))
    peer = stack.enter_context(server.accept()[0])
    echo = Echo(peer.fileno())
    stack.callback(echo.thread.join, 5)
    return stack.enter_context(closing(port))


def _on_our_pty(_kind, stack, tmp_path):
    port = open_port(parse_port(f"pty://{tmp_path}/wire"))
    far = os.open(tmp_path / "wire", os.O_RDWR | os.O_NOCTTY)
    os.write(far, b"!")
    assert read_for(port, 1) == b"!"
    echo = Echo(far)
    stack.callback(os.close, far)
    stack.callback(echo.thread.join, 5)
    return stack.enter_context(closing(port))


def read_for(port, size: int, seconds: float = 60.0) -> bytes:
    until, data = time.monotonic() + seconds, b""
    while len(data) < size and time.monotonic() < until:
        data += port.read()
    return data


def test_every_byte_value_passes_unchanged(echoing) -> None:
    for _ in range(4):
        echoing.write(PATTERN)
        assert read_for(echoing, 256) == PATTERN


def test_an_idle_read_returns_soon_and_empty(echoing) -> None:
    started = time.monotonic()
    assert echoing.read() == b""
    assert time.monotonic() - started < 20.0


def test_wake_never_hurts(echoing) -> None:
    for _ in range(100):
        echoing.wake()
    echoing.write(b"x")
    assert read_for(echoing, 1) == b"x"


def test_close_twice_and_then_it_is_gone(echoing) -> None:
    echoing.close()
    echoing.close()
    echoing.wake()
    with pytest.raises(MissingDevice):
        echoing.write(b"x")
    with pytest.raises(MissingDevice):
        echoing.read()


def test_an_unplugged_port_is_missing_not_silent() -> None:
    url, near = pty_url()
    port = open_port(parse_port(url))
    os.close(near)
    with pytest.raises(MissingDevice):
        read_for(port, 1)
    port.close()


def test_a_peer_that_never_reads_ends_in_a_timeout() -> None:
    url, near = pty_url()
    port = open_port(parse_port(f"{url}?write_timeout_s=0.1"))
    with pytest.raises(MissingDevice, match="imeout"):
        for _ in range(1000):
            port.write(bytes(4096))
    port.close()
    os.close(near)


def test_the_second_user_is_told_that_the_port_is_busy() -> None:
    url, near = pty_url()
    port = open_port(parse_port(url))
    with pytest.raises(BusyDevice, match="fuser"):
        open_port(parse_port(url))
    port.close()
    open_port(parse_port(url)).close()
    os.close(near)


def test_a_missing_port_names_those_there(monkeypatch) -> None:
    monkeypatch.setattr(port_module, "ports_there", lambda: ["/dev/serial/by-id/usb-1", "/dev/ttyTHS1"])
    with pytest.raises(
        MissingDevice, match=r"ttyUSB9: no such device; there are /dev/serial/by-id/usb-1, /dev/ttyTHS1"
    ):
        open_port(parse_port("/dev/ttyUSB9"))


def test_a_file_is_no_port(tmp_path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(AddressError, match="not a serial port"):
        open_port(parse_port(str(tmp_path / "file")))


def test_a_port_of_another_group(monkeypatch) -> None:
    import serial

    def refuse(*_args, **_named):
        raise serial.SerialException(13, "could not open port: Permission denied")

    monkeypatch.setattr(serial, "serial_for_url", refuse)
    with pytest.raises(DeniedDevice, match="usermod -aG"):
        open_port(parse_port("/dev/ttyTHS1"))


def test_nobody_at_the_tcp_port() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        free = server.getsockname()[1]
    with pytest.raises(MissingDevice, match="host, port and cable"):
        open_port(parse_port(f"socket://127.0.0.1:{free}"))


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("/dev/ttyTHS1?baud=9600", "baud.*not known.*baudrate"),
        ("/dev/ttyTHS1?baudrate=fast", "baudrate=fast"),
        ("/dev/ttyTHS1?rs485=maybe", "rs485=maybe"),
        ("/dev/ttyTHS1?parity=X", "parity=X"),
        ("", "empty"),
    ],
)
def test_a_wrong_url_says_what_is_wrong(url, words) -> None:
    with pytest.raises(AddressError, match=words):
        parse_port(url)


def test_an_unknown_scheme() -> None:
    with pytest.raises(AddressError, match=r"foo.*socket://HOST:PORT"):
        open_port(parse_port("foo://bar"))


def test_kernel_rs485_where_the_driver_has_none_is_an_error_and_gives_the_port_back() -> None:
    url, near = pty_url()
    with pytest.raises(AddressError, match="rs485=adapter"):
        open_port(parse_port(f"{url}?rs485=1"))
    open_port(parse_port(f"{url}?rs485=adapter")).close()
    os.close(near)


def test_options_are_read_and_the_rest_is_left_to_pyserial() -> None:
    address = parse_port("spy:///dev/ttyS0?file=log.txt&baudrate=9600&parity=e&stopbits=2&rs485=adapter&one_way=1")
    assert address.url == "spy:///dev/ttyS0?file=log.txt"
    assert (address.baudrate, address.parity, address.stopbits, address.one_way) == (9600, "E", 2, True)
    assert address.half_duplex
    assert address.turnaround_s == pytest.approx(3.5 * 12 / 9600)
    assert parse_port("/dev/ttyS0").turnaround_s == 0.00175


def test_a_pty_path_is_taken_away_and_never_taken_over(tmp_path) -> None:
    wire = tmp_path / "deep" / "wire"
    port = PtyPort(f"pty://{wire}")
    assert stat.S_ISCHR(os.stat(wire).st_mode)
    with pytest.raises(BusyDevice):
        PtyPort(f"pty://{wire}")
    port.close()
    assert not wire.is_symlink()
    wire.symlink_to("/nowhere")  # left by a program that was killed
    PtyPort(f"pty://{wire}").close()
    with pytest.raises(AddressError):
        PtyPort("pty:///proc/wire")
