"""One client of a process of its own: read, reply, keep the deadlines, close, remember.

The first of two drivers of a Session, for the process that a superserver starts for each client
(serve/connection.py is the second). It knows descriptors, the clock, and when TLS begins. It must
not know what SMTP says (session.py), how TLS says it (tls.py), nor how to write a record (log.py).
"""

import posix
import select
import time
from _signal import SIG_IGN, SIGTERM, signal
from _socket import SHUT_WR, SO_ACCEPTCONN, SOCK_STREAM, SOL_SOCKET
from _socket import socket as Socket
from _stat import S_ISCHR, S_ISREG, S_ISSOCK

from null521 import log, peer, record
from null521.session import Session
from null521.settings import CHUNK, HANDSHAKE_SECONDS, LINGER_OCTETS, LINGER_SECONDS, Settings

MYPY = False
if MYPY:
    from null521.tls import Secured


def run(settings: Settings, environ: dict[str, str]) -> int:
    """Answer the connection handed to this process; return its exit status.

    EX_CONFIG (sysexits(3)) if what was handed over is no connection, or if a setting is invalid
    (the client has been refused all the same); otherwise EX_OK. An unusable certificate is no more
    than a warning.
    """
    reading, writing = handed_over(environ)
    connection = as_socket(reading)
    client = peer.caller(connection, environ)
    on_terminal = is_open(reading) and posix.isatty(reading) and not client[0]
    if not on_terminal:
        divert_stderr(reading, writing)
    if (wrong := wrongness(reading, connection)) or on_terminal:
        from null521 import misuse

        misuse.before(settings, wrong)
    # On a terminal there is no client, and a fault need not wait for the end of a session.
    if not (wrong or (on_terminal and settings.faults)):
        answer(settings, reading, writing, connection, client)
    if settings.warnings or settings.faults:
        from null521 import misuse

        misuse.tell(settings)
    return posix.EX_CONFIG if settings.faults else posix.EX_OK


def handed_over(environ: dict[str, str]) -> tuple[int, int]:
    """The descriptors to read from and write to: systemd's, or else standard input and output."""
    if descriptors := peer.listen_fds(environ):
        return descriptors[0], descriptors[0]
    return 0, 0 if is_open(0) and not is_open(1) else 1


def divert_stderr(reading: int, writing: int) -> None:
    """Point standard error away from the client, to which inetd and xinetd connect it as well."""
    # The file of a descriptor is told from all others by st_ino and st_dev: fstat(2).
    clients = [posix.fstat(fd)[1:3] for fd in (reading, writing) if is_open(fd)]
    # No client is behind a file or /dev/null, and so not behind `2>&1 | less` either.
    mode = posix.fstat(reading).st_mode if is_open(reading) else 0
    alone = S_ISREG(mode) or (S_ISCHR(mode) and not posix.isatty(reading))
    if is_open(2):
        stderr = posix.fstat(2)
        if stderr[1:3] not in clients or (alone and not S_ISSOCK(stderr.st_mode)):
            return
    try:
        null = posix.open("/dev/null", posix.O_WRONLY)
    except OSError:  # a bare root directory
        posix.closerange(2, 3)
        return
    posix.dup2(null, 2)
    if null != 2:  # it may have become 0, and must not be taken for the client
        posix.close(null)


def wrongness(reading: int, connection: Socket | None) -> str:
    """What was handed over instead of a connection, a key of misuse.HANDED_OVER; or ""."""
    if connection is None:
        return "" if is_open(reading) else "closed"
    if connection.getsockopt(SOL_SOCKET, SO_ACCEPTCONN):
        return "listening"
    return "" if connection.type == SOCK_STREAM else "no stream"


