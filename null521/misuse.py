"""What the administrator is told if something is set up or handed over wrongly.

Imported only then, or on a terminal. It must not know how it was found out.
"""

import posix

from null521 import log
from null521.record import WARNING, Record, of_fault

MYPY = False
if MYPY:
    from null521.settings import Settings

# What standard input, or what systemd handed over, is instead of an accepted connection.
CLOSED = "standard input is closed, but should be a connection; see null521 --help"
LISTENING = (
    "standard input is a listening socket, but should be an accepted connection: "
    "Accept=yes for systemd, nowait for inetd, wait = no for xinetd; or use null521 serve"
)
NO_STREAM = "standard input is a datagram socket, but SMTP needs a stream: use TCP"
HANDED_OVER = {"closed": CLOSED, "listening": LISTENING, "no stream": NO_STREAM}

TERMINAL = "speaking SMTP here; to answer on a port: null521 serve --listen=127.0.0.1:2525"


def tell(settings: "Settings") -> None:
    """Write a record of each warning and fault."""
    for warning in settings.warnings:
        warn(settings.log, of_fault(warning, WARNING))
    for fault in settings.faults:
        warn(settings.log, of_fault(fault))


def warn(place: str, record: Record) -> None:
    """Write a record that the administrator must see: on standard error too."""
    accepted = any(log.WRITERS[one](record) for one in log.PLACES[place] if one != "stderr")
    # Unless the log is read there anyway: by systemd, or as JSON.
    if not accepted or not (place == "json" or is_journal()):
        log.to_stderr(record)


def before(settings: "Settings", wrong: str) -> None:
    """Add what is wrong, a key of HANDED_OVER; or say on a terminal how to answer on a port.

    wrong: "" on a terminal, where faults matter more than the hint.
    """
    if wrong:
        settings.faults.append(HANDED_OVER[wrong])
    elif not settings.faults:
        log.to_stderr(of_fault(TERMINAL))


def is_journal() -> bool:
    """Whether standard error goes to the journal: $JOURNAL_STREAM in systemd.exec(5).

    The variable alone proves nothing: the terminals of a desktop inherit it.
    """
    try:
        stderr = posix.fstat(2)
    except OSError:
        return False
    return posix.environ.get(b"JOURNAL_STREAM") == b"%d:%d" % (stderr.st_dev, stderr.st_ino)
