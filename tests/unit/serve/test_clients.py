"""Limits on connections, deadlines and counts, with a simulated clock."""

import pytest

from null521.serve.clients import SECONDS, TICK, Clients, Counts
from null521.serve.settings import ServeSettings
from null521.settings import HANDSHAKE_SECONDS, LINGER_SECONDS

NOW = 1000.0


class FakeClient:
    """A client that remembers the calls, and then ends or leaves as a connection does."""

    def __init__(self, clients: Clients, start: float = NOW) -> None:
        self.start = self.last_active = start
        self.tick = 0
        self.address = b""
        self.calls: list[str] = []
        self._clients = clients
        self.now = start

    def expire(self, ending: str) -> None:
        self.calls.append(ending)
        self._clients.end(self, ending, 0, self.now)

    def close(self) -> None:
        self.calls.append("close")
        self._clients.leave(self)


def clients_by(**values: object) -> Clients:
    """The clients of a server with these settings."""
    settings = ServeSettings()
    for name, value in values.items():
        assert hasattr(settings, name)
        setattr(settings, name, value)
    return Clients(settings, NOW)


def entered(clients: Clients, start: float = NOW, address: str = "") -> FakeClient:
    """A client within all limits."""
    client = FakeClient(clients, start)
    assert clients.enter(client) is True
    assert clients.count(client, address) is True
    return client


def test_no_clients() -> None:
    clients = clients_by()
    assert (clients.open, clients.lingering, clients.idle_since) == (0, 0, NOW)
    assert (clients.counts.commands, clients.counts.seconds) == (0, 0.0)
    assert not clients.counts.endings
    assert not clients.counts.limits
    clients.keep_deadlines(NOW + 1e6)
    clients.expire_all("stopped")


def test_a_client_is_open_then_lingers_then_leaves() -> None:
    clients = clients_by()
    client, other = entered(clients), entered(clients)
    assert (clients.open, clients.lingering) == (2, 0)
    assert clients.is_open(client)
    clients.end(client, "quit", 5, NOW + 2.5)
    assert clients.counts.seconds == 2.5
    assert (clients.open, clients.idle_since) == (1, NOW + 2.5)
    assert not clients.is_open(client)
    assert clients.is_open(other)
    clients.linger(client)
    assert (clients.open, clients.lingering) == (1, 1)
    clients.leave(client)
    assert (clients.open, clients.lingering) == (1, 0)
    assert client.calls == other.calls == []


def test_a_client_leaves_without_lingering() -> None:
    clients = clients_by()
    client = entered(clients)
    clients.end(client, "reset", 0, NOW)
    clients.leave(client)
    assert (clients.open, clients.lingering) == (0, 0)


def test_counts() -> None:
    clients = clients_by()
    for ending, commands, seconds in (("quit", 5, 0.25), ("quit", 2, 1.5), ("eof", 0, 0.0)):
        clients.end(entered(clients), ending, commands, NOW + seconds)
    counts = clients.counts
    assert dict(counts.endings) == {"quit": 2, "eof": 1}
    assert (counts.commands, counts.seconds) == (7, 1.75)
    assert sum(counts.sessions_by_seconds) == 3


def test_a_bucket_includes_its_upper_bound() -> None:
    for place, bound in enumerate(SECONDS):
        for seconds, bucket in ((bound, place), (bound + 0.001, place + 1)):
            counts = Counts()
            assert counts.sessions_by_seconds == [0] * (len(SECONDS) + 1)
            counts.add("quit", 0, seconds)
            counts.add("quit", 0, seconds)
            expected = [0] * (len(SECONDS) + 1)
            expected[bucket] = 2
            assert counts.sessions_by_seconds == expected


def test_max_connections_includes_lingering_ones() -> None:
    clients = clients_by(max_connections=2)
    first, _ = entered(clients), entered(clients)
    third, fourth = FakeClient(clients), FakeClient(clients)
    assert clients.enter(third) is False
    assert dict(clients.counts.limits) == {"max-connections": 1}
    # It is open until the server has refused it.
    assert clients.is_open(third)
    clients.end(third, "too-many", 0, NOW)
    clients.leave(third)
    clients.end(first, "quit", 1, NOW)
    clients.linger(first)
    assert clients.enter(fourth) is False
    assert dict(clients.counts.limits) == {"max-connections": 2}
    clients.end(fourth, "too-many", 0, NOW)
    clients.leave(first)
    entered(clients)
    assert dict(clients.counts.limits) == {"max-connections": 2}


