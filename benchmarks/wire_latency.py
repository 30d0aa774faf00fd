"""Time from `raise_alarm` to the alarm's last byte at the far end of a pseudo-terminal. Prints p50, p99 and max in ms.

python benchmarks/wire_latency.py 10000
"""

from __future__ import annotations

import os
import sys
import time
import tty

from firmware_bridge.bridge import SerialBridge
from firmware_bridge.codec import Decoder, Received, encode
from firmware_bridge.messages import Ack, AlarmRaised


def measured_ms(count: int) -> list[float]:
    """One time per alarm; each alarm is acknowledged before the next is raised."""
    near, far = os.openpty()
    tty.setraw(far)
    decoder, times = Decoder(), []
    with SerialBridge(os.ttyname(far)) as bridge:
        for event in range(1, count + 1):
            started = time.perf_counter()
            bridge.raise_alarm(AlarmRaised(event, 4.25, 2.5, event))
            alarm = _wait_for(near, decoder)
            times.append(1000 * (time.perf_counter() - started))
            os.write(near, encode(Ack(alarm.session, AlarmRaised.TYPE, alarm.sequence), event, 0x4200))
    os.close(far)
    os.close(near)
    return sorted(times)


def _wait_for(near: int, decoder: Decoder) -> Received:
    while True:
        for item in decoder.feed(os.read(near, 4096)):
            if isinstance(item, Received) and isinstance(item.message, AlarmRaised):
                return item


def main() -> None:
    """Print the percentiles."""
    times = measured_ms(int(sys.argv[1]) if len(sys.argv) > 1 else 10_000)
    p50, p99 = times[len(times) // 2], times[int(len(times) * 0.99)]
    print(f"{len(times)} alarms: p50 {p50:.3f} ms, p99 {p99:.3f} ms, max {times[-1]:.3f} ms")


if __name__ == "__main__":
    main()
