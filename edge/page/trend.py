"""The score over the last ten minutes, one column per second, kept while nobody watches. Pure."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Iterable

COLUMNS = 600


class Trend:
    """Highest and lowest score of each second. Times are monotonic seconds."""

    def __init__(self, columns: int = COLUMNS) -> None:
        self._columns = columns
        self._seconds: OrderedDict[int, tuple[float, float]] = OrderedDict()
        self._taken_up_to_s = float("-inf")

    def take(self, at_s: float, recent: Iterable[tuple[float, float]]) -> None:
        """Add what is new in `recent`: (age in seconds at `at_s`, score), newest last."""
        newest_s = self._taken_up_to_s
        for age_s, score in recent:
            moment_s = at_s - age_s
            if moment_s > self._taken_up_to_s + 1e-6 and math.isfinite(score):
                self._add(int(moment_s), score)
                newest_s = max(newest_s, moment_s)
        self._taken_up_to_s = newest_s
        while len(self._seconds) > self._columns:
            self._seconds.popitem(last=False)

    def last(self, columns: int, at_s: float) -> list[tuple[int, float, float]]:
        """(second, lowest, highest) of the last `columns` seconds before `at_s`, oldest first; blind seconds lack."""
        first = int(at_s) - columns + 1
        return [(second, low, high) for second, (low, high) in self._seconds.items() if second >= first]

    def _add(self, second: int, score: float) -> None:
        low, high = self._seconds.get(second, (score, score))
        self._seconds[second] = (min(low, score), max(high, score))
