"""What many connections in one process have to share, and what they must not do to each other.

What each of them is answered is in test_drivers.py and test_tls.py.
"""

import contextlib
import re
import resource
import signal
import socket
import time
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path

import pytest
from helpers.certificates import make
from helpers.program import (
    BYE,
    GREETING,
    REFUSED,
    SERVE,
    SERVE_WITHOUT_UVLOOP,
    TEST_TIMEOUT,
    Served,
    Server,
    reset,
)
from helpers.serve import allow, cpu_seconds
from hypothesis import given, settings
from hypothesis import strategies as st

LINGER = 2.0  # seconds that lingering takes at most


@pytest.fixture(params=[SERVE, SERVE_WITHOUT_UVLOOP], ids=["uvloop", "asyncio"])
def words(request: pytest.FixtureRequest) -> Sequence[str]:
    """The command, for both event loops."""
    found: Sequence[str] = request.param
    return found


def greetings(server: Server, *sources: str, said: bytes = b"") -> list[bytes]:
    """What one client from each of these addresses is told, all of them there at once."""
    clients = [server.dial(source) for source in sources]
    for client in clients:
        client.sendall(said)
    told = [client.recv(200) for client in clients]
    for client in clients:
        client.close()
    return told


def assert_room(
    server: Server,
    count: int,
    source: str = "127.0.0.1",
    said: bytes = b"",
    networks: int = 1,
) -> None:
    """For so many clients and no more: whoever is still on its way out has TEST_TIMEOUT to be gone.

    networks: how many of these /24 they come from: the last sixteenth of max-connections is kept
    for those that have no client yet.
    """
    deadline = time.monotonic() + TEST_TIMEOUT
    first, second, _, last = source.split(".")
    sources = [f"{first}.{second}.{number % networks}.{last}" for number in range(count + 1)]
    while greetings(server, *sources, said=said).count(GREETING) != count:
        assert time.monotonic() < deadline
        time.sleep(0.05)


# Limits on connections.


def test_one_client_too_many(words: Sequence[str]) -> None:
    """It gets its one line, and the next one has room when one has left."""
    with Server("--max-connections=3", "--refuse-at=rcpt", words=words) as server:
        clients = [server.dial() for _ in range(3)]
        assert [client.recv(100) for client in clients] == [GREETING] * 3
        for _ in range(3):
            with server.dial() as client:
                caller = Served(client, server)
                assert caller.read_all() == REFUSED
                assert caller.ending() == "too-many"
        clients.pop().close()
        assert server.next()["ending"] == "eof"
        clients.append(server.dial())
        assert clients[-1].recv(100) == GREETING
        for client in clients:
            client.close()
        assert [entry["ending"] for entry in server.stop()] == ["eof"] * 3


def test_too_many_of_one_address() -> None:
    with Server("--max-per-client=2", "--refuse-at=rcpt") as server:
        sources = ["127.0.0.1", "127.0.0.1", "127.0.0.1", "127.0.0.2", "127.0.0.2", "127.0.0.2"]
        assert greetings(server, *sources) == [GREETING, GREETING, REFUSED] * 2
        assert_room(server, 2)


def test_local_clients_are_not_counted_as_one(tmp_path: Path) -> None:
    path = str(tmp_path / "socket")
    with Server("--max-per-client=1", "--refuse-at=rcpt", listen=[path]) as server:
        clients = [socket.socket(socket.AF_UNIX) for _ in range(3)]
        for client in clients:
            client.connect(path)
        assert [client.recv(100) for client in clients] == [GREETING] * 3
        for client in clients:
            client.close()
        messages = [server.next()["message"] for _ in clients]
        assert all(message.startswith("Refused a local client; eof") for message in messages)


def test_who_never_closes_counts_until_its_time_is_up(words: Sequence[str]) -> None:
    """After the last reply as well, for it has a descriptor still."""
    with Server("--max-per-client=1", "--refuse-at=rcpt", words=words) as server:
        start = time.monotonic()
        with server.dial() as client:
            assert client.recv(100) == GREETING
            client.sendall(b"QUIT\r\n")
            assert client.recv(100) == BYE
            assert client.recv(100) == b""
            assert server.next()["ending"] == "quit"
            assert greetings(server, "127.0.0.1") == [REFUSED]
            while greetings(server, "127.0.0.1") == [REFUSED]:
                assert time.monotonic() < start + LINGER + TEST_TIMEOUT
                time.sleep(0.05)
            assert time.monotonic() >= start + LINGER


