"""A sender's half of SMTP with one address: what the host answers, and how soon.

It knows a client's commands, sockets, the clock, and how TLS begins. It must not know which answers
are right (verdict.py), nor how TLS goes on (tls.py). It never sends a message, whatever the host
says. The host may be hostile, so time, lines and octets are bounded. Replies are passed on
unchanged.
"""

import errno
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from null521 import certificate

if TYPE_CHECKING:
    from null521.check import tls

MAX_LINE = 1024  # octets: twice what RFC 5321, 4.5.3.1.5 allows for a reply line
MAX_REPLY = 64  # lines
# Octets from the host in one conversation, those of TLS included. OpenSSL accepts certificates of
# 100 KB, and all else is far shorter.
MAX_OCTETS = 2**18

# Errors that say nothing about the host: this machine has no route to such an address.
UNREACHABLE = (errno.ENETUNREACH, errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT)

NO_COMMAND = "XNULL521"  # a command that no server knows
# Every host that accepts mail must accept it for postmaster without a domain (RFC 5321, 4.5.1).
# Postfix does so whatever it is configured to reject.
POSTMASTER = "RCPT <postmaster>"


class Reply(NamedTuple):
    """A reply of RFC 5321, 4.2. seconds: since the start of the connection."""

    code: int
    lines: tuple[str, ...]
    seconds: float

    @property
    def is_positive(self) -> bool:
        """Whether the command succeeded (2xx) or the host expects more input (3xx)."""
        return self.code < 400


class Tls(NamedTuple):
    """The TLS version, and the certificate's times as YYYYMMDDHHMMSSZ, or "" if not readable."""

    version: str
    not_before: str
    not_after: str


@dataclass
class Answers:
    """The outcome of one conversation.

    replies: by command or "greeting", in order; after STARTTLS, only those under TLS.
    trouble: why the conversation ended early, in one line, or "". has_hung_up: whether it ended
    because the host closed the connection. unreachable: whether there is no route to the address.
    unanswered: whether there was no connection, or no greeting in time. chain: the host's
    certificates in DER, its own first.
    """

    replies: dict[str, Reply] = field(default_factory=dict)
    tls: Tls | None = None
    trouble: str = ""
    has_hung_up: bool = False
    unreachable: bool = False
    unanswered: bool = False
    chain: tuple[bytes, ...] = ()

    @property
    def offers_starttls(self) -> bool:
        """Whether the reply to EHLO lists STARTTLS."""
        reply = self.replies.get("EHLO")
        return reply is not None and any(
            line.upper().split()[:1] == ["STARTTLS"] for line in reply.lines[1:]
        )


class HungUp(Exception):
    """The host has closed the connection."""


class NoSmtp(Exception):
    """The host does not speak SMTP; str() says why in one line."""


class Connection:
    """A connection with one deadline for everything.

    timeout: seconds until the deadline. After it, each method raises TimeoutError. HungUp if the
    host closes the connection; OSError for any other failure.
    """

    def __init__(self, address: str, port: int, timeout: float) -> None:
        self._start = time.monotonic()
        self._end = self._start + timeout
        self._socket = socket.create_connection((address, port), timeout)
        self._tls: tls.Client | None = None
        self._unread = b""
        self._left = MAX_OCTETS

    def close(self) -> None:
        """Close it at once, even with unread input."""
        self._socket.close()

    def send(self, line: str) -> None:
        """Send a line; characters beyond ASCII become "?"."""
        octets = line.encode("ascii", "replace") + b"\r\n"
        if self._tls:
            self._tls.send(octets)
        else:
            self._send(octets)

    def receive(self) -> Reply:
        """The next reply; NoSmtp if it is not one, or is too long."""
        lines: list[str] = []
        while len(lines) < MAX_REPLY:
            line = self._line()
            if not (line[:3].isdigit() and line[0] in b"2345" and line[3:4] in (b" ", b"-", b"")):
                raise NoSmtp(f"it does not speak SMTP; it says {line[:60].decode('latin-1')!a}")
            lines.append(line[4:].decode("utf-8", "replace"))
            if line[3:4] != b"-":
                return Reply(int(line[:3]), tuple(lines), round(time.monotonic() - self._start, 6))
        raise NoSmtp(f"a reply of more than {MAX_REPLY} lines")

    def secure(self) -> tuple[Tls, tuple[bytes, ...]]:
        """Start TLS; also the host's certificates in DER, its own first."""
        from null521.check import tls  # slow to import, and only needed here

        self._unread = b""  # clear text must not pass for replies under TLS
        self._tls = tls.Client(self._receive, self._send)
        version, chain = self._tls.start()
        return Tls(version, *certificate.validity(chain[0])), chain

    def _line(self) -> bytes:
        while b"\n" not in self._unread and len(self._unread) <= MAX_LINE:
            self._unread += self._tls.receive() if self._tls else self._receive()
        line, _, self._unread = self._unread.partition(b"\n")
        if len(line) > MAX_LINE:
            raise NoSmtp(f"a reply line of more than {MAX_LINE} octets")
        return line.rstrip(b"\r")

    def _receive(self) -> bytes:
        """The next octets. Nothing else reads from the socket, so both bounds hold for all."""
        self._limit_to_deadline()
        try:
            octets = self._socket.recv(4096)
        except ConnectionResetError as error:
            raise HungUp from error
        if not octets:
            raise HungUp
        self._left -= len(octets)
        if self._left < 0:
            raise NoSmtp(f"it sends more than {MAX_OCTETS} octets")
        return octets

    def _send(self, octets: bytes) -> None:
        self._limit_to_deadline()
        try:
            self._socket.sendall(octets)
        except (BrokenPipeError, ConnectionResetError) as error:
            raise HungUp from error

    def _limit_to_deadline(self) -> None:
        left = self._end - time.monotonic()
        if left <= 0:
            raise TimeoutError
        self._socket.settimeout(left)


