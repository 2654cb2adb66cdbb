"""Which senders retry: the same client, sender and recipient, again and again.

It knows which fields tell one message from another, and what can be done about a sender. It must
not know where records come from, nor how its findings are shown.
"""

from collections.abc import Collection
from itertools import islice
from statistics import median
from typing import Any, NamedTuple

from null521.report import schedules
from null521.report.reading import Entry

# So many tries are retrying, not chance. Connections less than APART seconds after a try belong to
# that try: a server sends all messages that it has for a host, to each of the host's addresses.
TRIES = 3
APART = 60.0
# So many of the latest gaps are remembered.
GAPS = 16

Key = tuple[str | None, str | None, str | None]  # client or network, sender, recipient


class Retry(NamedTuple):
    """A sender with TRIES tries or more. Times are seconds since the epoch, gaps seconds.

    place: its client or network. every: the median gap. like: the mail servers whose schedule fits
    the gaps. still: whether it was still trying, by its gaps, at the time of the last record of
    all. advice: what to do about it.
    """

    place: str | None
    sender: str | None
    recipient: str | None
    tries: int
    every: float
    first: float
    last: float
    still: bool
    like: tuple[str, ...]
    advice: str


class Retries:
    """Finds the senders that retry, in bounded memory.

    Remembered are up to twice `kept` triplets seen once, of which the oldest are forgotten first,
    and as many seen more often, of which those with less than TRIES tries are forgotten first.
    forgotten: how many triplets were forgotten.
    """

    def __init__(self, kept: int) -> None:
        self.forgotten = 0
        self.unordered = 0  # records older than one before them, whose gaps are not known
        self._kept = kept
        self._once: dict[Key, float] = {}  # most never come again, and must cost little
        self._again: dict[Key, Triplet] = {}

    def add(self, place: str | None, entry: Entry) -> None:
        """Count a record; place is its client, or its network where that counts as one client."""
        for recipient in entry.recipients or (None,):
            key = (place, entry.sender, recipient)
            triplet = self._again.get(key)
            if triplet is None:
                first = self._once.pop(key, None)
                if first is None:
                    self._once[key] = entry.time
                    if len(self._once) >= 2 * self._kept:
                        self._once = self._latest(self._once.items())
                    continue
                triplet = self._again[key] = Triplet(first)
                if len(self._again) >= 2 * self._kept:
                    ranked = sorted(self._again.items(), key=lambda item: item[1].rank())
                    self._again = self._latest(ranked)
            if entry.time < triplet.last:
                self.unordered += 1
                triplet.first = min(triplet.first, entry.time)
            else:
                triplet.add(entry)

    def found(self, end: float) -> list[Retry]:
        """All senders that retry.

        Those still trying come first, then those that match a mail server, then those with the
        most tries. end: time of the last record of all, in seconds since the epoch.
        """
        retries = [triplet.retry(key, end) for key, triplet in self._again.items()]
        found = [retry for retry in retries if retry]
        found.sort(
            key=lambda retry: (
                *(not retry.still, not retry.like, -retry.tries, -retry.last),
                str(retry),
            )
        )
        return found

    def _latest(self, items: Collection[tuple[Key, Any]]) -> dict[Key, Any]:
        self.forgotten += len(items) - self._kept
        return dict(islice(items, len(items) - self._kept, None))


class Triplet:
    """What is remembered of one client, sender and recipient: greylisting's triplet (RFC 6647)."""

    __slots__ = ("first", "gaps", "last", "latest", "tried", "tries")
    latest: Entry  # set by add()

    def __init__(self, moment: float) -> None:
        self.tries = 1
        self.first = self.last = self.tried = moment
        self.gaps: list[float] = []

    def add(self, entry: Entry) -> None:
        """Count another record, which must not be older than the last one."""
        if entry.time - self.tried >= APART:
            self.gaps = [*self.gaps, entry.time - self.tried][-GAPS:]
            self.tried = entry.time
            self.tries += 1
        self.last = entry.time
        self.latest = entry

    def rank(self) -> tuple[int, float]:
        """The lower, the sooner it may be forgotten."""
        return min(self.tries, TRIES), self.last

    def retry(self, key: Key, end: float) -> Retry | None:
        """What to report of it; None if it does not retry."""
        if self.tries < TRIES:
            return None
        every = median(self.gaps)
        # The gaps of the last message: those after the last gap that is too long for one message.
        of_one: list[float] = []
        for gap in self.gaps:
            of_one = [] if gap > schedules.LONGEST else [*of_one, gap]
        like = schedules.matching(of_one)
        # A client that names no sender is a mail server only if its gaps are those of one.
        if self.latest.sender is None and not like:
            return None
        still = end - self.last <= max(schedules.LONGEST, 2 * every)
        advice = self._advice(every)
        return Retry(*key, self.tries, every, self.first, self.last, still, like, advice)

    def _advice(self, every: float) -> str:
        entry = self.latest
        if entry.refuse_at in ("greeting", "helo"):
            return "refuse at rcpt: earlier, many queue the mail"
        if entry.tls and entry.tls.startswith("failed"):
            return "find out why TLS fails"
        if entry.sender is None and not entry.tls:
            return "offer STARTTLS: it may require TLS"
        domain = (entry.sender or "").rpartition("@")[2] or entry.helo
        # RFC 5321, 4.5.1: each domain that accepts mail has a postmaster.
        tell = f"tell postmaster@{domain}" if domain else "tell its administrator"
        return f"{tell}: new mail each time" if every > schedules.LONGEST else tell
