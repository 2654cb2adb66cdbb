"""What every sender does at every stage of refusal, as a table in Markdown.

    PYTHONPATH=.:tests build/venv-distribution/bin/python tests/senders/matrix.py

As root, after tests/prepare test; `make senders` does it all. This asks, side by side, and prints;
what the answers ought to be is for test_senders.py to say.
"""

import os
import platform
import tempfile
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from conftest import install
from lab import RefusingHost
from mtas import MTAS, Fate, MailServer

import null521
from null521.session import STAGES

AT_ONCE = 8  # hosts; most of the time they wait
MESSAGE = "From: {sender}\nTo: {recipient}\nSubject: {number}\n\nA line.\n"
NUMBERS = ("first", "second")


class Cell(NamedTuple):
    """What a sender did, fresh after its start, with two messages in turn."""

    fates: tuple[Fate, ...]
    version: str


def cell(folder: Path, refusing: RefusingHost, package: str, stage: str) -> Cell:
    """Set up a sender, and have it send two messages to the host that refuses at that stage."""
    with MailServer(folder / f"{package}-{stage}", refusing, package) as host:
        fates = []
        for number in NUMBERS:
            recipient = f"{number}@{stage}.test"
            message = MESSAGE.format(sender=host.user, recipient=recipient, number=number)
            complaint = host.submit(message, recipient)
            assert not complaint, f"{host.name} {stage} {number}: {complaint}\n{host.log_text()}"
            fates.append(host.fate(recipient))
        return Cell(tuple(fates), host.version())


def measure(folder: Path, refusing: RefusingHost) -> Mapping[tuple[str, str], Cell]:
    """All cells, by package and stage."""
    keys = [(package, stage) for stage in STAGES for package in MTAS]
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
    print("| sender | " + " | ".join(STAGES) + " |")
    print("|---" * (1 + len(STAGES)) + "|")
    for package, mta in MTAS.items():
        row = [f"{mta.name} {cells[package, 'rcpt'].version}"]
        for stage in STAGES:
            outcomes = [fate.outcome for fate in cells[package, stage].fates]
            same = len(set(outcomes)) == 1
            row.append(outcomes[0] if same else "first {}, second {}".format(*outcomes))
        print("| " + " | ".join(row) + " |")
    print("\nDeferred, says the log, because:\n")
    for (package, stage), found in cells.items():
        for number, fate in zip(NUMBERS, found.fates, strict=True):
            if fate.reason:
                print(f"- {MTAS[package].name}, {stage}, {number}: {fate.reason}")


if __name__ == "__main__":
    main()
