"""Records read back, from the journal or from JSON lines, the oldest first.

It knows how journal.py and jsonline.py have written them, and that anything may be forged, damaged
or somebody else's. What it hands on is safe to print. It must not know what is made of it.
"""

import heapq
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from functools import lru_cache
from itertools import islice
from operator import attrgetter
from typing import Any, BinaryIO, NamedTuple

from null521.record import REFUSED
from null521.session import MAX_MAILBOX, MAX_RECIPIENTS

# Where journald has its files, by default: journald.conf(5), Storage=.
JOURNALS = ("/run/log/journal", "/var/log/journal")
# Longer than any of ours, in octets.
MAX_LINE = 65536
# In the year 9987: what datetime can still put into a time zone, in seconds since the epoch.
LATEST = 253e9


# The other fields of a record that Seen has, in its order.
NAMES = ("client", "helo", "sender", "refuse_at", "tls")
FIELDS = tuple("NULL521_" + name.upper() for name in NAMES)


class Seen(NamedTuple):
    """What is told from one record; None is what it does not say.

    time: seconds since the epoch. A sender of "" is the null reverse-path.
    """

    time: float
    recipients: tuple[str, ...]
    client: str | None
    helo: str | None
    sender: str | None
    refuse_at: str | None
    tls: str | None


class Lines:
    """Records from JSON lines: those of each file one after another, all files side by side.

    names: of files, "-" for standard input. done: octets read, out of total where that is known.
    bad: lines that are no records. since, until: in seconds since the epoch, what to leave out.
    """

    def __init__(self, names: list[str], since: float, until: float) -> None:
        self.done = self.total = 0.0
        self.bad = 0
        self._names = names
        self._since, self._until = since, until

    def __iter__(self) -> Iterator[Seen]:
        """OSError, with its file's name, if one cannot be read."""
        return heapq.merge(*map(self._records, self._names), key=attrgetter("time"))

    def _records(self, name: str) -> Iterator[Seen]:
        with open(0 if name == "-" else name, "rb") as file:
            self.total += os.fstat(file.fileno()).st_size  # none for a pipe
            for line in self._lines(file):
                try:
                    seen = of_line(line)
                # Deep nesting is a RecursionError.
                except (ValueError, TypeError, RecursionError):
                    self.bad += 1
                else:
                    if seen and self._since <= seen.time <= self._until:
                        yield seen

    def _lines(self, file: BinaryIO) -> Iterator[bytes]:
        """Line by line, but an empty one for each that is longer than any of ours."""
        while line := file.readline(MAX_LINE):
            self.done += len(line)
            long = False
            while len(line) == MAX_LINE and not line.endswith(b"\n"):
                long = True
                line = file.readline(MAX_LINE)
                self.done += len(line)
            yield b"" if long else line


def of_line(line: bytes) -> Seen | None:
    """The record in a JSON line; None if it is one of ours, but of no client.

    ValueError, TypeError or RecursionError if it is none of ours.
    """
    entry = json.loads(line.decode())
    if not isinstance(entry, dict) or not isinstance(entry.get("message_id"), str):
        raise ValueError("no record")
    if entry["message_id"] != REFUSED:
        return None
    moment = datetime.fromisoformat(entry["time"])
    if moment.tzinfo is None or not 0 <= moment.timestamp() <= LATEST:
        raise ValueError("no time")
    recipients = entry.get("recipient", [])
    if not isinstance(recipients, list):
        raise ValueError("no list of recipients")
    texts = [entry.get(name) for name in NAMES]
    if not all(text is None or isinstance(text, str) for text in texts + recipients):
        raise ValueError("no text")
    safe = [None if text is None else _safe(text) for text in texts]
    return Seen(moment.timestamp(), _several(map(_safe, recipients)), *safe)


class Journal:
    """Records from a journal, by a systemd.journal.Reader.

    done: seconds from the first record, out of total. bad: entries that could not be read. since,
    until: in seconds since the epoch, what to leave out.
    """

    def __init__(self, reader: Any, since: float, until: float) -> None:
        reader.add_match(f"MESSAGE_ID={REFUSED}")
        self.done = self.total = 0.0
        self.bad = 0
        self._reader = reader
        self._since, self._until = since, until

    def __iter__(self) -> Iterator[Seen]:
        reader = self._reader
        reader.seek_tail()
        if not (entry := reader.get_previous()):
            return
        end = min(self._until, entry["__REALTIME_TIMESTAMP"].timestamp())
        reader.seek_realtime(self._since)
        # What Reader.get_next() does but for the conversion of all fields, which takes three times
        # as long as the rest (tests/system/bench/report_cost.py).
        step, fields, realtime = reader._next, reader._get_all, reader._get_realtime
        begin = None
        while step():
            moment = realtime() / 1e6
            if moment > self._until:
                return
            begin = begin or moment
            self.total, self.done = end - begin, moment - begin
            try:
                yield of_fields(moment, fields())
            except (OSError, TypeError):  # EBADMSG: a damaged file
                self.bad += 1


def of_fields(moment: float, fields: Mapping[str, Any]) -> Seen:
    """The record in an entry of the journal. TypeError if it is none of ours."""
    texts = [_text(fields[name]) if name in fields else None for name in FIELDS]
    recipients = fields.get("NULL521_RECIPIENT", [])  # a list where there are several
    if isinstance(recipients, bytes):
        return Seen(moment, (_text(recipients),), *texts)
    return Seen(moment, _several(map(_text, recipients)), *texts)


# Most of what there is to read is the same again and again.
@lru_cache(4096)
def _text(octets: bytes) -> str:
    return _safe(octets.decode("utf-8", "replace"))


def _safe(text: str) -> str:
    """Cut to what a record holds at most, and once more without what must not reach a terminal.

    The record's own escapes (record.clean) stay as they are.
    """
    text = text[:MAX_MAILBOX]
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def _several(texts: Iterable[str]) -> tuple[str, ...]:
    """As many recipients as a record holds at most, each once."""
    return tuple(dict.fromkeys(islice(texts, MAX_RECIPIENTS)))


def open_journal(directory: str | None, files: list[str]) -> Any:
    """A Reader of this host's journal or of a copy. OSError; ImportError without systemd-python."""
    from systemd import journal

    return journal.Reader(path=directory, files=files or None)


def out_of_reach(directory: str | None, files: list[str]) -> bool:
    """Whether that journal has files which we may not read; libsystemd passes them over."""
    found = list(files)
    for top in [] if files else [directory] if directory else JOURNALS:
        for folder, folders, names in os.walk(top):
            found += [os.path.join(folder, name) for name in folders]
            found += [os.path.join(folder, name) for name in names if ".journal" in name]
    return not all(os.access(path, os.R_OK, effective_ids=True) for path in found)
