"""Counts of each key, and of each interval of time, in bounded memory.

It knows counts and times. It must not know what is counted, nor how the counts are shown. The
bound is needed because a client can make up any number of new keys.
"""

import heapq
import time
from collections.abc import Iterator
from sys import getsizeof

# Octets of keys, several times as many as those of ordinary clients need.
MAX_OCTETS = 12 * 2**20

# Rows of a timeline, and how many times as many intervals are counted before it is shown.
ROWS, FINER = 40, 50
# Widths of an interval in seconds; each divides the next. After a week, each is twice the last.
WIDTHS = (900, 3600, 21600, 86400, 604800)
# 1 January 1970 was a Thursday; weeks begin on a Monday.
MONDAY = 4 * 86400


class Group:
    """How many records one key has, and from when; times are seconds since the epoch.

    error: at most so many more records of this key were counted before it was forgotten once.
    """

    __slots__ = ("count", "error", "first", "last")

    def __init__(self, moment: float, error: int) -> None:
        self.count = 0
        self.error = error
        self.first = self.last = moment


class Groups:
    """Counts by key: exact until there are more than twice `kept` keys at once, or MAX_OCTETS.

    Then the keys with the lowest counts are forgotten, as in the Space-Saving algorithm (Metwally,
    Agrawal, El Abbadi, 2005), but many at a time. From then on, `count` is the least number of
    records that a key can have, and count + error the most. A key that is not there has at most
    `error` of Groups.
    """

    def __init__(self, kept: int) -> None:
        self.error = 0
        self._kept = kept
        self._octets = 0
        self._groups: dict[str | None, Group] = {}

    def add(self, key: str | None, moment: float) -> None:
        """Count one record of that key."""
        group = self._groups.get(key)
        if group is None:
            if len(self._groups) >= 2 * self._kept or self._octets > MAX_OCTETS:
                self._forget()
            self._octets += getsizeof(key)
            group = self._groups[key] = Group(moment, self.error)
        group.count += 1
        # Records need not come in the order of their times.
        if moment < group.first:
            group.first = moment
        if moment > group.last:
            group.last = moment

    def __len__(self) -> int:
        return len(self._groups)

    def largest(self, limit: int) -> list[tuple[str | None, Group]]:
        """The keys with the highest counts, highest first."""
        return heapq.nsmallest(limit, self._groups.items(), key=_by_count)

    def _forget(self) -> None:
        def at_most(item: tuple[str | None, Group]) -> int:
            return item[1].count + item[1].error

        ranked = sorted(self._groups.items(), key=at_most, reverse=True)
        kept = octets = 0
        while kept < self._kept:
            more = getsizeof(ranked[kept][0])
            if octets + more > MAX_OCTETS // 2:
                break
            octets += more
            kept += 1
        self.error = at_most(ranked[kept])
        self._groups, self._octets = dict(ranked[:kept]), octets


def _by_count(item: tuple[str | None, Group]) -> tuple[int, float, str]:
    key, group = item
    return -group.count, -group.last, key or ""


class Timeline:
    """How many records each interval of time has; intervals get wider as time goes on."""

    def __init__(self) -> None:
        self.width = WIDTHS[0]  # seconds
        self._zone: int | None = None
        self._counts: dict[int, int] = {}

    def add(self, moment: float) -> None:
        """Count one record."""
        if self._zone is None:  # days begin at local midnight
            self._zone = time.localtime(moment).tm_gmtoff
        number = int((moment + self._zone - MONDAY) // self.width)
        self._counts[number] = self._counts.get(number, 0) + 1
        if len(self._counts) > ROWS * FINER:
            self._widen()

    def rows(self) -> Iterator[tuple[float, int]]:
        """When each interval begins, in seconds since the epoch, and its count; at most ROWS."""
        if not self._counts:
            return
        while max(self._counts) - min(self._counts) >= ROWS:
            self._widen()
        for number in range(min(self._counts), max(self._counts) + 1):
            begin = number * self.width + MONDAY - (self._zone or 0)
            yield begin, self._counts.get(number, 0)

    def _widen(self) -> None:
        before, counts = self.width, self._counts
        self.width = next((width for width in WIDTHS if width > before), 2 * before)
        self._counts = {}
        for number, count in counts.items():
            wider = number * before // self.width
            self._counts[wider] = self._counts.get(wider, 0) + count
