"""`null521 report`: what mail comes to hosts that take none, and which senders keep retrying.

It knows the command line, what can go wrong, and whether somebody watches. It must not know how
records are read, counted or printed.
"""

import argparse
import contextlib
import io
import math
import os
import signal
import sys
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

from null521.console import command, tables
from null521.report import reading, timestamps, values
from null521.report.findings import KEPT, KEYS, Findings
from null521.report.reading import Entry, Journal, Lines

if TYPE_CHECKING:
    from rich.progress import Progress

PROGRAM = "null521 report"
TABLES = ("retries", "mail", "timeline", "others")
# Rows of the last table, unless it is asked for: most connections are of scanners.
FEW = 5

NO_PERMISSION = (
    "no permission to read all of the journal: join the group systemd-journal or adm "
    '(sudo usermod -aG systemd-journal "$USER") and log in again'
)
NO_SYSTEMD = "systemd-python is not installed (python3-systemd); it is needed to read journals"

DESCRIPTION = """\
Report from the records of null521 how many connections wanted to send mail, which senders keep
retrying (the same client, sender and recipient, three times or more), what mail came and when,
and who connected without naming a sender, as scanners do.
"""
EPILOG = """\
LINES are files of JSON lines, as null521 writes them with log=json, or "-" for standard input.
Without LINES, the journal of this host is read. TIME is as for journalctl: "yesterday",
"2 hours ago", "2026-01-31 12:00"; see systemd.time(7).

--by=host is for records of several hosts: which of them gets mail, and from whom. In JSON lines,
the host is the container that podman logs, docker compose logs or kubectl logs --prefix names
before each line; otherwise the name of the file.

Exit status: 0, even if there are no records; 64 for a usage error; 66 if the input cannot be read;
69 if systemd-python is needed and not installed; 74 if the report cannot be written; 77 without
permission to read.
"""


