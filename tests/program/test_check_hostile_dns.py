"""null521 check with name servers that would hold it for ever, break it, or write to a terminal."""

import contextlib
import json
import resource
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator

import dns.message
import dns.rdatatype
import pytest
from helpers.clock import Stopwatch, run
from helpers.nameserver import LOOPBACK, NameServer, from_zone
from helpers.program import TEST_TIMEOUT, TREE
from hypothesis import given
from hypothesis import strategies as st

from null521.check import mx

TIMEOUT = 1.5  # seconds, for the addresses, for each connection, and for DNS
# Addresses first; then DNS beside the connections. Starting Python on a busy machine takes time.
BOUND = 2 * TIMEOUT + 4
CPU = 3.0  # seconds; a loop without a deadline would use TEST_TIMEOUT
MAX_OUTPUT = 20_000  # characters
REFUSAL = ["220 h", "250 h", "250 ok", *["521 no"] * 7, "221 h"]
ZONE = "h.test A 127.0.0.1\n"

Answer = Callable[[bytes], bytes | None]


@contextlib.contextmanager
def smtp() -> Iterator[int]:
    """A port of this machine where mail is refused at rcpt."""

    def serve() -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = server.accept()
                with connection, connection.makefile("rb") as lines:
                    for reply in REFUSAL:
                        connection.sendall(f"{reply}\r\n".encode())
                        lines.readline()

    with socket.create_server((LOOPBACK, 0)) as server:
        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield server.getsockname()[1]
        finally:
            server.shutdown(socket.SHUT_RDWR)
            thread.join()


def check(answer: Answer, *words: str) -> str:
    """What is printed about h.test, whose addresses are those of ZONE, with that name server.

    answer: for all queries but those for addresses of h.test.
    """
    zone = from_zone(ZONE)

    def honest_about_addresses(query: bytes) -> bytes | None:
        question = dns.message.from_wire(query).question[0]
        is_address = question.rdtype in (dns.rdatatype.A, dns.rdatatype.AAAA)
        return zone(query) if is_address and len(question.name) == 3 else answer(query)

    with smtp() as port, NameServer(honest_about_addresses) as server:
        words = (f"--timeout={TIMEOUT}", f"--resolver={LOOPBACK}:{server.port}", *words)
        command = [sys.executable, "-m", "null521", "check", *words, f"h.test:{port}"]
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        start = time.monotonic()
        done, waited = run(command, TEST_TIMEOUT, cwd=TREE)
        seconds = time.monotonic() - start - waited
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
    said = done.stdout.decode()
    assert (done.returncode, done.stderr) == (0, b""), said
    assert said.isascii()
    assert said.replace("\n", "").isprintable()
    assert len(said) < MAX_OUTPUT
    assert seconds < BOUND
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < CPU
    return said


def reply(query: bytes, answers: int = 1, flags: bytes = b"\x81\x80") -> bytes:
    """The header and the question of a reply, without its answers."""
    end = query.index(b"\0", 12) + 5
    return query[:2] + flags + b"\0\1" + answers.to_bytes(2) + b"\0\0\0\0" + query[12:end]


def record(query: bytes, data: bytes, kind: int | None = None) -> bytes:
    """A record of the name and type that were asked for: RFC 1035, 4.1.3."""
    end = query.index(b"\0", 12)
    asked = query[end + 1 : end + 3] if kind is None else kind.to_bytes(2)
    return b"\xc0\x0c" + asked + b"\0\1\0\0\0\1" + len(data).to_bytes(2) + data


CNAME, MX_TYPE = 5, 15
LOOP = b"\xc0\x0c"  # a pointer to the name that was asked for
EVIL = b"\x1b]0;x\x07\r\n\xff"


def cname(query: bytes, target: bytes) -> bytes:
    return reply(query) + record(query, target, CNAME)


