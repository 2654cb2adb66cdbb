"""STARTTLS: the Session with TLS around it, without I/O, and the program with real sockets."""

import socket
import ssl
import sys
import time
from itertools import pairwise
from pathlib import Path

import pytest
from helpers.certificates import make
from helpers.program import (
    GREETING,
    LONG_REFUSED,
    MAIN,
    SERVE,
    SLOW_COUNT,
    SLOW_FLAGS,
    TEXT,
    Driver,
    Served,
    Server,
    answered,
)
from helpers.program import REFUSED as PLAIN_REFUSED
from hypothesis import given, settings
from hypothesis import strategies as st

from null521.session import STAGES, Session
from null521.tls import Secured, context

OFFER = b"250-h.example\r\n250-PIPELINING\r\n250-ENHANCEDSTATUSCODES\r\n250-8BITMIME\r\n"
OFFER_IN_CLEAR = OFFER + b"250-SMTPUTF8\r\n250 STARTTLS\r\n"
OFFER_UNDER_TLS = OFFER + b"250 SMTPUTF8\r\n"
REFUSED = b"521 5.3.2 h.example is configured NOT to accept any mail.\r\n"
BYE = b"221 2.0.0 h.example\r\n"

WITHOUT_SSL = "sys.modules['_ssl'] = sys.modules['uvloop'] = None  # import fails then"
SERVE_WITHOUT_SSL = (sys.executable, "-c", MAIN.format(WITHOUT_SSL))


