"""One client of many: its socket, its session, and where these two are.

The second driver of a Session, as null521/connection.py is the first. It knows sockets, the clock,
PROXY headers, and when TLS begins. It must not know what SMTP says, how a record is handed over,
nor other clients (clients.py does).
"""

import contextlib
import time
from _socket import MSG_DONTWAIT, SHUT_WR
from _socket import socket as Socket
from select import EPOLLIN, EPOLLOUT
from typing import TYPE_CHECKING

from null521 import fault, record
from null521.serve import proxy
from null521.session import Session
from null521.settings import CHUNK, LINGER_OCTETS

if TYPE_CHECKING:
    from null521.serve.server import Server
    from null521.tls import Secured


class Connection:
    """One client: its socket, its session, and where these two are."""

    __slots__ = (
        "_client", "_fd", "_header", "_in_handshake", "_left", "_proxy", "_server", "_session",
        "_socket", "_speaker", "_state", "_unsent", "address", "last_active", "start", "tick",
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
        self._in_handshake = False  # of TLS
        self._left = LINGER_OCTETS
        self.start = self.last_active = time.monotonic()
        self.tick, self.address = 0, b""

    def begin(self) -> None:
        """Greet the client, unless it is one too many or a PROXY header has to come first."""
        server = self._server
        if not server.clients.enter(self):
            return self._turn_away()
        server.poller.watch(self._fd, self._readable, self.fail)
        if server.settings.proxy_protocol:
            self._state = Connection._refuse_header
            if server.trusts(self._client[0]):
                self._state = Connection._read_header
                return
        self._greet()

    def expire(self, ending: str) -> None:
        """Send a last 521 if the socket has room, then close."""
        try:
            self._expire(ending)
        except Exception as error:
            self.fail(error)

    def _expire(self, ending: str) -> None:
        if self._state is Connection._read_header and ending != "stopped":
            return self._refuse_proxy("no PROXY header in time")
        if not self._unsent:
            with contextlib.suppress(OSError):
                self._socket.send(self._speaker.refusal(), MSG_DONTWAIT)
        self._end(ending)

    def close(self) -> None:
        """Close the connection at once."""
        self._server.clients.leave(self)
        self._server.poller.forget(self._fd)
        self._socket.close()

    def fail(self, error: Exception) -> None:
        """A fault of ours: refuse the client in clear if its session is, and close."""
        server = self._server
        try:
            server.log.put(record.of_fault(fault.line(error)))
            if server.clients.is_open(self):
                with contextlib.suppress(OSError):
                    if not self._unsent:
                        self._socket.send(fault.refusal(self._session), MSG_DONTWAIT)
                self._remember("fault")
        finally:
            self.close()

    def _greet(self) -> None:
        """Begin the session, unless the client's network has too many already."""
        if not self._server.clients.count(self, self._client[0]):
            return self._turn_away()
        self._send(self._session.greeting())

    # What arrives, and what is sent.

    # The socket is as accept(2) made it, and MSG_DONTWAIT saves the call that would change it.

    def _readable(self) -> None:
        try:
            octets = self._socket.recv(CHUNK, MSG_DONTWAIT)
        except BlockingIOError:
            return
        except OSError:
            return self._disconnected("reset")
        if not octets:
            return self._disconnected("eof")
        self._state(self, octets)

    def _converse(self, octets: bytes) -> None:
        self.last_active = time.monotonic()
        self._send(self._replies(octets))

    def _replies(self, octets: bytes) -> bytes:
        replies = self._speaker.receive(octets)
        if self._session.asked_for_tls:
            replies += self._start_tls()
        if self._in_handshake and self._session.tls.startswith("TLS"):  # and not "failed: ..."
            self._in_handshake = False
            self._server.clients.secured(self)
        return replies

    def _start_tls(self) -> bytes:
        """The reply to STARTTLS, after which comes TLS if we are ready."""
        secured = self._server.start_tls(self, self._session)
        if secured is not None:
            self._speaker, self._in_handshake = secured, True
        return self._session.starttls(ready=secured is not None)

    def _send(self, octets: bytes) -> None:
        """Send it all, the rest when the socket has room again; until then nothing is read."""
        while True:
            if octets:
                try:
                    self._unsent = octets[self._socket.send(octets, MSG_DONTWAIT) :]
                except BlockingIOError:
                    self._unsent = octets
                except OSError:
                    return self._disconnected("reset")
            if self._unsent:
                return self._server.poller.watch_for(self._fd, EPOLLOUT, self._writable)
            if self._speaker.ending:
                return self._end(self._speaker.ending)
            if not self._speaker.has_more:
                return
            octets = self._replies(b"")

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
            self._socket.send(self._session.refusal(), MSG_DONTWAIT)
        self._end("proxy")

    # The end.

    def _turn_away(self) -> None:
        """With one line and no lingering close: the limits are there to save descriptors."""
        with contextlib.suppress(OSError):
            self._socket.send(self._session.refusal(), MSG_DONTWAIT)
            # Unread octets, as behind a proxy, would turn the close into a RST.
            self._socket.recv(CHUNK, MSG_DONTWAIT)
        self._disconnected("too-many")

    def _disconnected(self, ending: str) -> None:
        if self._server.clients.is_open(self):
            self._remember(ending)
        self.close()

    def _end(self, ending: str) -> None:
        """The session is over; linger (see null521/connection.py)."""
        self._remember(ending)
        self._speaker = self._session  # which lets go of what TLS holds
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
        server, session, now = self._server, self._session, time.monotonic()
        entry = None
        try:
            if server.tries and session.sender is not None:
                server.tries.add(self.address, session.sender, session.recipients, now)
            if server.log.wants_records:
                known = self._client, ending, now - self.start, server.settings.log_addresses
                entry = record.of_session(session, *known, self._proxy)
        except Exception as error:
            ending, entry = "fault", fault.record_of(self._client)
            server.log.put(record.of_fault(fault.line(error)))
        server.clients.end(self, ending, session.commands, now)
        if entry:
            server.log.put(entry)