ODD: dict[str, Answer] = {
    "nothing": lambda query: None,
    "an empty header": lambda query: reply(query, 0),
    "garbage": lambda query: EVIL * 50,
    "one octet": lambda query: b"\0",
    "the query itself": lambda query: query,
    "another id": lambda query: bytes([query[0] ^ 1]) + reply(query)[1:],
    "half a reply": lambda query: reply(query, 5) + record(query, b"\0\0"),
    "truncated": lambda query: reply(query, 0, b"\x83\x80"),
    "every code": lambda query: reply(query, 0, bytes([0x81, 0x80 | query[1] % 16])),
    "a record that is too short": lambda query: reply(query) + record(query, b"\0"),
    "a record that is empty": lambda query: reply(query) + record(query, b""),
    "a record of 60,000 octets": lambda query: reply(query) + record(query, b"\0" * 60_000),
    "a name that points to itself": lambda query: reply(query) + b"\xc0\x0c"[:1] + b"\xff" * 20,
    "an alias of itself": lambda query: cname(query, LOOP),
    "an alias of the root": lambda query: cname(query, b"\0"),
    "an alias of a name full of dots": lambda query: cname(query, b"\3...\0"),
    "an alias that a terminal would obey": lambda query: cname(
        query, bytes([len(EVIL)]) + EVIL + b"\0"
    ),
    "records that a terminal would obey": lambda query: (
        reply(query) + record(query, b"\0\1" + bytes([len(EVIL)]) + EVIL + b"\0")
    ),
    "a wide alias": lambda query: cname(
        query, (b"\x3f" + b"\xff" * 63) * 3 + b"\x3d" + b"\xff" * 61 + b"\0"
    ),
    "3,000 records": lambda query: (
        reply(query, 3000)
        + b"".join(
            record(query, number.to_bytes(2) + b"\3" + b"\x1b" * 3 + b"\0")
            for number in range(3000)
        )
    ),
    "another class": lambda query: (
        reply(query) + record(query, b"\0\0\0").replace(b"\0\1\0\0\0\1", b"\0\3\0\0\0\1")
    ),
}


@pytest.mark.parametrize("kind", ODD)
def test_odd_replies(kind: str) -> None:
    """The answer is that of the host, and DNS has some lines of its own or none."""
    said = check(ODD[kind])
    answer, *others = said.splitlines()
    assert answer.endswith(" refuses at rcpt: '521 no'")
    assert others[0].startswith("127.0.0.1: STARTTLS is not offered")
    # The records are those of any type, so some pass for TLSA records, which promise STARTTLS.
    assert all(line.startswith(("DNS: ", "127.0.0.1: _")) for line in others[1:])


def test_the_same_as_json() -> None:
    found = json.loads(check(ODD["records that a terminal would obey"], "--json"))
    assert "\x1b" not in json.dumps(found, ensure_ascii=False)


def tcp(port: int, answer: Callable[[socket.socket], None]) -> socket.socket:
    """Also answers over TCP on that port, which a truncated reply asks for."""

    def serve() -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = server.accept()
                connection.settimeout(TEST_TIMEOUT)
                with connection, contextlib.suppress(OSError):
                    answer(connection)

    server = socket.create_server((LOOPBACK, port))
    threading.Thread(target=serve, daemon=True).start()
    return server


def drip(connection: socket.socket) -> None:
    """A long reply, octet by octet."""
    for octet in b"\xff\xff" + bytes(1000):
        connection.sendall(bytes([octet]))
        time.sleep(0.02)


def flood(connection: socket.socket) -> None:
    while True:
        connection.sendall(b"\xff" * 65536)


def silent(connection: socket.socket) -> None:
    while connection.recv(65536):
        pass


def huge(connection: socket.socket) -> None:
    """As many records as fit."""
    query = connection.recv(65536)[2:]
    one = record(query, b"\0\1\3" + b"\x1b" * 3 + b"\0")
    count = (65535 - len(reply(query))) // len(one)
    whole = reply(query, count) + one * count
    connection.sendall(len(whole).to_bytes(2) + whole)


