"""What every sender does at every stage of refusal, as a table in Markdown.

    PYTHONPATH=.:tests:tests/system/senders build/venv-distribution/bin/python \
        tests/system/senders/matrix.py

As root, after scripts/prepare test; `make senders` does it all. This asks, side by side, and
prints; what the answers ought to be is for test_senders.py to say.
"""

import os
import platform
import tempfile
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from helpers.installed import install
from lab import HANGS_UP, NULL_MX, RefusingHost
from mtas import SENDERS, Fate, MailServer

import null521
from null521.session import STAGES


class Column(NamedTuple):
    """Where mail is sent to, and how."""

    title: str
    to: str
    insists_on_tls: bool = False


COLUMNS = {stage: Column(stage, f"{stage}.test") for stage in STAGES}
COLUMNS["tls"] = Column("rcpt, with STARTTLS", "tls.test")
COLUMNS["mandatory-tls"] = Column("rcpt, with STARTTLS, mandatory", "tls.test", True)
COLUMNS["null-mx"] = Column("null MX", NULL_MX)
# What else null521 check predicts (null521/prediction.py).
OTHERS = {
    f"{stage}-mandatory": Column(f"{stage}, mandatory TLS", f"{stage}.test", True)
    for stage in STAGES
}
OTHERS["mail-tls"] = Column("mail, with STARTTLS", "mail-tls.test")
OTHERS["mail-tls-mandatory"] = Column("mail, with STARTTLS, mandatory", "mail-tls.test", True)
OTHERS["hangs-up"] = Column("greeting, hangs up", HANGS_UP)
OTHERS["hangs-up-mandatory"] = Column("greeting, hangs up, mandatory TLS", HANGS_UP, True)
OTHERS["null-mx-mandatory"] = Column("null MX, mandatory TLS", NULL_MX, True)
ALL = COLUMNS | OTHERS

AT_ONCE = 8  # hosts; most of the time they wait
MESSAGE = "From: {sender}\nTo: {recipient}\nSubject: {number}\n\nA line.\n"
NUMBERS = ("first", "second")


class Cell(NamedTuple):
    """What a sender did, fresh after its start, with two messages in turn."""

    fates: tuple[Fate, ...]
    sender: str  # name and version
    queue: str  # and the log: at the end
    log: str


def cell(folder: Path, refusing: RefusingHost, layer: str, column: str) -> Cell:
    """Set up a sender, and have it send two messages to the column's address."""
    _, to, insists_on_tls = ALL[column]
    with MailServer(folder / f"{layer}-{column}", refusing, layer, insists_on_tls) as host:
        fates = []
        for number in NUMBERS:
            recipient = f"{number}@{to}"
            message = MESSAGE.format(sender=host.user, recipient=recipient, number=number)
            complaint = host.submit(message, recipient)
            assert not complaint, f"{host.name} {column} {number}: {complaint}\n{host.log_text()}"
            fates.append(host.fate(recipient))
            if fates[-1].report:  # what has bounced must not stay
                host.wait_for_empty_queue()
        sender = f"{host.mta.name} {host.version()}"
        return Cell(tuple(fates), sender, host.queue(), host.log_text())


def measure(folder: Path, refusing: RefusingHost) -> Mapping[tuple[str, str], Cell]:
    """All cells, by sender and column."""
    keys = [(layer, column) for column in ALL for layer in SENDERS]
    with ThreadPoolExecutor(AT_ONCE) as several:
        cells = several.map(lambda key: cell(folder, refusing, *key), keys)
        return dict(zip(keys, cells, strict=True))


def main() -> None:
    """Print the table, and why mail was deferred."""
    with tempfile.TemporaryDirectory(prefix="null521-") as name:
        folder = Path(name)
        folder.chmod(0o755)  # tcpserver runs the program as nobody
        with RefusingHost(folder / "refusing", install(folder)) as refusing:
            cells = measure(folder, refusing)
    print(f"null521 {null521.__version__}, Python {platform.python_version()},", end=" ")
    print(f"Linux {os.uname().release}.\n")
    print_table(COLUMNS, cells)
    print_table(OTHERS, cells)
    print("Deferred, says the log, because:\n")
    for (_, column), found in cells.items():
        for number, fate in zip(NUMBERS, found.fates, strict=True):
            if fate.reason:
                print(f"- {found.sender}, {ALL[column].title}, {number}: {fate.reason}")


def print_table(columns: dict[str, Column], cells: Mapping[tuple[str, str], Cell]) -> None:
    """In Markdown, a row for each sender."""
    print("| sender | " + " | ".join(column.title for column in columns.values()) + " |")
    print("|---" * (1 + len(columns)) + "|")
    for layer in SENDERS:
        row = [cells[layer, "rcpt"].sender]
        for column in columns:
            outcomes = [fate.outcome for fate in cells[layer, column].fates]
            same = len(set(outcomes)) == 1
            row.append(outcomes[0] if same else "first {}, second {}".format(*outcomes))
        print("| " + " | ".join(row) + " |")
    print()


if __name__ == "__main__":
    main()
