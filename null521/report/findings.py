"""The findings of a report: tables and notes, counted from one record after another.

It knows which connections wanted to send mail, what records are grouped by, and what to say about
the counts. It must not know where records come from, nor how tables are printed.
"""

import ipaddress
import math
import time
from collections.abc import Callable, Sequence
from functools import lru_cache

from null521.console import tables
from null521.console.tables import Bar, Cell, Moment, Span, Table
from null521.report.reading import Entry
from null521.report.retries import EARLY, Retries
from null521.report.tally import Distinct, Group, Groups, Texts, Timeline

# So many groups are counted exactly, and never more than twice as many are remembered, however
# many records there are; the same holds for senders that retry. So many senders, recipients and
# hosts are told apart. `make report-cost` prints how much memory that needs.
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
    here = entry.client in ("127.0.0.1", "::1")
    return here and all(name.startswith("postmaster") for name in entry.recipients)


# What records can be grouped by. The command line and the tables take the names from here. With a
# host goes the sender: the question is which host gets mail, and from whom.
KEYS: dict[str, Callable[[Entry], Sequence[Texts]]] = {
    "client": lambda entry: ((entry.client,),),
    "network": lambda entry: ((_network(entry.client),),),
    "helo": lambda entry: ((entry.helo,),),
    "sender": lambda entry: ((entry.sender,),),
    "sender-domain": lambda entry: ((_domain(entry.sender),),),
    "recipient": lambda entry: [(recipient,) for recipient in entry.recipients or (None,)],
    "host": lambda entry: ((entry.host, entry.sender),),
}
COLUMNS = {"host": ("host", "sender")}
# A connection that named no sender and no recipient is grouped by client instead.
OF_MAIL = ("sender", "sender-domain", "recipient")

# What is remembered of the latest record of each group of mail.
SAID = ("sender", "recipient")
# What the summary says of connections that are not of mail.
OTHERS = {
    "unnamed": "named no sender and no recipient, as scanners do",
    "early": "refused at greeting or helo, before they could name a sender",
    "checks": "from null521 check on the host itself",
}


