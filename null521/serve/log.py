"""Records of many connections on their way out, so that none delays another.

It knows how to hand over a record without waiting, what to do if it is not accepted, and how much
may wait or go out. It must not know what a record is about, except that most are of sessions.

The process for one client hands its record to systemd-python, which may wait. A server must not:
sendv() waits in the C library with the interpreter's lock held, so that even in a thread of its own
it would stop all connections while the journal is full. journald's protocol is a datagram of lines:
https://systemd.io/JOURNAL_NATIVE_PROTOCOL/.

The kernel does not tell when another process's datagram socket has room, unless ours is connected
to it, and the units forbid connect(2), which could lead a client's connection elsewhere. So a place
that is full is tried again soon, and later each time that nothing has moved.
"""

import os
import select
import socket
import time
from asyncio import AbstractEventLoop, TimerHandle
from collections import Counter, deque
from collections.abc import Callable

from null521 import log
from null521.jsonline import json_line
from null521.record import INFO, REFUSED, SUMMED, TROUBLE, WARNING, Record

MAX_WAITING = 8 * 2**20  # octets of records that wait
BATCH = 256  # records handed over before the connections get their turn
SOONEST, LATEST = 0.001, 0.05  # seconds until a place that is full is tried again
BURST = 1000  # how many seconds' worth of the budget may go out at once
SUMMARY_SECONDS = 10.0  # how often sessions over the budget are summed up

LOST = "{} records were lost: the log was too slow or unavailable"


class LogQueue:
    """Hands records to the first place of `name` that exists, in order, as fast as it accepts them.

    name: a key of log.PLACES. budget: octets of session records a second, on average; sessions over
    it are summed up. lost: how many records were not accepted, because there was no room here or no
    place at all.
    """

    def __init__(self, name: str, loop: AbstractEventLoop, budget: int) -> None:
        self.lost = 0
        self.wants_records = bool(log.PLACES[name])
        self._unreported = 0  # how many of the lost no warning has counted yet
        self._places = [SENDERS[place] for place in log.PLACES[name]]
        self._encode = json_line if name == "json" else encoded
        self._loop = loop
        self._waiting: deque[bytes] = deque()
        self._octets = 0  # in all that waits
        self._again: TimerHandle | None = None
        self._delay = SOONEST
        self._datagrams = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._datagrams.setblocking(False)
        self._budget = float(budget)
        self._left, self._left_at = BURST * self._budget, time.monotonic()
        self._summed: Counter[str] = Counter()  # sessions over the budget, by ending
        self._summary: TimerHandle | None = None

    def put(self, record: Record) -> None:
        """Hand the record over, now or later, or sum it up; never waits, and never raises."""
        if not self._places:
            return
        octets = self._encode(record)
        if record.message_id == REFUSED and not self._is_within_budget(len(octets)):
            self._sum_up(str(record.fields[-1][1]))  # ENDING
        elif self._octets + len(octets) > MAX_WAITING:
            self._lose()
        else:
            self._waiting.append(octets)
            self._octets += len(octets)
            if self._again is None:
                self._hand_over()

    def is_empty(self) -> bool:
        """Whether every record is handed over or lost."""
        return not self._waiting

    def flush(self) -> None:
        """Sum up what is not yet, before the end."""
        if self._summary:
            self._summary.cancel()
            self._tell_sum()

    def close(self) -> None:
        """Count what still waits as lost, and say so wherever that is accepted."""
        for _ in self._waiting:
            self._lose()
        self._waiting.clear()
        if self._unreported:
            octets = self._encode(self._losses())
            for place in self._places:
                try:
                    return place(self._datagrams, octets)
                except OSError:
                    continue

    def _hand_over(self) -> None:
        self._again = None
        moved = 0
        try:
            while self._waiting and moved < BATCH:
                if not self._is_accepted(self._waiting[0]):
                    self._lose()
                self._octets -= len(self._waiting.popleft())
                moved += 1
            caught_up = self._unreported and not self._waiting
            if caught_up and self._is_accepted(self._encode(self._losses())):
                self._unreported = 0
            self._delay = SOONEST
        except BlockingIOError:
            self._delay = SOONEST if moved else min(2 * self._delay, LATEST)
            self._again = self._loop.call_later(self._delay, self._hand_over)
            return
        if self._waiting:
            self._again = self._loop.call_later(0, self._hand_over)

    def _is_accepted(self, octets: bytes) -> bool:
        for place in self._places:
            try:
                place(self._datagrams, octets)
                return True
            except BlockingIOError:
                raise
            except OSError:  # it does not exist, or no longer
                continue
        return False

    def _lose(self) -> None:
        self.lost += 1
        self._unreported += 1

    def _losses(self) -> Record:
        return Record(TROUBLE, WARNING, LOST.format(self._unreported), [])

    # The budget.

    def _is_within_budget(self, octets: int) -> bool:
        now = time.monotonic()
        gained = (now - self._left_at) * self._budget
        self._left, self._left_at = min(self._left + gained, BURST * self._budget), now
        if self._left < octets:
            return False
        self._left -= octets
        return True

    def _sum_up(self, ending: str) -> None:
        self._summed[ending] += 1
        if self._summary is None:
            self._summary = self._loop.call_later(SUMMARY_SECONDS, self._tell_sum)

    def _tell_sum(self) -> None:
        self._summary = None
        count = self._summed.total()
        endings = ", ".join(f"{ending} {number}" for ending, number in self._summed.most_common())
        self._summed.clear()
        message = f"Refused {count} more, of which there are no records: {endings}"
        self.put(Record(SUMMED, INFO, message, [("SESSIONS", count), ("ENDINGS", endings)]))


# Hands over octets of encoded() or json_line(). Each raises BlockingIOError if it is full, and
# another OSError if it does not exist.
Sender = Callable[[socket.socket, bytes], None]


def encoded(record: Record) -> bytes:
    """As journald takes it; no value of ours has a line end, which would need its length."""
    return b"\n".join([*log.journal_fields(record), b""])


def to_journal(datagrams: socket.socket, octets: bytes) -> None:
    """By journald's own protocol."""
    datagrams.sendto(octets, log.JOURNAL_SOCKET)


def to_syslog(datagrams: socket.socket, octets: bytes) -> None:
    """To the local syslog daemon."""
    datagrams.sendto(log.syslog_line(*_line(octets)), log.SYSLOG_SOCKET)


def to_stderr(datagrams: socket.socket, octets: bytes) -> None:
    """One line for people."""
    _, message = _line(octets)
    _to_descriptor(2, log.plain_line(message))


def to_json(datagrams: socket.socket, octets: bytes) -> None:
    """One JSON object a line on standard output, as containers want it: no client is there."""
    _to_descriptor(1, octets)


def _line(octets: bytes) -> tuple[int, str]:
    """Priority and message, of encoded()."""
    _, message, priority, *_ = octets.decode().split("\n")
    return int(priority.partition("=")[2]), message.partition("=")[2]


def _to_descriptor(fd: int, line: bytes) -> None:
    writable = select.poll()
    writable.register(fd, select.POLLOUT)
    if not writable.poll(0):
        raise BlockingIOError
    os.write(fd, line)  # at most PIPE_BUF octets, for which a writable pipe has room


# The places of null521/log.py, without waiting.
SENDERS: dict[str, Sender] = {
    "journal": to_journal,
    "syslog": to_syslog,
    "stderr": to_stderr,
    "json": to_json,
}