@pytest.mark.parametrize("answer", [drip, flood, silent, huge])
def test_over_tcp(port: int, answer: Callable[[socket.socket], None]) -> None:
    zone = from_zone(ZONE)

    def truncated(query: bytes) -> bytes:
        is_address = b"\1h\4test\0\0\1\0\1" in query or b"\1h\4test\0\0\x1c" in query
        return zone(query) if is_address else reply(query, 0, b"\x83\x80")

    with (
        NameServer(truncated, port=port) as server,
        tcp(server.port, answer) as listener,
    ):
        stopwatch = Stopwatch()
        found = mx.look_up("h.test.", 25, [LOOPBACK], (LOOPBACK, server.port), TIMEOUT)
        seconds = stopwatch.seconds()
        listener.shutdown(socket.SHUT_RDWR)
    assert seconds < TIMEOUT + 2
    assert all(remark.line.isascii() and remark.line.isprintable() for remark in found.remarks)
    assert sum(len(remark.line) for remark in found.remarks) < MAX_OUTPUT


def test_a_flood_of_datagrams() -> None:
    """More than were asked for, without end, while it is asked."""
    is_over = threading.Event()
    targets: set[tuple[str, int]] = set()

    def flood() -> None:
        with socket.socket(type=socket.SOCK_DGRAM) as other:
            while not is_over.is_set():
                for target in list(targets):
                    with contextlib.suppress(OSError):
                        other.sendto(EVIL * 10, target)

    class Flooding(NameServer):
        def __init__(self) -> None:
            super().__init__(lambda query: None)
            self._socket = Recording(self._socket, targets)  # type: ignore[assignment]

    thread = threading.Thread(target=flood)
    thread.start()
    try:
        with Flooding() as server:
            stopwatch = Stopwatch()
            found = mx.look_up("h.test.", 25, [], (LOOPBACK, server.port), TIMEOUT)
            seconds = stopwatch.seconds()
    finally:
        is_over.set()
        thread.join()
    assert targets
    assert found.trouble
    assert seconds < TIMEOUT + 2


class Recording:
    """A socket that keeps the addresses of its clients."""

    def __init__(self, inner: socket.socket, clients: set[tuple[str, int]]) -> None:
        self._inner, self._clients = inner, clients

    def recvfrom(self, size: int) -> tuple[bytes, tuple[str, int]]:
        octets, client = self._inner.recvfrom(size)
        self._clients.add(client)
        return octets, client

    def __getattr__(self, name: str) -> object:
        return getattr(self._inner, name)


GOOD = (
    ZONE
    + """
h.test MX 0 localhost
h.test MX 10 other.test
h.test TXT "v=spf1 mx -all"
_25._tcp.h.test TLSA 3 1 1 0123456789012345678901234567890123456789012345678901234567890123
other.test A 127.0.0.1
"""
)


@given(
    st.lists(st.tuples(st.integers(2, 200), st.integers(0, 255)), max_size=5), st.integers(0, 99)
)
def test_any_change_of_a_reply(changes: list[tuple[int, int]], cut: int) -> None:
    """Never an exception, always in time, and nothing that a terminal would obey."""
    zone = from_zone(GOOD)

    def answer(query: bytes) -> bytes:
        octets = bytearray(zone(query))
        for at, value in changes:
            octets[at % len(octets)] = value
        return bytes(octets[: len(octets) - max(0, cut - 80)])

    with NameServer(answer) as server:
        stopwatch = Stopwatch()
        found = mx.look_up("h.test.", 25, [LOOPBACK], (LOOPBACK, server.port), 0.2)
        assert stopwatch.seconds() < 2.2
    assert all(remark.line.isascii() and remark.line.isprintable() for remark in found.remarks)
    assert sum(len(remark.line) for remark in found.remarks) < MAX_OUTPUT
