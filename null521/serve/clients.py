"""What all clients of a server share: who is connected, from where, until when, and the counts.

It knows the limits on connections and the deadlines. It must not know sockets, sessions, the event
loop, nor how a client is told: it calls expire() and close(), and is told of the rest.
"""

import math
from _socket import AF_INET6, inet_pton
from bisect import bisect_left
from collections import Counter, OrderedDict, defaultdict
from typing import Protocol

from null521.serve.settings import ServeSettings
from null521.settings import LINGER_SECONDS

TICK = 0.25  # seconds by which a deadline may be late

# Upper bounds of the buckets in which the seconds of sessions are counted.
SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)

# The settings whose limits turn a connection away.
LIMITS = ("max-connections", "max-per-client")


class Client(Protocol):
    """What is asked of a client; times by time.monotonic()."""

    start: float
    last_active: float
    # Written by Clients alone: the tick at which its idleness is checked, and its network.
    tick: int
    network: str | bytes

    def expire(self, ending: str) -> None:
        """End the session with that ending, one of record.ENDINGS."""

    def close(self) -> None:
        """Close the connection at once."""


class Counts:
    """What has happened since the start, for the status line and for metrics."""

    def __init__(self) -> None:
        self.endings: Counter[str] = Counter()  # connections, by how they ended
        self.limits: Counter[str] = Counter()  # connections turned away, by the setting
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
        self._per_network: dict[str | bytes, int] = {}

    @property
    def open(self) -> int:
        """How many sessions go on."""
        return len(self._open)

    @property
    def lingering(self) -> int:
        """How many connections are closing, after their session."""
        return len(self._lingering)

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
        """Count it for its network; False if that has one too many, for max-per-client.

        Only IP addresses are counted: local clients have none.
        """
        if not address:
            return True
        # A /64 is the least that one customer has: RFC 6177.
        network = inet_pton(AF_INET6, address)[:8] if ":" in address else address
        client.network = network
        count = self._per_network[network] = self._per_network.get(network, 0) + 1
        if count <= self._settings.max_per_client:
            return True
        self.counts.limits["max-per-client"] += 1
        return False

    def end(self, client: Client, ending: str, commands: int, now: float) -> float:
        """Its session is over; return the seconds that it took."""
        del self._open[client]
        self._idle_checks[client.tick].discard(client)
        self.idle_since = now
        seconds = now - client.start
        self.counts.add(ending, commands, seconds)
        return seconds

    def linger(self, client: Client) -> None:
        """Its session is over, and it has LINGER_SECONDS from last_active to disconnect."""
        self._lingering[client] = None

    def leave(self, client: Client) -> None:
        """Its connection is closed."""
        self._lingering.pop(client, None)
        if client.network:
            self._per_network[client.network] -= 1
            if not self._per_network[client.network]:
                del self._per_network[client.network]

    def expire_all(self, ending: str) -> None:
        """End all sessions."""
        for client in list(self._open):
            client.expire(ending)

    def keep_deadlines(self, now: float) -> None:
        """Expire and close the clients whose time is up; to be called once each TICK."""
        settings = self._settings
        while self._open and next(iter(self._open)).start + settings.session_timeout <= now:
            next(iter(self._open)).expire("deadline")
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
