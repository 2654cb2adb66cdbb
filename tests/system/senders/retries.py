"""How senders retry, seen live: the gaps between the tries of one message.

    PYTHONPATH=.:tests:tests/system/senders build/venv-distribution/bin/python \
        tests/system/senders/retries.py [--hours HOURS] [--faster TIMES] [--json FILE]

As root, after scripts/prepare test. Each sender, with its distribution's settings, sends mail to
a host that refuses at the greeting; and, because some give up there, to one that refuses at RCPT
without STARTTLS, while the sender requires TLS. Nothing is scaled but the clock: with --faster=20
that of the senders runs 20 times as fast (clock.c), and gaps and hours are by their clock. With
--faster=1 the senders run as they are, for as many hours as it says.

This asks and prints; what the answers ought to be is for tests/unit/report/test_seen.py to say.
"""

import argparse
import base64
import contextlib
import itertools
import json
import subprocess
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from helpers.installed import install
from lab import RefusingHost
from mtas import SENDERS, MailServer

from null521.record import REFUSED
from null521.report import schedules
from null521.report.retries import APART

CLOCK = Path(__file__).parent / "clock.c"
NAMES = ("first", "second")
MESSAGE = "From: {sender}\nTo: {recipient}\nSubject: x\n\nA line.\n"
SHOWN = 9  # gaps, of which sendmail has many that are alike
SIDE_BY_SIDE = 4  # hosts that are being started
GREETING, TLS = "greeting", "rcpt, requires TLS"


class Seen(NamedTuple):
    """What a sender did. Times are in seconds by its own clock."""

    sender: str
    refused: str
    bounced: int  # messages, at once
    gaps: list[int]  # between the tries of the message that it queued
    left: bool  # whether that message is still in the queue
    names: tuple[str, ...]  # the mail servers that `null521 report` takes it for


def clock(faster: int, folder: Path) -> str:
    """Bash code that makes the clock of a root run that many times as fast from now on."""
    if faster == 1:
        return ""
    library = folder / "clock.so"
    starts = [f"-DSTART={time.time_ns()}LL", f"-DMONOTONIC_START={time.monotonic_ns()}LL"]
    words = ["gcc", "-O2", "-shared", "-fPIC", f"-DSCALE={faster}", *starts]
    subprocess.run([*words, "-o", str(library), str(CLOCK)], check=True)
    text = base64.b64encode(library.read_bytes()).decode()
    return f"""
        base64 -d <<<{text} >/usr/lib/clock.so
        echo /usr/lib/clock.so >/etc/ld.so.preload
    """


def start(host: MailServer, refused: str) -> int:
    """Hand a sender a message, or two if it returns the first at once; how many bounced."""
    to = "greeting.test" if refused == GREETING else "rcpt.test"
    for bounced, name in enumerate(NAMES):
        recipient = f"{name}@{to}"
        complaint = host.submit(MESSAGE.format(sender=host.user, recipient=recipient), recipient)
        assert not complaint, f"{host.layer}: {complaint}"
        if host.fate(recipient).outcome == "deferred":
            return bounced
    return len(NAMES)


def finish(
    refusing: RefusingHost, host: MailServer, refused: str, bounced: int, faster: int
) -> Seen:
    """What our records say of its tries until now."""
    entries = refusing.entries(f"MESSAGE_ID={REFUSED}", f"NULL521_CLIENT={host.address}")
    moments = [int(entry["__REALTIME_TIMESTAMP"]) / 1e6 * faster for entry in entries]
    tries = moments[:1]
    for moment in moments:
        if moment - tries[-1] >= APART:
            tries.append(moment)
    gaps = [round(late - early) for early, late in itertools.pairwise(tries)]
    sender = f"{host.mta.name} {host.version()}"
    names = schedules.matching(gaps)
    return Seen(sender, refused, bounced, gaps, bool(host.queue()), names)


def watch(hours: float, faster: int) -> list[Seen]:
    """All senders side by side, for that many hours by their clock."""
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="null521-")))
        folder.chmod(0o755)  # tcpserver runs the program as nobody
        refusing = stack.enter_context(RefusingHost(folder / "refusing", install(folder)))
        setup = clock(faster, folder)

        def run(key: tuple[str, str]) -> tuple[MailServer, str, int]:
            refused, layer = key
            place = folder / f"{layer}-{refused.split(',')[0]}"
            host = MailServer(place, refusing, layer, refused == TLS)
            host.mta = host.mta._replace(setup=f"{setup}\n{host.mta.setup}")
            stack.enter_context(host)
            return host, refused, start(host, refused)

        with ThreadPoolExecutor(SIDE_BY_SIDE) as several:
            hosts = list(several.map(run, itertools.product((GREETING, TLS), SENDERS)))
        time.sleep(hours * 3600 / faster)
        return [finish(refusing, *each, faster) for each in hosts]


def main() -> None:
    """Print a table in Markdown."""
    parser = argparse.ArgumentParser(description="How senders retry, seen live.")
    parser.add_argument("--hours", type=float, default=5, help="by the senders' clock")
    parser.add_argument("--faster", type=int, default=20, help="the speed of the senders' clock")
    parser.add_argument("--json", metavar="FILE", type=Path, help="write it there too")
    options = parser.parse_args()
    seen = watch(options.hours, options.faster)
    if options.json:
        lines = ",\n".join(json.dumps(each._asdict()) for each in seen)
        how = f'"faster": {options.faster}, "hours": {options.hours}'
        options.json.write_text(f'{{{how}, "seen": [\n{lines}\n]}}\n')
    print(f"{options.hours:g} hours by a clock that runs {options.faster} times as fast.\n")
    print_table(seen)


def print_table(seen: list[Seen]) -> None:
    """In Markdown, with the first gaps of each."""
    print("| sender | refused at | bounced at once | gaps in seconds | queued | report |")
    print("|---" * 6 + "|")
    for each in seen:
        gaps = ", ".join(map(str, each.gaps[:SHOWN]))
        if more := each.gaps[SHOWN:]:
            gaps += f", and {len(more)} more of {min(more)} to {max(more)}"
        row = (each.sender, each.refused, str(each.bounced), gaps, "yes" if each.left else "no")
        print("| " + " | ".join((*row, " or ".join(each.names))) + " |")


if __name__ == "__main__":
    main()
