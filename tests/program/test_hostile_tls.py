"""What a hostile client of TLS, a damaged certificate or a fault of ours can do: nothing.

By each driver: every client has its record and its ending, every process the status 0, and a client
beside the hostile one is refused as before.
"""

import contextlib
import fcntl
import os
import re
import socket
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from ssl import TLSVersion

import pytest
from helpers.certificates import make
from helpers.hostile_tls import (
    ALERT,
    CERTIFICATE,
    CHANGE_CIPHER_SPEC,
    CLAIM,
    CLIENT_HELLO,
    CLOSE_NOTIFY,
    DATA,
    HANDSHAKE,
    HELLO_REQUEST,
    KEY_UPDATE,
    MAX_CLAIM,
    SHORT_RECORD,
    TLS_1_3,
    VERSIONS,
    Contexts,
    Peer,
    client_hello,
    fragments,
    message,
    record,
)
from helpers.program import (
    GREETING,
    MAIN,
    REFUSED,
    TEST_TIMEOUT,
    Caller,
    Driver,
    Served,
    Server,
    answered,
    starttls,
    until,
)

OK = b"250 OK\r\n"
DECODE_ERROR = record(ALERT, b"\x02\x32")
OURS = "a fault of null521's own"
SAID = b"HELO y\r\nMAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\n"
TOLD = b"250 h.example\r\n" + OK + REFUSED
KNOWN = " (y), mail from <a@b>, to <c@d>; "


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    return make(tmp_path_factory.mktemp("pair"))


@pytest.fixture(scope="module")
def contexts() -> Iterator[Contexts]:
    made = Contexts()
    yield made
    made.close()


def flags(pair: tuple[str, str]) -> list[str]:
    return ["--refuse-at=rcpt", f"--tls-cert={pair[0]}", f"--tls-key={pair[1]}"]


def some(client: socket.socket) -> bytes:
    """What it has to say, and it has something."""
    octets = client.recv(65536)
    assert octets, "the end, in the middle of it"
    return octets


def up(client: socket.socket, peer: Peer, hello: bytes = b"") -> None:
    """Go on to where TLS is up, with another ClientHello in octets but not in meaning."""
    octets = peer.hello()
    client.sendall(hello or octets)
    while not peer.is_up:
        client.sendall(peer.receive(some(client)))


def read_all(client: socket.socket, peer: Peer) -> bytes:
    """What is said under TLS to the end of the connection; then close it."""
    while octets := client.recv(65536):
        peer.receive(octets)
    client.close()
    return peer.read()


def ending_of(to: Caller) -> tuple[str, str]:
    """The ending, and all of the record; it is no fault of ours."""
    said = to.record()
    assert OURS not in said
    found = re.search(r"; ([a-z-]+) after \d+ commands?, \d+\.\d{3} s\n$", said)
    assert found, said
    return found[1], said


def assert_refused(driver: Driver, *flags: str) -> None:
    """Another client notices nothing."""
    with driver(*flags) as to:
        to.client.sendall(SAID + b"QUIT\r\n")
        assert to.read_all() == GREETING + TOLD + b"221 h.example\r\n"
        assert KNOWN + "quit after 4 commands" in to.record()


# The handshake.


def test_a_claim_of_much_more_than_has_come(driver: Driver, pair: tuple[str, str]) -> None:
    """OpenSSL would allocate all of it at once: 19 octets, STARTTLS included."""
    assert len(b"STARTTLS\r\n" + CLAIM) == 19
    for pieces in ([CLAIM], [CLAIM[:1], CLAIM[1:7], CLAIM[7:]]):
        with driver(*flags(pair)) as to:
            starttls(to.client)
            for piece in pieces:
                to.client.sendall(piece)
                time.sleep(0.02)
            assert to.read_all() == DECODE_ERROR
            ending, said = ending_of(to)
            assert ending == "tls", said
    assert_refused(driver, *flags(pair))