class Failure(Exception):
    """Why there is no report, in one line, and the exit status."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status


def run(arguments: list[str]) -> int:
    """Print the report that the arguments ask for; return the exit status.

    SystemExit, after a line on standard error, if the arguments are wrong.
    """
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # like other filters: `| head` ends it silently
    sys.stdout = sys.stdout or io.StringIO()  # None if it is closed
    options = parser().parse_args(list(_joined(arguments)))
    try:
        with command.flushed_stdout():
            _report(options)
    except Failure as error:
        _warn(str(error))
        return error.status
    except OSError as error:
        _warn(f"cannot write the report: {error.strerror}")
        return os.EX_IOERR
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    return os.EX_OK


def help() -> str:
    """What --help prints."""
    return parser().help()


def parser() -> command.Parser:
    """The command line, and what --help says about it."""
    options = command.Parser(PROGRAM, DESCRIPTION, EPILOG, argparse.RawDescriptionHelpFormatter)
    add = options.add_argument
    add("lines", nargs="*", metavar="LINES", help="JSON lines to read instead of the journal")
    source = options.add_mutually_exclusive_group()
    source.add_argument("--directory", metavar="DIR", help="read the journal copied to DIR")
    source.add_argument(
        "--file", action="append", default=[], help="read this file of a copied journal; repeatable"
    )
    add("--since", metavar="TIME", help="ignore older records")
    add("--until", metavar="TIME", help="ignore newer records")
    add("--by", choices=KEYS, default="client", help="group by this; default %(default)s")
    add("--limit", type=_limit, default=20, metavar="N", help="rows in a table; default 20")
    add("--show", choices=TABLES, help="show only this table")
    form = options.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="print one JSON object with all tables")
    form.add_argument("--csv", action="store_true", help="print one table, mail by default")
    return options


def _joined(arguments: list[str]) -> Iterator[str]:
    """With --since=-1h for --since -1h, which argparse reads as two options."""
    words = iter(arguments)
    for word in words:
        yield f"{word}={next(words, '')}" if word in ("--since", "--until") else word


def _limit(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 10 and 0 < int(text) <= KEPT):
        raise argparse.ArgumentTypeError(f"must be a number from 1 to {KEPT}")
    return int(text)


def _report(options: argparse.Namespace) -> None:
    """Read, count, print. Failure if the input cannot be read."""
    now = time.time()
    since = max(0.0, _moment("--since", options.since, now, 0.0))
    until = _moment("--until", options.until, now, math.inf)
    if options.since is not None and options.until is not None and since > until:
        why = f"--since ({options.since!a}) is later than --until ({options.until!a})"
        raise Failure(os.EX_USAGE, why)
    findings = Findings(options.by, options.limit)
    try:
        source = _source(options, since, until)
        for entry in _watched(source):
            findings.add(entry)
    except OSError as error:
        status = os.EX_NOPERM if isinstance(error, PermissionError) else os.EX_NOINPUT
        named = options.lines or options.file or [options.directory or "the journal"]
        name = error.filename or ", ".join(named)
        raise Failure(status, f"cannot read {name}: {error.strerror}") from None
    notes = findings.notes()
    if source.bad:
        one, several = source.what
        skipped = f"1 {one} that is not a record"
        if source.bad > 1:
            skipped = f"{source.bad} {several} that are not records"
        notes.append(f"Skipped {skipped}.")
    if source.summed:
        notes.append(
            f"Not included: {source.summed} sessions that were only summed up, because there were "
            "more than log-budget allows; see null521-serve(8)."
        )
    if isinstance(source, Journal) and reading.out_of_reach(options.directory, options.file):
        why = f"{options.directory}: no permission" if options.directory else NO_PERMISSION
        if not findings.records:
            raise Failure(os.EX_NOPERM, why)
        notes.append(why)
    _print(options, findings, notes)


def _print(options: argparse.Namespace, findings: Findings, notes: list[str]) -> None:
    if options.csv:
        values.as_csv(getattr(findings, options.show or "mail")())
        for note in notes:
            _warn(note)
        return
    names = [options.show] if options.show else TABLES
    chosen = [getattr(findings, name)() for name in names]
    if options.json:
        values.as_json(findings.facts(), chosen, notes)
        return
    if not options.show:
        chosen[-1] = findings.others(FEW)
    if not findings.records:
        chosen = []
    if sys.stdout.isatty():
        with contextlib.suppress(ImportError):
            tables.rich(findings.summary(), chosen, notes)
            return
    tables.plain(findings.summary(), chosen, notes)


def _moment(flag: str, text: str | None, now: float, default: float) -> float:
    if text is None:
        return default
    try:
        return timestamps.seconds_at(text, now)
    except ValueError:
        what = 'a time as in systemd.time(7), such as "yesterday" or "2 hours ago"'
        raise Failure(os.EX_USAGE, f"{flag} must be {what}, not {text!a}") from None


def _source(options: argparse.Namespace, since: float, until: float) -> Lines | Journal:
    if options.lines:
        if options.directory or options.file:
            why = f"give LINES or a journal, not both; see {PROGRAM} --help"
            raise Failure(os.EX_USAGE, why)
        return Lines(options.lines, since, until)
    try:
        return Journal(reading.open_journal(options.directory, options.file), since, until)
    except ImportError:
        raise Failure(os.EX_UNAVAILABLE, NO_SYSTEMD) from None


def _watched(source: Lines | Journal) -> Iterator[Entry]:
    """The same entries, with a progress bar if standard error is a terminal and rich is there."""
    if sys.stderr and sys.stderr.isatty():
        with contextlib.suppress(ImportError):
            from rich.console import Console
            from rich.progress import Progress

            return _with_bar(source, Progress(console=Console(stderr=True), transient=True))
    return iter(source)


def _with_bar(source: Lines | Journal, progress: "Progress") -> Iterator[Entry]:
    with progress:
        bar = progress.add_task("Reading", total=None)
        for number, entry in enumerate(source):
            if number % 1000 == 0:
                progress.update(bar, completed=source.done, total=source.total or None)
            yield entry


def _warn(line: str) -> None:
    """Print it on standard error, which is None where the launcher has closed it."""
    if sys.stderr:
        print(f"{PROGRAM}: {line}", file=sys.stderr)
