"""Whether the journal takes records: it is asked for the one that our own connection has left.

It knows journalctl, and where journald keeps its files. It must not know who connected, nor how.
"""

import contextlib
import json
import os
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from null521 import log, record
from null521.local import programs
from null521.local.parts import Part, shown

# Where journald keeps files: across boots, and for this one alone.
FOLDERS = {"persistent": Path("/var/log/journal"), "volatile": Path("/run/log/journal")}
MACHINE_ID = Path("/etc/machine-id")  # this host's folder is named after it: machine-id(5)
WAIT = 5.0  # seconds for a record to arrive
POLL = 0.1
MAX_ENTRIES = 200
LOW = 16 * 2**20  # octets; journald needs 8 MB for one file more
NEEDS = "only root and the group systemd-journal can read the journal"
WITHOUT_FIELDS = (
    "records reach the journal without their fields, so null521 report cannot read them: install "
    "systemd-python (python3-systemd in Debian)"
)
NOT_KNOWN = "?"  # where records go
NOT_ARRIVED = "no record of this look has arrived in the journal"


@dataclass
class Storage:
    """A folder of the journal. kind: a key of FOLDERS. free: octets. written: by the epoch."""

    kind: str
    folder: str
    free: int
    is_read_only: bool
    is_readable: bool
    written: float


def storage() -> list[Storage]:
    """This host's folders of the journal; the one in use first.

    One that journald does not use may be left from other settings, or it may have failed to write
    there and turned to the other: systemd-journald.service(8).
    """
    try:
        name = MACHINE_ID.read_text(encoding="ascii").strip()
    except (OSError, ValueError):
        return []
    found = []
    for kind, parent in FOLDERS.items():
        folder = parent / name
        with contextlib.suppress(OSError):
            system = os.statvfs(folder)
            free, is_read_only = system.f_bavail * system.f_frsize, system.f_flag & os.ST_RDONLY
            found.append(
                Storage(
                    kind,
                    str(folder),
                    free,
                    bool(is_read_only),
                    _is_readable(folder),
                    _last_written(folder),
                )
            )
    return sorted(found, key=lambda one: -one.written)


def _last_written(folder: Path) -> float:
    """By the epoch; without permission to enter the folder, when it last got a file."""
    written = folder.stat().st_mtime
    with contextlib.suppress(OSError):
        written = max(written, (folder / "system.journal").stat().st_mtime)
    return written


def _is_readable(folder: Path) -> bool:
    file = folder / "system.journal"
    return os.access(folder, os.R_OK | os.X_OK) and (not file.exists() or os.access(file, os.R_OK))


def find(addresses: Iterable[str], since: float) -> dict[str, Any] | None:
    """The entry of a connection from one of these addresses since then; None if there is none.

    The entry has no fields of ours if the record did not come by systemd-python.
    """
    wanted = list(addresses)
    after = [f"--since=@{int(since)}", f"--lines={MAX_ENTRIES}", "--output=json", "--quiet"]
    fields = [f"MESSAGE_ID={record.REFUSED}", *(f"NULL521_CLIENT={one}" for one in wanted)]
    end = time.monotonic() + WAIT
    while True:
        for matches in (fields, [f"--identifier={log.IDENTIFIER}"]):
            text, _ = programs.output("journalctl", *after, *matches)
            for entry in parse_entries(text):
                if is_of(entry, wanted, since):
                    return entry
        if time.monotonic() > end:
            return None
        time.sleep(POLL)


def parse_entries(text: str) -> list[dict[str, Any]]:
    """One JSON object a line; lines that are none are left out."""
    found = []
    for line in text.splitlines():
        with contextlib.suppress(ValueError, RecursionError):
            entry = json.loads(line)
            if isinstance(entry, dict):
                found.append(entry)
    return found


def are_summed() -> bool:
    """Whether connections of the last minute have no record of their own: null521-serve(8)."""
    after = [f"--since=@{int(time.time()) - 60}", "--lines=1", "--output=json", "--quiet"]
    text, _ = programs.output("journalctl", *after, f"MESSAGE_ID={record.SUMMED}")
    return bool(parse_entries(text))


def is_of(entry: dict[str, Any], addresses: list[str], since: float) -> bool:
    """Whether it is the record of a connection from one of these addresses since then."""
    usec, message = entry.get("__REALTIME_TIMESTAMP"), entry.get("MESSAGE")
    if not (isinstance(usec, str) and usec.isdecimal() and isinstance(message, str)):
        return False
    if int(usec[:20]) < since * 1e6:
        return False
    if entry.get("MESSAGE_ID") == record.REFUSED:
        return entry.get("NULL521_CLIENT") in addresses
    return any(f"Refused {address} " in message for address in addresses)


def judge(booted: bool, place: str, addresses: list[str], since: float) -> Part:
    """booted: whether systemd runs here. place: the setting `log` of the unit, "" without a unit.

    addresses: from where connections were refused since then, or [] if none was.
    """
    part = Part("journal")
    if not os.path.exists(log.JOURNAL_SOCKET):
        part.found.append("there is no journal here; records go to syslog or standard error")
        if booted:
            part.faults.append("journald does not run: sudo systemctl restart "
                               "systemd-journald.socket systemd-journald.service")  # fmt: skip
        return part
    kept = storage()
    part.data |= {
        "storage": kept[0].kind if kept else "",
        "free": kept[0].free if kept else 0,
        "record": None,
    }
    _judge_storage(part, kept)
    if place == "none":
        part.found.append("records are not written, as set (log=none)")
    elif not addresses:
        part.found.append("no record to look for, because nobody was refused")
        part.is_tested = False
    elif kept and not kept[0].is_readable:
        part.unknown.append(f"journal: {NEEDS}")
    else:
        _judge_record(part, place, addresses, since)
    return part


def _judge_storage(part: Part, kept: list[Storage]) -> None:
    if not kept:
        part.faults.append("the journal keeps no files: see Storage= in journald.conf(5)")
        return
    used = kept[0]
    free = f"{used.free // 2**20} MB free"
    how_long = "until the next boot" if used.kind == "volatile" else "across boots"
    part.found.append(f"kept {how_long}, in {shown(used.folder)}, {free}")
    for one in kept:
        if one.is_read_only:
            part.faults.append(f"{shown(one.folder)} is mounted read-only")
    if not used.is_read_only and used.free < LOW:
        part.faults.append(f"{shown(used.folder)} is full: {free}")


def _judge_record(part: Part, place: str, addresses: list[str], since: float) -> None:
    entry = find(addresses, since)
    part.data["record"] = entry is not None
    if entry is None and are_summed():
        part.unknown.append("journal: records are summed up now, because of log-budget; try later")
    elif entry is None and place == NOT_KNOWN:
        part.unknown.append("journal: no record of this look was found; the unit does not say "
                            "where null521 writes them")  # fmt: skip
    elif entry is None:
        part.faults.append(f"{NOT_ARRIVED}: see journalctl -u systemd-journald.service")
    elif entry.get("MESSAGE_ID") == record.REFUSED:
        part.found.append("the record of this look has arrived")
    elif place in ("auto", "journal"):
        part.faults.append(WITHOUT_FIELDS)
    else:
        by = "which null521 report needs" if place in ("", NOT_KNOWN) else f"log={place}"
        part.found.append(f"the record of this look has arrived, without fields ({by})")
