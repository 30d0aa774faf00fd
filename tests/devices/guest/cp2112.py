"""cp2112.py OUT IN: a CP2112 USB-GPIO adapter with a wire from line OUT to line IN, for the kernel's own driver.

The adapter is emulated behind /dev/uhid: the kernel's hid-cp2112 asks for reports and gets the answers of the real chip
(Silicon Labs AN495: 0x02 directions, 0x03 read, 0x04 write, 0x05 version). Chip label: cp2112_gpio, eight lines.
"""

from __future__ import annotations

import os
import struct
import sys

_CREATE2, _GET_REPORT, _GET_REPLY, _SET_REPORT, _SET_REPLY = 11, 9, 10, 13, 14
_EVENT_BYTES = 4 + 128 + 64 + 64 + 2 + 2 + 4 * 4 + 4096
_USB, _VENDOR, _PRODUCT = 3, 0x10C4, 0xEA90
# One vendor-defined collection with one feature byte: enough for the driver, which asks by report number.
_DESCRIPTOR = bytes.fromhex("0600ff0901a10185020902150026ff0075089504b102c0")


class Adapter:
    """The chip's registers: directions (1 = output), levels, and the wire."""

    def __init__(self, source: int, target: int) -> None:
        self.directions, self.levels = 0, 0
        self.push_pull, self.special, self.clock = 0, 0, 0
        self.source, self.target = source, target

    def read(self, report: int) -> bytes:
        if report == 0x02:
            return bytes([report, self.directions, self.push_pull, self.special, self.clock])
        if report == 0x03:
            return bytes([report, self._seen()])
        if report == 0x05:
            return bytes([report, 0x0C, 0x02])
        return bytes([report]) + bytes(13)

    def write(self, data: bytes) -> None:
        if data[0] == 0x02:
            _, self.directions, self.push_pull, self.special, self.clock = data[:5]
        elif data[0] == 0x04:
            _, value, mask = data[:3]
            self.levels = (self.levels & ~mask) | (value & mask)

    def _seen(self) -> int:
        driven = self.levels & self.directions
        wire = driven >> self.source & 1
        return driven & ~(1 << self.target) | wire << self.target


def main(source: int, target: int) -> None:
    adapter = Adapter(source, target)
    device = os.open("/dev/uhid", os.O_RDWR)
    head = struct.pack(
        "=I128s64s64sHHIIII", _CREATE2, b"CP2112", b"", b"1", len(_DESCRIPTOR), _USB, _VENDOR, _PRODUCT, 0, 0
    )
    os.write(device, head + _DESCRIPTOR.ljust(4096, b"\0"))
    while True:
        event = os.read(device, _EVENT_BYTES)
        kind = struct.unpack_from("=I", event)[0]
        if kind == _GET_REPORT:
            number, report, _ = struct.unpack_from("=IBB", event, 4)
            data = adapter.read(report)
            os.write(device, struct.pack("=IIHH", _GET_REPLY, number, 0, len(data)) + data.ljust(4096, b"\0"))
        elif kind == _SET_REPORT:
            number, _, _, size = struct.unpack_from("=IBBH", event, 4)
            adapter.write(event[12 : 12 + size])
            os.write(device, struct.pack("=IIH", _SET_REPLY, number, 0))


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
