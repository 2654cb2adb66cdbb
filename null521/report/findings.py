"""What a report says: tables and notes, from one record after another.

It knows what records are counted under, and what there is to be said of that. It must not know
where they come from, nor how tables are printed.
"""

import ipaddress
import math
import time
from collections.abc import Callable
from functools import lru_cache

from null521.console import tables
from null521.console.tables import Bar, Moment, Span, Table
from null521.report.reading import Seen
from null521.report.retries import Retries
from null521.report.tally import Groups, Timeline

# So many writers are counted exactly, and never more than twice as many remembered, whatever there
# is to count; the same of those who come again. `make report-cost` prints what memory that takes.
KEPT = 20000


@lru_cache(4096)
def _network(client: str | None) -> str | None:
    """From which one sender may use several addresses: the IPv4 /24 or IPv6 /64."""
    try:
        address = ipaddress.ip_address(client or "")
        return str(ipaddress.ip_network((address, 24 if address.version == 4 else 64), False))
    except ValueError:  # forged, or none
        return client


def _domain(sender: str | None) -> str | None:
    return sender.rpartition("@")[2].lower() if sender else sender


def _is_check(seen: Seen) -> bool:
    """Whether that was `null521 check`, which a container runs again and again (probe.py)."""
    here = seen.client in ("127.0.0.1", "::1") and seen.sender == ""
    return here and all(name.startswith("postmaster") for name in seen.recipients)


# Who is one writer.
KEYS: dict[str, Callable[[Seen], tuple[str | None, ...]]] = {
    "client": lambda seen: (seen.client,),
    "network": lambda seen: (_network(seen.client),),
    "helo": lambda seen: (seen.helo,),
    "sender": lambda seen: (seen.sender,),
    "sender-domain": lambda seen: (_domain(seen.sender),),
    "recipient": lambda seen: seen.recipients or (None,),
}


class Findings:
    """All that is found in the records given to add(); `by` is one of KEYS.

    limit: rows of a table. Where writers are networks, so are those who come again: then a sender
    with several outgoing addresses is one.
    """

    def __init__(self, by: str, limit: int) -> None:
        self.records = 0
        self.first, self.last = math.inf, 0.0  # seconds since the epoch
        self._by, self._limit = by, limit
        self._keys = KEYS[by]
        self._place = "network" if by == "network" else "client"
        self._writers, self._retries, self._timeline = Groups(KEPT), Retries(KEPT), Timeline()

    def add(self, seen: Seen) -> None:
        """Count one record."""
        moment = seen.time
        self.records += 1
        self.first, self.last = min(self.first, moment), max(self.last, moment)
        for key in self._keys(seen):
            self._writers.add(key, moment)
        place = seen.client if self._place == "client" else _network(seen.client)
        if not _is_check(seen):
            self._retries.add(place, seen)
        self._timeline.add(moment)

    def said(self) -> str:
        """How many records there are, and from when, in one line."""
        if not self.records:
            return "No records of null521."
        zone = time.strftime("%Z", time.localtime(self.last))
        begin, end = (tables.text(Moment(moment)) for moment in (self.first, self.last))
        return f"{self.records} records, from {begin} to {end} {zone}"

    def facts(self) -> dict[str, tables.Cell]:
        """The same for programs."""
        span = (Moment(self.first), Moment(self.last)) if self.records else (None, None)
        return {"records": self.records, "first": span[0], "last": span[1], "by": self._by}

    def retries(self) -> Table:
        """Who has not given up."""
        return Table(
            "retries",
            "Who has not given up at once: the same sender and recipient, three times or more",
            "Nobody came again and again.",
            (
                *(self._place, "sender", "recipient", "tries", "every", "like"),
                *("first_seen", "last_seen", "still_trying", "what_to_do"),
            ),
            [
                (
                    *(retry.place, retry.sender, retry.recipient),
                    *(retry.tries, Span(retry.every), retry.like),
                    *(Moment(retry.first), Moment(retry.last), retry.still, retry.advice),
                )
                for retry in self._retries.found(self.last)[: self._limit]
            ],
        )

    def writers(self) -> Table:
        """Who keeps writing. Where not all could be remembered, counts have an upper bound too."""
        at_most = self._writers.missed > 0
        return Table(
            "writers",
            f"Who keeps writing, by {self._by}",
            "Nobody.",
            (self._by, "records", *["at_most"] * at_most, "first_seen", "last_seen"),
            [
                (
                    *(key, group.count, *[group.count + group.missed] * at_most),
                    *(Moment(group.first), Moment(group.last)),
                )
                for key, group in self._writers.largest(self._limit)
            ],
        )

    def timeline(self) -> Table:
        """When."""
        rows = list(self._timeline.rows())
        most = max((count for _, count in rows), default=0)
        return Table(
            "timeline",
            f"When, by {tables.text(Span(self._timeline.width))}",
            "Never.",
            ("from", "records", "bar"),
            [(Moment(begin), count, Bar(count / most)) for begin, count in rows],
        )

    def notes(self) -> list[str]:
        """What else has to be known to read the tables aright."""
        retries, writers = self._retries, self._writers
        found = retries.found(self.last)
        notes = []
        if len(found) > self._limit:
            notes.append(f"{len(found) - self._limit} more came again and again.")
        if len(writers) > self._limit:
            notes.append(f"Of {len(writers)} writers, those with most records are shown.")
        if any(retry.sender and retry.sender[0] in "@." for retry in found):
            notes.append("log-addresses hides addresses: several senders may look like one.")
        if retries.forgotten:
            notes.append(
                f"Too many came to remember all: who came again only after {KEPT} others had come "
                "may be missing."
            )
        if writers.missed:
            notes.append(
                "Too many wrote to remember all: of each there were at least as many records as it "
                f"says, at most as many as AT MOST says, and at most {writers.missed} of one that "
                "is forgotten."
            )
        if retries.unordered:
            notes.append(f"{retries.unordered} records came later than newer ones: no gap is told.")
        return notes
