"""A session under TLS: decrypts what the client sends for it, and encrypts its replies.

It knows the ssl module, which takes longer to import than all the rest takes to run; so this is
imported only once a client has said STARTTLS. It must not know what is said (session.py), nor
descriptors or deadlines (the drivers).

OpenSSL allocates what a handshake message claims to be, and 42 KB as soon as a handshake begins. So
it is given a ClientHello only once that is whole, and of a sane length.
"""

import contextlib
import ssl

from null521.session import Session

# Octets of a ClientHello, its record headers included: with a post-quantum key share some 1,800.
MAX_HELLO = 8192
# Octets of plain text in one record. Exim waits half a minute for the rest of a longer one.
MAX_RECORD = 4096

# RFC 8446, 5.1 and 4.
CHANGE_CIPHER_SPEC, HANDSHAKE, CLIENT_HELLO = 20, 22, 1
# The random of a ServerHello which asks for another ClientHello: RFC 8446, 4.1.3.
RETRY = bytes.fromhex("cf21ad74e59a6111be1d8c021e65b891c2a211167abb8c5e079e09e2c8a8339c")
# A fatal decode_error in a record of its own: RFC 8446, 6.
DECODE_ERROR = bytes.fromhex("15 0303 0002 02 32")


def context(cert: str, key: str) -> ssl.SSLContext:
    """What sessions under TLS have in common, from the paths of PEM files.

    OSError (ssl.SSLError is one) if these cannot be used.
    """
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    made.minimum_version = ssl.TLSVersion.TLSv1_2  # RFC 8996
    made.options |= ssl.OP_NO_RENEGOTIATION
    made.num_tickets = 0  # no client comes back to resume such a session
    # Without a password from us, OpenSSL would ask for one on the terminal.
    made.load_cert_chain(cert, key, password="")
    return made


class Hello:
    """The records of a ClientHello as they come, until it is whole.

    rest: what has come after it.
    """

    def __init__(self) -> None:
        self.rest = b""
        self._octets = b""
        self._message = b""  # of the handshake, without record headers
        self._at = 0  # where the next record begins

    def receive(self, octets: bytes) -> bytes:
        """All octets so far but the rest once OpenSSL may see them, b"" until then.

        ValueError if they claim too much. What is no ClientHello, OpenSSL refuses at once.
        """
        self._octets += octets
        while len(self._octets) >= (body := self._at + 5):
            kind, length = self._octets[self._at], int.from_bytes(self._octets[body - 2 : body])
            if kind not in (HANDSHAKE, CHANGE_CIPHER_SPEC) or not 0 < length <= 2**14:
                return self._octets
            if len(self._octets) < body + length:
                break
            if kind == HANDSHAKE:
                self._message += self._octets[body : body + length]
            self._at = body + length
            if self._message[:1] and self._message[0] != CLIENT_HELLO:
                return self._octets
            if len(self._message) >= 4:
                claimed = 4 + int.from_bytes(self._message[1:4])
                if claimed > MAX_HELLO:
                    raise ValueError(f"a ClientHello of {claimed} octets")
                if len(self._message) > claimed:  # RFC 8446, 5.1
                    raise ValueError("a record that goes on behind the ClientHello")
                if len(self._message) == claimed:
                    self.rest = self._octets[self._at :]
                    return self._octets[: self._at]
        if len(self._octets) > MAX_HELLO:
            raise ValueError(f"a ClientHello of more than {MAX_HELLO} octets")
        return b""


class Secured:
    """A Session with TLS around it, without I/O; a driver uses it like the Session itself.

    max_octets: of TLS, the handshake included. is_up: whether the handshake is done.
    """

    def __init__(self, session: Session, context: ssl.SSLContext, max_octets: int) -> None:
        self.is_up = False
        self._session = session
        self._context = context
        self._left = max_octets
        self._ending = ""
        self._is_closed = False  # by the client, which can still be answered
        self._hello: Hello | None = Hello()  # until OpenSSL has the last ClientHello
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls: ssl.SSLObject | None = None
        self._unencrypted = b""  # replies that have to wait until OpenSSL has read more

    @property
    def ending(self) -> str:
        """How it ended: as the Session says, "eof", or "tls" if TLS failed."""
        return (self._session.ending if not self._unencrypted else "") or self._ending

    @property
    def has_more(self) -> bool:
        """As of Session."""
        return self._session.has_more and not self._unencrypted

    def receive(self, octets: bytes) -> bytes:
        """Process octets of TLS, however they were cut; return those to send, if any."""
        if self.ending:
            return b""
        self._left -= len(octets)
        if self._left < 0:
            self._ending = "limit"
            return self.refusal()
        try:
            said = self._decrypt(octets)
            if self.is_up and not self._unencrypted:
                self._encrypt(self._session.receive(said))
            if self._is_closed and not self.has_more:
                self._ending = "eof"
        except (ssl.SSLError, ValueError) as error:
            self._ending = "tls"
            self._session.tls = f"failed: {reason(error)}"
            # The alert that tells the client why; OpenSSL makes its own.
            alert = DECODE_ERROR if isinstance(error, ValueError) else b""
            return self._outgoing.read() + alert
        if self.ending:
            self._close()
        return self._outgoing.read()

    def refusal(self) -> bytes:
        """The octets of one last 521; none during the handshake and after a failure of TLS."""
        if self.is_up and self._ending != "tls":
            with contextlib.suppress(ssl.SSLError):
                self._encrypt(self._session.refusal())
            self._close()
        return self._outgoing.read()

    def _decrypt(self, octets: bytes) -> bytes:
        """What the client has said. ssl.SSLError or ValueError if TLS has failed."""
        rest = b""
        if self._hello:
            octets = self._hello.receive(octets)
            if not octets:
                return b""
            rest, self._hello = self._hello.rest, None
        if self._tls is None:
            self._tls = self._context.wrap_bio(self._incoming, self._outgoing, server_side=True)
        self._incoming.write(octets)
        said = b""
        try:
            if not self.is_up:
                self._tls.do_handshake()
                self.is_up = True
                self._session.secured(self._tls.version() or "TLS")
            self._encrypt(b"")
            while not self._unencrypted and (piece := self._tls.read(2**14)):
                said += piece
            self._is_closed = not self._unencrypted
        except ssl.SSLWantReadError:
            if not self.is_up and self._asks_again():
                self._hello = Hello()
        return said + self._decrypt(rest) if rest else said

    def _asks_again(self) -> bool:
        """Whether what OpenSSL has just said asks for another ClientHello."""
        said = self._outgoing.read()
        self._outgoing.write(said)
        return RETRY in said

    def _encrypt(self, replies: bytes) -> None:
        """Write replies; what OpenSSL does not take before it has read more, waits."""
        self._unencrypted += replies
        with contextlib.suppress(ssl.SSLWantReadError):
            while self._unencrypted and self._tls:
                written = self._tls.write(self._unencrypted[:MAX_RECORD])
                self._unencrypted = self._unencrypted[written:]

    def _close(self) -> None:
        # close_notify: RFC 8446, 6.1. The client need not have sent one first.
        with contextlib.suppress(ssl.SSLError):
            if self._tls:
                self._tls.unwrap()


def reason(error: Exception) -> str:
    """Why, in words: OpenSSL's reason, where it has one."""
    if words := getattr(error, "reason", None):
        return str(words).lower().replace("_", " ")
    return str(getattr(error, "strerror", None) or error).partition(" (_ssl.c")[0]
