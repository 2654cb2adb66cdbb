"""One connection: read, reply, keep the deadlines, say goodbye, remember.

The driver for a process that a superserver starts for each client. It knows descriptors, the clock,
and when TLS begins. It must not know what SMTP says (session.py does), how TLS says it (tls.py
does), nor how a record is written down.
"""

import os
import select
import time

# The signal module takes 6 ms to import, for its enums; this is what is underneath.
from _signal import SIG_IGN, SIGTERM, signal

# See peer.py for why this is not the socket module.
from _socket import SHUT_WR, SO_ACCEPTCONN, SOCK_STREAM, SOL_SOCKET
from _socket import socket as Socket

from null521 import log, peer, record
from null521.session import Session
from null521.settings import Settings

MYPY = False  # for what only types need: typing itself takes as long to import as all of ours
if MYPY:
    from null521.tls import Secured

LISTEN_FDS_START = 3  # sd_listen_fds(3)

CHUNK = 4096  # octets asked for at a time

# The goodbye's own bounds, for a client that goes on sending after its last reply; server.py's too.
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

    EX_CONFIG (sysexits(3)) if what was handed over is no connection, or if a setting is invalid
    (the client has been refused all the same); otherwise EX_OK. An unusable certificate is no more
    than a warning.
    """
    reading, writing = handed_over()
    connection = as_socket(reading)
    client = peer.caller(connection, os.environ)
    on_terminal = is_open(reading) and os.isatty(reading) and not client[0]
    if not on_terminal:
        shield_stderr(reading, writing)
    misfit = unfit(reading, connection)
    if misfit:
        settings.faults.append(misfit)
    else:
        if on_terminal:
            log.to_stderr(record.of_fault(TERMINAL))
        answer(settings, reading, writing, connection, client)
    for warning in settings.warnings:
        log.complain(settings.log, record.of_fault(warning, record.WARNING))
    for fault in settings.faults:
        log.complain(settings.log, record.of_fault(fault))
    return os.EX_CONFIG if settings.faults else os.EX_OK


def handed_over() -> tuple[int, int]:
    """The descriptors to read from and write to: systemd's, or else standard input and output."""
    environ = os.environ
    if environ.get("LISTEN_PID") == str(os.getpid()) and environ.get("LISTEN_FDS", "0") != "0":
        return LISTEN_FDS_START, LISTEN_FDS_START
    if is_open(0) and not is_open(1):
        return 0, 0
    return 0, 1


def shield_stderr(reading: int, writing: int) -> None:
    """Point standard error away from the client, to whom inetd and xinetd connect it as well."""
    clients = [os.fstat(fd) for fd in (reading, writing) if is_open(fd)]
    if is_open(2) and not any(os.path.samestat(os.fstat(2), client) for client in clients):
        return
    try:
        null = os.open("/dev/null", os.O_WRONLY)
    except OSError:  # a bare root directory
        os.closerange(2, 3)
        return
    os.dup2(null, 2)
    if null != 2:  # it may have become 0, and must not be taken for the client
        os.close(null)


def unfit(reading: int, connection: Socket | None) -> str:
    """What is wrong with what was handed over, or "" if nothing is."""
    if connection is None:
        return "" if is_open(reading) else CLOSED
    if connection.getsockopt(SOL_SOCKET, SO_ACCEPTCONN):
        return LISTENING
    return "" if connection.type == SOCK_STREAM else NO_STREAM


def answer(
    settings: Settings,
    reading: int,
    writing: int,
    connection: Socket | None,
    client: tuple[str, str],
) -> None:
    """The session of one client, from the greeting to the record of it."""
    session = settings.session(starttls=offers_starttls(settings))
    start = time.monotonic()
    end = start + settings.session_timeout
    for fd in (reading, writing):
        os.set_blocking(fd, False)
    try:
        ending = converse(session, reading, writing, settings, end)
    finally:
        for fd in (reading, writing):
            if os.isatty(fd):  # for it would stay so for the shell behind us
                os.set_blocking(fd, True)
    seconds = time.monotonic() - start
    # The rest takes moments, in which socat would end us: it sends SIGTERM once the client is gone.
    signal(SIGTERM, SIG_IGN)
    if connection is not None:
        goodbye(connection, reading)
    entry = record.of_session(
        session, client, settings.refuse_at, ending, seconds, settings.log_addresses
    )
    log.write(settings.log, entry)


def converse(session: Session, reading: int, writing: int, settings: Settings, end: float) -> str:
    """Read and reply until the session is over; return how it ended.

    "quit", "limit" (of commands or octets), "eof", "reset", "idle", "deadline", or "tls" (that did
    not come about). end: by time.monotonic().
    """
    idle = settings.idle_timeout
    speaker: Session | Secured = session
    owed = session.greeting()
    while True:
        ending = send(writing, owed, idle, end) or speaker.ending
        if ending:
            return ending
        owed = b""
        ending = wait(reading, select.POLLIN, idle, end)
        if ending:
            # All that we owed is sent, so there is room for one line more.
            send(writing, speaker.refusal(), 0.0, time.monotonic() + LINGER_SECONDS)
            return ending
        try:
            octets = os.read(reading, CHUNK)
        except BlockingIOError:
            continue
        except OSError:
            return "reset"
        if not octets:
            return "eof"
        owed = speaker.receive(octets)
        if session.asked_for_tls:
            speaker = secured(session, settings)
            owed += session.starttls(ready=speaker is not session)


def offers_starttls(settings: Settings) -> bool:
    """Whether there is a certificate to offer STARTTLS with; a warning says why not."""
    if not (settings.tls_cert or settings.tls_key):
        return False
    from null521 import certificate

    try:
        certificate.check(settings.tls_cert, settings.tls_key)
    except certificate.Unusable as error:
        settings.warnings.append(str(error))
        return False
    return True


def secured(session: Session, settings: Settings) -> "Session | Secured":
    """The session with TLS around it; as it is if that cannot be, and a warning says why."""
    from null521 import certificate

    try:
        context = certificate.context(settings.tls_cert, settings.tls_key)
    except certificate.Unusable as error:
        settings.warnings.append(str(error))
        return session
    from null521.tls import Secured  # costly, and seldom asked for

    return Secured(session, context, settings.max_octets)


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