def unverified(**versions: ssl.TLSVersion) -> ssl.SSLContext:
    """A client that takes any certificate, as mail servers do that insist on TLS alone."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    for name, version in versions.items():
        setattr(context, name, version)
    return context


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    return make(tmp_path_factory.mktemp("pair"), "ec", "-days", "36500")


# The Session by itself.


def session(stage: str = "rcpt", starttls: bool = True) -> Session:
    return Session("h.example", TEXT, stage, starttls=starttls)


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("starttls", [True, False])
def test_offered_only_where_a_certificate_is_and_ehlo_is_answered(
    stage: str, starttls: bool
) -> None:
    on = session(stage, starttls)
    assert (b"STARTTLS" in on.receive(b"EHLO x\r\n")) == (starttls and stage in ("mail", "rcpt"))
    refused = on.receive(b"STARTTLS\r\n")
    assert on.asked_for_tls == (starttls and stage in ("mail", "rcpt"))
    assert refused == b"" if on.asked_for_tls else refused.startswith(b"521 ")


def test_what_came_in_clear_is_forgotten() -> None:
    """RFC 3207, 4.2: the argument of EHLO, and all else."""
    on = session()
    on.receive(b"EHLO x\r\nMAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nstarttls\r\n")
    assert on.starttls(ready=True) == b"220 2.0.0 go ahead with TLS\r\n"
    on.secured("TLSv1.3")
    assert (on.helo, on.sender, on.recipients, on.recipient_count) == (b"", None, [], 0)
    assert on.receive(b"STARTTLS\r\n") == PLAIN_REFUSED  # not offered again, and no EHLO so far
    assert on.receive(b"EHLO x\r\n") == OFFER_UNDER_TLS
    assert on.commands == 6


@given(st.binary(max_size=300))
def test_what_is_behind_starttls_is_not_obeyed(behind: bytes) -> None:
    """CVE-2011-0411: said in clear by whoever is between, it must not count as said under TLS."""
    on = session()
    assert on.receive(b"STARTTLS\r\n" + behind) == b""
    assert on.starttls(ready=True) == b"220 go ahead with TLS\r\n"
    on.secured("TLSv1.3")
    assert on.receive(b"NOOP\r\n") == b"250 OK\r\n"


@given(st.sampled_from([b"RCPT TO:<x>\r\nNOOP\r\n", b"NOOP\nNO", b"QUIT\r\nNOOP\r\n", b""]))
def test_where_tls_cannot_be_each_command_behind_gets_its_reply(behind: bytes) -> None:
    on, other = session(), session(starttls=False)
    assert on.receive(b"STARTTLS\r\n" + behind) == b""
    assert on.starttls(ready=False) == b"454 TLS is not available\r\n" + other.receive(behind)
    assert on.receive(b"OP\r\nSTARTTLS\r\n") == other.receive(b"OP\r\nSTARTTLS\r\n")


def test_starttls_beyond_the_bound_of_octets() -> None:
    on = Session("h.example", TEXT, "rcpt", max_octets=30, starttls=True)
    assert on.receive(b"STARTTLS\r\n" + b"NOOP\r\n" * 10) == b""
    on.starttls(ready=True)
    on.secured("TLSv1.3")
    assert on.receive(b"NOOP\r\n") == PLAIN_REFUSED
    assert on.ending == "limit"


# With TLS around it.


def ready(pair: tuple[str, str], max_octets: int = 65536) -> tuple[Session, Secured]:
    """After STARTTLS and its reply."""
    on = session()
    on.receive(b"STARTTLS\r\n")
    on.starttls(ready=True)
    return on, Secured(on, context(*pair), max_octets)


class Client:
    """The other end, without I/O."""

    def __init__(self, context: ssl.SSLContext) -> None:
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(self.incoming, self.outgoing)

    def shake_hands(self, secured: Secured) -> None:
        while True:
            try:
                self.tls.do_handshake()
            except ssl.SSLWantReadError:
                self.incoming.write(secured.receive(self.outgoing.read()))
            else:
                # The end of the handshake, in TLS 1.3.
                self.incoming.write(secured.receive(self.outgoing.read()))
                return

    def read(self) -> bytes:
        words = b""
        try:
            while piece := self.tls.read():
                words += piece
        except (ssl.SSLWantReadError, ssl.SSLZeroReturnError):
            pass
        return words


@settings(max_examples=settings().max_examples // 2)
@given(st.lists(st.integers(0, 2000), max_size=8))
def test_replies_do_not_depend_on_how_tls_is_cut(pair: tuple[str, str], cuts: list[int]) -> None:
    (_, secured), client = ready(pair), Client(unverified())
    client.shake_hands(secured)
    client.tls.write(b"EHLO y\r\nMAIL FROM:<a@b>\r\nRCPT")
    client.tls.write(b" TO:<c@d>\r\nQUIT\r\n")
    octets = client.outgoing.read()
    edges = [0, *sorted(min(cut, len(octets)) for cut in cuts), len(octets)]
    for start, end in pairwise(edges):
        client.incoming.write(secured.receive(octets[start:end]))
    assert client.read() == OFFER_UNDER_TLS + b"250 2.1.0 OK\r\n" + REFUSED + BYE
    assert secured.ending == "quit"


def test_a_last_word_together_with_the_end_of_tls(pair: tuple[str, str]) -> None:
    """As Exim sends it: QUIT is not made an "eof" by the end that comes along with it."""
    for said, ending, replies in ((b"QUIT\r\n", "quit", b"221 h.example\r\n"), (b"", "eof", b"")):
        (_, secured), client = ready(pair), Client(unverified())
        client.shake_hands(secured)
        if said:
            client.tls.write(said)
        with pytest.raises(ssl.SSLWantReadError):
            client.tls.unwrap()
        client.incoming.write(secured.receive(client.outgoing.read()))
        assert client.read() == replies
        assert secured.ending == ending


@settings(max_examples=settings().max_examples // 2)
@given(st.binary(min_size=1, max_size=500))
def test_what_is_not_tls_ends_it_without_a_word_in_clear(
    pair: tuple[str, str], octets: bytes
) -> None:
    on, secured = ready(pair)
    reply = secured.receive(octets)
    # An alert (RFC 8446, 5.1 and 6), or nothing.
    assert reply[:1] in (b"", b"\x15")
    assert secured.ending in ("", "tls")
    assert on.tls.startswith("failed: ") == (secured.ending == "tls") >= bool(reply)
    if secured.ending:
        assert secured.receive(octets) == b""
        assert secured.refusal() == b""


def test_nothing_is_said_in_clear_during_the_handshake(pair: tuple[str, str]) -> None:
    _, secured = ready(pair, max_octets=100)
    assert secured.refusal() == b""
    assert secured.receive(b"\x16\x03\x01" + b"\x01" * 100) == b""
    assert secured.ending == "limit"


def test_octets_of_tls_are_bounded(pair: tuple[str, str]) -> None:
    (_, secured), client = ready(pair, 5000), Client(unverified())
    client.shake_hands(secured)
    client.tls.write(b"NOOP\r\n")
    while not secured.ending:
        client.outgoing.write(client.outgoing.read())
        client.tls.write(b"x")
        client.incoming.write(secured.receive(client.outgoing.read()))
    assert secured.ending == "limit"
    assert client.read() == b"250 OK\r\n" + PLAIN_REFUSED


# The program, with real sockets and by both drivers.


def upgrade(client: socket.socket, context: ssl.SSLContext) -> ssl.SSLSocket:
    """EHLO and STARTTLS in clear, then the handshake."""
    client.sendall(b"EHLO x\r\n")
    said = b""
    while not said.endswith(b"STARTTLS\r\n"):
        said += (octet := client.recv(1))
        assert octet, said
    assert said == GREETING + OFFER_IN_CLEAR
    client.sendall(b"STARTTLS\r\n")
    assert client.recv(100) == b"220 2.0.0 go ahead with TLS\r\n"
    return context.wrap_socket(client)


def flags(pair: tuple[str, str]) -> list[str]:
    return ["--refuse-at=rcpt", f"--tls-cert={pair[0]}", f"--tls-key={pair[1]}"]


def read_all(client: ssl.SSLSocket) -> bytes:
    """To the end, which has to be that of TLS: ragged, it is an error."""
    words = bytearray()
    while piece := client.recv(65536):
        words += piece
    return bytes(words)


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_refused_under_tls(driver: Driver, pair: tuple[str, str], version: ssl.TLSVersion) -> None:
    with driver(*flags(pair)) as to:
        client = upgrade(to.client, unverified(minimum_version=version, maximum_version=version))
        client.sendall(b"EHLO y\r\nMAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nQUIT\r\n")
        words = read_all(client)
        assert words == OFFER_UNDER_TLS + b"250 2.1.0 OK\r\n" + REFUSED + BYE
        client.close()
        assert "Refused 127.0.0.1 (y), mail from <a@b>, to <c@d>; quit after 6 " in to.record()


def test_what_is_pipelined_behind_starttls(driver: Driver, pair: tuple[str, str]) -> None:
    with driver(*flags(pair)) as to:
        to.client.sendall(b"STARTTLS\r\nRCPT TO:<x>\r\n")
        to.client.shutdown(socket.SHUT_WR)
        assert to.read_all() == GREETING + b"220 go ahead with TLS\r\n"
        assert "Refused 127.0.0.1; eof after 1 command" in to.record()


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion.TLSv1:DeprecationWarning")
def test_old_tls_is_turned_away_with_an_alert(driver: Driver, pair: tuple[str, str]) -> None:
    with driver(*flags(pair)) as to:
        context = unverified(
            minimum_version=ssl.TLSVersion.TLSv1, maximum_version=ssl.TLSVersion.TLSv1_1
        )
        context.set_ciphers("ALL:@SECLEVEL=0")
        with pytest.raises(ssl.SSLError, match=r"(?i)alert protocol version"):
            upgrade(to.client, context)
        to.client.close()
        assert "; tls after 2 commands" in to.record()


@pytest.mark.parametrize(("bound", "how"), [("idle", "idle"), ("session", "deadline")])
def test_a_handshake_has_the_same_deadlines(
    driver: Driver, pair: tuple[str, str], bound: str, how: str
) -> None:
    seconds = 3 if bound == "session" else 1  # it includes the time to import ssl
    with driver(*flags(pair), f"--{bound}-timeout={seconds}") as to:
        to.client.sendall(b"STARTTLS\r\n")
        assert to.read_all() == GREETING + b"220 go ahead with TLS\r\n"  # and no 521 in clear
        assert f"; {how} after 1 command" in to.record()


def test_a_silent_client_is_told_under_tls(driver: Driver, pair: tuple[str, str]) -> None:
    with driver(*flags(pair), "--idle-timeout=1") as to:
        client = upgrade(to.client, unverified())
        assert read_all(client) == PLAIN_REFUSED
        client.close()
        assert "; idle after 2 commands" in to.record()


def test_a_slow_reader_has_all_its_replies_under_tls(driver: Driver, pair: tuple[str, str]) -> None:
    with driver(*flags(pair), *SLOW_FLAGS) as to:
        to.client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2**16)
        client = upgrade(to.client, unverified())
        client.sendall(b"RCPT\r\n" * SLOW_COUNT + b"QUIT\r\n")
        time.sleep(0.5)
        assert read_all(client) == LONG_REFUSED * SLOW_COUNT + b"221 h.example\r\n"
        client.close()
        assert to.ending() == "quit"


# What a process for each connection finds out only then; for the other driver, see test_server.py.


def test_a_key_of_another_certificate(
    launcher: Path, pair: tuple[str, str], tmp_path: Path
) -> None:
    """This shows only once a client has asked, and then it is told so, and refused in clear."""
    _, other = make(tmp_path)
    with answered(launcher, *flags((pair[0], other))) as to:
        to.client.sendall(b"EHLO x\r\nSTARTTLS\r\nRCPT TO:<c@d>\r\nEHLO x\r\nQUIT\r\n")
        answer = b"454 4.7.0 TLS is not available\r\n" + REFUSED + OFFER_UNDER_TLS + BYE
        assert to.read_all() == GREETING + OFFER_IN_CLEAR + answer
        record = to.record()
    assert "; quit after 5 commands" in record
    assert f"STARTTLS is not available: {pair[0]} and {other} do not work: " in record


def test_a_python_without_ssl(launcher: Path, pair: tuple[str, str]) -> None:
    without = Path(launcher.parent, "without-ssl")
    block = "sys.modules['_ssl'] = None  # import fails then\n\nfrom null521.cli"
    without.write_text(launcher.read_text().replace("from null521.cli", block))
    without.chmod(0o755)
    with answered(without, *flags(pair)) as to:
        to.client.sendall(b"STARTTLS\r\nQUIT\r\n")
        answer = b"454 TLS is not available\r\n221 h.example\r\n"
        assert to.read_all() == GREETING + answer
        assert "null521: STARTTLS is not available: import of _ssl halted" in to.record()


@pytest.mark.parametrize("how", ["absent", "unreadable", "encrypted"])
def test_no_key_to_be_had(launcher: Path, pair: tuple[str, str], tmp_path: Path, how: str) -> None:
    key = tmp_path / "key.pem"
    if how == "unreadable":
        key.write_text("none")
    if how == "encrypted":
        make(tmp_path, password="secret")
    with answered(launcher, *flags((pair[0], str(key)))) as to:
        to.client.sendall(b"EHLO x\r\nQUIT\r\n")
        assert to.read_all() == GREETING + OFFER_UNDER_TLS + BYE
        assert f"null521: STARTTLS is not available: {key}" in to.record()


# What `null521 serve` finds out at its start.


@pytest.mark.parametrize("fault", ["absent", "unreadable", "of another", "no ssl module"])
def test_a_server_without_a_certificate(pair: tuple[str, str], tmp_path: Path, fault: str) -> None:
    cert, key = pair
    if fault == "of another":
        _, key = make(tmp_path)
    elif fault != "no ssl module":
        key = str(tmp_path / "absent" if fault == "absent" else "/dev/null")
    words = SERVE_WITHOUT_SSL if fault == "no ssl module" else SERVE
    with Server(*flags((cert, key)), words=words) as server, server.dial() as client:
        (warning,) = server.starting
        assert warning["message"].startswith("STARTTLS is not available: ")
        client.sendall(b"EHLO x\r\nQUIT\r\n")
        assert Served(client, server).read_all() == GREETING + OFFER_UNDER_TLS + BYE