@pytest.mark.parametrize("at_once", [True, False])
def test_a_claim_in_answer_to_a_hello_retry_request(
    driver: Driver, pair: tuple[str, str], at_once: bool
) -> None:
    with driver(*flags(pair)) as to:
        starttls(to.client)
        first = fragments(client_hello(), 2**14)
        if at_once:
            to.client.sendall(first + CLAIM)
            told = to.read_all()
        else:
            to.client.sendall(first)
            told = to.client.recv(65536)
            to.client.sendall(CLAIM)
            told += to.read_all()
        assert told[:1] == record(HANDSHAKE, b"")[:1]
        assert told.endswith(DECODE_ERROR)
        assert ending_of(to)[0] == "tls"


@pytest.mark.parametrize(
    "octets",
    [
        record(HANDSHAKE, client_hello()[:-1] + bytes(9000), 0x0301),  # more than is claimed
        fragments(client_hello(padding=9000), 1000),
        record(CHANGE_CIPHER_SPEC, b"\1") * 2000,
        fragments(message(CLIENT_HELLO, b"", 8000), 1) * 1500,
    ],
    ids=["behind", "long", "nothing", "octet by octet"],
)
def test_a_hello_that_is_too_long(driver: Driver, pair: tuple[str, str], octets: bytes) -> None:
    with driver(*flags(pair)) as to:
        starttls(to.client)
        to.client.sendall(octets)
        assert to.read_all() == DECODE_ERROR
        assert ending_of(to)[0] == "tls"


@pytest.mark.parametrize("kind", [HELLO_REQUEST, CERTIFICATE, 16, 20, KEY_UPDATE, 255])
def test_another_message_than_a_client_hello(
    driver: Driver, pair: tuple[str, str], kind: int
) -> None:
    with driver(*flags(pair)) as to:
        starttls(to.client)
        to.client.sendall(record(HANDSHAKE, message(kind, b"", MAX_CLAIM), 0x0301))
        assert to.read_all()[:1] == bytes([ALERT])
        assert ending_of(to)[0] == "tls"


