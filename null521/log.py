"""Where records go: journald, syslog, standard error, JSON lines, or nowhere.

It knows how each of them takes a record, and that none may delay us. It must not know what a record
is about, nor be called while a client still waits. serve/log.py does the same for many clients.
"""

import posix
import select

from null521.record import Fields, Record

# What is costly to import is imported below, where it is used: one run needs one place.

# What each value of the setting `log` means: the places that are tried, in this order.
PLACES = {
    "auto": ("journal", "syslog", "stderr"),
    "journal": ("journal", "stderr"),
    "syslog": ("syslog", "stderr"),
    "stderr": ("stderr",),
    "json": ("json",),
    "none": (),
}

JOURNAL_SOCKET = "/run/systemd/journal/socket"
SYSLOG_SOCKET = "/dev/log"
IDENTIFIER = "null521"
LOG_MAIL = 2 << 3  # syslog(3): facility "mail"

# How long a full journal may delay us, in seconds.
TIMEOUT = 1.0
# What a pipe that poll() calls writable takes without blocking, and syslog daemons in one line.
MAX_LINE = 4096  # PIPE_BUF, pipe(7)


def write(log: str, record: Record) -> None:
    """Hand the record to the first place that accepts it; `log` is a key of PLACES.

    Standard error is the last resort; a handler points it at /dev/null if it is the client's. Never
    raises because of a place, and returns within about TIMEOUT seconds.
    """
    any(WRITERS[place](record) for place in PLACES[log])


def to_journal(record: Record) -> bool:
    """By systemd-python; its own socket blocks while journald's queue is full."""
    try:
        posix.stat(JOURNAL_SOCKET)  # sd_journal_sendv(3) is silent if there is none
        import _signal

        # Not systemd.journal, which takes 20 ms to import, but the function that it re-exports.
        from systemd._journal import sendv
    except (ImportError, OSError):
        return False
    # A handler that does nothing makes the blocked sendmsg(2) end with EINTR: signal(7).
    before = _signal.signal(_signal.SIGALRM, lambda number, frame: None)
    _signal.pthread_sigmask(_signal.SIG_UNBLOCK, [_signal.SIGALRM])  # a mask is inherited
    _signal.setitimer(_signal.ITIMER_REAL, TIMEOUT)
    try:
        sendv(*journal_fields(record))
    except OSError:  # journald has stopped, or does not read
        return False
    finally:
        _signal.setitimer(_signal.ITIMER_REAL, 0)
        _signal.signal(_signal.SIGALRM, before)
    return True


def to_syslog(record: Record) -> bool:
    """By the local socket, because syslog(3) blocks and hides failures."""
    from _socket import AF_UNIX, MSG_DONTWAIT, SOCK_DGRAM, socket

    try:
        syslog = socket(AF_UNIX, SOCK_DGRAM)
        syslog.connect(SYSLOG_SOCKET)
        syslog.send(syslog_line(record.priority, record.message), MSG_DONTWAIT)
    except OSError:
        return False
    return True


def to_stderr(record: Record) -> bool:
    """One line for people."""
    return _to_descriptor_2(plain_line(record.message))


def to_json(record: Record) -> bool:
    """One JSON object a line on standard error, because standard output is the client."""
    from null521.jsonline import json_line

    return _to_descriptor_2(json_line(record))


def _to_descriptor_2(line: bytes) -> bool:
    try:
        writable = select.poll()
        writable.register(2, select.POLLOUT)
        return bool(writable.poll(TIMEOUT * 1000)) and posix.write(2, line) > 0
    except OSError:
        return False


def journal_fields(record: Record) -> list[bytes]:
    """NAME=value for each field; values have no line ends (record.py)."""
    fields: Fields = [
        ("MESSAGE_ID", record.message_id), ("MESSAGE", record.message),
        ("PRIORITY", record.priority), ("SYSLOG_IDENTIFIER", IDENTIFIER),
        ("SYSLOG_PID", posix.getpid()),
        *[("NULL521_" + name, value) for name, value in record.fields],
    ]  # fmt: skip
    return [f"{name}={value}".encode("utf-8", "replace") for name, value in fields]


def syslog_line(priority: int, message: str) -> bytes:
    """As local syslog daemons take it: RFC 3164, without the time, which they add."""
    return _cut(f"<{LOG_MAIL | priority}>{IDENTIFIER}[{posix.getpid()}]: {message}")


def plain_line(message: str) -> bytes:
    """One line for people."""
    return _cut(f"{IDENTIFIER}: {message}") + b"\n"


def _cut(line: str) -> bytes:
    return line.encode("utf-8", "replace")[: MAX_LINE - 1]


# Each returns whether the place has accepted the record.
WRITERS = {"journal": to_journal, "syslog": to_syslog, "stderr": to_stderr, "json": to_json}