class Findings:
    """The findings from the records given to add().

    by: one of KEYS. limit: rows of a table. When records are grouped by network, retries are too:
    then a sender with several outgoing addresses is one.

    counts: how many connections are of each kind. sending: the client named a sender or recipient.
    unnamed: it could have, and did not. early: it was refused before it could. checks: it was
    `null521 check`.
    """

    def __init__(self, by: str, limit: int) -> None:
        self.records = 0
        self.counts = dict.fromkeys(("sending", "unnamed", "early", "checks"), 0)
        self.first, self.last = math.inf, 0.0  # seconds since the epoch
        self._by, self._limit = by, limit
        self._columns = COLUMNS.get(by, (by,))
        self._latest = [name for name in SAID if name not in self._columns]
        self._says_sender, self._says_recipient = (name in self._latest for name in SAID)
        self._keys = KEYS[by]
        self._others_by = "client" if by in OF_MAIL else by
        self._others_keys = KEYS[self._others_by]
        self._place = "network" if by == "network" else "client"
        self._senders, self._recipients = Distinct(KEPT), Distinct(KEPT)
        self._hosts = Distinct(KEPT)
        self._host: str | None = None  # the latest
        self._hides = False  # whether a sender is without its local part, or hidden
        self._mail, self._others = Groups(KEPT), Groups(KEPT)
        self._retries, self._timeline = Retries(KEPT), Timeline()

    def add(self, entry: Entry) -> None:
        """Count one record."""
        moment = entry.time
        self.records += 1
        if moment < self.first:
            self.first = moment
        if moment > self.last:
            self.last = moment
        if entry.host != self._host:
            self._host = entry.host
            if self._host is not None:
                self._hosts.add(self._host)
        kind = _kind(entry)
        self.counts[kind] += 1
        self._timeline.add(moment, kind == "sending")
        if kind == "checks":
            return
        place = entry.client if self._place == "client" else _network(entry.client)
        self._retries.add(place, entry)
        if kind != "sending":
            self._others.add(self._others_keys(entry)[0][:1], moment)
            return
        sender, recipients = entry.sender, entry.recipients
        if sender is not None:
            self._senders.add(sender)
            if sender[:1] in ("@", "."):
                self._hides = True
        for recipient in recipients:
            self._recipients.add(recipient)
        said: Texts = (recipients[-1] if recipients else None,) if self._says_recipient else ()
        if self._says_sender:
            said = (sender, *said)
        for key in self._keys(entry):
            self._mail.add(key, moment, said)

    def summary(self) -> str:
        """How many records there are, from when, and of which kinds, in a line for each."""
        if not self.records:
            return "No records of null521."
        zone = time.strftime("%Z", time.localtime(self.last))
        begin, end = (tables.text(Moment(moment)) for moment in (self.first, self.last))
        hosts = f" to {_up_to(self._hosts, 'host')}" if self._hosts.count > 1 else ""
        lines = [f"{_counted(self.records, 'connection')}{hosts}, from {begin} to {end} {zone}"]
        counts = self.counts
        if counts["sending"]:
            named = (("from", self._senders, "sender"), ("to", self._recipients, "recipient"))
            who = [f"{word} {_up_to(texts, noun)}" for word, texts, noun in named if texts.count]
            lines.append(f"{counts['sending']} wanted to send mail, {' '.join(who)}")
        elif not counts["early"]:
            lines.append("None wanted to send mail")
        lines += [f"{counts[kind]} {text}" for kind, text in OTHERS.items() if counts[kind]]
        return "\n".join(lines)

    def facts(self) -> dict[str, Cell]:
        """The same for programs. A number of senders, recipients or hosts over KEPT is KEPT + 1."""
        times = (Moment(self.first), Moment(self.last)) if self.records else (None, None)
        return {
            **{"records": self.records, "first": times[0], "last": times[1], "by": self._by},
            **self.counts,
            **{"senders": self._senders.count, "recipients": self._recipients.count},
            "hosts": self._hosts.count,
        }

    def retries(self) -> Table:
        """Senders that keep retrying."""
        by_host = self._by == "host"
        return Table(
            "retries",
            f"Retries: the same {self._place}, sender and recipient, three times or more",
            "Nobody kept retrying.",
            (
                *(self._place, "sender", "recipient", *["host"] * by_host),
                *("tries", "every", "like", "still_trying"),
                *("first_seen", "last_seen", "what_to_do"),
            ),
            [
                (
                    *(retry.place, retry.sender, retry.recipient, *[retry.host] * by_host),
                    *(retry.tries, Span(retry.every), retry.like, retry.still),
                    *(Moment(retry.first), Moment(retry.last), retry.advice),
                )
                for retry in self._retries.found(self.last)[: self._limit]
            ],
            stacked=4 if by_host else 3,
        )

    def mail(self) -> Table:
        """The groups with the most mail, with the latest sender and recipient of each."""
        title = f"Mail, by {' and '.join(self._columns)}"
        largest = self._mail.largest(self._limit)
        return _table("mail", title, self._columns, self._latest, largest)

    def timeline(self) -> Table:
        """How much mail each interval of time has, and how many other connections."""
        rows = list(self._timeline.rows())
        of_mail = self.counts["sending"] > 0
        shown = [mail if of_mail else others for _, others, mail in rows]
        most = max(shown, default=0)
        return Table(
            "timeline",
            f"{'Mail' if of_mail else 'Connections'} in each "
            f"{tables.text(Span(self._timeline.width))}",
            "No records.",
            ("from", "mail", "others", "bar"),
            [
                (Moment(begin), mail, others, Bar(count / most))
                for (begin, others, mail), count in zip(rows, shown, strict=True)
            ],
        )

    def others(self, limit: int = KEPT) -> Table:
        """The groups with the most connections that named no sender and no recipient."""
        limit = min(limit, self._limit)
        title = f"Others, which named no sender, by {self._others_by}"
        if len(self._others) > limit:
            title += f": the first {limit}"
        return _table("others", title, (self._others_by,), [], self._others.largest(limit))

    def notes(self) -> list[str]:
        """What a reader must know besides the tables."""
        retries, mail, limit = self._retries, self._mail, self._limit
        found = retries.found(self.last)
        notes = []
        if len(found) > limit:
            notes.append(f"{len(found) - limit} more kept retrying.")
        if len(mail) > limit:
            notes.append(f"Showing {limit} of {len(mail)} groups of mail: most records first.")
        if self._hides:
            notes.append("log-addresses hides addresses: several senders may look like one.")
        if retries.forgotten:
            notes.append(
                "Too many senders to remember all: one that retried only after "
                f"{KEPT} others had come may be missing."
            )
        for groups, which in ((mail, "groups of mail"), (self._others, "groups of others")):
            if groups.error:
                notes.append(
                    f"Too many {which} to count exactly: each has at least RECORDS and at most AT "
                    "MOST records. Groups that are not remembered have at most "
                    f"{groups.error} each."
                )
        if retries.unordered:
            late = _counted(retries.unordered, "record")
            notes.append(f"{late} out of order: not counted as tries.")
        return notes


def _kind(entry: Entry) -> str:
    """One of Findings.counts."""
    if entry.sender is not None or entry.recipients:
        return "checks" if entry.sender == "" and _is_check(entry) else "sending"
    return "early" if entry.refuse_at in EARLY else "unnamed"


def _table(
    name: str,
    title: str,
    columns: tuple[str, ...],
    latest: list[str],
    largest: list[tuple[Texts, Group]],
) -> Table:
    """Groups, each with what the latest record said, and an upper bound if any is not exact."""
    at_most = any(group.error for _, group in largest)
    return Table(
        name,
        title,
        "None.",
        (
            *(*columns, "records", *["at_most"] * at_most),
            *(*(f"last_{word}" for word in latest), "first_seen", "last_seen"),
        ),
        [
            (
                *(*key, group.count, *[group.count + group.error] * at_most, *group.latest),
                *(Moment(group.first), Moment(group.last)),
            )
            for key, group in largest
        ],
        stacked=2,
    )


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _up_to(different: Distinct, noun: str) -> str:
    """How many there are, as far as they are counted."""
    if different.count > KEPT:
        return f"more than {KEPT} {noun}s"
    return _counted(different.count, noun)
