"""null521 check against hosts that would hold it forever, in clear text and under TLS."""

import contextlib
import itertools
import resource
import socket
import ssl
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from helpers.certificates import make
from helpers.clock import run
from helpers.program import TEST_TIMEOUT, TREE

TIMEOUT = 2.5  # seconds; a busy machine needs some of them for a handshake
BOUND = TIMEOUT + 1
# What the process itself needs on a busy machine, in CPU seconds; a flood took ten times as much.
CPU = 1.0

Answer = Callable[[socket.socket], None]


class Host:
    """Handles each connection by the next of the answers; begun: when the last one came."""

    def __init__(self, *answers: Answer) -> None:
        self._server = socket.create_server(("127.0.0.1", 0))
        self.place = f"127.0.0.1:{self._server.getsockname()[1]}"
        self.begun = 0.0
        self.count = 0
        threading.Thread(target=self._run, args=answers, daemon=True).start()

    def _run(self, *answers: Answer) -> None:
        for answer in answers:
            connection, _ = self._server.accept()
            self.begun = time.monotonic()
            self.count += 1
            connection.settimeout(TEST_TIMEOUT)
            with connection, contextlib.suppress(OSError):
                answer(connection)


class Checked(NamedTuple):
    """Exit status, output, wall and CPU seconds.

    Wall is from the last connection to the end, without what the process waited for a CPU.
    """

    status: int
    lines: list[str]
    seconds: float
    cpu: float


def check(*answers: Answer) -> Checked:
    host = Host(*answers)
    words = [sys.executable, "-m", "null521", "check", f"--timeout={TIMEOUT}", host.place]
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done, waited = run(words, TEST_TIMEOUT, cwd=TREE)
    end = time.monotonic() - waited
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert (done.stderr, host.count) == (b"", len(answers))
    lines = done.stdout.decode().replace(host.place, "h").splitlines()
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Checked(done.returncode, lines, end - host.begun, cpu)


def for_ever(octets: bytes) -> Iterator[bytes]:
    """The same again and again, many at once."""
    return itertools.repeat(octets * (65536 // len(octets)))


def hold(connection: socket.socket) -> None:
    """Read until the client has closed the connection."""
    while connection.recv(65536):
        pass


def saying(pieces: Iterator[bytes], pause: float = 0.0) -> Answer:
    def answer(connection: socket.socket) -> None:
        for piece in pieces:
            connection.sendall(piece)
            time.sleep(pause)
        hold(connection)

    return answer


# In clear text.


def half_closing(connection: socket.socket) -> None:
    """Say no more, but go on reading."""
    connection.sendall(b"220 h\r\n")
    connection.shutdown(socket.SHUT_WR)
    hold(connection)


def octets_of(text: bytes) -> Iterator[bytes]:
    return (bytes([octet]) for octet in text)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        pytest.param(
            lambda: saying(octets_of(b"220 " + b"h" * 1000), 0.01),
            f"no greeting within {TIMEOUT} s",
            id="drip",
        ),
        pytest.param(
            lambda: saying(for_ever(b"220-h\r\n")), "a reply of more than 64 lines", id="lines"
        ),
        pytest.param(
            lambda: saying(for_ever(b"2")), "a reply line of more than 1024 octets", id="banner"
        ),
        pytest.param(
            lambda: saying(for_ever(b"\r\n")), "it does not speak SMTP; it says ''", id="empty"
        ),
        pytest.param(lambda: half_closing, "it hung up before its reply to EHLO", id="half-close"),
        pytest.param(
            lambda: saying(octets_of(b"220 h\r\n" + b"250-h\r\n" * 1000), 0.01),
            f"no reply to EHLO within {TIMEOUT} s",
            id="drip of lines",
        ),
    ],
)
def test_in_clear_text(answer: Callable[[], Answer], words: str) -> None:
    done = check(answer())
    assert (done.status, done.lines) == (2, [f"h: undetermined: {words}"])
    assert done.seconds <= BOUND
    assert done.cpu <= CPU


# Under TLS: all of it is what a host says after "220 go ahead".


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    return make(tmp_path_factory.mktemp("pair"))


def clear(connection: socket.socket) -> None:
    """Accept mail, which is an answer of its own, and offer STARTTLS."""
    replies = [b"220 h", b"250-h\r\n250 STARTTLS", b"250 ok", b"250 ok", b"221 h"]
    with connection.makefile("rb") as lines:
        for reply in replies:
            connection.sendall(reply + b"\r\n")
            lines.readline()


def starting(connection: socket.socket) -> None:
    """Up to the reply to STARTTLS."""
    with connection.makefile("rb") as lines:
        for reply in (b"220 h", b"250-h\r\n250 STARTTLS", b"220 go ahead"):
            connection.sendall(reply + b"\r\n")
            if reply != b"220 go ahead":
                lines.readline()


def record(kind: int, body: bytes) -> bytes:
    """RFC 8446, 5.1."""
    return bytes([kind, 3, 3]) + len(body).to_bytes(2) + body


ALERT, CCS, HANDSHAKE, DATA = 21, 20, 22, 23
WARNING = record(ALERT, b"\x01\x5a")  # user_canceled
HELLO_REQUEST = record(HANDSHAKE, bytes(4))  # RFC 5246, 7.4.1.1
BEGUN = record(HANDSHAKE, b"\x02\x00\x40\x00" + bytes(8))  # of a ServerHello of 16 KB


