"""One client of many: its socket, its session, and where these two are.

The second driver of a Session, as null521/connection.py is the first. It knows sockets, the clock,
PROXY headers, and when TLS begins. It must not know what SMTP says, how a record is handed over,
nor other clients (clients.py does).
"""

import contextlib
import time
from _socket import SHUT_WR
from _socket import socket as Socket
from select import EPOLLIN, EPOLLOUT
from typing import TYPE_CHECKING

from null521 import record
from null521.serve import proxy
from null521.session import Session
from null521.settings import CHUNK, LINGER_OCTETS

if TYPE_CHECKING:
    from null521.serve.server import Server
    from null521.tls import Secured


class Connection:
    """One client: its socket, its session, and where these two are."""

    __slots__ = (
        "_client", "_fd", "_header", "_left", "_proxy", "_server", "_session", "_socket",
        "_speaker", "_state", "_unsent", "last_active", "network", "start", "tick",
    )  # fmt: skip

    def __init__(self, server: "Server", accepted: Socket, client: tuple[str, str]) -> None:
        self._server = server
        self._socket = accepted
        self._fd = accepted.fileno()
        self._client = client
        self._proxy = ""
        self._session = server.settings.session(server.context is not None, server.encoded)
        self._speaker: Session | Secured = self._session
        self._state = Connection._converse  # what is done with octets that arrive
        self._unsent = b""  # the part of the replies for which the socket had no room
        self._header = b""  # what has come of a PROXY header
        self._left = LINGER_OCTETS
        self.network: str | bytes
        self.start = self.last_active = time.monotonic()
        self.tick, self.network = 0, ""

    def begin(self) -> None:
        """Greet the client, unless it is one too many or a PROXY header has to come first."""
        server = self._server
        if not server.clients.enter(self):
            return self._turn_away()
        server.poller.watch(self._fd, self._readable)
        if server.settings.proxy_protocol:
            self._state = Connection._refuse_header
            if server.trusts(self._client[0]):
                self._state = Connection._read_header
                return
        self._greet()

    def expire(self, ending: str) -> None:
        """Send a last 521 if the socket has room, then close."""
        if self._state is Connection._read_header and ending != "stopped":
            return self._refuse_proxy("no PROXY header in time")
        if not self._unsent:
            with contextlib.suppress(OSError):
                self._socket.send(self._speaker.refusal())
        self._end(ending)

    def close(self) -> None:
        """Close the connection at once."""
        self._server.clients.leave(self)
        self._server.poller.forget(self._fd)
        self._socket.close()

    def _greet(self) -> None:
        """Begin the session, unless the client's network has too many already."""
        if not self._server.clients.count(self, self._client[0]):
            return self._turn_away()
        self._send(self._session.greeting())

    # What arrives, and what is sent.

    def _readable(self) -> None:
        try:
            octets = self._socket.recv(CHUNK)
        except BlockingIOError:
            return
        except OSError:
            return self._disconnected("reset")
        if not octets:
            return self._disconnected("eof")
        self._state(self, octets)

    def _converse(self, octets: bytes) -> None:
        self.last_active = time.monotonic()
        replies = self._speaker.receive(octets)
        if self._session.asked_for_tls:
            replies += self._start_tls()
        self._send(replies)

    def _start_tls(self) -> bytes:
        """The answer to STARTTLS; TLS follows, unless the certificate has become unusable."""
        context = self._server.context
        if context is not None:
            from null521.tls import Secured

            self._speaker = Secured(self._session, context, self._server.settings.max_octets)
        return self._session.starttls(ready=context is not None)

    def _send(self, octets: bytes) -> None:
        """Send it all, the rest when the socket has room again; until then nothing is read."""
        if octets:
            try:
                self._unsent = octets[self._socket.send(octets) :]
            except BlockingIOError:
                self._unsent = octets
            except OSError:
                return self._disconnected("reset")
        if self._unsent:
            self._server.poller.watch_for(self._fd, EPOLLOUT, self._writable)
        elif self._speaker.ending:
            self._end(self._speaker.ending)

    def _writable(self) -> None:
        self.last_active = time.monotonic()
        self._server.poller.watch_for(self._fd, EPOLLIN, self._readable)
        self._send(self._unsent)

    # Who is calling, behind a proxy.

    def _read_header(self, octets: bytes) -> None:
        self._header += octets
        header = proxy.header(self._header)
        if header is None:
            return
        rest, self._header = self._header[header.size :], b""
        if header.fault:
            return self._refuse_proxy(header.fault)
        if header.client:
            self._proxy, self._client = self._client[0], header.client
        self._state = Connection._converse
        self.last_active = time.monotonic()
        self._greet()
        if rest and self._server.clients.is_open(self):
            self._converse(rest)

    def _refuse_header(self, octets: bytes) -> None:
        """Only the addresses in proxy-protocol may send one."""
        if octets.startswith(proxy.BEGINNINGS):
            return self._refuse_proxy(
                "a PROXY header from an address that is not in proxy-protocol"
            )
        self._state = Connection._converse
        self._converse(octets)

    def _refuse_proxy(self, fault: str) -> None:
        """With 521: behind a misconfigured proxy, senders would otherwise retry for days."""
        self._proxy = f"failed: {fault}"
        with contextlib.suppress(OSError):
            self._socket.send(self._session.refusal())
        self._end("proxy")

    # The end.

    def _turn_away(self) -> None:
        """With one line and no lingering close: the limits are there to save descriptors."""
        with contextlib.suppress(OSError):
            self._socket.send(self._session.refusal())
            # Unread octets, as behind a proxy, would turn the close into a RST.
            self._socket.recv(CHUNK)
        self._disconnected("too-many")

    def _disconnected(self, ending: str) -> None:
        if self._server.clients.is_open(self):
            self._remember(ending)
        self.close()

    def _end(self, ending: str) -> None:
        """The session is over; linger (see null521/connection.py)."""
        self._remember(ending)
        try:
            self._socket.shutdown(SHUT_WR)
        except OSError:
            return self.close()
        if self._unsent:
            self._unsent = b""
            self._server.poller.watch_for(self._fd, EPOLLIN, self._readable)
        self._state = Connection._drain
        self.last_active = time.monotonic()
        self._server.clients.linger(self)

    def _drain(self, octets: bytes) -> None:
        self._left -= len(octets)
        if self._left < 0:
            self.close()

    def _remember(self, ending: str) -> None:
        server, session = self._server, self._session
        seconds = server.clients.end(self, ending, session.commands, time.monotonic())
        if server.log.wants_records:
            show = server.settings.log_addresses
            server.log.put(
                record.of_session(session, self._client, ending, seconds, show, self._proxy)
            )
