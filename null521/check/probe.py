"""A sender's half of SMTP against one address: what the host answers, and how soon.

It knows a client's commands, sockets, the clock, and how TLS begins. It must not know what ought
to be answered: verdict.py does. No message is sent, whatever the host says. The host may be
anybody's, so time, lines and octets are bounded; what it said is handed on as it was.
"""

import errno
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from null521 import certificate

MAX_LINE = 1024  # octets: twice what RFC 5321, 4.5.3.1.5 allows in a reply
MAX_REPLY = 64  # lines

# What says that there is no way to such an address from here, whatever the host does.
NO_WAY = (errno.ENETUNREACH, errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT)

NO_COMMAND = "XNULL521"  # one that no server knows
# Whom every host has that takes mail, also without a domain (RFC 5321, 4.5.1), and so Postfix takes
# mail for that one whatever it is told to reject.
POSTMASTER = "RCPT <postmaster>"


class Reply(NamedTuple):
    """A reply of RFC 5321, 4.2; seconds: since the connection was begun."""

    code: int
    lines: tuple[str, ...]
    seconds: float

    @property
    def is_positive(self) -> bool:
        """Whether the command was done (2xx), or more is wanted (3xx)."""
        return self.code < 400


class Tls(NamedTuple):
    """What was agreed on; the certificate's times are YYYYMMDDHHMMSSZ, or "" if not to be found."""

    version: str
    not_before: str
    not_after: str


@dataclass
class Answers:
    """What one conversation brought.

    replies: by command, and by "greeting", in order; after STARTTLS, those under TLS.
    trouble: why there are no more of them, in one line. has_hung_up: that it is this.
    no_way: that the address cannot be reached from here.
    """

    replies: dict[str, Reply] = field(default_factory=dict)
    tls: Tls | None = None
    trouble: str = ""
    has_hung_up: bool = False
    no_way: bool = False

    @property
    def offers_starttls(self) -> bool:
        """Whether EHLO was answered so."""
        reply = self.replies.get("EHLO")
        return reply is not None and any(
            line.upper().split()[:1] == ["STARTTLS"] for line in reply.lines[1:]
        )


class HungUp(Exception):
    """The host has closed the connection."""


class NoSmtp(Exception):
    """What the host says is not what the protocol has; says so in one line."""


class Connection:
    """A connection on which each command is answered by the deadline, or else TimeoutError."""

    def __init__(self, address: str, port: int, patience: float) -> None:
        self._start = time.monotonic()
        self._end = self._start + patience
        self._socket = socket.create_connection((address, port), patience)
        self._unread = b""

    def close(self) -> None:
        """At once, whatever is unread."""
        self._socket.close()

    def say(self, line: str) -> None:
        """Send a line."""
        self._keep_the_deadline()
        try:
            self._socket.sendall(line.encode("ascii", "replace") + b"\r\n")
        except (BrokenPipeError, ConnectionResetError) as error:
            raise HungUp from error

    def hear(self) -> Reply:
        """The next reply."""
        lines: list[str] = []
        while len(lines) < MAX_REPLY:
            line = self._line()
            if not (line[:3].isdigit() and line[0] in b"2345" and line[3:4] in (b" ", b"-", b"")):
                raise NoSmtp(f"it does not speak SMTP, but says {line[:60].decode('latin-1')!a}")
            lines.append(line[4:].decode("utf-8", "replace"))
            if line[3:4] != b"-":
                return Reply(int(line[:3]), tuple(lines), round(time.monotonic() - self._start, 6))
        raise NoSmtp(f"a reply of more than {MAX_REPLY} lines")

    def secure(self) -> Tls:
        """TLS, with any certificate, as senders have it that ask for no more than TLS."""
        import ssl  # takes a while, and is not always wanted

        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        self._unread = b""  # what came in clear is not to be taken for what comes under TLS
        self._keep_the_deadline()
        try:
            secured = context.wrap_socket(self._socket)
        except (ssl.SSLEOFError, ssl.SSLZeroReturnError, ConnectionResetError) as error:
            raise HungUp from error
        self._socket = secured
        before, after = certificate.validity(secured.getpeercert(binary_form=True) or b"")
        return Tls(secured.version() or "", before, after)

    def _line(self) -> bytes:
        while b"\n" not in self._unread and len(self._unread) <= MAX_LINE:
            self._keep_the_deadline()
            try:
                octets = self._socket.recv(4096)
            except ConnectionResetError as error:
                raise HungUp from error
            if not octets:
                raise HungUp
            self._unread += octets
        line, _, self._unread = self._unread.partition(b"\n")
        if len(line) > MAX_LINE:
            raise NoSmtp(f"a line of more than {MAX_LINE} octets")
        return line.rstrip(b"\r")

    def _keep_the_deadline(self) -> None:
        left = self._end - time.monotonic()
        if left <= 0:
            raise TimeoutError
        self._socket.settimeout(left)


def ask(address: str, port: int, domain: str, patience: float, starttls: bool = False) -> Answers:
    """Talk to the host as a sender would that has mail for that domain; with STARTTLS, if so told.

    patience: seconds for it all. Never raises: what went wrong is in the Answers.
    """
    answers = Answers()
    asked = "connection"
    try:
        connection = Connection(address, port, patience)
        try:
            for asked, line in script(answers.replies, domain, starttls):
                if line:
                    connection.say(line)
                answers.replies[asked] = reply = connection.hear()
                if asked == "STARTTLS":
                    if reply.code != 220:
                        answers.trouble = f"it is answered {told(reply)}"
                        return answers
                    answers.tls = connection.secure()
        finally:
            connection.close()
    except HungUp:
        answers.has_hung_up = True
        answers.trouble = f"it hung up before an answer to {asked}"
    except NoSmtp as error:
        answers.trouble = str(error)
    except TimeoutError:
        answers.trouble = f"{asked} not answered within {patience:g} s"
    except ImportError as error:  # a Python that was built without OpenSSL
        answers.trouble = str(error)
    except OSError as error:
        answers.no_way = error.errno in NO_WAY
        answers.trouble = f"{asked} failed: {reason(error)}"
    return answers


def script(replies: dict[str, Reply], domain: str, starttls: bool) -> Iterator[tuple[str, str]]:
    """The commands and their lines, each chosen once the replies to those before are there."""
    ehlo = f"EHLO {socket.gethostname()}"
    yield "greeting", ""
    if starttls:
        yield "EHLO", ehlo
        yield "STARTTLS", "STARTTLS"
        # All starts afresh: RFC 3207, 4.2.
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
            return  # to say more now would be to send a message
        yield "VRFY", "VRFY postmaster"
        yield NO_COMMAND, NO_COMMAND
        yield "NOOP", "NOOP"
        yield "RSET", "RSET"
    yield "QUIT", "QUIT"


def told(reply: Reply) -> str:
    """The reply with its last line, safe to be shown."""
    return ascii(f"{reply.code} {reply.lines[-1]}"[:300])


def reason(error: Exception) -> str:
    """Why, in words: the ssl module has them as its reason, others as strerror, or not at all."""
    words = getattr(error, "reason", None) or getattr(error, "strerror", None) or error
    return str(words).lower().replace("_", " ")
