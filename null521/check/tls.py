"""A client's half of TLS, without a socket: what a host sends is decrypted piece by piece.

It knows the ssl module, which is slow to import, so this is imported only for STARTTLS. It must not
know deadlines, how octets come and go, nor what is said: probe.py does.

A socket of the ssl module would read on in C for as long as a host sends records without data in
them, such as session tickets. Here each piece is received by probe.py, which counts the octets and
looks at the clock.
"""

import contextlib
import ssl
from collections.abc import Callable
from typing import TypeVar

from null521.check.probe import HungUp

T = TypeVar("T")


class Client:
    """TLS with any certificate, like a sender that requires TLS but no identity.

    receive: returns the next octets from the host. send: sends octets to it. What these raise is
    passed on. From each method, HungUp if the host ends TLS, ssl.SSLError if TLS fails.
    """

    def __init__(self, receive: Callable[[], bytes], send: Callable[[bytes], None]) -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        context.options |= ssl.OP_NO_RENEGOTIATION
        self._from_host, self._to_host = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._from_host, self._to_host)
        self._receive, self._send = receive, send

    def start(self) -> tuple[str, tuple[bytes, ...]]:
        """Do the handshake; the version of TLS, and the certificates in DER, the host's first."""
        self._until_done(self._tls.do_handshake)
        return self._tls.version() or "", self._chain()

    def receive(self) -> bytes:
        """What the host says next."""
        octets = self._until_done(lambda: self._tls.read(4096))
        if not octets:  # close_notify: RFC 8446, 6.1
            raise HungUp
        return octets

    def send(self, octets: bytes) -> None:
        """Say something to the host."""
        self._until_done(lambda: self._tls.write(octets))

    def _chain(self) -> tuple[bytes, ...]:
        """The host's certificate, and those after it if this Python shows them."""
        own = self._tls.getpeercert(binary_form=True) or b""
        chain: list[bytes] = []
        if hasattr(self._tls, "get_unverified_chain"):  # Python 3.13
            chain = self._tls.get_unverified_chain()
        else:
            # Older ones have it, but not in public, so its absence must do no harm.
            with contextlib.suppress(AttributeError, TypeError, ImportError):
                from _ssl import ENCODING_DER

                inner = self._tls._sslobj  # type: ignore[attr-defined]
                chain = [each.public_bytes(ENCODING_DER) for each in inner.get_unverified_chain()]
        return (own, *chain[1:])

    def _until_done(self, step: Callable[[], T]) -> T:
        """Receive for the step what it needs, and send what it has to."""
        while True:
            try:
                done = step()
            except ssl.SSLWantReadError:
                self._flush()
                self._from_host.write(self._receive())
            except ssl.SSLZeroReturnError as error:  # the same, in the middle of a handshake
                raise HungUp from error
            except ssl.SSLError:
                with contextlib.suppress(OSError):
                    self._flush()  # the alert that tells the host why
                raise
            else:
                self._flush()
                return done

    def _flush(self) -> None:
        if self._to_host.pending:
            self._send(self._to_host.read())
