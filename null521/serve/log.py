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

import contextlib
import os
import select
import socket
import time
from asyncio import AbstractEventLoop, Handle, TimerHandle
from collections import Counter, deque
from collections.abc import Callable

from null521 import log
from null521.jsonline import json_line
from null521.record import ERROR, NOTICE, REFUSED, SUMMED, TROUBLE, WARNING, Fields, Record

MAX_WAITING = 8 * 2**20  # octets of records that wait; each needs some 50 more
BATCH = 256  # records handed over before the connections get their turn
SOONEST, LATEST = 0.001, 0.05  # seconds until a place that is full is tried again
EAGER = 0.02  # for so many seconds, it is tried with each record too: a loop's turn may take long
BURST = 3600  # how many seconds' worth of the budget may go out at once
OVERHEAD = 700  # octets by which an entry in the journal is larger than its record, about
NOTICE_SECONDS = 10.0  # how often it is said what was summed up or lost, while that goes on

LOST = "{} records were lost: the log was too slow or unavailable"
SUM = "Refused {} more, without a record of each because of log-budget: {}"


class LogQueue:
    """Hands records to the first place of `name` that exists, in order, as fast as it accepts them.

    name: a key of log.PLACES. budget: octets a second, on average, of records that clients cause;
    sessions over it are summed up. lost: how many records were not accepted, because there was no
    room here or no place at all. summed: how many sessions have no record of their own because of
    the budget.
    """

    def __init__(self, name: str, loop: AbstractEventLoop, budget: int) -> None:
        self.lost = self.summed = 0
        self.wants_records = bool(log.PLACES[name])
        self._places = [SENDERS[place] for place in log.PLACES[name]]
        self._encode = json_line if name == "json" else encoded
        self._loop = loop
        self._waiting: deque[bytes] = deque()
        self._octets = 0  # in all that waits
        self._again: Handle | None = None
        self._is_full = False
        self._full_since = 0.0  # while it is: since it took the last record
        self._datagrams = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._datagrams.setblocking(False)
        # By default there is room for a few dozen long records on their way: socket(7).
        self._datagrams.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, MAX_WAITING)
        self._budget = float(budget)
        self._left, self._left_at = BURST * self._budget, time.monotonic()
        # What no notice has told of yet, and when it will at the latest.
        self._unreported_lost = 0
        self._unreported_sums: Counter[str] = Counter()  # sessions, by ending
        self._notice: TimerHandle | None = None
        self._notice_is_due = False

    def put(self, record: Record) -> None:
        """Hand the record over, now or later, or sum it up; never waits, and never raises."""
        if not self._places:
            return
        octets = self._encode(record)
        is_session = record.message_id == REFUSED
        # An ERROR of a running server is a fault in a session, which ends as "fault".
        if (is_session or record.priority == ERROR) and not self._is_within_budget(len(octets)):
            if is_session:
                self._sum_up(str(record.fields[-1][1]))  # ENDING
        elif self._octets + len(octets) > MAX_WAITING:
            self._lose(1)
        else:
            self._waiting.append(octets)
            self._octets += len(octets)
            if self._again is None or time.monotonic() < self._full_since + EAGER:
                self._hand_over()

    @property
    def waiting(self) -> int:
        """Octets of the records that wait to be handed over."""
        return self._octets

    def is_empty(self) -> bool:
        """Whether nothing waits to be handed over."""
        return self._again is None

    def flush(self) -> None:
        """Say now what was summed up or lost."""
        self._notice_is_due = True
        if self._again is None:
            self._hand_over()

    def close(self) -> None:
        """Count what still waits as lost, and say so wherever that is accepted."""
        self._lose_sums()
        self._lose(len(self._waiting))
        self._waiting.clear()
        self._octets = 0
        for timer in (self._again, self._notice):
            if timer:
                timer.cancel()
        self._again = self._notice = None
        if self._unreported_lost:
            self._say_at_last(self._losses())
            self._unreported_lost = 0
        self._places = []  # nothing is taken any more
        self._datagrams.close()

    def _say_at_last(self, record: Record) -> None:
        """To the first place that has room for it, or else to standard error."""
        for place in self._places:
            with contextlib.suppress(OSError):
                return place(self._datagrams, self._encode(record))
        with contextlib.suppress(OSError):
            to_stderr(self._datagrams, encoded(record))

    def _try_again(self) -> None:
        self._again = None
        self._hand_over()

    def _hand_over(self) -> None:
        moved = 0
        try:
            if self._notice_is_due:
                self._tell()
            while self._waiting and moved < BATCH:
                if not self._is_accepted(self._waiting[0]):
                    self._lose(1)
                self._octets -= len(self._waiting.popleft())
                moved += 1
            if not self._waiting:
                self._tell_losses()
        except BlockingIOError:
            now = time.monotonic()
            if moved or not self._is_full:
                self._is_full, self._full_since = True, now
            if self._again is None:
                delay = min(max(SOONEST, (now - self._full_since) / 2), LATEST)
                self._again = self._loop.call_later(delay, self._try_again)
            return
        self._is_full = False
        if self._again:
            self._again.cancel()
        self._again = self._loop.call_soon(self._try_again) if self._waiting else None

    def _is_accepted(self, octets: bytes) -> bool:
        """Whether some place has accepted it; BlockingIOError if one exists and is full."""
        for place in self._places:
            try:
                place(self._datagrams, octets)
                return True
            except BlockingIOError:
                raise
            except OSError:  # it does not exist, or no longer
                continue
        return False

    # What is not handed over.

    def _is_within_budget(self, octets: int) -> bool:
        now = time.monotonic()
        gained = (now - self._left_at) * self._budget
        self._left, self._left_at = min(self._left + gained, BURST * self._budget), now
        if self._left < octets + OVERHEAD:
            return False
        self._left -= octets + OVERHEAD
        return True

    def _sum_up(self, ending: str) -> None:
        self.summed += 1
        self._unreported_sums[ending] += 1
        self._tell_later()

    def _lose(self, count: int) -> None:
        self.lost += count
        self._unreported_lost += count
        if count:
            self._tell_later()

    def _lose_sums(self) -> None:
        self._lose(self._unreported_sums.total())
        self._unreported_sums.clear()

    def _tell_later(self) -> None:
        if self._notice is None and not self._notice_is_due:
            self._notice = self._loop.call_later(NOTICE_SECONDS, self.flush)

    def _tell(self) -> None:
        """Before all that waits, because a slow log might never catch up."""
        if self._unreported_sums:
            octets = self._encode(self._sums())
            if self._is_accepted(octets):
                if not self._is_within_budget(len(octets)):
                    self._left = 0.0
                self._unreported_sums.clear()
            else:
                self._lose_sums()
        self._tell_losses()
        if self._notice:
            self._notice.cancel()
        self._notice, self._notice_is_due = None, False

    def _tell_losses(self) -> None:
        if self._unreported_lost and self._is_accepted(self._encode(self._losses())):
            self._unreported_lost = 0

    def _losses(self) -> Record:
        return Record(TROUBLE, WARNING, LOST.format(self._unreported_lost), [])

    def _sums(self) -> Record:
        count = self._unreported_sums.total()
        by_number = self._unreported_sums.most_common()
        endings = ", ".join(f"{ending} {number}" for ending, number in by_number)
        fields: Fields = [("SESSIONS", count), ("ENDINGS", endings)]
        return Record(SUMMED, NOTICE, SUM.format(count, endings), fields)


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
