"""A session under TLS: decrypts what the client sends for it, and encrypts its replies.

It knows the ssl module, which takes longer to import than all the rest takes to run; so this is
imported only once a client has said STARTTLS. It must not know what is said (session.py), nor
descriptors or deadlines (the drivers).
"""

import contextlib
import ssl

from null521.session import Session


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


class Secured:
    """A Session with TLS around it, without I/O; a driver uses it like the Session itself.

    max_octets: of TLS, the handshake included.
    """

    def __init__(self, session: Session, context: ssl.SSLContext, max_octets: int) -> None:
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_side=True)
        self._session = session
        self._left = max_octets
        self._ending = ""

    @property
    def ending(self) -> str:
        """How it ended: as the Session says, "eof", or "tls" if the handshake failed."""
        return self._session.ending or self._ending

    def receive(self, octets: bytes) -> bytes:
        """Process octets of TLS, however they were cut; return those to send, if any."""
        if self.ending:
            return b""
        self._left -= len(octets)
        if self._left < 0:
            self._ending = "limit"
            return self.refusal()
        self._incoming.write(octets)
        said = b""
        try:
            if not self._is_up():
                self._tls.do_handshake()
                self._session.secured(self._tls.version() or "TLS")
            while piece := self._tls.read(2**14):
                said += piece
            self._ending = "eof"
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLZeroReturnError:
            self._ending = "eof"
        except ssl.SSLError as error:
            self._ending = "tls"
            self._session.tls = f"failed: {reason(error)}"
            return self._outgoing.read()  # the alert that tells the client why
        return self._encrypt(self._session.receive(said), last=bool(self.ending))

    def refusal(self) -> bytes:
        """The octets of one last 521; none during the handshake and after a failure of TLS."""
        return self._encrypt(self._session.refusal(), last=True) if self._is_up() else b""

    def _is_up(self) -> bool:
        return self._ending != "tls" and self._tls.version() is not None

    def _encrypt(self, replies: bytes, last: bool) -> bytes:
        if replies:
            self._tls.write(replies)
        if last:
            # close_notify: RFC 8446, 6.1. The client need not have sent one first.
            with contextlib.suppress(ssl.SSLWantReadError):
                self._tls.unwrap()
        return self._outgoing.read()


def reason(error: OSError) -> str:
    """Why, in words."""
    if isinstance(error, ssl.SSLError):
        return error.reason.lower().replace("_", " ")
    return error.strerror or str(error)