@pytest.mark.parametrize("size", [1, 3, 100])
@pytest.mark.parametrize("version", VERSIONS)
def test_a_hello_in_many_records_is_none_the_worse(
    driver: Driver, pair: tuple[str, str], contexts: Contexts, version: TLSVersion, size: int
) -> None:
    peer = contexts.peer(version)
    hello = fragments(peer.hello()[5:], size)
    with driver(*flags(pair)) as to:
        starttls(to.client)
        for at in range(0, len(hello), 700):
            to.client.sendall(hello[at : at + 700])
            time.sleep(0.01)
        while not peer.is_up:
            to.client.sendall(peer.receive(some(to.client)))
        to.client.sendall(peer.says(SAID + b"QUIT\r\n"))
        assert read_all(to.client, peer) == TOLD + b"221 h.example\r\n"
        ending, said = ending_of(to)
        assert ending == "quit"
        assert KNOWN in said


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("how", ["close", "close_notify", "half of the rest", "silence"])
def test_half_a_handshake(
    driver: Driver, pair: tuple[str, str], contexts: Contexts, version: TLSVersion, how: str
) -> None:
    more = ["--idle-timeout=1"] if how == "silence" else []
    peer = contexts.peer(version)
    with driver(*flags(pair), *more) as to:
        starttls(to.client)
        to.client.sendall(peer.hello())
        rest = peer.receive(to.client.recv(65536))
        if how == "close_notify":
            to.client.sendall(record(ALERT, CLOSE_NOTIFY))
        elif how == "half of the rest":
            to.client.sendall(rest[: len(rest) // 2])
        if how != "silence":
            to.client.shutdown(socket.SHUT_WR)
        assert b"521" not in to.read_all()
        expected = {"close_notify": ("tls", "eof"), "silence": ("idle",)}.get(how, ("eof",))
        assert ending_of(to)[0] in expected


# After it.


@pytest.mark.parametrize("octets", [SHORT_RECORD, bytes(500), record(22, CLAIM), record(23, b"")])
@pytest.mark.parametrize("version", VERSIONS)
def test_what_is_no_record_of_this_connection(
    driver: Driver, pair: tuple[str, str], contexts: Contexts, version: TLSVersion, octets: bytes
) -> None:
    """OpenSSL has no reason for some of these errors."""
    peer = contexts.peer(version)
    with driver(*flags(pair)) as to:
        starttls(to.client)
        up(to.client, peer)
        to.client.sendall(peer.says(SAID) + octets)
        to.client.shutdown(socket.SHUT_WR)
        while to.client.recv(65536):
            pass
        to.client.close()
        ending, said = ending_of(to)
        assert ending == "tls", said
    assert_refused(driver, *flags(pair))


def test_a_key_update_is_obeyed(driver: Driver, pair: tuple[str, str], contexts: Contexts) -> None:
    peer = contexts.peer(TLS_1_3)
    with driver(*flags(pair)) as to:
        starttls(to.client)
        up(to.client, peer)
        for _ in range(3):
            to.client.sendall(peer.says(b"NOOP\r\n") + peer.key_update())
        to.client.sendall(peer.says(SAID) + peer.key_update(ask=False) + peer.says(b"QUIT\r\n"))
        assert read_all(to.client, peer) == OK * 3 + TOLD + b"221 h.example\r\n"
        ending, said = ending_of(to)
        assert (ending, KNOWN in said) == ("quit", True)


@pytest.mark.parametrize("pause", [0.0, 0.2])
def test_a_key_update_cut_in_two(
    driver: Driver, pair: tuple[str, str], contexts: Contexts, pause: float
) -> None:
    """Between the two, OpenSSL cannot write; then the replies come, and all is remembered."""
    peer = contexts.peer(TLS_1_3)
    with driver(*flags(pair)) as to:
        starttls(to.client)
        up(to.client, peer)
        said = peer.says(SAID)
        first, second = peer.key_update_in_two()
        to.client.sendall(said + first)
        time.sleep(pause)
        to.client.sendall(second + peer.says(b"NOOP\r\n"))
        to.client.sendall(peer.says(b"QUIT\r\n"))
        assert read_all(to.client, peer) == TOLD + OK + b"221 h.example\r\n"
        ending, remembered = ending_of(to)
        assert (ending, KNOWN in remembered) == ("quit", True)


@pytest.mark.parametrize("how", ["eof", "idle"])
def test_half_a_key_update(
    driver: Driver, pair: tuple[str, str], contexts: Contexts, how: str
) -> None:
    """The replies cannot be sent; nobody spins, and nothing is forgotten."""
    peer = contexts.peer(TLS_1_3)
    with driver(*flags(pair), *(["--idle-timeout=1"] if how == "idle" else [])) as to:
        starttls(to.client)
        up(to.client, peer)
        said = peer.says(SAID)
        to.client.sendall(said + peer.key_update_in_two()[0])
        if how == "eof":
            to.client.shutdown(socket.SHUT_WR)
        read_all(to.client, peer)
        ending, remembered = ending_of(to)
        assert (ending, KNOWN in remembered) == (how, True)
    assert_refused(driver, *flags(pair))


def test_key_updates_without_end(driver: Driver, pair: tuple[str, str], contexts: Contexts) -> None:
    peer = contexts.peer(TLS_1_3)
    many = [*flags(pair), "--max-octets=100000"]
    with driver(*many) as to:
        starttls(to.client)
        up(to.client, peer)
        to.client.sendall(peer.says(SAID))
        with contextlib.suppress(ConnectionError):
            for _ in range(100):
                to.client.sendall(b"".join(peer.key_update() for _ in range(50)))
                with contextlib.suppress(BlockingIOError):
                    to.client.recv(65536, socket.MSG_DONTWAIT)
            while to.client.recv(65536):
                pass
        to.client.close()
        ending, said = ending_of(to)
        assert ending in ("limit", "tls"), said
        assert KNOWN in said


@pytest.mark.parametrize(
    ("kind", "body", "endings"),
    [
        (HANDSHAKE, client_hello(), ("eof", "tls")),  # renegotiation
        (HANDSHAKE, message(HELLO_REQUEST, b""), ("eof", "tls")),
        (HANDSHAKE, message(CERTIFICATE, b"", MAX_CLAIM), ("tls", "eof")),
        (HANDSHAKE, message(CLIENT_HELLO, b"", MAX_CLAIM), ("tls", "eof")),
        (ALERT, b"\1\x5a", ("eof", "tls")),
        (ALERT, b"\2\x28", ("tls",)),
        (ALERT, b"\2", ("tls",)),
        (DATA, b"", ("eof",)),
        (CHANGE_CIPHER_SPEC, b"\1", ("tls",)),
        (99, b"x", ("tls",)),
    ],
    ids=str,
)
@pytest.mark.parametrize("version", VERSIONS)
def test_records_that_nobody_sends(
    driver: Driver,
    pair: tuple[str, str],
    contexts: Contexts,
    version: TLSVersion,
    kind: int,
    body: bytes,
    endings: tuple[str, ...],
) -> None:
    peer = contexts.peer(version)
    with driver(*flags(pair)) as to:
        starttls(to.client)
        up(to.client, peer)
        to.client.sendall(peer.says(SAID) + peer.encrypted(kind, body))
        to.client.shutdown(socket.SHUT_WR)
        while to.client.recv(65536):
            pass
        to.client.close()
        ending, said = ending_of(to)
        assert ending in endings, said


@pytest.mark.parametrize("version", VERSIONS)
def test_many_commands_and_the_end_of_tls_in_one_go(
    driver: Driver, pair: tuple[str, str], contexts: Contexts, version: TLSVersion
) -> None:
    """Each has its reply, in records that Exim takes at once: of at most 4,096 octets."""
    peer = contexts.peer(version)
    with driver(*flags(pair)) as to:
        starttls(to.client)
        up(to.client, peer)
        said = b"RCPT TO:<x>\r\n" * 250 + b"QUIT\r\n"
        to.client.sendall(peer.says(said) + peer.encrypted(ALERT, CLOSE_NOTIFY))
        told = b""
        while octets := to.client.recv(65536):
            told += octets
        at = 0
        while at < len(told):
            length = int.from_bytes(told[at + 3 : at + 5])
            assert length <= 4096 + 24
            at += 5 + length
        peer.receive(told)
        assert peer.read() == REFUSED * 250 + b"221 h.example\r\n"
        to.client.close()
        assert ending_of(to)[0] == "quit"


# Damaged files.


def damaged(folder: Path, how: str) -> tuple[str, str]:
    """A pair of which one file is damaged in that way."""
    certs = make(folder)
    cert, key = Path(certs[0]), Path(certs[1])
    lines = key.read_text().splitlines(keepends=True)
    if how == "garbage key":
        body = "QUJD" * 16 + "\n"
        key.write_text(lines[0] + body * 3 + lines[-1])
    elif how == "key without a line":
        key.write_text("".join(lines[:2] + lines[3:]))
    elif how == "key without a character":
        key.write_text(lines[0] + lines[1][1:] + "".join(lines[2:]))
    elif how == "truncated certificate":
        cert.write_text(cert.read_text()[:-60])
    elif how == "garbled chain":
        text = cert.read_text()
        cert.write_text(text + text.replace("\nMII", "\nABC"))
    elif how == "encrypted key":
        make(folder, password="secret")
    elif how == "another's key":
        other = folder / "other"
        other.mkdir()
        key.write_text(Path(make(other)[1]).read_text())
    elif how == "empty file":
        cert.write_text("")
    elif how == "half-written":
        key.write_text("".join(lines)[: len("".join(lines)) // 2])
    elif how == "a folder":
        key.unlink()
        key.mkdir()
    else:
        raise AssertionError(how)
    return certs


HOW = [
    "garbage key",
    "key without a line",
    "key without a character",
    "truncated certificate",
    "garbled chain",
    "encrypted key",
    "another's key",
    "empty file",
    "half-written",
    "a folder",
]
TRIES = b"EHLO y\r\nSTARTTLS\r\nMAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nQUIT\r\n"
UNAVAILABLE = "STARTTLS is not available: "


def assert_codes(told: bytes) -> None:
    codes = re.findall(rb"^(\d{3}) ", told, re.MULTILINE)
    assert codes[:2] == [b"220", b"250"]
    assert codes[2] in (b"454", b"521")  # offered, or not even that
    assert codes[3:] == [b"250", b"521", b"221"]


@pytest.mark.parametrize("how", HOW)
def test_a_damaged_pair_is_a_missing_one(launcher: Path, tmp_path: Path, how: str) -> None:
    """For a process of its own: status 0, the refusal, one warning."""
    with answered(launcher, *flags(damaged(tmp_path, how))) as to:
        to.client.sendall(TRIES)
        assert_codes(to.read_all())
        said = to.record().splitlines()
    assert len(said) == 2, said
    assert sum(UNAVAILABLE in line for line in said) == 1
    assert sum(KNOWN + "quit after 5 " in line for line in said) == 1


@pytest.mark.parametrize("how", HOW)
def test_a_server_with_a_damaged_pair(tmp_path: Path, how: str) -> None:
    with Server(*flags(damaged(tmp_path, how))) as server:
        (warning,) = server.starting
        assert warning["message"].startswith(UNAVAILABLE)
        for _ in range(2):
            with server.dial() as client:
                client.sendall(TRIES)
                assert_codes(Served(client, server).read_all())
            assert KNOWN + "quit after 5 " in server.next()["message"]
        assert server.stop() == []


# The pair is read often, but not while the test has a lock on its folder.
SOON = """
import fcntl, os
from null521.serve import server
server.CERTIFICATE_AGE = server.CERTIFICATE_RETRY = 0.1
load = server.Server._load_certificate
def load_alone(self):
    folder = os.open(os.path.dirname(self.settings.tls_cert), os.O_RDONLY)
    fcntl.flock(folder, fcntl.LOCK_EX)
    try:
        return load(self)
    finally:
        os.close(folder)
server.Server._load_certificate = load_alone
"""
SERVE_SOON = (sys.executable, "-c", MAIN.format(SOON))


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    descriptor = os.open(folder, os.O_RDONLY)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    try:
        yield
    finally:
        os.close(descriptor)


def offers(server: Server) -> bool:
    with server.dial() as client:
        client.sendall(b"EHLO x\r\nQUIT\r\n")
        return b"STARTTLS" in Served(client, server).read_all()


@pytest.mark.parametrize("how", HOW[:-1])
def test_a_pair_that_is_repaired_is_used(tmp_path: Path, how: str) -> None:
    """As when it is read while certbot writes it."""
    pair = damaged(tmp_path, how)
    with Server(*flags(pair), words=SERVE_SOON) as server:
        assert not offers(server)
        time.sleep(0.3)  # it is read again, and no more is said
        with locked(tmp_path):
            make(tmp_path)
        until(lambda: offers(server))
        warnings = [entry for entry in server.stop() if UNAVAILABLE in entry["message"]]
        assert len(server.starting) == 1
        assert warnings == []


@pytest.mark.parametrize("how", HOW[:-1])
def test_a_pair_that_worked_stays_in_use(tmp_path: Path, contexts: Contexts, how: str) -> None:
    pair = make(tmp_path)
    with Server(*flags(pair), words=SERVE_SOON) as server:
        with locked(tmp_path):
            damaged(tmp_path, how)
        while UNAVAILABLE not in server.next()["message"]:
            pass
        peer = contexts.peer(TLS_1_3)
        with server.dial() as client:
            starttls(client)
            up(client, peer)
            client.sendall(peer.says(SAID + b"QUIT\r\n"))
            assert read_all(client, peer) == TOLD + b"221 h.example\r\n"
        entries = server.stop()
        assert [UNAVAILABLE in entry["message"] for entry in entries] == [False]


# A fault of our own, wherever it shows.

# What is done with a client that says HELO boom, or BOOM, before it runs.
BREAK = """
from null521 import session
real = {{n: getattr(session.Session, n) for n in ('greeting', 'receive', 'refusal')}}
def receive(self, octets):
    replies = real['receive'](self, octets)
    if b'BOOM' in octets and {when!r} == 'receive':
        raise {error}
    return replies
def refusal(self):
    if self.helo == b'boom' and {when!r} == 'refusal':
        raise {error}
    return real['refusal'](self)
def greeting(self, count=[]):
    count.append(1)
    if len(count) == 1 and {when!r} == 'greeting':
        raise {error}
    return real['greeting'](self)
session.Session.receive, session.Session.refusal = receive, refusal
session.Session.greeting = greeting
if {when!r} == 'record':
    from null521 import record
    real_record = record.of_session
    def of_session(session, *rest):
        if session.helo == b'boom':
            raise {error}
        return real_record(session, *rest)
    record.of_session = of_session
if {when!r} == 'tls':
    from null521 import tls
    def broken(self, octets):
        raise {error}
    tls.Secured.receive = broken
"""
ERRORS = ["AttributeError('none\\udcff\\n')", "MemoryError()", "RecursionError()"]


@pytest.fixture(params=["handler", "serve"])
def faulty(
    request: pytest.FixtureRequest, launcher: Path, tmp_path: Path
) -> Iterator[Callable[..., Driver]]:
    """A driver with such a fault in it; with a server, a second client is refused as before."""

    with contextlib.ExitStack() as running:

        def made(when: str, error: str, *flags: str) -> Driver:
            code = BREAK.format(when=when, error=error)
            if request.param == "handler":
                script = tmp_path / "faulty"
                text = launcher.read_text()
                assert text.count("from null521.cli") == 1
                script.write_text(text.replace("from null521.cli", f"{code}\nfrom null521.cli"))
                script.chmod(0o755)
                return lambda *_: answered(script, *flags)
            words = (sys.executable, "-c", MAIN.replace("{}", code))
            server = running.enter_context(Server(*flags, words=words))

            @contextlib.contextmanager
            def served(*_: str) -> Iterator[Caller]:
                with server.dial() as client:
                    yield Faulty(client, server)

            return served

        yield made


class Faulty(Served):
    """By a server; with the record comes what was said of a fault before it."""

    def record(self) -> str:
        first, second = self.server.next(), self.server.next()
        with self.server.dial() as client:
            client.sendall(SAID + b"QUIT\r\n")
            assert Served(client, self.server).read_all() == GREETING + TOLD + b"221 h.example\r\n"
        assert self.server.next()["ending"] == "quit"
        assert self.server.stop() == []
        return f"null521: {first['message']}\nnull521: {second['message']}\n"


def assert_told_of_fault(said: str, known: str) -> None:
    """The record with all that was known, and one line of where it was."""
    lines = said.splitlines()
    assert len(lines) == 2, said
    assert said.isascii()
    (where,) = [line for line in lines if OURS in line]
    assert re.search(r" at [a-z<>-]+(\.py)?:\d+$", where)
    (session,) = [line for line in lines if OURS not in line]
    assert known in session


@pytest.mark.parametrize("error", ERRORS)
def test_a_session_that_fails_in_what_it_is_told(faulty: Callable[..., Driver], error: str) -> None:
    with faulty("receive", error, "--refuse-at=rcpt")() as to:
        to.client.sendall(SAID)
        told = b""
        while len(told) < len(GREETING + TOLD):
            told += some(to.client)
        to.client.sendall(b"BOOM\r\nNOOP\r\n")
        assert told + to.read_all() == GREETING + TOLD + REFUSED
        assert_told_of_fault(to.record(), KNOWN + "fault after 5 commands")


def test_a_session_that_cannot_greet(faulty: Callable[..., Driver]) -> None:
    with faulty("greeting", ERRORS[0], "--refuse-at=rcpt")() as to:
        assert to.read_all() == REFUSED
        assert_told_of_fault(to.record(), "Refused 127.0.0.1; fault after 0 commands")


def test_a_session_that_cannot_say_its_last_word(faulty: Callable[..., Driver]) -> None:
    with faulty("refusal", ERRORS[0], "--refuse-at=rcpt", "--idle-timeout=1")() as to:
        to.client.sendall(b"HELO boom\r\n")
        assert to.read_all() == GREETING + b"250 h.example\r\n"
        assert_told_of_fault(to.record(), "Refused 127.0.0.1 (boom); fault after 1 command,")


@pytest.mark.parametrize("error", ERRORS)
def test_a_session_whose_record_fails(faulty: Callable[..., Driver], error: str) -> None:
    with faulty("record", error, "--refuse-at=rcpt")() as to:
        to.client.sendall(b"HELO boom\r\nQUIT\r\n")
        assert to.read_all() == GREETING + b"250 h.example\r\n221 h.example\r\n"
        assert_told_of_fault(to.record(), "Refused 127.0.0.1; fault")


def test_a_session_that_fails_under_tls(
    faulty: Callable[..., Driver], pair: tuple[str, str], contexts: Contexts
) -> None:
    """Not a word in clear."""
    peer = contexts.peer(TLS_1_3)
    with faulty("receive", ERRORS[0], *flags(pair))() as to:
        starttls(to.client)
        up(to.client, peer)
        to.client.sendall(peer.says(SAID))
        while len(peer.read()) < 10:
            peer.receive(some(to.client))
        to.client.sendall(peer.says(b"BOOM\r\n"))
        assert b"521 " not in to.read_all()
        assert_told_of_fault(to.record(), KNOWN + "fault after 5 commands")


def test_tls_that_fails(faulty: Callable[..., Driver], pair: tuple[str, str]) -> None:
    with faulty("tls", ERRORS[0], *flags(pair))() as to:
        starttls(to.client)
        to.client.sendall(CLAIM)
        assert to.read_all() == b""
        assert_told_of_fault(to.record(), "Refused 127.0.0.1; fault after 1 command")


# The time that a handshake may take.

SHORT = "from null521 import settings; settings.HANDSHAKE_SECONDS = 1.0"


@pytest.mark.parametrize("way", ["handler", "serve"])
@pytest.mark.parametrize("words", [b"\x16", b""], ids=["drip", "silence"])
def test_a_handshake_has_a_deadline_of_its_own(
    launcher: Path, tmp_path: Path, pair: tuple[str, str], way: str, words: bytes
) -> None:
    """However often the client says an octet; time in clear does not count."""
    with contextlib.ExitStack() as running:
        to: Caller
        if way == "handler":
            script = tmp_path / "short"
            text = launcher.read_text()
            script.write_text(text.replace("from null521.cli", f"{SHORT}\nfrom null521.cli"))
            script.chmod(0o755)
            to = running.enter_context(answered(script, *flags(pair)))
        else:
            command = (sys.executable, "-c", MAIN.format(SHORT))
            server = running.enter_context(Server(*flags(pair), words=command))
            to = Served(running.enter_context(server.dial()), server)
        time.sleep(1.5)  # in clear
        start = time.monotonic()
        starttls(to.client)
        to.client.sendall(record(HANDSHAKE, client_hello())[:9])
        to.client.settimeout(0.1)
        told = b"nothing yet"
        while told and time.monotonic() < start + TEST_TIMEOUT:
            try:
                told = to.client.recv(100)
            except TimeoutError:
                to.client.send(words)
        assert 1 <= time.monotonic() - start < 5
        assert told == b""
        to.client.close()
        assert ending_of(to)[0] == "deadline"


def test_no_deadline_of_a_handshake_once_it_is_done(
    pair: tuple[str, str], contexts: Contexts
) -> None:
    seconds = SHORT.replace("1.0", "3.0")
    command = (sys.executable, "-c", MAIN.format(seconds))
    peer = contexts.peer(TLS_1_3)
    with Server(*flags(pair), words=command) as server, server.dial() as client:
        starttls(client)
        up(client, peer)
        time.sleep(3.7)
        client.sendall(peer.says(b"QUIT\r\n"))
        assert read_all(client, peer) == b"221 h.example\r\n"
        assert server.next()["ending"] == "quit"
