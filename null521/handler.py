"""One connection: read, reply, keep the deadlines, say goodbye, remember.

The driver for a process that a superserver starts for each client. It knows descriptors and the
clock. It must not know what SMTP says (session.py does), nor how a record is written down.
"""

import os
import select
import time

# The signal module takes 6 ms to import, for its enums; this is what is underneath.
from _signal import SIG_IGN, SIGTERM, signal

# See peer.py for why this is not the socket module.
from _socket import SHUT_WR, SO_ACCEPTCONN, SOCK_STREAM, SOL_SOCKET
from _socket import socket as Socket

from null521 import journal, peer, record
from null521.session import Session
from null521.settings import Settings

EX_OK = 0
EX_CONFIG = 78  # sysexits(3)

LISTEN_FDS_START = 3  # sd_listen_fds(3)

CHUNK = 4096  # octets asked for at a time

# The goodbye's own bounds, for a client that goes on sending after its last reply.
LINGER_SECONDS = 2.0
LINGER_OCTETS = 16 * 2**20

CLOSED = "standard input is closed, but should be a connection; see null521 --help"
LISTENING = (
    "standard input is a listening socket, but should be an accepted connection: "
    "Accept=yes for systemd, nowait for inetd, wait = no for xinetd"
)
NO_STREAM = "standard input is a datagram socket, but SMTP needs a stream: use TCP"
TERMINAL = (
    "speaking SMTP on this terminal; to answer on a port: "
    "systemd-socket-activate --accept --inetd -l 127.0.0.1:2525 null521"
)


def run(settings: Settings) -> int:
    """Answer the connection handed to this process; return its exit status.

    EX_CONFIG if what was handed over is no connection, or if a setting is no good, and then the
    client has had its 521 all the same; otherwise EX_OK.
    """
    reading, writing = handed_over()
    shield_stderr(reading, writing)
    connection = as_socket(reading)
    misfit = unfit(reading, connection)
    if misfit:
        settings.faults.append(misfit)
    else:
        answer(settings, reading, writing, connection)
    for fault in settings.faults:
        journal.complain(settings.log, record.of_fault(fault))
    return EX_CONFIG if settings.faults else EX_OK


def handed_over() -> tuple[int, int]:
    """The descriptors to read from and write to: systemd's, or else standard input and output."""
    if os.environ.get("LISTEN_PID") == str(os.getpid()):
        return LISTEN_FDS_START, LISTEN_FDS_START
    if is_open(0) and not is_open(1):
        return 0, 0
    return 0, 1


def shield_stderr(reading: int, writing: int) -> None:
    """Point standard error away from the client, to whom inetd and xinetd connect it as well."""
    clients = [os.fstat(fd) for fd in (reading, writing) if is_open(fd)]
    if is_open(2) and (os.isatty(2) or not any(os.path.samestat(os.fstat(2), c) for c in clients)):
        return
    try:
        os.dup2(os.open("/dev/null", os.O_WRONLY), 2)
    except OSError:  # a bare root directory
        os.closerange(2, 3)


def unfit(reading: int, connection: Socket | None) -> str:
    """What is wrong with what was handed over, or "" if nothing is."""
    if connection is None:
        return "" if is_open(reading) else CLOSED
    if connection.getsockopt(SOL_SOCKET, SO_ACCEPTCONN):
        return LISTENING
    return "" if connection.type == SOCK_STREAM else NO_STREAM


def answer(settings: Settings, reading: int, writing: int, connection: Socket | None) -> None:
    """The session of one client, from the greeting to the record of it."""
    if os.isatty(reading):
        journal.to_stderr(record.of_fault(TERMINAL))
    for fd in (reading, writing):
        if not os.isatty(fd):  # for it would stay so for the shell behind us
            os.set_blocking(fd, False)
    client = peer.caller(connection, os.environ)
    session = Session(
        settings.hostname,
        settings.text,
        settings.refuse_at,
        settings.max_commands,
        settings.max_line,
        settings.max_octets,
    )
    start = time.monotonic()
    end = start + settings.session_timeout
    ending = converse(session, reading, writing, settings.idle_timeout, end)
    seconds = time.monotonic() - start
    # The rest takes moments, in which socat would end us: it sends SIGTERM once the client is gone.
    signal(SIGTERM, SIG_IGN)
    if connection is not None:
        goodbye(connection, reading)
    entry = record.of_session(
        session, client, settings.refuse_at, ending, seconds, settings.log_addresses
    )
    journal.write(settings.log, entry)


def converse(session: Session, reading: int, writing: int, idle: float, end: float) -> str:
    """Read and reply until the session is over; return how it ended.

    "quit", "limit" (of commands or octets), "eof", "reset", "idle" or "deadline". idle: seconds
    to wait for the client's next octet, or for it to take ours. end: by time.monotonic().
    """
    replies = session.greeting()
    while True:
        ending = send(writing, replies, idle, end) or session.ending
        if ending:
            return ending
        ending = wait(reading, select.POLLIN, idle, end)
        if ending:
            # All that we owed is sent, so there is room for one line more.
            send(writing, session.refusal(), 0.0, time.monotonic() + LINGER_SECONDS)
            return ending
        try:
            octets = os.read(reading, CHUNK)
        except BlockingIOError:
            continue
        except OSError:
            return "reset"
        if not octets:
            return "eof"
        replies = session.receive(octets)


def send(writing: int, octets: bytes, idle: float, end: float) -> str:
    """Send it all; return "" or, as converse() does, why that could not be."""
    while octets:
        ending = wait(writing, select.POLLOUT, idle, end)
        if ending:
            return ending
        try:
            octets = octets[os.write(writing, octets) :]
        except BlockingIOError:
            continue
        except OSError:
            return "reset"
    return ""


def wait(fd: int, event: int, idle: float, end: float) -> str:
    """Wait for the event; return "" when it is there, or else which deadline has passed."""
    left = end - time.monotonic()
    if left <= 0:
        return "deadline"
    poll = select.poll()
    poll.register(fd, event)
    if poll.poll(min(idle, left) * 1000):
        return ""
    return "idle" if idle < left else "deadline"


def goodbye(connection: Socket, reading: int) -> None:
    """Let the last reply arrive.

    To close a socket with octets unread sends a RST, and a RST can destroy what the client has
    not read yet (RFC 9293, 3.10.4; RFC 1122, 4.2.2.13). So: no more from us, then read until
    the client has closed too, within bounds.
    """
    try:
        connection.shutdown(SHUT_WR)
    except OSError:  # ENOTCONN: it is gone already
        return
    end = time.monotonic() + LINGER_SECONDS
    left = LINGER_OCTETS
    while left > 0 and not wait(reading, select.POLLIN, LINGER_SECONDS, end):
        try:
            octets = os.read(reading, 2**16)
        except BlockingIOError:
            continue
        except OSError:
            return
        if not octets:
            return
        left -= len(octets)


def as_socket(fd: int) -> Socket | None:
    """The socket behind a descriptor, which is closed with it; None if there is no socket."""
    try:
        return Socket(fileno=fd)
    except OSError:
        return None


def is_open(fd: int) -> bool:
    """Whether there is anything behind the descriptor."""
    try:
        os.fstat(fd)
    except OSError:
        return False
    return True
