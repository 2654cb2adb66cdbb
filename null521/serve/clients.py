"""What all clients of a server share: who is connected, from where, until when, and the counts.

It knows the limits on connections and the deadlines. It must not know sockets, sessions, the event
loop, nor how a client is told: it calls expire() and close(), and is told of the rest.
"""

import math
from _socket import AF_INET, AF_INET6, inet_pton
from bisect import bisect_left
from collections import Counter, OrderedDict, defaultdict
from typing import Protocol

from null521.serve.settings import ServeSettings
from null521.settings import HANDSHAKE_SECONDS, LINGER_SECONDS

TICK = 0.25  # seconds by which a deadline may be late

# Upper bounds of the buckets in which the seconds of sessions are counted.
SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)

# The settings that limit connections; over the last, STARTTLS is answered 454.
LIMITS = ("max-connections", "max-per-client", "max-tls")

# What one connection can hold at most, in octets, by state; docs/testing.md has what was measured.
# Under TLS, that is OpenSSL's buffers during a handshake.
TLS_OCTETS = 48 * 2**10
OCTETS = {
    "clear": 9 * 2**10,
    "handshake": TLS_OCTETS,
    "secured": TLS_OCTETS,
    "lingering": 9 * 2**10,
}

# The shares of networks: octets of the prefix, and how many times max-per-client. One customer has
# an address of IPv4, or a /64 to a /48 of IPv6 (RFC 6177), and must not have all connections.
SHARES = {4: ((4, 1), (3, 4)), 16: ((8, 1), (7, 2), (6, 4))}
# The part of max-connections that is kept for networks (a /24, a /48) without a connection.
RESERVE = 16


class Client(Protocol):
    """What is asked of a client; times by time.monotonic()."""

    start: float
    last_active: float
    # Written by Clients alone: the tick at which its idleness is checked, and its IP address as
    # octets once it is counted.
    tick: int
    address: bytes

    def expire(self, ending: str) -> None:
        """End the session with that ending, one of record.ENDINGS."""

    def close(self) -> None:
        """Close the connection at once."""


class Counts:
    """What has happened since the start, for the status line and for metrics."""

    def __init__(self) -> None:
        self.endings: Counter[str] = Counter()  # connections, by how they ended
        self.limits: Counter[str] = Counter()  # connections turned away, by the setting
        self.handshakes = 0  # of TLS, begun
        self.secured = 0  # of these, done
        self.commands = 0
        self.seconds = 0.0
        self.sessions_by_seconds = [0] * (len(SECONDS) + 1)  # not cumulative

    def add(self, ending: str, commands: int, seconds: float) -> None:
        """Count a session that is over."""
        self.endings[ending] += 1
        self.commands += commands
        self.seconds += seconds
        self.sessions_by_seconds[bisect_left(SECONDS, seconds)] += 1


