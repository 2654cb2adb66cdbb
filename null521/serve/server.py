"""Many connections in one process: take them, read, reply, keep the deadlines, remember.

The second driver of a Session, as handler.py is the first. It knows sockets, the clock, the limits
on connections, and when TLS begins. It must not know what SMTP says, how a record is handed over,
where the listening sockets come from, nor systemd or Prometheus.
"""

import asyncio
import contextlib
import errno
import math
import time

# The socket module's own class is a wrapper, with enums, around this one; that takes time.
from _socket import AF_INET, AF_INET6, SHUT_WR, SOCK_STREAM, inet_pton
from _socket import socket as Socket
from bisect import bisect_left
from collections import Counter, OrderedDict, defaultdict
from collections.abc import Sequence
from ipaddress import ip_address
from select import EPOLLIN, EPOLLOUT
from typing import TYPE_CHECKING

from null521 import certificate, record
from null521.connection import CHUNK, LINGER_OCTETS, LINGER_SECONDS
from null521.peer import plain_address
from null521.serve import notices, proxy
from null521.serve.log import Outbox
from null521.serve.poller import Poller
from null521.serve.settings import Serving
from null521.session import Session

if TYPE_CHECKING:
    import ssl

    from null521.tls import Secured

BATCH = 64  # connections taken before those that are there get their turn again
TICK = 0.25  # seconds by which a deadline may be late
PAUSE = 0.2  # seconds without taking connections when there is no descriptor for one
SILENCE = 60.0  # seconds until that is said again
CERTIFICATE_AGE = 3600.0  # seconds until it is read anew, for it may have been renewed or expired

# What accept(2) fails with when something has run out, and not for what the client did.
SCARCE = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)

# Upper bounds of the buckets in which the seconds of sessions are counted.
SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)


class Counts:
    """What has happened since the start, for the status line and for metrics."""

    def __init__(self) -> None:
        self.endings: Counter[str] = Counter()  # connections, by how they ended
        self.limits: Counter[str] = Counter()  # by the name of the setting
        self.commands = 0
        self.seconds = 0.0
        self.sessions_by_seconds = [0] * (len(SECONDS) + 1)  # not cumulative

    def add(self, ending: str, commands: int, seconds: float) -> None:
        """Count a session that is over."""
        self.endings[ending] += 1
        self.commands += commands
        self.seconds += seconds
        self.sessions_by_seconds[bisect_left(SECONDS, seconds)] += 1


