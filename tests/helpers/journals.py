"""Journals and JSON lines with records of any time in them; journals by systemd-journal-remote.

Sessions are real ones, and so are the records; only when they were is made up.
"""

import json
import subprocess
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path

from null521 import log as journal
from null521 import record
from null521.jsonline import json_line
from null521.session import Session

REMOTE = "/lib/systemd/systemd-journal-remote"
BOOT = "00000000000000000000000000000521"
START = 1767225600  # 2026-01-01 00:00:00 UTC


def said(helo: str, sender: str | None, *recipients: str) -> bytes:
    """What a mail server says up to RCPT, and then QUIT; without a sender, only EHLO."""
    lines = [f"EHLO {helo}"]
    if sender is not None:
        lines += [f"MAIL FROM:<{sender}>", *(f"RCPT TO:<{to}>" for to in recipients)]
    return "".join(f"{line}\r\n" for line in [*lines, "QUIT"]).encode()


def of(client: str, octets: bytes, refuse_at: str = "rcpt") -> record.Record:
    """The record of a session in which the client said that."""
    session = Session("h.example", "h.example takes no mail.", refuse_at)
    session.receive(octets)
    ending = session.ending or "eof"
    return record.of_session(session, (client, "41872"), ending, 0.041, "full")


def export(moment: float, made: record.Record, more: tuple[str, ...] = ()) -> bytes:
    """An entry in the journal export format, written at that time in seconds since the epoch.

    more: fields that journald has added, as NAME=value.
    """
    usec = round(moment * 1e6)
    head = [
        f"__REALTIME_TIMESTAMP={usec}",
        f"__MONOTONIC_TIMESTAMP={usec - round(START * 1e6)}",
        f"_BOOT_ID={BOOT}",
        *more,
    ]
    lines = [line.encode() for line in head] + journal.journal_fields(made)
    return b"\n".join(lines) + b"\n\n"


def write(folder: Path, entries: Iterable[bytes], name: str = "copied.journal") -> Path:
    """A journal in the folder with these entries, which must be in the order of their times."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    remote = subprocess.Popen(
        [REMOTE, f"--output={path}", "-"], stdin=subprocess.PIPE, stderr=subprocess.PIPE
    )
    _, told = remote.communicate(b"".join(entries))
    assert remote.returncode == 0, told
    return path


def line(moment: float, made: record.Record) -> bytes:
    """The JSON line of that record, written at that time."""
    entry = json.loads(json_line(made))
    entry["time"] = datetime.fromtimestamp(moment, UTC).isoformat()
    return json.dumps(entry, ensure_ascii=False).encode() + b"\n"
