"""The findings of a report: tables and notes, counted from one record after another.

It knows what records are grouped by, and what to say about the counts. It must not know where
records come from, nor how tables are printed.
"""

import ipaddress
import math
import time
from collections.abc import Callable
from functools import lru_cache

from null521.console import tables
from null521.console.tables import Bar, Cell, Moment, Span, Table
from null521.report.reading import Entry
from null521.report.retries import Retries
from null521.report.tally import Groups, Timeline

# So many groups are counted exactly, and never more than twice as many are remembered, however
# many records there are; the same holds for senders that retry. `make report-cost` prints how much
# memory that needs.
KEPT = 20000
# Characters: an IPv6 address with an interface. What is longer is forged.
MAX_ADDRESS = 64


def _network(client: str | None) -> str | None:
    """The IPv4 /24 or IPv6 /64, because one sender may use several addresses of a network."""
    return client if client and len(client) > MAX_ADDRESS else _network_of(client)


@lru_cache(4096)
def _network_of(client: str | None) -> str | None:
    try:
        address = ipaddress.ip_address(client or "")
        return str(ipaddress.ip_network((address, 24 if address.version == 4 else 64), False))
    except ValueError:  # forged, or none
        return client


def _domain(sender: str | None) -> str | None:
    return sender.rpartition("@")[2].lower() if sender else sender


def _is_check(entry: Entry) -> bool:
    """Whether it is of `null521 check`, which a container runs as its health check (probe.py)."""
    here = entry.client in ("127.0.0.1", "::1") and entry.sender == ""
    return here and all(name.startswith("postmaster") for name in entry.recipients)


# What records can be grouped by. The command line and the tables take the names from here.
KEYS: dict[str, Callable[[Entry], tuple[str | None, ...]]] = {
    "client": lambda entry: (entry.client,),
    "network": lambda entry: (_network(entry.client),),
    "helo": lambda entry: (entry.helo,),
    "sender": lambda entry: (entry.sender,),
    "sender-domain": lambda entry: (_domain(entry.sender),),
    "recipient": lambda entry: entry.recipients or (None,),
}


class Findings:
    """The findings from the records given to add().

    by: one of KEYS. limit: rows of a table. When records are grouped by network, retries are too:
    then a sender with several outgoing addresses is one.
    """

    def __init__(self, by: str, limit: int) -> None:
        self.records = 0
        self.first, self.last = math.inf, 0.0  # seconds since the epoch
        self._by, self._limit = by, limit
        self._keys = KEYS[by]
        self._place = "network" if by == "network" else "client"
        self._groups, self._retries, self._timeline = Groups(KEPT), Retries(KEPT), Timeline()

    def add(self, entry: Entry) -> None:
        """Count one record."""
        moment = entry.time
        self.records += 1
        self.first, self.last = min(self.first, moment), max(self.last, moment)
        for key in self._keys(entry):
            self._groups.add(key, moment)
        place = entry.client if self._place == "client" else _network(entry.client)
        if not _is_check(entry):
            self._retries.add(place, entry)
        self._timeline.add(moment)

    def summary(self) -> str:
        """How many records there are, and from when, in one line."""
        if not self.records:
            return "No records of null521."
        zone = time.strftime("%Z", time.localtime(self.last))
        begin, end = (tables.text(Moment(moment)) for moment in (self.first, self.last))
        return f"{_counted(self.records, 'record')}, from {begin} to {end} {zone}"

    def facts(self) -> dict[str, Cell]:
        """The same for programs."""
        times = (Moment(self.first), Moment(self.last)) if self.records else (None, None)
        return {"records": self.records, "first": times[0], "last": times[1], "by": self._by}

    def retries(self) -> Table:
        """Senders that keep retrying."""
        return Table(
            "retries",
            f"Retries: the same {self._place}, sender and recipient, three times or more",
            "Nobody kept retrying.",
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
        """The groups with the most records, with an upper bound where counts are not exact."""
        at_most = self._groups.error > 0
        return Table(
            "writers",
            f"Most records, by {self._by}",
            "No records.",
            (self._by, "records", *["at_most"] * at_most, "first_seen", "last_seen"),
            [
                (
                    *(key, group.count, *[group.count + group.error] * at_most),
                    *(Moment(group.first), Moment(group.last)),
                )
                for key, group in self._groups.largest(self._limit)
            ],
        )

    def timeline(self) -> Table:
        """How many records each interval of time has."""
        rows = list(self._timeline.rows())
        most = max((count for _, count in rows), default=0)
        return Table(
            "timeline",
            f"Records in each {tables.text(Span(self._timeline.width))}",
            "No records.",
            ("from", "records", "bar"),
            [(Moment(begin), count, Bar(count / most)) for begin, count in rows],
        )

    def notes(self) -> list[str]:
        """What a reader must know besides the tables."""
        retries, groups, limit = self._retries, self._groups, self._limit
        found = retries.found(self.last)
        notes = []
        if len(found) > limit:
            notes.append(f"{len(found) - limit} more kept retrying.")
        if len(groups) > limit:
            notes.append(f"Showing {limit} of {len(groups)} groups: most records first.")
        if any(retry.sender and retry.sender[0] in "@." for retry in found):
            notes.append("log-addresses hides addresses: several senders may look like one.")
        if retries.forgotten:
            notes.append(
                "Too many senders to remember all: one that retried only after "
                f"{KEPT} others had come may be missing."
            )
        if groups.error:
            notes.append(
                "Too many groups to count exactly: each has at least RECORDS and at most AT MOST "
                f"records. Groups that are not remembered have at most {groups.error} each."
            )
        if retries.unordered:
            late = _counted(retries.unordered, "record")
            notes.append(f"{late} out of order: not counted as tries.")
        return notes


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
