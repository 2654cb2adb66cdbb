"""Who has not given up: the same client with the same sender and recipient, again and again.

It knows what of a record tells one message from another, and what can be done about a sender. It
must not know where records come from, nor how what is found is shown.
"""

from collections.abc import Collection
from itertools import islice
from statistics import median
from typing import Any, NamedTuple

from null521.report import schedules as backoff
from null521.report.reading import Seen

# So many tries are called again and again, and so long after one the next begins, in seconds: a
# server tries all that it has for a host at once, and has more than one address for some.
TRIES = 3
APART = 60.0
# How many of the latest gaps are kept.
GAPS = 16

Key = tuple[str | None, str | None, str | None]  # client or network, sender, recipient


class Retry(NamedTuple):
    """One who has come TRIES times or more. Times are seconds since the epoch, gaps seconds.

    place: its client or network. every: the typical gap. like: the mail servers that have such
    gaps. still: whether it had not stopped, by its gaps, at the time of the last record of all.
    advice: what to do about it.
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
    """Those who come again, of all who come.

    Of those seen once, the latest are remembered, up to twice `kept`; of those seen again too, and
    there who came less than TRIES times go first. forgotten: how many had to.
    """

    def __init__(self, kept: int) -> None:
        self.forgotten = 0
        self.unordered = 0  # records that were older than one before them, which tell no gap
        self._kept = kept
        self._once: dict[Key, float] = {}  # most never come again, and are to cost little
        self._again: dict[Key, Comer] = {}

    def add(self, place: str | None, seen: Seen) -> None:
        """Take note of a record; place is its client, or what is to be taken for one client."""
        for recipient in seen.recipients or (None,):
            key = (place, seen.sender, recipient)
            comer = self._again.get(key)
            if comer is None:
                first = self._once.pop(key, None)
                if first is None:
                    self._once[key] = seen.time
                    if len(self._once) >= 2 * self._kept:
                        self._once = self._latest(self._once.items())
                    continue
                comer = self._again[key] = Comer(first, seen)
                if len(self._again) >= 2 * self._kept:
                    ranked = sorted(self._again.items(), key=lambda item: item[1].rank())
                    self._again = self._latest(ranked)
            if seen.time < comer.last:
                self.unordered += 1
                comer.first = min(comer.first, seen.time)
            else:
                comer.come(seen)

    def found(self, end: float) -> list[Retry]:
        """Those who came again and again.

        In the order of: who has not stopped, who waits like a mail server, who tried most often.
        end: when the last record of all was written, in seconds since the epoch.
        """
        retries = [comer.retry(key, end) for key, comer in self._again.items()]
        found = [retry for retry in retries if retry]
        found.sort(
            key=lambda retry: (
                *(not retry.still, not retry.like, -retry.tries, -retry.last),
                str(retry[:3]),
            )
        )
        return found

    def _latest(self, items: Collection[tuple[Key, Any]]) -> dict[Key, Any]:
        self.forgotten += len(items) - self._kept
        return dict(islice(items, len(items) - self._kept, None))


class Comer:
    """What is remembered of one key."""

    __slots__ = ("first", "gaps", "last", "seen", "tried", "tries")

    def __init__(self, moment: float, seen: Seen) -> None:
        self.tries = 1
        self.seen = seen  # the last one
        self.first = self.last = self.tried = moment
        self.gaps: list[float] = []

    def come(self, seen: Seen) -> None:
        """Take note of another record, which is not older than the last one."""
        if seen.time - self.tried >= APART:
            self.gaps = [*self.gaps, seen.time - self.tried][-GAPS:]
            self.tried = seen.time
            self.tries += 1
        self.last = seen.time
        self.seen = seen

    def rank(self) -> tuple[int, float]:
        """The lower, the sooner it may be forgotten."""
        return min(self.tries, TRIES), self.last

    def retry(self, key: Key, end: float) -> Retry | None:
        """What is to be said of it, if anything."""
        if self.tries < TRIES:
            return None
        every = median(self.gaps)
        # Of one message, only what came after the last long silence.
        of_one: list[float] = []
        for gap in self.gaps:
            of_one = [] if gap > backoff.LONGEST else [*of_one, gap]
        like = backoff.like(of_one)
        # Who names no sender may be no mail server at all: then only its gaps speak for one.
        if self.seen.sender is None and not like:
            return None
        still = end - self.last <= max(backoff.LONGEST, 2 * every)
        advice = self._advice(every)
        return Retry(*key, self.tries, every, self.first, self.last, still, like, advice)

    def _advice(self, every: float) -> str:
        seen = self.seen
        if seen.refuse_at in ("greeting", "helo"):
            return "refuse at rcpt: earlier, many keep the mail"
        if seen.tls and seen.tls.startswith("failed"):
            return "see why TLS fails with it"
        if seen.sender is None and not seen.tls:
            return "offer STARTTLS: it may insist on TLS"
        domain = (seen.sender or "").rpartition("@")[2] or seen.helo
        # RFC 5321, 4.5.1: each domain that takes mail has one.
        tell = f"tell postmaster@{domain}" if domain else "tell who runs it"
        return f"{tell}: new mail each time" if every > backoff.LONGEST else tell