def test_room_after_every_ending(words: Sequence[str]) -> None:
    """However a client goes, it is not counted any more."""
    flags = ["--max-per-client=3", "--idle-timeout=1", "--session-timeout=5", "--max-commands=5"]
    with Server(*flags, "--refuse-at=rcpt", words=words) as server:
        endings = []

        def gone(client: socket.socket) -> None:
            caller = Served(client, server)
            caller.read_all()
            endings.append(caller.ending())

        for said in (b"QUIT\r\n", b"NOOP\r\n" * 9, b""):
            client = server.dial()
            client.sendall(said)
            gone(client)
        for half in (socket.SHUT_WR, None):
            client = server.dial()
            assert client.recv(100) == GREETING
            if half is None:
                number = client.getsockname()[1]
                reset(client)
                entry = server.next()
                assert entry["client_port"] == number
                endings.append(entry["ending"])
            else:
                client.shutdown(half)
                gone(client)
        client = server.dial()
        client.settimeout(0.1)
        while True:
            try:
                if client.recv(100) == b"":
                    break
            except TimeoutError:
                client.sendall(b"x")
        gone(client)
        assert endings == ["quit", "limit", "idle", "eof", "reset", "deadline"]
        assert_room(server, 3)


def test_what_a_proxy_sends_on_for_one_too_many(words: Sequence[str]) -> None:
    """It has been told, and what comes in one go with the header is not obeyed."""
    flags = ["--proxy-protocol=127.0.0.1", "--max-per-client=1"]
    with Server(*flags, words=words) as server:
        header = b"PROXY TCP4 192.0.2.1 192.0.2.2 4711 25\r\n"
        with server.dial() as first, server.dial() as second:
            first.sendall(header)
            assert first.recv(100) == REFUSED
            second.sendall(header + b"NOOP\r\n")
            assert Served(second, server).read_all() == REFUSED
        entries = [server.next(), server.next(), *server.stop()]
        assert [entry.get("ending") for entry in entries] == ["too-many", "eof"]


# Deadlines.

MANY = 600  # fewer than the descriptors that a process is allowed without more ado


def test_a_word_does_not_buy_more_time_than_the_timeout(words: Sequence[str]) -> None:
    """However many clients come after it."""
    with Server("--idle-timeout=4", words=words) as server, server.dial() as client:
        assert client.recv(100) == REFUSED
        time.sleep(0.5)
        start = time.monotonic()
        client.sendall(b"NO")
        others = []
        for _ in range(14):
            time.sleep(0.25)
            others.append(server.dial())
        assert Served(client, server).read_all() == REFUSED
        assert 4 <= time.monotonic() - start < 6
        for other in others:
            other.close()


