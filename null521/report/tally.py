"""How many of each, and when, in memory that has a bound.

It knows counts and times. It must not know what is counted, nor how it is shown: the world has
more senders than there is memory, and some of it would make up new ones to fill that.
"""

import heapq
import time
from collections.abc import Iterator

# Rows of a timeline, and how many times as many it keeps until then.
ROWS, FINER = 40, 50
# Seconds from one row to the next; each divides the next. After a week, each is twice the last.
WIDTHS = (900, 3600, 21600, 86400, 604800)
# 1 January 1970 was a Thursday; weeks are to begin on a Monday.
MONDAY = 4 * 86400


class Group:
    """How many records of one key there were, and when; times are seconds since the epoch.

    missed: of how many it may have been forgotten, at most, that they were there before.
    """

    __slots__ = ("count", "first", "last", "missed")

    def __init__(self, moment: float, missed: int) -> None:
        self.count = 0
        self.missed = missed
        self.first = self.last = moment


class Groups:
    """Counts by key: exact, until there are more than twice `kept` keys at once.

    Then those of which there are fewest are forgotten, as in the algorithm called Space-Saving
    (Metwally, Agrawal, El Abbadi, 2005), many at a time. A count is then what there was at least,
    and that and `missed` what there was at most. Of a key that is not there, there were at most
    `missed` in all.
    """

    def __init__(self, kept: int) -> None:
        self.total = 0
        self.missed = 0
        self._kept = kept
        self._groups: dict[str | None, Group] = {}

    def add(self, key: str | None, moment: float) -> None:
        """Count one record of that key."""
        group = self._groups.get(key)
        if group is None:
            if len(self._groups) >= 2 * self._kept:
                self._forget()
            group = self._groups[key] = Group(moment, self.missed)
        self.total += 1
        group.count += 1
        # Records need not come in the order of their times.
        if moment < group.first:
            group.first = moment
        if moment > group.last:
            group.last = moment

    def __len__(self) -> int:
        return len(self._groups)

    def largest(self, limit: int) -> list[tuple[str | None, Group]]:
        """Those with the highest counts, the highest first."""
        return heapq.nsmallest(limit, self._groups.items(), key=_by_count)

    def _forget(self) -> None:
        def at_most(item: tuple[str | None, Group]) -> int:
            return item[1].count + item[1].missed

        ranked = sorted(self._groups.items(), key=at_most, reverse=True)
        self.missed = at_most(ranked[self._kept])
        self._groups = dict(ranked[: self._kept])


def _by_count(item: tuple[str | None, Group]) -> tuple[int, float, str]:
    key, group = item
    return -group.count, -group.last, key or ""


class Timeline:
    """How many there were in each stretch of time; stretches get longer as time goes on."""

    def __init__(self) -> None:
        self.width = WIDTHS[0]  # seconds
        self._zone: int | None = None
        self._counts: dict[int, int] = {}

    def add(self, moment: float) -> None:
        """Count one record."""
        if self._zone is None:  # so that days begin at midnight here
            self._zone = time.localtime(moment).tm_gmtoff
        stretch = int((moment + self._zone - MONDAY) // self.width)
        self._counts[stretch] = self._counts.get(stretch, 0) + 1
        if len(self._counts) > ROWS * FINER:
            self._widen()

    def rows(self) -> Iterator[tuple[float, int]]:
        """When each stretch begins, in seconds since the epoch, and its count; at most ROWS."""
        if not self._counts:
            return
        while max(self._counts) - min(self._counts) >= ROWS:
            self._widen()
        for stretch in range(min(self._counts), max(self._counts) + 1):
            begins = stretch * self.width + MONDAY - (self._zone or 0)
            yield begins, self._counts.get(stretch, 0)

    def _widen(self) -> None:
        before, counts = self.width, self._counts
        self.width = next((width for width in WIDTHS if width > before), 2 * before)
        self._counts = {}
        for stretch, count in counts.items():
            wider = stretch * before // self.width
            self._counts[wider] = self._counts.get(wider, 0) + count