class Clients:
    """All clients, each open (in session) or lingering (session over, connection not yet closed).

    now, wherever it is a parameter: time.monotonic().
    """

    def __init__(self, settings: ServeSettings, now: float) -> None:
        self.counts = Counts()
        self.idle_since = now  # when the last session ended; means nothing while one is open
        self._settings = settings
        # Both in the order of time, so that the next deadline is at the front.
        self._open: OrderedDict[Client, None] = OrderedDict()  # by start
        self._lingering: OrderedDict[Client, None] = OrderedDict()  # by the end of the session
        # By the tick at which idleness is checked; not moved when a client speaks, because that
        # costs more.
        self._idle_checks: defaultdict[int, set[Client]] = defaultdict(set)
        self._per_network: dict[bytes, int] = {}  # by prefix
        self._handshakes: OrderedDict[Client, float] = OrderedDict()  # when each has to be done
        self._secured: set[Client] = set()

    @property
    def open(self) -> int:
        """How many sessions go on."""
        return len(self._open)

    @property
    def lingering(self) -> int:
        """How many connections are closing, after their session."""
        return len(self._lingering)

    def tls_by_state(self) -> dict[str, int]:
        """How many of the open ones use TLS: in the handshake, and after it."""
        return {"handshake": len(self._handshakes), "secured": len(self._secured)}

    def handshakes_by_result(self) -> dict[str, int]:
        """How many TLS handshakes are over: done, and ended in any other way."""
        begun, done = self.counts.handshakes, self.counts.secured
        return {"done": done, "failed": begun - done - len(self._handshakes)}

    def is_open(self, client: Client) -> bool:
        """Whether its session goes on."""
        return client in self._open

    def enter(self, client: Client) -> bool:
        """Take a new client in; False if that is one too many, for max-connections."""
        self._open[client] = None
        self._check_later(client)
        if len(self._open) + len(self._lingering) <= self._settings.max_connections:
            return True
        self.counts.limits["max-connections"] += 1
        return False

    def count(self, client: Client, address: str) -> bool:
        """Count it for its networks; False if one of these has one too many.

        Only IP addresses are counted: local clients have none.
        """
        if not address:
            return True
        packed = client.address = inet_pton(AF_INET6 if ":" in address else AF_INET, address)
        limit = ""
        for size, share in SHARES[len(packed)]:
            prefix = packed[:size]
            count = self._per_network[prefix] = self._per_network.get(prefix, 0) + 1
            if count > share * self._settings.max_per_client:
                limit = "max-per-client"
        most = self._settings.max_connections
        if count > 1 and len(self._open) + len(self._lingering) > most - most // RESERVE:
            limit = limit or "max-connections"
        if limit:
            self.counts.limits[limit] += 1
        return not limit

    def secure(self, client: Client, now: float) -> bool:
        """It begins a TLS handshake; False if that is one too many, for max-tls."""
        if len(self._handshakes) + len(self._secured) >= self._settings.max_tls:
            self.counts.limits["max-tls"] += 1
            return False
        self.counts.handshakes += 1
        self._handshakes[client] = now + HANDSHAKE_SECONDS
        return True

    def secured(self, client: Client) -> None:
        """Its handshake is over."""
        self.counts.secured += client in self._handshakes
        self._handshakes.pop(client, None)
        self._secured.add(client)

    def end(self, client: Client, ending: str, commands: int, now: float) -> None:
        """Its session is over."""
        del self._open[client]
        self._idle_checks[client.tick].discard(client)
        self._handshakes.pop(client, None)
        self._secured.discard(client)
        self.idle_since = now
        self.counts.add(ending, commands, now - client.start)

    def linger(self, client: Client) -> None:
        """Its session is over, and it has LINGER_SECONDS from last_active to disconnect."""
        self._lingering[client] = None

    def leave(self, client: Client) -> None:
        """Its connection is closed."""
        self._lingering.pop(client, None)
        if client.address:
            for size, _ in SHARES[len(client.address)]:
                prefix = client.address[:size]
                self._per_network[prefix] -= 1
                if not self._per_network[prefix]:
                    del self._per_network[prefix]
            client.address = b""

    def expire_all(self, ending: str) -> None:
        """End all sessions."""
        for client in list(self._open):
            client.expire(ending)

    def keep_deadlines(self, now: float) -> None:
        """Expire and close the clients whose time is up; to be called once each TICK."""
        settings = self._settings
        while self._open and next(iter(self._open)).start + settings.session_timeout <= now:
            next(iter(self._open)).expire("deadline")
        while self._handshakes and next(iter(self._handshakes.values())) <= now:
            next(iter(self._handshakes)).expire("deadline")
        for tick in [tick for tick in self._idle_checks if tick * TICK <= now]:
            for client in self._idle_checks.pop(tick):
                if client.last_active + settings.idle_timeout <= now:
                    client.expire("idle")
                else:
                    self._check_later(client)
        while self._lingering and next(iter(self._lingering)).last_active + LINGER_SECONDS <= now:
            next(iter(self._lingering)).close()

    def _check_later(self, client: Client) -> None:
        client.tick = math.ceil((client.last_active + self._settings.idle_timeout) / TICK)
        self._idle_checks[client.tick].add(client)
