"""Journals and JSON lines with records of any time, and the report on a small world of them.

Sessions and records are real; only their times are made up. Journals are written by
systemd-journal-remote.
"""

import json
import subprocess
from collections.abc import Iterable
from datetime import UTC, datetime
from itertools import accumulate
from pathlib import Path

from null521 import log as journal
from null521 import record
from null521.jsonline import json_line
from null521.session import Session

REMOTE = "/lib/systemd/systemd-journal-remote"
BOOT = "00000000000000000000000000000521"
START = 1767225600  # 2026-01-01 00:00:00 UTC
POSTFIX = list(accumulate((300, 600, 1200, 2400, 4000), initial=0))  # seconds of its tries

Dated = tuple[float, record.Record]  # with its time, in seconds since the epoch

# The report on the world, with --limit=2.
PLAIN = """\
12 connections, from 2026-01-01 00:00:00 to 2026-01-01 02:30:02 UTC
5 wanted to send mail, from 3 senders to 5 recipients
1 named no sender and no recipient, as scanners do
6 refused at greeting or helo, before they could name a sender

Retries: the same client, sender and recipient, three times or more

CLIENT        SENDER           RECIPIENT        TRIES  EVERY  LIKE     STILL TRYING  FIRST SEEN  \
         LAST SEEN            WHAT TO DO
198.51.100.7  -                -                    6  20min  Postfix  yes           \
2026-01-01 00:00:00  2026-01-01 02:21:40  refuse at rcpt: earlier, many queue the mail
203.0.113.9   ann@example.net  bob@ntp.example      3  30min  -        yes           \
2026-01-01 00:01:00  2026-01-01 01:01:00  tell postmaster@example.net

Mail, by client

CLIENT        RECORDS  LAST SENDER          LAST RECIPIENT   FIRST SEEN           LAST SEEN
203.0.113.9         3  ann@example.net      eve@ntp.example  2026-01-01 00:01:00  \
2026-01-01 01:01:00
2001:db8::25        1  =cmd|x@evil.example  b,"c'@d          2026-01-01 02:30:01  \
2026-01-01 02:30:01

Mail in each 15min

FROM                 MAIL  OTHERS  BAR
2026-01-01 00:00:00     1       2  ###############
2026-01-01 00:15:00     0       1
2026-01-01 00:30:00     1       1  ###############
2026-01-01 00:45:00     0       0
2026-01-01 01:00:00     1       0  ###############
2026-01-01 01:15:00     0       1
2026-01-01 01:30:00     0       0
2026-01-01 01:45:00     0       0
2026-01-01 02:00:00     0       0
2026-01-01 02:15:00     0       1
2026-01-01 02:30:00     2       1  ##############################

Others, which named no sender, by client

CLIENT        RECORDS  FIRST SEEN           LAST SEEN
198.51.100.7        6  2026-01-01 00:00:00  2026-01-01 02:21:40
2001:db8::26        1  2026-01-01 02:30:02  2026-01-01 02:30:02

1 more kept retrying.

Showing 2 of 3 groups of mail: most records first.
"""


def said(helo: str, sender: str | None, *recipients: str) -> bytes:
    """What a mail server says up to RCPT, and then QUIT; if there is no sender, only EHLO."""
    lines = [f"EHLO {helo}"]
    if sender is not None:
        lines += [f"MAIL FROM:<{sender}>", *(f"RCPT TO:<{to}>" for to in recipients)]
    return "".join(f"{line}\r\n" for line in [*lines, "QUIT"]).encode()


ANN = said("mx.example.net", "ann@example.net", "bob@ntp.example", "eve@ntp.example")
FORMULA = said("[bold]:smile:[/]", "=cmd|x@evil.example", "@SUM(1)", "b,\"c'@d")


def of(client: str, octets: bytes, refuse_at: str = "rcpt") -> record.Record:
    """The record of a session in which the client said that."""
    session = Session("h.example", "h.example takes no mail.", refuse_at)
    session.receive(octets)
    ending = session.ending or "eof"
    return record.of_session(session, (client, "41872"), ending, 0.041, "full")


def world() -> list[Dated]:
    """Records of a Postfix refused in the greeting, of one refused at RCPT, and of others."""
    records = [
        *((moment, of("198.51.100.7", b"QUIT\r\n", "greeting")) for moment in POSTFIX),
        *((60 + 1800 * n, of("203.0.113.9", ANN)) for n in range(3)),
        (9000, of("203.0.113.10", said("\x1b[2J\u202e", "", "x@ntp.example"))),
        (9001, of("2001:db8::25", FORMULA)),
        (9002, of("2001:db8::26", b"\x16\x03\x01\r\n")),
    ]
    records.sort(key=lambda dated: dated[0])
    return [(START + moment, made) for moment, made in records]


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