def flight(connection: socket.socket, pair: tuple[str, str]) -> bytes:
    """A real server's first flight, in reply to the ClientHello."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*pair)
    server = context.wrap_bio(incoming, outgoing, server_side=True)
    incoming.write(connection.recv(65536))
    with contextlib.suppress(ssl.SSLWantReadError):
        server.do_handshake()
    return outgoing.read()


def server_hello(connection: socket.socket, pair: tuple[str, str]) -> bytes:
    """Its first record alone."""
    octets = flight(connection, pair)
    return octets[: 5 + int.from_bytes(octets[3:5])]


def raw(pieces: Iterator[bytes], pause: float = 0.0) -> Callable[[tuple[str, str]], Answer]:
    """These octets in place of TLS."""

    def answer(connection: socket.socket) -> None:
        starting(connection)
        connection.recv(65536)
        saying(pieces, pause)(connection)

    return lambda _: answer


def after_server_hello(
    pieces: Callable[[], Iterator[bytes]],
) -> Callable[[tuple[str, str]], Answer]:
    def made(pair: tuple[str, str]) -> Answer:
        def answer(connection: socket.socket) -> None:
            starting(connection)
            connection.sendall(server_hello(connection, pair))
            saying(pieces())(connection)

        return answer

    return made


def drip(pair: tuple[str, str]) -> Answer:
    """A real handshake, one octet at a time."""

    def answer(connection: socket.socket) -> None:
        starting(connection)
        saying(octets_of(flight(connection, pair)), 0.01)(connection)

    return answer


def half_close(pair: tuple[str, str]) -> Answer:
    def answer(connection: socket.socket) -> None:
        starting(connection)
        connection.sendall(server_hello(connection, pair))
        connection.shutdown(socket.SHUT_WR)
        hold(connection)

    return answer


def huge_chain(pair: tuple[str, str]) -> Answer:
    """Certificates of more than 100 KB, which is what OpenSSL takes."""
    cert, key = pair
    chain = Path(cert).with_name("chain.pem")
    chain.write_text(Path(cert).read_text() * 1000)
    return secured((str(chain), key), hold)


def secured(
    pair: tuple[str, str],
    then: Callable[[ssl.SSLSocket], None],
    tickets: int = 2,
    version: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3,
) -> Answer:
    """Real TLS, and then what is said under it."""

    # Before anybody calls, because a long chain takes time, which is the caller's then.
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.maximum_version = version
    context.load_cert_chain(*pair)
    context.num_tickets = tickets

    def answer(connection: socket.socket) -> None:
        starting(connection)
        with context.wrap_socket(connection, server_side=True) as tls:
            then(tls)

    return answer


def says(pieces: Iterator[bytes], pause: float = 0.0) -> Callable[[tuple[str, str]], Answer]:
    """Under TLS, in place of replies."""
    return lambda pair: secured(pair, saying(pieces, pause))


def floods_tickets(pair: tuple[str, str]) -> Answer:
    """OpenSSL sends all of them before its handshake is over for it."""
    return secured(pair, hold, tickets=2**30)


def close_notify(tls: ssl.SSLSocket) -> None:
    """End TLS in the orderly way, but not the connection."""
    tls.recv(100)
    tls.settimeout(0.1)
    with contextlib.suppress(OSError):
        tls.unwrap()
    time.sleep(2 * TIMEOUT)


def fails(words: str) -> str:
    return f"STARTTLS does not work: {words}"


def undetermined(words: str) -> str:
    return f"under TLS: undetermined: {words}"


NOTHING = f"no reply to STARTTLS within {TIMEOUT} s"
TOO_MUCH = "it sends more than 262144 octets"
OPENSSL = "STARTTLS failed: "  # and then why, in OpenSSL's words


@pytest.mark.parametrize(
    ("made", "fault"),
    [
        pytest.param(floods_tickets, undetermined(TOO_MUCH), id="tickets"),
        pytest.param(drip, fails(NOTHING), id="drip"),
        pytest.param(
            raw(for_ever(b"\0\xff\x1b]0;x")),
            fails(OPENSSL),
            id="garbage",
        ),
        pytest.param(after_server_hello(lambda: iter([])), fails(NOTHING), id="silence"),
        pytest.param(half_close, fails("it hung up before its reply to STARTTLS"), id="half-close"),
        pytest.param(raw(for_ever(WARNING)), fails(OPENSSL), id="alerts"),
        pytest.param(
            after_server_hello(lambda: for_ever(record(CCS, b"\x01"))), fails(OPENSSL), id="ccs"
        ),
        pytest.param(raw(for_ever(HELLO_REQUEST)), fails(TOO_MUCH), id="requests"),
        pytest.param(raw(octets_of(BEGUN * 10), 0.01), fails(NOTHING), id="handshake without end"),
        pytest.param(huge_chain, fails(OPENSSL), id="certificates"),
        pytest.param(
            lambda pair: secured(pair, close_notify),
            undetermined("it hung up before its reply to EHLO"),
            id="close_notify",
        ),
        pytest.param(
            says(for_ever(b"250-h\r\n")),
            undetermined("a reply of more than 64 lines"),
            id="lines under TLS",
        ),
        pytest.param(
            says(octets_of(b"250 " + b"h" * 1000), 0.01),
            undetermined(f"no reply to EHLO within {TIMEOUT} s"),
            id="drip under TLS",
        ),
    ],
)
def test_under_tls(
    made: Callable[[tuple[str, str]], Answer], fault: str, pair: tuple[str, str]
) -> None:
    """The answer in clear text counts all the same; what is wrong with TLS is a line of its own."""
    done = check(clear, made(pair))
    answer, said = done.lines
    assert (done.status, answer) == (1, "h accepts mail: its reply to RCPT is '250 ok'")
    assert said == f"127.0.0.1: {fault}" or (fault.endswith(": ") and fault in said), said
    assert said.isascii()
    assert said.isprintable()
    assert done.seconds <= BOUND
    assert done.cpu <= CPU