@pytest.mark.parametrize(
    ("one", "same", "another"),
    [
        ("192.0.2.1", "192.0.2.1", "192.0.2.2"),
        # A /64: RFC 6177.
        ("2001:db8:1:2::1", "2001:db8:1:2:ffff::", "2001:db8:1:3::1"),
    ],
)
def test_max_per_client(one: str, same: str, another: str) -> None:
    clients = clients_by(max_per_client=2)
    first, _ = entered(clients, address=one), entered(clients, address=same)
    third = FakeClient(clients)
    clients.enter(third)
    assert clients.count(third, one) is False
    assert dict(clients.counts.limits) == {"max-per-client": 1}
    entered(clients, address=another)

    # A client over the limit counts too, until it leaves.
    clients.leave(first)
    fourth = FakeClient(clients)
    assert clients.count(fourth, same) is False
    assert dict(clients.counts.limits) == {"max-per-client": 2}
    clients.leave(third)
    clients.leave(fourth)
    entered(clients, address=same)
    assert dict(clients.counts.limits) == {"max-per-client": 2}


def test_a_network_is_forgotten_when_its_last_client_leaves() -> None:
    """Otherwise memory would grow with each new address."""
    clients = clients_by()
    first, second = (entered(clients, address="192.0.2.1") for _ in range(2))
    clients.leave(first)
    assert clients._per_network == {b"\xc0\0\2\1": 1, b"\xc0\0\2": 1}
    clients.leave(second)
    assert clients._per_network == {}
    third = entered(clients, address="2001:db8::1")
    assert set(clients._per_network.values()) == {1}
    clients.leave(third)
    clients.leave(third)
    assert clients._per_network == {}


def turned_away(clients: Clients, address: str) -> str:
    """The setting for which a client from there is turned away, which is gone then; "" if none."""
    before = clients.counts.limits.copy()
    somebody = FakeClient(clients)
    assert clients.enter(somebody)
    welcome = clients.count(somebody, address)
    clients.end(somebody, "too-many", 0, NOW)
    clients.leave(somebody)
    (setting,) = (clients.counts.limits - before) or [""]
    assert welcome == (setting == "")
    return setting


@pytest.mark.parametrize(
    ("addresses", "share", "inside", "outside"),
    [
        # The /24 has four times what an address has, a /56 twice what a /64 has, a /48 four times.
        ("192.0.2.{}", 4, "192.0.2.255", "192.0.3.0"),
        ("2001:db8:1:20{:02x}::1", 2, "2001:db8:1:20ff::1", "2001:db8:1:2100::1"),
        ("2001:db8:1:{:02x}00::1", 4, "2001:db8:1:ffff::1", "2001:db8:2::1"),
    ],
    ids=["/24", "/56", "/48"],
)
def test_a_network_has_a_share(addresses: str, share: int, inside: str, outside: str) -> None:
    """No matter from how many of its addresses it calls."""
    clients = clients_by(max_per_client=3)
    first, *_ = [entered(clients, address=addresses.format(n)) for n in range(3 * share)]
    for _ in range(2):
        assert turned_away(clients, inside) == "max-per-client"
    assert turned_away(clients, outside) == ""
    clients.end(first, "quit", 1, NOW)
    assert turned_away(clients, inside) == "max-per-client"  # it may be lingering
    clients.leave(first)
    assert turned_away(clients, inside) == ""


def test_the_last_sixteenth_is_for_networks_without_a_client() -> None:
    clients = clients_by(max_connections=32, max_per_client=100)
    known = [entered(clients, address="192.0.2.1") for _ in range(30)]
    assert turned_away(clients, "192.0.2.1") == "max-connections"
    assert turned_away(clients, "192.0.2.2") == "max-connections"
    new = entered(clients, address="198.51.100.1")
    assert turned_away(clients, "198.51.100.1") == "max-connections"
    other = entered(clients, address="2001:db8::1")
    assert clients.enter(FakeClient(clients)) is False
    for client in (new, other, known.pop()):
        clients.end(client, "quit", 1, NOW)
        clients.leave(client)


