"""Stored: where in memory a run has stored."""

from bisect import bisect_left, bisect_right

from sim.footprint import Access


class Stored:
    """Where in memory has been stored: intervals that neither meet nor touch, in order. (A long
    prefill stores often, and looks it up before each pass.)"""

    def __init__(self) -> None:
        self._starts: list[int] = []
        self._ends: list[int] = []

    def add(self, accesses: list[Access]) -> None:
        for access in accesses:
            start, end = access.base, access.end
            first = bisect_left(self._ends, start)
            behind = bisect_right(self._starts, end)
            if first < behind:
                start = min(start, self._starts[first])
                end = max(end, self._ends[behind - 1])
            self._starts[first:behind] = [start]
            self._ends[first:behind] = [end]

    def meets(self, access: Access) -> bool:
        place = bisect_right(self._ends, access.base)
        return place < len(self._starts) and self._starts[place] < access.end
