"""`null521 report`: who writes to this host, and who has not given up, from our own records.

It knows the command line, what can be wrong, and who watches. It must not know how records are
read, counted or printed.
"""

import argparse
import contextlib
import math
import signal
import sys
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, NoReturn

from null521.console import tables
from null521.report import reading, timestamps
from null521.report.findings import KEPT, KEYS, Findings
from null521.report.reading import Journal, Lines, Seen

if TYPE_CHECKING:
    from rich.progress import Progress

# Exit statuses, sysexits(3).
EX_OK, EX_USAGE, EX_NOINPUT, EX_UNAVAILABLE, EX_IOERR, EX_NOPERM = 0, 64, 66, 69, 74, 77

TABLES = ("retries", "writers", "timeline")

NO_PERMISSION = (
    "no permission to read all of the journal: join the group systemd-journal or adm "
    '(sudo usermod -aG systemd-journal "$USER") and log in again'
)

DESCRIPTION = """\
Read back what null521 has recorded, and say who has not given up (the same client with the same
sender and recipient, again and again), who keeps writing, and when.
"""
EPILOG = """\
LINES are JSON lines as null521 writes them with log=json: files, or "-" for standard input. Without
any, this host's journal is read. TIME is as for journalctl: "yesterday", "2 hours ago",
"2026-01-31 12:00"; see systemd.time(7).

Exit status: 0, also if there are no records; 64 if an option is no good; 66 if there is nothing to
read from; 69 without systemd-python, which reads journals; 74 if it cannot be written; 77 without
the permission to read.
"""


class Unfit(Exception):
    """Why there is no report, in one line, and the exit status."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status


class Parser(argparse.ArgumentParser):
    """One that leaves it to run() to end the process."""

    def error(self, message: str) -> NoReturn:
        raise Unfit(EX_USAGE, f"{message}; see null521 report --help")


def run(arguments: list[str]) -> int:
    """Print the report that the arguments ask for; return the exit status."""
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # as filters have it: `| head` ends it silently
    with contextlib.suppress(AttributeError, ValueError):  # not every locale can say everything
        sys.stdout.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    try:
        _report(parser().parse_args(list(_joined(arguments))))
        sys.stdout.flush()
    except Unfit as error:
        _complain(str(error))
        return error.status
    except OSError as error:
        with contextlib.suppress(OSError):
            sys.stdout.close()  # or it would be tried once more at the end
        _complain(f"cannot write it all: {error.strerror}")
        return EX_IOERR
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    return EX_OK


def parser() -> argparse.ArgumentParser:
    """The command line, and what --help says of it."""
    options = Parser(
        prog="null521 report",
        description=DESCRIPTION,
        epilog=EPILOG,
        # As wide everywhere, like the other help.
        formatter_class=lambda prog: argparse.RawDescriptionHelpFormatter(prog, width=90),
        allow_abbrev=False,
    )
    add = options.add_argument
    add("lines", nargs="*", metavar="LINES", help="JSON lines to read instead of the journal")
    source = options.add_mutually_exclusive_group()
    source.add_argument("--directory", metavar="DIR", help="read a copied journal in there")
    source.add_argument(
        "--file", action="append", default=[], help="read that file of a copied journal; repeatable"
    )
    add("--since", metavar="TIME", help="leave out what is older")
    add("--until", metavar="TIME", help="leave out what is newer")
    add("--by", choices=KEYS, default="client", help="who is one writer; default %(default)s")
    add("--limit", type=_limit, default=20, metavar="N", help="rows of a table; default 20")
    add("--show", choices=TABLES, help="that table alone")
    form = options.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="one JSON object, with all in it")
    form.add_argument("--csv", action="store_true", help="one table, writers by default")
    return options


def _joined(arguments: list[str]) -> Iterator[str]:
    """With --since=-1h for --since -1h, which argparse would take for two options."""
    words = iter(arguments)
    for word in words:
        yield f"{word}={next(words, '')}" if word in ("--since", "--until") else word


def _limit(text: str) -> int:
    if not (text.isascii() and text.isdigit() and 0 < int(text[:9]) <= KEPT):
        raise argparse.ArgumentTypeError(f"should be a number from 1 to {KEPT}")
    return int(text)


def _report(options: argparse.Namespace) -> None:
    """Read, count, print. Unfit if there is nothing to read from."""
    now = time.time()
    since = max(0.0, _moment("--since", options.since, now, 0.0))
    until = _moment("--until", options.until, now, math.inf)
    findings = Findings(options.by, options.limit)
    try:
        source = _source(options, since, until)
        for seen in _watched(source):
            findings.add(seen)
    except OSError as error:
        status = EX_NOPERM if isinstance(error, PermissionError) else EX_NOINPUT
        named = options.lines or options.file or [options.directory or "the journal"]
        name = error.filename or ", ".join(named)
        raise Unfit(status, f"cannot read {name}: {error.strerror}") from None
    notes = findings.notes()
    if source.bad:
        notes.append(f"{source.bad} could not be read as records, and are left out.")
    if isinstance(source, Journal) and reading.out_of_reach(options.directory, options.file):
        why = f"{options.directory}: no permission" if options.directory else NO_PERMISSION
        if not findings.records:
            raise Unfit(EX_NOPERM, why)
        notes.append(why)
    _print(options, findings, notes)


def _print(options: argparse.Namespace, findings: Findings, notes: list[str]) -> None:
    if options.csv:
        tables.as_csv(getattr(findings, options.show or "writers")())
        for note in notes:
            _complain(note)
        return
    names = [options.show] if options.show else TABLES
    chosen = [getattr(findings, name)() for name in names]
    if options.json:
        tables.as_json(findings.facts(), chosen, notes)
        return
    if not findings.records:
        chosen = []
    if sys.stdout.isatty():
        with contextlib.suppress(ImportError):
            tables.rich(findings.said(), chosen, notes)
            return
    tables.plain(findings.said(), chosen, notes)


def _moment(flag: str, text: str | None, now: float, default: float) -> float:
    if text is None:
        return default
    try:
        return timestamps.seconds_at(text, now)
    except ValueError:
        what = 'no time of systemd.time(7), such as "yesterday" or "2 hours ago"'
        raise Unfit(EX_USAGE, f"{flag} is {text!a}, which is {what}") from None


def _source(options: argparse.Namespace, since: float, until: float) -> Lines | Journal:
    if options.lines:
        if options.directory or options.file:
            raise Unfit(EX_USAGE, "either JSON lines or a journal; see null521 report --help")
        return Lines(options.lines, since, until)
    try:
        return Journal(reading.open_journal(options.directory, options.file), since, until)
    except ImportError:
        why = "journals are read with systemd-python, which is not installed (python3-systemd)"
        raise Unfit(EX_UNAVAILABLE, why) from None


def _watched(source: Lines | Journal) -> Iterator[Seen]:
    """The same records, with a progress bar where somebody watches: on a terminal, with rich."""
    if sys.stderr and sys.stderr.isatty():
        with contextlib.suppress(ImportError):
            from rich.console import Console
            from rich.progress import Progress

            return _with_bar(source, Progress(console=Console(stderr=True), transient=True))
    return iter(source)


def _with_bar(source: Lines | Journal, progress: "Progress") -> Iterator[Seen]:
    with progress:
        bar = progress.add_task("Reading", total=None)
        for number, seen in enumerate(source):
            if number % 1000 == 0:
                progress.update(bar, completed=source.done, total=source.total or None)
            yield seen


def _complain(line: str) -> None:
    """Say it on standard error; the launcher takes that away where it is the client's."""
    if sys.stderr:
        print(f"null521 report: {line}", file=sys.stderr)
