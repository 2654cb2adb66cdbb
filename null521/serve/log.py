"""Records of many connections on their way out, where none may hold another up.

It knows how to hand over a record without waiting, and what to do when it is not taken. It must
not know what a record is about.

The handler hands its record to systemd-python, which may wait. Here it cannot: sendv() waits in
the C library with the interpreter's lock held, so that not even a thread of its own would keep a
full journal from stopping all connections. journald's protocol is a datagram of lines:
https://systemd.io/JOURNAL_NATIVE_PROTOCOL/.
"""

import os
import select
import socket
from asyncio import AbstractEventLoop, TimerHandle
from collections import deque
from collections.abc import Callable

from null521 import log as journal
from null521.jsonline import json_line
from null521.record import Record
from null521.serve import notices

MAX_WAITING = 4096  # records; the largest have some 10 KB
PAUSE = 0.05  # seconds until a place that was full is tried again

LOST = "{} records were lost: the log was too slow, or not there"


class Outbox:
    """Hands records to the first place of `log` that is there, in order, as fast as it takes them.

    lost: how many were not taken, for the lack of room here or of any place.
    """

    def __init__(self, log: str, loop: AbstractEventLoop) -> None:
        self.lost = 0
        self._untold = 0  # how many of the lost have not been told of yet
        self._places = PLACES[log]
        self.wants_records = bool(self._places)
        self._loop = loop
        self._waiting: deque[Record] = deque()
        self._again: TimerHandle | None = None
        self._datagrams = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)

    def put(self, entry: Record) -> None:
        """Take a record, to hand it over now or later; never waits, and never raises."""
        if not self._places:
            return
        if len(self._waiting) >= MAX_WAITING:
            return self._lose()
        self._waiting.append(entry)
        if self._again is None:
            self._hand_over()

    def is_empty(self) -> bool:
        """Whether all is handed over or lost."""
        return not self._waiting

    def _hand_over(self) -> None:
        self._again = None
        try:
            while self._waiting:
                if not self._is_taken(self._waiting[0]):
                    self._lose()
                self._waiting.popleft()
            if self._untold and self._is_taken(notices.of_trouble(LOST.format(self._untold))):
                self._untold = 0
        except BlockingIOError:
            self._again = self._loop.call_later(PAUSE, self._hand_over)

    def _is_taken(self, entry: Record) -> bool:
        for place in self._places:
            try:
                place(self._datagrams, entry)
                return True
            except BlockingIOError:
                raise
            except OSError:  # it is not there, or gone
                continue
        return False

    def _lose(self) -> None:
        self.lost += 1
        self._untold += 1


# Each raises BlockingIOError where it is full, and another OSError where it is not there.
Place = Callable[[socket.socket, Record], None]


def to_journal(datagrams: socket.socket, entry: Record) -> None:
    """By journald's own protocol, in which no value of ours needs to be counted out."""
    octets = b"\n".join([*journal.journal_fields(entry), b""])
    datagrams.sendto(octets, socket.MSG_DONTWAIT, journal.JOURNAL_SOCKET)


def to_syslog(datagrams: socket.socket, entry: Record) -> None:
    """To the local syslog daemon."""
    datagrams.sendto(journal.syslog_line(entry), socket.MSG_DONTWAIT, journal.SYSLOG_SOCKET)


def to_stderr(datagrams: socket.socket, entry: Record) -> None:
    """One line for people."""
    _to_descriptor(2, journal.plain_line(entry))


def to_json(datagrams: socket.socket, entry: Record) -> None:
    """One JSON object a line on standard output, as containers have it: no client is there."""
    _to_descriptor(1, json_line(entry))


def _to_descriptor(fd: int, line: bytes) -> None:
    writable = select.poll()
    writable.register(fd, select.POLLOUT)
    if not writable.poll(0):
        raise BlockingIOError
    os.write(fd, line)  # no more than a pipe with room takes at once


PLACES: dict[str, tuple[Place, ...]] = {
    "auto": (to_journal, to_syslog, to_stderr),
    "journal": (to_journal, to_stderr),
    "syslog": (to_syslog, to_stderr),
    "stderr": (to_stderr,),
    "json": (to_json,),
    "none": (),
}