def answer(
    settings: Settings, reading: int, writing: int, connection: Socket | None, client: peer.Caller
) -> None:
    """The session of one client, from the greeting to the record of it."""
    starttls = False
    if settings.tls_cert or settings.tls_key:
        from null521 import certificate

        starttls = certificate.is_offered(settings)
    session = settings.session(starttls)
    start = time.monotonic()
    for fd in (reading, writing):
        posix.set_blocking(fd, False)
    try:
        ending = converse(session, reading, writing, settings, start + settings.session_timeout)
    except Exception as error:  # a fault of ours costs the client no more than this session
        from null521 import fault

        ending = "fault"
        settings.warnings.append(fault.line(error))
        send(writing, fault.refusal(session), 0.0, time.monotonic() + LINGER_SECONDS)
    finally:
        for fd in filter(posix.isatty, (reading, writing)):  # otherwise the shell would find it so
            posix.set_blocking(fd, True)
    seconds = time.monotonic() - start
    # What follows takes moments, but socat sends SIGTERM as soon as the client has disconnected.
    signal(SIGTERM, SIG_IGN)
    if connection is not None:
        linger(connection, reading)
    try:
        entry = record.of_session(session, client, ending, seconds, settings.log_addresses)
    except Exception as error:
        from null521 import fault

        entry = fault.record_of(client)
        settings.warnings.append(fault.line(error))
    log.write(settings.log, entry)


def converse(session: Session, reading: int, writing: int, settings: Settings, end: float) -> str:
    """Read and reply until the session is over; return its ending, one of record.ENDINGS.

    end: by time.monotonic().
    """
    speaker: Session | Secured = session
    unsent = session.greeting()
    begun = end  # when the handshake of TLS did
    while True:
        until = end if session.in_clear or session.tls else min(end, begun + HANDSHAKE_SECONDS)
        ending = send(writing, unsent, settings.idle_timeout, until) or speaker.ending
        if ending:
            return ending
        unsent = octets = b""
        if not speaker.has_more:
            ending = wait(reading, select.POLLIN, settings.idle_timeout, until)
            if ending:
                # All replies are sent, so the socket has room for one line more.
                send(writing, speaker.refusal(), 0.0, time.monotonic() + LINGER_SECONDS)
                return ending
            try:
                octets = posix.read(reading, CHUNK)
            except BlockingIOError:
                continue
            except OSError:
                return "reset"
            if not octets:
                return "eof"
        unsent = speaker.receive(octets)
        if session.asked_for_tls:
            from null521 import certificate

            speaker = certificate.secured(session, settings)
            unsent += session.starttls(ready=speaker is not session)
            begun = time.monotonic()


def send(writing: int, octets: bytes, idle: float, end: float) -> str:
    """Send it all; return "" or the ending that prevented it."""
    while octets:
        ending = wait(writing, select.POLLOUT, idle, end)
        if ending:
            return ending
        try:
            octets = octets[posix.write(writing, octets) :]
        except BlockingIOError:
            continue
        except OSError:
            return "reset"
    return ""


def wait(fd: int, event: int, idle: float, end: float) -> str:
    """Wait for the event; return "" when it has come, or else which deadline has passed."""
    left = end - time.monotonic()
    if left <= 0:
        return "deadline"
    poll = select.poll()
    poll.register(fd, event)
    if poll.poll(min(idle, left) * 1000):
        return ""
    return "idle" if idle < left else "deadline"


def linger(connection: Socket, reading: int) -> None:
    """Let the last reply arrive: what nginx calls a lingering close.

    To close a socket with octets unread sends a RST, and a RST can destroy what the client has
    not read yet (RFC 9293, 3.10.4; RFC 1122, 4.2.2.13). So shut down the sending side first, then
    read until the client has closed too, within bounds.
    """
    try:
        connection.shutdown(SHUT_WR)
    except OSError:  # ENOTCONN: the client has disconnected
        return
    end = time.monotonic() + LINGER_SECONDS
    left = LINGER_OCTETS
    while left > 0 and not wait(reading, select.POLLIN, LINGER_SECONDS, end):
        try:
            octets = posix.read(reading, 2**16)
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
    """Whether the descriptor is open."""
    try:
        posix.fstat(fd)
    except OSError:
        return False
    return True