class Server:
    """What all connections have in common: listening sockets, limits, deadlines, certificate."""

    def __init__(self, settings: Serving, outbox: Outbox, loop: asyncio.AbstractEventLoop) -> None:
        self.settings = settings
        self.outbox = outbox
        self.loop = loop
        self.poller = Poller(loop)
        self.counts = Counts()
        self.encoded: dict[object, bytes] = {}
        self.context: ssl.SSLContext | None = None  # with which STARTTLS is offered
        # By the tick in which to see if they were heard meanwhile; to move each then takes longer.
        self.quiet: defaultdict[int, set[Connection]] = defaultdict(set)
        # Each in the order of time, so that whose time is up is found at the front.
        self.open: OrderedDict[Connection, None] = OrderedDict()  # by when they began
        self.leaving: OrderedDict[Connection, None] = OrderedDict()  # by when their session ended
        self.per_client: dict[str | bytes, int] = {}
        self.idle_since = time.monotonic()  # while nothing is open
        self._listeners: Sequence[Socket] = ()
        self._tick: asyncio.TimerHandle | None = None
        self._silent_until = 0.0  # about a lack of descriptors
        self._certificate_fault = ""

    def believes(self, address: str) -> bool:
        """Whether a PROXY header has to come from that address, and is believed."""
        networks = self.settings.proxy_protocol
        return bool(address) and any(ip_address(address) in network for network in networks)

    # The listening sockets.

    def listen(self, listeners: Sequence[Socket]) -> None:
        """Take connections from these, which do not block, until stop()."""
        self._listeners = listeners
        self._read_certificate()
        for listener in listeners:
            self.loop.add_reader(listener.fileno(), self._accept, listener, int(listener.family))

    def stop(self) -> None:
        """Take no more connections but those that wait already; those that are there go on."""
        for listener in self._listeners:
            self._accept(listener, int(listener.family))
            self.loop.remove_reader(listener.fileno())
        self._listeners = ()

    def end(self) -> None:
        """Say a last 521 to all whose session still goes on."""
        for connection in list(self.open):
            connection.expire("stopped")

    def _accept(self, listener: Socket, family: int) -> None:
        for _ in range(BATCH):
            try:
                fd, address = listener._accept()  # type: ignore[attr-defined]
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno in SCARCE:
                    return self._pause(listener, error)
                continue  # that client is gone already: accept(2)
            accepted = Socket(family, SOCK_STREAM, 0, fd)
            accepted.setblocking(False)
            client = ("", "")
            if family == AF_INET:
                client = (address[0], str(address[1]))
            elif family == AF_INET6:
                client = (plain_address(address[0]), str(address[1]))
            Connection(self, accepted, client).begin()

    def _pause(self, listener: Socket, error: OSError) -> None:
        """Without this, the loop would ask again at once, and again."""
        now = time.monotonic()
        if now >= self._silent_until:
            trouble = f"no connections are taken for a while: {error.strerror}"
            self.outbox.put(notices.of_trouble(trouble))
            self._silent_until = now + SILENCE
        self.loop.remove_reader(listener.fileno())
        self.loop.call_later(PAUSE, self._resume, listener)

    def _resume(self, listener: Socket) -> None:
        if listener in self._listeners:
            self.loop.add_reader(listener.fileno(), self._accept, listener, int(listener.family))

    # Deadlines.

    def keep_deadlines(self) -> None:
        """Be called again soon, as long as anything is open."""
        if self._tick is None:
            self._tick = self.loop.call_later(TICK, self._look_at_the_clock)

    def expect(self, connection: "Connection") -> None:
        """See whether it was heard again when it has been silent for too long otherwise."""
        connection.tick = math.ceil((connection.heard + self.settings.idle_timeout) / TICK)
        self.quiet[connection.tick].add(connection)

    def _look_at_the_clock(self) -> None:
        self._tick = None
        if self.open or self.leaving:
            self.keep_deadlines()
        now = time.monotonic()
        settings = self.settings
        while self.open and next(iter(self.open)).start + settings.session_timeout <= now:
            next(iter(self.open)).expire("deadline")
        for tick in [tick for tick in self.quiet if tick * TICK <= now]:
            for connection in self.quiet.pop(tick):
                if connection.heard + settings.idle_timeout <= now:
                    connection.expire("idle")
                else:
                    self.expect(connection)
        while self.leaving and next(iter(self.leaving)).heard + LINGER_SECONDS <= now:
            next(iter(self.leaving)).close()

    # TLS.

    def _read_certificate(self) -> None:
        cert, key = self.settings.tls_cert, self.settings.tls_key
        if not (cert or key):
            return
        self.context, fault = None, ""
        try:
            self.context = certificate.context(cert, key)
        except certificate.Unusable as error:
            fault = str(error)
        if fault and fault != self._certificate_fault:
            self.outbox.put(record.of_fault(fault, record.WARNING))
        self._certificate_fault = fault
        self.loop.call_later(CERTIFICATE_AGE, self._read_certificate)


