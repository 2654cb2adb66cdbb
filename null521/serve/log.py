"""Records of many connections on their way out, so that none delays another.

It knows how to hand over a record without waiting, and what to do if it is not accepted. It must
not know what a record is about.

The process for one client hands its record to systemd-python, which may wait. A server must not:
sendv() waits in the C library with the interpreter's lock held, so that even in a thread of its own
it would stop all connections while the journal is full. journald's protocol is a datagram of lines:
https://systemd.io/JOURNAL_NATIVE_PROTOCOL/.
"""

import os
import select
import socket
from asyncio import AbstractEventLoop, TimerHandle
from collections import deque
from collections.abc import Callable

from null521 import log
from null521.jsonline import json_line
from null521.record import TROUBLE, WARNING, Record

MAX_WAITING = 4096  # records; the largest have about 10 KB
PAUSE = 0.05  # seconds until a place that was full is tried again

LOST = "{} records were lost: the log was too slow or unavailable"


class LogQueue:
    """Hands records to the first place of `log` that exists, in order, as fast as it accepts them.

    lost: how many were not accepted, because there was no room here or no place at all.
    """

    def __init__(self, name: str, loop: AbstractEventLoop) -> None:
        self.lost = 0
        self._unreported = 0  # how many of the lost no warning has counted yet
        self._places = [SENDERS[place] for place in log.PLACES[name]]
        self.wants_records = bool(self._places)
        self._loop = loop
        self._waiting: deque[Record] = deque()
        self._again: TimerHandle | None = None
        self._datagrams = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)

    def put(self, entry: Record) -> None:
        """Hand the record over, now or later; never waits, and never raises."""
        if not self._places:
            return
        if len(self._waiting) >= MAX_WAITING:
            return self._lose()
        self._waiting.append(entry)
        if self._again is None:
            self._hand_over()

    def is_empty(self) -> bool:
        """Whether every record is handed over or lost."""
        return not self._waiting

    def _hand_over(self) -> None:
        self._again = None
        try:
            while self._waiting:
                if not self._is_accepted(self._waiting[0]):
                    self._lose()
                self._waiting.popleft()
            if self._unreported:
                lost = Record(TROUBLE, WARNING, LOST.format(self._unreported), [])
                if self._is_accepted(lost):
                    self._unreported = 0
        except BlockingIOError:
            self._again = self._loop.call_later(PAUSE, self._hand_over)

    def _is_accepted(self, entry: Record) -> bool:
        for place in self._places:
            try:
                place(self._datagrams, entry)
                return True
            except BlockingIOError:
                raise
            except OSError:  # it does not exist, or no longer
                continue
        return False

    def _lose(self) -> None:
        self.lost += 1
        self._unreported += 1


# Each raises BlockingIOError if it is full, and another OSError if it does not exist.
Sender = Callable[[socket.socket, Record], None]


def to_journal(datagrams: socket.socket, entry: Record) -> None:
    """By journald's own protocol; no value of ours has a line end, which would need its length."""
    octets = b"\n".join([*log.journal_fields(entry), b""])
    datagrams.sendto(octets, socket.MSG_DONTWAIT, log.JOURNAL_SOCKET)


def to_syslog(datagrams: socket.socket, entry: Record) -> None:
    """To the local syslog daemon."""
    datagrams.sendto(log.syslog_line(entry), socket.MSG_DONTWAIT, log.SYSLOG_SOCKET)


def to_stderr(datagrams: socket.socket, entry: Record) -> None:
    """One line for people."""
    _to_descriptor(2, log.plain_line(entry))


def to_json(datagrams: socket.socket, entry: Record) -> None:
    """One JSON object a line on standard output, as containers want it: no client is there."""
    _to_descriptor(1, json_line(entry))


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
