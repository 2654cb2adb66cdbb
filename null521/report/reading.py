"""Records read back, from the journal or from JSON lines, oldest first.

It knows how log.py and jsonline.py write records, and that any entry may be forged, damaged or of
another program. The entries that it returns are safe to print. It must not know what is made of
them.
"""

import heapq
import json
import os
import re
from codecs import BOM_UTF8
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from functools import lru_cache
from itertools import islice
from operator import attrgetter
from typing import Any, BinaryIO, NamedTuple

from null521.record import REFUSED, SUMMED, is_visible
from null521.session import MAX_MAILBOX, MAX_RECIPIENTS

# Where journald has its files by default: journald.conf(5), Storage=.
JOURNALS = ("/run/log/journal", "/var/log/journal")
# Longer than any line of ours, in octets.
MAX_LINE = 65536
# So many values are remembered with their text.
MAX_TEXTS = 4096
# More than a server can refuse between two summaries.
MAX_SUM = 10**9
# The year 9987, in seconds since the epoch: datetime can convert it to any time zone.
LATEST = 253e9

# The fields of a record that Entry has besides recipients, in its order; and the host that wrote
# it, which journald adds: systemd.journal-fields(7).
NAMES = ("client", "helo", "sender", "refuse_at", "tls")
FIELDS = (*("NULL521_" + name.upper() for name in NAMES), "_HOSTNAME")

# What stands before a line in the logs of several containers: "[pod/POD/CONTAINER] " of kubectl
# logs --prefix, "NAME " of podman logs, or "NAME  | " of docker compose logs; then the time, with
# --timestamps. Or what Kubernetes writes before each line of a file (CRI): "TIME stderr F ".
TIMESTAMP = r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:.]+(?:Z|[-+][0-9:]+) "
PREFIX = re.compile(
    rf"(?:\[pod/([\w.-]+)/[\w.-]+\] |([\w./@-]+) +(?:\| )?)?(?:{TIMESTAMP})?"
    rf"|{TIMESTAMP}std(?:out|err) F ",
    re.ASCII,
)
MAX_PREFIX = 512  # octets
COLOUR = re.compile(r"\x1b\[[0-9;]*m")  # as docker compose and podman print it


class Entry(NamedTuple):
    """What a report uses of one record; None is a field that the record does not have.

    time: seconds since the epoch. A sender of "" is the null reverse-path. host: which host of ours
    wrote the record; for JSON lines, the container, or the file.
    """

    time: float
    recipients: tuple[str, ...]
    client: str | None
    helo: str | None
    sender: str | None
    refuse_at: str | None
    tls: str | None
    host: str | None


class Sum(NamedTuple):
    """So many sessions had no record of their own (null521/serve/log.py). time: as of Entry."""

    time: float
    sessions: int


class Lines:
    """Entries from files of JSON lines, merged by time.

    names: of files, "-" for standard input. since, until: in seconds since the epoch, both
    inclusive. done: octets read; total: octets of all files, without pipes. bad: lines that are not
    records. summed: sessions without a record of their own.
    """

    what = ("line", "lines")

    def __init__(self, names: list[str], since: float, until: float) -> None:
        self.done = self.total = 0.0
        self.bad = self.summed = 0
        self._names = names
        self._since, self._until = since, until

    def __iter__(self) -> Iterator[Entry]:
        """OSError, with the file's name, if a file cannot be read."""
        return heapq.merge(*map(self._entries, self._names), key=attrgetter("time"))

    def _entries(self, name: str) -> Iterator[Entry]:
        place = None if name == "-" else _safe(os.path.basename(name))
        with open(0 if name == "-" else name, "rb") as file:
            self.total += os.fstat(file.fileno()).st_size  # 0 for a pipe
            if file.peek(len(BOM_UTF8)).startswith(BOM_UTF8):
                self.done += len(file.read(len(BOM_UTF8)))
            for line in self._lines(file):
                try:
                    entry = parse_line(line, place)
                # Deep nesting is a RecursionError; whatever else it is, one line ends no report.
                except Exception:
                    self.bad += 1
                    continue
                if not entry or not self._since <= entry.time <= self._until:
                    continue
                if isinstance(entry, Sum):
                    self.summed += entry.sessions
                else:
                    yield entry

    def _lines(self, file: BinaryIO) -> Iterator[bytes]:
        """Each line; an empty one in place of each that is longer than any of ours."""
        while line := file.readline(MAX_LINE):
            self.done += len(line)
            long = False
            while len(line) == MAX_LINE and not line.endswith(b"\n"):
                long = True
                line = file.readline(MAX_LINE)
                self.done += len(line)
            yield b"" if long else line