def test_local_clients_need_no_network_of_their_own() -> None:
    clients = clients_by(max_connections=16, max_per_client=100)
    for _ in range(16):
        entered(clients)


# TLS.


def test_max_tls() -> None:
    """In a handshake or after it, until the session is over."""
    clients = clients_by(max_tls=2)
    first, second, third = (entered(clients) for _ in range(3))
    assert clients.secure(first, NOW) is True
    assert clients.secure(second, NOW) is True
    clients.secured(first)
    for _ in range(2):
        assert clients.secure(third, NOW) is False
    assert dict(clients.counts.limits) == {"max-tls": 2}
    clients.end(first, "quit", 1, NOW)
    assert clients.secure(third, NOW) is True
    fourth = entered(clients)
    assert clients.secure(fourth, NOW) is False
    clients.end(second, "eof", 1, NOW)
    assert clients.secure(fourth, NOW) is True


def test_a_handshake_has_a_deadline_of_its_own() -> None:
    clients = clients_by(max_tls=10, session_timeout=60.0, idle_timeout=30.0)
    slow, done, later, clear = (entered(clients) for _ in range(4))
    for client, when in ((slow, NOW + 1), (done, NOW + 1), (later, NOW + 2)):
        assert clients.secure(client, when)
    clients.secured(done)
    clients.keep_deadlines(NOW + 1 + HANDSHAKE_SECONDS - TICK)
    assert slow.calls == []
    clients.keep_deadlines(NOW + 1 + HANDSHAKE_SECONDS)
    assert (slow.calls, later.calls) == (["deadline"], [])
    clients.keep_deadlines(NOW + 29)
    assert (slow.calls, later.calls) == (["deadline"], ["deadline"])
    assert (done.calls, clear.calls) == ([], [])
    assert HANDSHAKE_SECONDS == 10.0


def test_local_clients_are_not_counted() -> None:
    clients = clients_by(max_per_client=1)
    first, second = entered(clients), entered(clients)
    assert first.address == second.address == b""
    assert clients._per_network == {}
    clients.leave(first)
    clients.leave(second)


def test_a_session_ends_at_its_deadline() -> None:
    clients = clients_by(session_timeout=60.0, idle_timeout=3600.0)
    early, late = entered(clients), entered(clients, NOW + 1)
    clients.keep_deadlines(NOW + 59.75)
    assert early.calls == []
    clients.keep_deadlines(NOW + 60)
    assert (early.calls, late.calls) == (["deadline"], [])
    # Late, and two at once.
    last = entered(clients, NOW + 2)
    clients.keep_deadlines(NOW + 100)
    assert (early.calls, late.calls, last.calls) == (["deadline"],) * 3
    assert clients.open == 0


@pytest.mark.parametrize("start", [NOW, NOW + 0.01, NOW + 0.24])
def test_a_silent_client_is_idle_within_a_tick(start: float) -> None:
    clients = clients_by(idle_timeout=30.0)
    silent = entered(clients, start)
    ticks = 0
    while NOW + ticks * TICK < start + 30:
        clients.keep_deadlines(NOW + ticks * TICK)
        assert silent.calls == []
        ticks += 1
    clients.keep_deadlines(NOW + ticks * TICK)
    assert silent.calls == ["idle"]
    assert TICK == 0.25
    clients.keep_deadlines(NOW + 59)
    assert silent.calls == ["idle"]


def test_an_active_client_is_not_idle() -> None:
    clients = clients_by(idle_timeout=30.0, session_timeout=3600.0)
    active, silent = entered(clients), entered(clients)
    active.last_active = NOW + 29
    clients.keep_deadlines(NOW + 30)
    assert (active.calls, silent.calls) == ([], ["idle"])
    clients.keep_deadlines(NOW + 58.75)
    assert active.calls == []
    active.last_active = NOW + 58.75
    clients.keep_deadlines(NOW + 59)
    assert active.calls == []
    clients.keep_deadlines(NOW + 88.75)
    assert active.calls == ["idle"]


