"""Counts of each key, of different texts, and of each interval of time, in bounded memory.

It knows counts and times. It must not know what is counted, nor how the counts are shown. The
bound is needed because a client can make up any number of new keys.
"""

import heapq
import time
from collections.abc import Iterator
from sys import getsizeof

# Octets of texts, several times as many as those of ordinary clients need.
MAX_OCTETS = 12 * 2**20

# Rows of a timeline, and how many times as many intervals are counted before it is shown.
ROWS, FINER = 40, 50
# Widths of an interval in seconds; each divides the next. After a week, each is twice the last.
WIDTHS = (900, 3600, 21600, 86400, 604800)
# 1 January 1970 was a Thursday; weeks begin on a Monday.
MONDAY = 4 * 86400


Texts = tuple[str | None, ...]


class Distinct:
    """How many different texts there are, counted up to `most`; `count` is more if there are more.

    By hash alone, so that long texts cost no more. Two with the same hash, which nobody can choose,
    count as one.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._hashes: set[int] = set()

    @property
    def count(self) -> int:
        """The number of different texts, or most + 1."""
        return len(self._hashes)

    def add(self, text: str | None) -> None:
        """Count it, unless it was there before."""
        if len(self._hashes) <= self._most:
            self._hashes.add(hash(text))


class Group:
    """How many records one key has, and from when; times are seconds since the epoch.

    error: at most so many more records of this key were counted before it was forgotten once.
    latest: what was said about the latest record.
    """

    __slots__ = ("count", "error", "first", "last", "latest", "octets")

    def __init__(self, moment: float, error: int, latest: Texts, octets: int) -> None:
        self.count = 1
        self.error = error
        self.first = self.last = moment
        self.latest = latest
        self.octets = octets  # of the key and of latest


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
        self._groups: dict[Texts, Group] = {}

    def add(self, key: Texts, moment: float, said: Texts = ()) -> None:
        """Count one record of that key. said: remembered of the latest record of each key."""
        group = self._groups.get(key)
        if group is None:
            if len(self._groups) >= 2 * self._kept or self._octets > MAX_OCTETS:
                self._forget()
            octets = _octets(key + said)
            self._octets += octets
            self._groups[key] = Group(moment, self.error, said, octets)
            return
        group.count += 1
        # Records need not come in the order of their times.
        if moment < group.first:
            group.first = moment
        if moment >= group.last:
            group.last = moment
            if said != group.latest:
                octets = _octets(key + said)
                self._octets += octets - group.octets
                group.latest, group.octets = said, octets
                if self._octets > MAX_OCTETS:
                    self._forget()

    def __len__(self) -> int:
        return len(self._groups)

    def largest(self, limit: int) -> list[tuple[Texts, Group]]:
        """The keys with the highest counts, highest first."""
        return heapq.nsmallest(limit, self._groups.items(), key=_by_count)

    def _forget(self) -> None:
        def at_most(item: tuple[Texts, Group]) -> int:
            return item[1].count + item[1].error

        ranked = sorted(self._groups.items(), key=at_most, reverse=True)
        kept = octets = 0
        while kept < self._kept:
            more = ranked[kept][1].octets
            if octets + more > MAX_OCTETS // 2:
                break
            octets += more
            kept += 1
        self.error = at_most(ranked[kept])
        self._groups, self._octets = dict(ranked[:kept]), octets


def _octets(texts: Texts) -> int:
    return sum(map(getsizeof, texts))


def _by_count(item: tuple[Texts, Group]) -> tuple[int, float, list[str]]:
    key, group = item
    return -group.count, -group.last, [text or "" for text in key]


class Timeline:
    """How many records each interval of time has, of two kinds; intervals widen as time goes on."""

    def __init__(self) -> None:
        self.width = WIDTHS[0]  # seconds
        self._zone: int | None = None
        self._counts: dict[int, list[int]] = {}  # of the first kind and of the second

    def add(self, moment: float, second: bool = False) -> None:
        """Count one record, of the second kind or of the first."""
        if self._zone is None:  # days begin at local midnight
            self._zone = time.localtime(moment).tm_gmtoff
        number = int((moment + self._zone - MONDAY) // self.width)
        counts = self._counts.get(number)
        if counts is None:
            if len(self._counts) >= ROWS * FINER:
                self._widen()
                self.add(moment, second)
                return
            counts = self._counts[number] = [0, 0]
        counts[second] += 1

    def rows(self) -> Iterator[tuple[float, int, int]]:
        """When each interval begins, in seconds since the epoch, and both counts; at most ROWS."""
        if not self._counts:
            return
        while max(self._counts) - min(self._counts) >= ROWS:
            self._widen()
        for number in range(min(self._counts), max(self._counts) + 1):
            begin = number * self.width + MONDAY - (self._zone or 0)
            first, second = self._counts.get(number, (0, 0))
            yield begin, first, second

    def _widen(self) -> None:
        before, finer = self.width, self._counts
        self.width = next((width for width in WIDTHS if width > before), 2 * before)
        self._counts = {}
        for number, (first, second) in finer.items():
            counts = self._counts.setdefault(number * before // self.width, [0, 0])
            counts[0] += first
            counts[1] += second
