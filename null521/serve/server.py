"""Takes connections from the listening sockets, and owns what they all use.

It knows accept(2) and how that fails, the clock's tick, and the certificate. It must not know what
is said on a connection (connection.py), who is connected (clients.py), where the listening sockets
come from, nor systemd or Prometheus.
"""

import asyncio
import errno
import time

# The socket module's own class wraps this one with enums, which takes time for each connection.
from _socket import AF_INET, AF_INET6, SOCK_STREAM
from _socket import socket as Socket
from collections.abc import Sequence
from ipaddress import ip_address
from typing import TYPE_CHECKING

from null521 import certificate, record
from null521.peer import plain_address
from null521.serve.clients import TICK, Clients
from null521.serve.connection import Connection
from null521.serve.listening import BACKLOG
from null521.serve.log import LogQueue
from null521.serve.poller import Poller
from null521.serve.settings import ServeSettings
from null521.serve.tries import Tries
from null521.session import Session

if TYPE_CHECKING:
    import ssl

    from null521.tls import Secured

BATCH = 64  # connections taken before those that are there get their turn again
PAUSE = 0.2  # seconds without taking connections when there is no descriptor for one
SILENCE = 60.0  # seconds before the warning is repeated
CERTIFICATE_AGE = 3600.0  # seconds until it is read again, because it may have been renewed
CERTIFICATE_RETRY = 60.0  # the same while it is unusable: it may be written just now
CONTEXT_USES = 1000  # of one TLS context, which holds 1.2 KB for each

# What accept(2) fails with when something has run out, and not for what the client did.
SCARCE = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)


class Server:
    """What all connections have in common: settings, poller, log, clients, certificate."""

    def __init__(
        self, settings: ServeSettings, log: LogQueue, loop: asyncio.AbstractEventLoop
    ) -> None:
        self.settings = settings
        self.log = log
        self.poller = Poller(loop)
        self.clients = Clients(settings, time.monotonic())
        self.encoded: dict[object, bytes] = {}  # replies; see Session
        self.tries = Tries() if settings.metrics else None
        self.context: ssl.SSLContext | None = None  # with which STARTTLS is offered
        self.certificate_end = ""  # of the one in use, as YYYYMMDDHHMMSSZ in UTC
        self._loop = loop
        self._listeners: Sequence[Socket] = ()
        self._tick: asyncio.TimerHandle | None = None
        self._silent_until = 0.0  # about a lack of descriptors
        self.certificate_fault = ""  # why the files are of no use, as they are now
        self._uses = 0  # of TLS contexts

    def trusts(self, address: str) -> bool:
        """Whether a PROXY header has to come from that address, and counts."""
        networks = self.settings.proxy_protocol
        return bool(address) and any(ip_address(address) in network for network in networks)

    # The listening sockets.

    def listen(self, listeners: Sequence[Socket]) -> None:
        """Take connections from these, which do not block, until stop()."""
        self._listeners = listeners
        self._read_certificate()
        for listener in listeners:
            self._loop.add_reader(listener.fileno(), self._accept, listener, int(listener.family))

    def stop(self) -> None:
        """Take no connections but those that wait already; sessions go on."""
        for listener in self._listeners:
            self._accept(listener, int(listener.family), BACKLOG + 1)
            self._loop.remove_reader(listener.fileno())
        self._listeners = ()

    def _accept(self, listener: Socket, family: int, most: int = BATCH) -> None:
        # All that wait, and one call more that finds none. One at each turn of the loop would save
        # that call, but cost more turns: those that are taken together also speak together.
        for _ in range(most):
            try:
                fd, address = listener._accept()  # type: ignore[attr-defined]
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno in SCARCE:
                    return self._pause(listener, error)
                continue  # that client has disconnected already: accept(2)
            client = ("", "")
            if family == AF_INET:
                client = (address[0], str(address[1]))
            elif family == AF_INET6:
                client = (plain_address(address[0]), str(address[1]))
            self._keep_deadlines()
            connection = Connection(self, Socket(family, SOCK_STREAM, 0, fd), client)
            try:
                connection.begin()
            except Exception as error:
                connection.fail(error)

    def _pause(self, listener: Socket, error: OSError) -> None:
        """Without this, the loop would ask again at once, and again."""
        now = time.monotonic()
        if now >= self._silent_until:
            trouble = f"no connections are taken for a while: {error.strerror}"
            self.log.put(record.Record(record.TROUBLE, record.WARNING, trouble, []))
            self._silent_until = now + SILENCE
        self._loop.remove_reader(listener.fileno())
        self._loop.call_later(PAUSE, self._resume, listener)

    def _resume(self, listener: Socket) -> None:
        if listener in self._listeners:
            self._loop.add_reader(listener.fileno(), self._accept, listener, int(listener.family))

    # The clock.

    def _keep_deadlines(self) -> None:
        """Look at the clock once each TICK, as long as there is a client."""
        if self._tick is None:
            self._tick = self._loop.call_later(TICK, self._look_at_the_clock)

    def _look_at_the_clock(self) -> None:
        self._tick = None
        if self.clients.open or self.clients.lingering:
            self._keep_deadlines()
        self.clients.keep_deadlines(time.monotonic())

    # TLS.

    def start_tls(self, client: Connection, session: Session) -> "Secured | None":
        """The session under TLS; None if there is no certificate, or no memory for one more."""
        if self.context is None or not self.clients.secure(client, time.monotonic()):
            return None
        from null521.tls import Secured

        # OpenSSL remembers the sessions of TLS 1.2 in the context, and Python cannot forbid that.
        self._uses += 1
        if self._uses % CONTEXT_USES == 0:
            self._load_certificate()
        return Secured(session, self.context, self.settings.max_octets)

    def _read_certificate(self) -> None:
        """Read it, now and again later."""
        if self.settings.tls_cert or self.settings.tls_key:
            age = CERTIFICATE_RETRY
            try:
                if self._load_certificate():
                    age = CERTIFICATE_AGE
            finally:
                self._loop.call_later(age, self._read_certificate)

    def _load_certificate(self) -> bool:
        """Whether it works; one that worked stays in use until another does."""
        unusable = ""
        files = self.settings.tls_cert, self.settings.tls_key
        try:
            end = certificate.check(*files)
            self.context, self.certificate_end = certificate.load(*files), end
        except certificate.Unusable as error:
            unusable = str(error)
        if unusable and unusable != self.certificate_fault:
            self.log.put(record.of_fault(unusable, record.WARNING))
        self.certificate_fault = unusable
        return not unusable
