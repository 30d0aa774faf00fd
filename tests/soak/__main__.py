"""`python -m tests.soak MINUTES`: print the table; exit code 1 if anything was missed."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from tests.soak.soak import Report, Soak


def faults_of(report: Report, growth_limit: float) -> list[str]:
    """What was not as it must be."""
    wrong = []
    if report.worst_blind_s > 1.0:
        wrong.append(f"FAULT came after {report.worst_blind_s:.2f} s, allowed 1 s")
    if sorted(report.alarms) != list(range(1, report.defects + 1)):
        wrong.append(f"{report.defects} defects, alarms on the wire: {report.alarms}")
    if report.stored != list(range(1, report.defects + 1)):
        wrong.append(f"{report.defects} defects, alarms in the store: {report.stored}")
    if report.growth > growth_limit:
        wrong.append(f"memory grew by {100 * report.growth:.1f} %, allowed {100 * growth_limit:.0f} %")
    if max(report.files[1:]) > min(report.files[1:]):
        wrong.append(f"open files went from {min(report.files[1:])} to {max(report.files[1:])}")
    if report.exit_code != 0 or report.errors:
        wrong.append(f"edge-run ended with {report.exit_code}: {report.errors}")
    return wrong


def main(minutes: float) -> int:
    """Run and tell."""
    with tempfile.TemporaryDirectory() as folder:
        soak = Soak(Path(folder))
        try:
            report = soak.run(minutes)
        finally:
            soak.close()
    print(report.table())
    wrong = faults_of(report, 0.02)
    for line in wrong:
        print(f"MISSED: {line}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(float(sys.argv[1]) if len(sys.argv) > 1 else 30.0))