@pytest.mark.parametrize("how", ["idle", "stopped"])
def test_clients_that_reset_in_the_moment_of_their_last_reply(
    words: Sequence[str], how: str
) -> None:
    """Those behind them in the same turn of the loop have their last reply all the same."""
    flags = ["--idle-timeout=3" if how == "idle" else "--grace=0", f"--max-per-client={MANY}"]
    with Server(*flags, words=words) as server:
        clients = [server.dial() for _ in range(MANY)]
        assert {client.recv(100) for client in clients} == {REFUSED}
        process = server.process
        if how == "idle":  # all at once, after a while
            process.send_signal(signal.SIGSTOP)
            time.sleep(3)
            process.send_signal(signal.SIGCONT)
        else:
            process.send_signal(signal.SIGTERM)
        assert clients[0].recv(100) == REFUSED
        process.send_signal(signal.SIGSTOP)
        early, late = clients[: MANY // 10], clients[-MANY // 10 :]
        gone = clients[MANY // 2 : MANY // 2 + 10]
        for client in gone:
            reset(client)
        process.send_signal(signal.SIGCONT)
        assert {client.recv(100) for client in early[1:] + late} == {REFUSED}
        for client in clients:
            client.close()
        entries = server.stop() if how == "idle" else server.rest()
        endings = [entry["ending"] for entry in entries]
        assert endings.count(how) >= MANY - len(gone)
        assert len(endings) == MANY


@pytest.mark.parametrize("source", ["127.0.0.1", "127.0.0.2"])
def test_a_reset_together_with_the_last_octets(words: Sequence[str], source: str) -> None:
    """It is not missed, though there is no answer to those octets that could fail to be sent."""
    said = b"PROXY"  # the beginning of a command, and of a header
    with Server("--proxy-protocol=127.0.0.2", "--max-per-client=1", words=words) as server:
        client = server.dial(source)
        if source == "127.0.0.1":
            assert client.recv(100) == REFUSED
        server.process.send_signal(signal.SIGSTOP)
        client.sendall(said)
        reset(client)
        server.process.send_signal(signal.SIGCONT)
        assert server.next()["ending"] == "reset"


# When descriptors run out.


def test_no_more_connections_than_descriptors_allow(words: Sequence[str]) -> None:
    def few() -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (80, 80))

    with Server("--refuse-at=rcpt", words=words, preexec_fn=few) as server:
        (warning,) = server.starting
        assert warning["message"] == (
            "max-connections is 10000, but 80 descriptors are allowed (RLIMIT_NOFILE), so it is 16"
        )
        assert_room(server, 16, networks=17)


def test_out_of_descriptors(words: Sequence[str]) -> None:
    """It waits without taking the processor, says so once in a while, and takes whoever waits."""
    told = "no connections are taken for a while: Too many open files"
    with Server("--refuse-at=rcpt", words=words) as server:
        clients = [server.dial() for _ in range(20)]
        assert [client.recv(100) for client in clients] == [GREETING] * 20
        for _ in range(2):
            allow(server.process, 20)
            clients += [server.dial() for _ in range(3)]
            before = cpu_seconds(server.process)
            time.sleep(2)
            assert cpu_seconds(server.process) - before < 0.3  # to ask all the time would take 2
            allow(server.process, 1000)
            assert [client.recv(100) for client in clients[-3:]] == [GREETING] * 3
        for client in clients:
            client.close()
        first, *others = server.stop()
        assert first["message"] == told
        assert [entry["ending"] for entry in others] == ["eof"] * len(clients)


# Whatever a client may do.

PROXIES = "127.0.0.2"  # from where a PROXY header is believed
HEADER = b"PROXY TCP4 192.0.2.1 192.0.2.2 4711 25\r\n"
HEADER_2 = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c" + bytes(range(12))
WORDS = [b"EHLO x\r\n", b"MAIL FROM:<a@b>\r\n", b"RCPT TO:<c@d>\n", b"QUIT\r\n", b"STARTTLS\r\n"]
WORDS += [b"\r\n", b"NOOP " * 1000, HEADER, HEADER[:20], HEADER_2, HEADER_2[:14], b"\x16\x03\x01"]
SAID = st.lists(st.sampled_from(WORDS) | st.binary(max_size=300), max_size=6).map(b"".join)
CUTS = st.lists(st.integers(0, 2000), max_size=3)


@pytest.fixture(scope="module", params=[SERVE, SERVE_WITHOUT_UVLOOP], ids=["uvloop", "asyncio"])
def fuzzed(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Server, list[str]]]:
    """A server that has seen all examples in the end, and how each client has left."""
    cert, key = make(tmp_path_factory.mktemp("pair"), "ec")
    flags = ["--refuse-at=rcpt", "--max-per-client=5", f"--proxy-protocol={PROXIES}"]
    flags += [f"--tls-cert={cert}", f"--tls-key={key}", "--max-octets=4000", "--max-commands=20"]
    left: list[str] = []
    with Server(*flags, words=request.param) as server:
        yield server, left
        for _ in left:
            assert "Refused" in server.next()["message"]
        assert_room(server, 5)
        assert_room(server, 5, PROXIES, HEADER)
        assert all("Refused" in entry["message"] for entry in server.stop())


@settings(max_examples=3 * settings().max_examples)
@given(
    said=SAID,
    cuts=CUTS,
    source=st.sampled_from(["127.0.0.1", PROXIES]),
    last=st.sampled_from(["close", "reset", "read"]),
)
def test_any_octets_cut_anywhere(
    fuzzed: tuple[Server, list[str]], said: bytes, cuts: list[int], source: str, last: str
) -> None:
    """No message is asked for, there is no fault of our own, and nobody is left in the books."""
    server, left = fuzzed
    left.append(last)
    edges = [0, *sorted(min(cut, len(said)) for cut in cuts), len(said)]
    with server.dial(source) as client:
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with contextlib.suppress(ConnectionError):
            for start, end in pairwise(edges):
                client.send(said[start:end])
            if last == "reset":
                reset(client)
            elif last == "read":
                with contextlib.suppress(OSError):  # ENOTCONN: the server has reset it already
                    client.shutdown(socket.SHUT_WR)
                replies = Served(client, server).read_all()
                assert not re.search(rb"^3", replies, re.MULTILINE)