def parse_line(line: bytes, place: str | None = None) -> Entry | Sum | None:
    """The entry in a JSON line; None if it is a record of ours that is not about clients.

    place: the entry's host if the line does not say it, as a member "hostname" or before the JSON.
    ValueError, TypeError or RecursionError if it is not a record of ours.
    """
    start = line.find(b"{", 0, MAX_PREFIX)
    if start > 0:
        place = _container(line[:start].decode()) or place
        line = line[start:]
    document = json.loads(line.decode())
    if not isinstance(document, dict) or not isinstance(document.get("message_id"), str):
        raise ValueError("not a record")
    if document["message_id"] not in (REFUSED, SUMMED):
        return None
    moment = datetime.fromisoformat(document.get("time", ""))
    if moment.tzinfo is None or not 0 <= moment.timestamp() <= LATEST:
        raise ValueError("time without a zone, or out of range")
    if document["message_id"] == SUMMED:
        return Sum(moment.timestamp(), _sessions(document.get("sessions")))
    recipients = document.get("recipient", [])
    if not isinstance(recipients, list):
        raise ValueError("recipients are not a list")
    texts = [*map(document.get, NAMES), document.get("hostname", place)]
    if not all(text is None or isinstance(text, str) for text in texts + recipients):
        raise ValueError("a field is not a string")
    safe = [None if text is None else _safe(text) for text in texts]
    return Entry(moment.timestamp(), _several(map(_safe, recipients)), *safe)


def _container(prefix: str) -> str | None:
    """The container's name in what stands before a line; ValueError if that is something else."""
    found = PREFIX.fullmatch(COLOUR.sub("", prefix).lstrip())
    if not found:
        raise ValueError("not the prefix of a log")
    return found[1] or found[2]


class Journal:
    """Entries from a journal, through a systemd.journal.Reader.

    since, until: in seconds since the epoch, both inclusive. done: seconds from the first record;
    total: seconds from the first record to the last. bad: entries that could not be read. summed:
    sessions without a record of their own.
    """

    what = ("journal entry", "journal entries")

    def __init__(self, reader: Any, since: float, until: float) -> None:
        for message_id in (REFUSED, SUMMED):  # either: sd_journal_add_match(3)
            reader.add_match(f"MESSAGE_ID={message_id}")
        self.done = self.total = 0.0
        self.bad = self.summed = 0
        self._reader = reader
        self._since, self._until = since, until

    def __iter__(self) -> Iterator[Entry]:
        reader = self._reader
        # What Reader.get_next() does, without converting all fields: that takes three times as long
        # as the rest (tests/system/bench/report_cost.py), and fails where they are forged.
        step, get_all, realtime = reader._next, reader._get_all, reader._get_realtime
        reader.seek_tail()
        if not reader._previous():
            return
        end = min(self._until, realtime() / 1e6)
        reader.seek_realtime(self._since)
        begin = None
        while step():
            moment = realtime() / 1e6
            if not self._since <= moment <= self._until:
                continue  # not the end: clocks are set back, and hosts have clocks of their own
            begin = begin or moment
            self.total, self.done = end - begin, moment - begin
            try:
                fields = get_all()
                if fields.get("MESSAGE_ID") == SUMMED.encode():
                    self.summed += _sessions(int(fields["NULL521_SESSIONS"]))
                    continue
                entry = parse_fields(moment, fields)
            except Exception:  # EBADMSG is a damaged file; all else is forged
                self.bad += 1
            else:
                yield entry


def parse_fields(moment: float, fields: Mapping[str, Any]) -> Entry:
    """The entry in the fields of a journal entry. TypeError if it is not a record of ours."""
    texts = [_texts[fields[name]] if name in fields else None for name in FIELDS]
    recipients = fields.get("NULL521_RECIPIENT", [])  # a list if there are several
    if isinstance(recipients, bytes):
        return Entry(moment, (_texts[recipients],), *texts)
    return Entry(moment, _several(map(_texts.__getitem__, recipients)), *texts)


class Texts(dict[bytes, str]):
    """The text of each value, safe to print; a cache, because most occur again and again."""

    def __missing__(self, octets: bytes) -> str:
        text = _safe(octets[: 4 * MAX_MAILBOX].decode("utf-8", "replace"))
        if len(octets) <= MAX_MAILBOX:  # longer values are forged, and would fill the cache
            if len(self) >= MAX_TEXTS:
                self.clear()
            self[octets] = text
        return text


_texts = Texts()


def _safe(text: str) -> str:
    """Cut to the longest value of a record, then escape what must not reach a terminal.

    The record's own escapes (record.clean) stay as they are.
    """
    text = text[:MAX_MAILBOX]
    if text.isascii() and text.isprintable():
        return text
    return "".join(map(_shown, text))


@lru_cache(4096)
def _shown(character: str) -> str:
    return character if is_visible(character) else character.encode("unicode_escape").decode()


def _sessions(number: object) -> int:
    if type(number) is not int or not 0 < number <= MAX_SUM:
        raise ValueError("not a number of sessions")
    return number


def _several(texts: Iterable[str]) -> tuple[str, ...]:
    """At most as many recipients as a record has, each once."""
    return tuple(dict.fromkeys(islice(texts, MAX_RECIPIENTS)))


def open_journal(directory: str | None, files: list[str]) -> Any:
    """A Reader of this host's journal or of a copy. OSError; ImportError without systemd-python."""
    from systemd import journal

    return journal.Reader(path=directory, files=files or None)


def out_of_reach(directory: str | None, files: list[str]) -> bool:
    """Whether we may not read some file of that journal; libsystemd skips such files silently."""
    found = list(files)
    for top in [] if files else [directory] if directory else JOURNALS:
        for folder, folders, names in os.walk(top):
            found += [os.path.join(folder, name) for name in folders]
            found += [os.path.join(folder, name) for name in names if ".journal" in name]
    return not all(os.access(path, os.R_OK, effective_ids=True) for path in found)