def ask(address: str, port: int, domain: str, timeout: float, starttls: bool = False) -> Answers:
    """Talk to the address like a sender that has mail for that domain.

    timeout: seconds for the whole conversation. starttls: whether to start TLS first. Never raises
    for what a host or the network does: the Answers say what went wrong.
    """
    answers = Answers()
    asked = "connection"
    try:
        connection = Connection(address, port, timeout)
        try:
            for asked, line in script(answers.replies, domain, starttls):
                if line:
                    connection.send(line)
                answers.replies[asked] = reply = connection.receive()
                if asked == "STARTTLS":
                    if reply.code != 220:
                        answers.trouble = f"the reply is {shown(reply)}"
                        return answers
                    answers.tls, answers.chain = connection.secure()
        finally:
            connection.close()
    except HungUp:
        answers.has_hung_up = True
        answers.trouble = f"it hung up before its {noun(asked)}"
    except NoSmtp as error:
        answers.trouble = str(error)
    except TimeoutError:
        answers.unanswered = not answers.replies
        answers.trouble = f"no {noun(asked)} within {timeout:g} s"
    except ImportError as error:  # this Python was built without OpenSSL
        answers.trouble = str(error)
    except OSError as error:
        answers.unreachable = error.errno in UNREACHABLE
        answers.unanswered = asked == "connection"
        answers.trouble = f"{asked} failed: {reason(error)}"
    return answers


def script(replies: dict[str, Reply], domain: str, starttls: bool) -> Iterator[tuple[str, str]]:
    """The commands and their lines. The replies must be filled in meanwhile: they decide on more.

    "greeting" has no line, because the host speaks first.
    """
    ehlo = f"EHLO {socket.gethostname()}"
    yield "greeting", ""
    if starttls:
        yield "EHLO", ehlo
        yield "STARTTLS", "STARTTLS"
        # The dialogue starts again from the beginning: RFC 3207, 4.2.
        for command in ("EHLO", "STARTTLS"):
            del replies[command]
    yield "EHLO", ehlo
    if not replies["EHLO"].is_positive:
        yield "HELO", f"HELO {socket.gethostname()}"
    yield "MAIL", "MAIL FROM:<>"
    yield "RCPT", f"RCPT TO:<postmaster@{domain}>"
    if not replies["RCPT"].is_positive:
        yield POSTMASTER, "RCPT TO:<postmaster>"
    if not any(replies[name].is_positive for name in ("RCPT", POSTMASTER) if name in replies):
        yield "DATA", "DATA"
        if replies["DATA"].is_positive:
            return  # anything sent now would be a message
        yield "VRFY", "VRFY postmaster"
        yield NO_COMMAND, NO_COMMAND
        yield "NOOP", "NOOP"
        yield "RSET", "RSET"
    yield "QUIT", "QUIT"


def noun(asked: str) -> str:
    """What the host owes for a command, "greeting" or "connection", as messages name it."""
    return asked if asked in ("connection", "greeting") else f"reply to {asked}"


def shown(reply: Reply) -> str:
    """The reply with its last line, safe to print on a terminal."""
    return ascii(f"{reply.code} {reply.lines[-1]}"[:300])


def reason(error: Exception) -> str:
    """Why, in lower case. The ssl module has it in `reason`, OSError in `strerror`."""
    words = getattr(error, "reason", None) or getattr(error, "strerror", None) or error
    return str(words).lower().replace("_", " ")
