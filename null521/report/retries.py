"""Which senders retry: the same client, sender and recipient, again and again.

It knows which fields tell one message from another, and what can be done about a sender. It must
not know where records come from, nor how its findings are shown.
"""

from itertools import islice
from statistics import median
from sys import getsizeof
from typing import NamedTuple

from null521.report import schedules
from null521.report.reading import Entry

# So many tries are retrying, not chance. Connections less than APART seconds after a try belong to
# that try: a server sends all messages that it has for a host, to each of the host's addresses.
TRIES = 3
APART = 60.0
# So many of the latest gaps are remembered.
GAPS = 16
# Octets of what is remembered of those seen more than once, more than ordinary ones need.
MAX_OCTETS = 16 * 2**20

EARLY = ("greeting", "helo")  # stages at which a client cannot have named a sender

Key = tuple[str | None, str | None, str | None]  # client or network, sender, recipient


class Retry(NamedTuple):
    """A sender with TRIES tries or more. Times are seconds since the epoch, gaps seconds.

    place: its client or network. host: which host of ours had the latest try. every: the median
    gap. like: the mail servers whose schedule fits the gaps. still: whether it was still trying, by
    its gaps, at the time of the last record of all. advice: what to do about it.
    """

    place: str | None
    sender: str | None
    recipient: str | None
    host: str | None
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
    and as many seen more often, of which those with less than TRIES tries are forgotten first, also
    if all together are longer than MAX_OCTETS. forgotten: how many triplets were forgotten.
    """

    def __init__(self, kept: int) -> None:
        self.forgotten = 0
        self.unordered = 0  # records older than one before them, whose gaps are not known
        self._kept = kept
        # By hash alone: most never come again, and must cost little, however long they are. Two
        # with the same hash, which nobody can choose, are one try too many for one of them.
        self._once: dict[int, float] = {}
        self._again: dict[Key, Triplet] = {}
        self._octets = 0  # of _again

    def add(self, place: str | None, entry: Entry) -> None:
        """Count a record; place is its client, or its network where that counts as one client."""
        for recipient in entry.recipients or (None,):
            key = (place, entry.sender, recipient)
            triplet = self._again.get(key)
            if triplet is None:
                first = self._once.pop(hash(key), None)
                if first is None:
                    self._once[hash(key)] = entry.time
                    if len(self._once) >= 2 * self._kept:
                        self._forget_once()
                    continue
                triplet = self._again[key] = Triplet(first)
                self._octets += sum(map(getsizeof, key))
                if len(self._again) >= 2 * self._kept:
                    self._forget_again()
                    if key not in self._again:
                        continue
            if entry.time < triplet.last:
                self.unordered += 1
                triplet.first = min(triplet.first, entry.time)
            else:
                self._octets += triplet.add(entry)
                if self._octets > MAX_OCTETS:
                    self._forget_again()

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
                *map(str, (retry.place, retry.sender, retry.recipient)),
            )
        )
        return found

    def _forget_once(self) -> None:
        forgotten = len(self._once) - self._kept
        self._once = dict(islice(self._once.items(), forgotten, None))
        self.forgotten += forgotten

    def _forget_again(self) -> None:
        ranked = sorted(self._again.items(), key=lambda item: item[1].rank())
        least = len(ranked) - self._kept
        for forgotten, (key, triplet) in enumerate(ranked):
            if forgotten >= least and self._octets <= MAX_OCTETS // 2:
                break
            self._octets -= triplet.octets + sum(map(getsizeof, key))
            self.forgotten += 1
            del self._again[key]


class Triplet:
    """What is remembered of one client, sender and recipient: greylisting's triplet (RFC 6647)."""

    __slots__ = ("first", "gaps", "last", "latest", "octets", "tried", "tries")

    def __init__(self, moment: float) -> None:
        self.tries = 1
        self.first = self.last = self.tried = moment
        self.gaps: list[float] = []
        # HELO, stage of the refusal, TLS and host of the latest record, and how much memory they
        # need.
        self.latest: tuple[str | None, ...] = None, None, None, None
        self.octets = 0

    def add(self, entry: Entry) -> int:
        """Count another record, which must not be older than the last one.

        Returns how many octets more it needs.
        """
        if entry.time - self.tried >= APART:
            self.gaps = [*self.gaps, entry.time - self.tried][-GAPS:]
            self.tried = entry.time
            self.tries += 1
        self.last = entry.time
        self.latest = entry.helo, entry.refuse_at, entry.tls, entry.host
        before, self.octets = self.octets, sum(map(getsizeof, self.latest))
        return self.octets - before

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
        _, sender, recipient = key
        if sender is None and not like:
            return None
        still = end - self.last <= max(schedules.LONGEST, 2 * every)
        advice = self._advice(sender, recipient, every)
        host = self.latest[-1]
        return Retry(*key, host, self.tries, every, self.first, self.last, still, like, advice)

    def _advice(self, sender: str | None, recipient: str | None, every: float) -> str:
        helo, refuse_at, tls, _ = self.latest
        if refuse_at in EARLY:
            return "refuse at rcpt: earlier, many queue the mail"
        if tls and tls.startswith("failed"):
            return "find out why TLS fails"
        if sender is None and not tls:
            return "offer STARTTLS: it may require TLS"
        if sender == "":
            # RFC 5321, 4.5.5: bounces have the null reverse-path, and so have most servers that ask
            # whether an address exists. Both answer mail, real or forged, from the recipient.
            name = " as the recipient" if recipient else ""
            return f"bounce or address check: look whether this host sends mail{name}"
        _, at, domain = (sender or "").rpartition("@")
        if not (at and domain):  # none, or hidden by log-addresses
            domain = helo or ""
        # RFC 5321, 4.5.1: each domain that accepts mail has a postmaster.
        tell = f"tell postmaster@{domain}" if domain else "tell its administrator"
        return f"{tell}: new mail each time" if every > schedules.LONGEST else tell