class Connection:
    """One client: its socket, its session, and where these two are."""

    __slots__ = (
        "_client", "_fd", "_header", "_left", "_network", "_owed", "_proxy", "_server", "_session",
        "_socket", "_speaker", "_state", "heard", "start", "tick",
    )  # fmt: skip

    def __init__(self, server: Server, accepted: Socket, client: tuple[str, str]) -> None:
        settings = server.settings
        self._server = server
        self._socket = accepted
        self._fd = accepted.fileno()
        self._client = client
        self._network: str | bytes = ""  # what it is counted under
        self._proxy = ""
        self._session = settings.session(server.context is not None, server.encoded)
        self._speaker: Session | Secured = self._session
        self._state = Connection._converse  # what is done with octets that arrive
        self._owed = b""  # what could not be sent yet
        self._header = b""  # what has come of a PROXY header
        self._left = LINGER_OCTETS
        self.start = self.heard = time.monotonic()
        self.tick = 0  # under which it is in `quiet`

    def begin(self) -> None:
        """Greet the client, unless it is one too many, or has to be named first."""
        server = self._server
        server.open[self] = None
        server.expect(self)
        server.keep_deadlines()
        if len(server.open) + len(server.leaving) > server.settings.max_connections:
            return self._turn_away("max-connections")
        server.poller.watch(self._fd, self._readable)
        if server.settings.proxy_protocol:
            self._state = Connection._refuse_header
            if server.believes(self._client[0]):
                self._state = Connection._read_header
                return
        self._greet()

    def expire(self, ending: str) -> None:
        """Say a last 521, where there is room for it, and then goodbye."""
        if self._state is Connection._read_header and ending != "stopped":
            return self._disbelieve("no PROXY header in time")
        if not self._owed:
            with contextlib.suppress(OSError):
                self._socket.send(self._speaker.refusal())
        self._end(ending)

    def close(self) -> None:
        """Be gone, without another word."""
        server = self._server
        server.leaving.pop(self, None)
        server.poller.forget(self._fd)
        self._socket.close()
        if self._network:
            server.per_client[self._network] -= 1
            if not server.per_client[self._network]:
                del server.per_client[self._network]

    def _greet(self) -> None:
        """Begin the session, unless the client has too many already."""
        server = self._server
        address = self._client[0]
        if address:
            # A /64 is the least that one customer has: RFC 6177.
            network = inet_pton(AF_INET6, address)[:8] if ":" in address else address
            count = server.per_client.get(network, 0) + 1
            server.per_client[network] = count
            self._network = network
            if count > server.settings.max_per_client:
                return self._turn_away("max-per-client")
        self._send(self._session.greeting())

    # What arrives, and what is sent.

    def _readable(self) -> None:
        try:
            octets = self._socket.recv(CHUNK)
        except BlockingIOError:
            return
        except OSError:
            return self._gone("reset")
        if not octets:
            return self._gone("eof")
        self._state(self, octets)

    def _converse(self, octets: bytes) -> None:
        self.heard = time.monotonic()
        replies = self._speaker.receive(octets)
        if self._session.asked_for_tls:
            replies += self._start_tls()
        self._send(replies)

    def _start_tls(self) -> bytes:
        """The answer to STARTTLS; what comes next is TLS, unless the certificate is gone."""
        context = self._server.context
        if context is not None:
            from null521.tls import Secured

            self._speaker = Secured(self._session, context, self._server.settings.max_octets)
        return self._session.starttls(ready=context is not None)

    def _send(self, octets: bytes) -> None:
        """Send it all, the rest when there is room again; until then nothing is read."""
        if octets:
            try:
                self._owed = octets[self._socket.send(octets) :]
            except BlockingIOError:
                self._owed = octets
            except OSError:
                return self._gone("reset")
        if self._owed:
            self._server.poller.watch_for(self._fd, EPOLLOUT, self._writable)
        elif self._speaker.ending:
            self._end(self._speaker.ending)

    def _writable(self) -> None:
        self.heard = time.monotonic()
        self._server.poller.watch_for(self._fd, EPOLLIN, self._readable)
        self._send(self._owed)

    # Who is calling, behind a proxy.

    def _read_header(self, octets: bytes) -> None:
        self._header += octets
        header = proxy.header(self._header)
        if header is None:
            return
        rest, self._header = self._header[header.size :], b""
        if header.fault:
            return self._disbelieve(header.fault)
        if header.client:
            self._proxy, self._client = self._client[0], header.client
        self._state = Connection._converse
        self.heard = time.monotonic()
        self._greet()
        if rest and self in self._server.open:
            self._converse(rest)

    def _refuse_header(self, octets: bytes) -> None:
        """None may come from elsewhere than where headers are believed."""
        if octets.startswith(proxy.BEGINNINGS):
            return self._disbelieve("a PROXY header, but not from where it is believed")
        self._state = Connection._converse
        self._converse(octets)

    def _disbelieve(self, fault: str) -> None:
        """With a 521, for who is behind a misconfigured proxy would come back for days without."""
        self._proxy = f"failed: {fault}"
        with contextlib.suppress(OSError):
            self._socket.send(self._session.refusal())
        self._end("proxy")

    # The end.

    def _turn_away(self, limit: str) -> None:
        """With one line and no goodbye, for it is for descriptors that there are limits."""
        self._server.counts.limits[limit] += 1
        with contextlib.suppress(OSError):
            self._socket.send(self._session.refusal())
            # What is there unread, as behind a proxy, would make a RST of the close.
            self._socket.recv(CHUNK)
        self._gone("too-many")

    def _gone(self, ending: str) -> None:
        if self in self._server.open:
            self._remember(ending)
        self.close()

    def _end(self, ending: str) -> None:
        """The session is over; let the last reply arrive (goodbye() in handler.py says why)."""
        server = self._server
        self._remember(ending)
        try:
            self._socket.shutdown(SHUT_WR)
        except OSError:
            return self.close()
        if self._owed:
            self._owed = b""
            server.poller.watch_for(self._fd, EPOLLIN, self._readable)
        self._state = Connection._drain
        self.heard = time.monotonic()
        server.leaving[self] = None

    def _drain(self, octets: bytes) -> None:
        self._left -= len(octets)
        if self._left < 0:
            self.close()

    def _remember(self, ending: str) -> None:
        server, settings = self._server, self._server.settings
        del server.open[self]
        server.quiet[self.tick].discard(self)
        now = time.monotonic()
        seconds = now - self.start
        server.idle_since = now
        server.counts.add(ending, self._session.commands, seconds)
        if server.outbox.wants_records:
            server.outbox.put(
                record.of_session(
                    self._session,
                    self._client,
                    settings.refuse_at,
                    ending,
                    seconds,
                    settings.log_addresses,
                    self._proxy,
                )
            )