def test_idleness_is_checked_only_when_it_is_possible() -> None:
    """A client that cannot be idle yet costs nothing at a tick."""
    clients = clients_by(idle_timeout=30.0, session_timeout=3600.0)
    client = entered(clients)
    assert client.tick == (NOW + 30) / TICK
    assert dict(clients._idle_checks) == {client.tick: {client}}
    client.last_active = NOW + 1
    clients.keep_deadlines(NOW + 30)
    assert client.tick == (NOW + 31) / TICK
    assert dict(clients._idle_checks) == {client.tick: {client}}


def test_an_ended_session_is_not_idle() -> None:
    clients = clients_by(idle_timeout=30.0)
    client = entered(clients)
    clients.end(client, "quit", 1, NOW + 1)
    clients.keep_deadlines(NOW + 40)
    assert client.calls == []


def test_a_deadline_comes_before_idleness() -> None:
    clients = clients_by(idle_timeout=60.0, session_timeout=60.0)
    client = entered(clients)
    clients.keep_deadlines(NOW + 60)
    assert client.calls == ["deadline"]


def test_lingering_ends() -> None:
    clients = clients_by()
    first, second = entered(clients), entered(clients)
    for client, last_active in ((first, NOW + 5), (second, NOW + 6)):
        client.last_active = last_active
        clients.end(client, "quit", 1, last_active)
        clients.linger(client)
    clients.keep_deadlines(NOW + 5 + LINGER_SECONDS - TICK)
    assert (first.calls, clients.lingering) == ([], 2)
    clients.keep_deadlines(NOW + 5 + LINGER_SECONDS)
    assert (first.calls, second.calls, clients.lingering) == (["close"], [], 1)
    clients.keep_deadlines(NOW + 100)
    assert (first.calls, second.calls, clients.lingering) == (["close"], ["close"], 0)


def test_all_sessions_end_with_the_server() -> None:
    clients = clients_by()
    first, second, lingering = (entered(clients) for _ in range(3))
    clients.end(lingering, "quit", 1, NOW)
    clients.linger(lingering)
    clients.expire_all("stopped")
    assert (first.calls, second.calls, lingering.calls) == (["stopped"], ["stopped"], [])
    assert dict(clients.counts.endings) == {"quit": 1, "stopped": 2}
    assert (clients.open, clients.lingering) == (0, 1)


def test_tls_is_told_by_its_state() -> None:
    clients = clients_by(max_tls=2)
    first, second = entered(clients), entered(clients)
    assert clients.tls_by_state() == {"handshake": 0, "secured": 0}
    assert clients.secure(first, NOW)
    assert clients.secure(second, NOW)
    clients.secured(first)
    assert clients.tls_by_state() == {"handshake": 1, "secured": 1}
    clients.secured(first)
    assert clients.tls_by_state() == {"handshake": 1, "secured": 1}


def test_handshakes_are_counted_by_their_result() -> None:
    clients = clients_by(max_tls=3)
    done, broken_off, slow, one_too_many = (entered(clients) for _ in range(4))
    assert clients.handshakes_by_result() == {"done": 0, "failed": 0}
    for client in (done, broken_off, slow):
        assert clients.secure(client, NOW)
    assert not clients.secure(one_too_many, NOW)
    assert clients.handshakes_by_result() == {"done": 0, "failed": 0}
    for _ in range(2):
        clients.secured(done)
        assert clients.handshakes_by_result() == {"done": 1, "failed": 0}
    clients.end(broken_off, "reset", 1, NOW)
    clients.end(one_too_many, "quit", 1, NOW)
    assert clients.handshakes_by_result() == {"done": 1, "failed": 1}
    clients.keep_deadlines(NOW + HANDSHAKE_SECONDS)
    clients.end(done, "quit", 1, NOW)
    assert clients.handshakes_by_result() == {"done": 1, "failed": 2}


def test_those_that_linger_count_when_it_comes_to_the_reserve() -> None:
    clients = clients_by(max_connections=16, max_per_client=100)
    for number in range(15):
        client = entered(clients, address=f"192.0.{number}.1")
        if number % 2:
            clients.end(client, "quit", 1, NOW)
            clients.linger(client)
    again = FakeClient(clients)
    assert clients.enter(again)
    assert not clients.count(again, "192.0.0.2")
