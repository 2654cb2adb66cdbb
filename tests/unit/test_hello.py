"""What of a TLS handshake OpenSSL may see, and what TLS does with a session."""

import ssl
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest
from helpers.certificates import make
from helpers.hostile_tls import (
    ALERT,
    CHANGE_CIPHER_SPEC,
    CLAIM,
    CLOSE_NOTIFY,
    HANDSHAKE,
    TLS_1_2,
    TLS_1_3,
    Contexts,
    Peer,
    client_hello,
    cut,
    fragments,
    message,
    record,
)
from hypothesis import given
from hypothesis import strategies as st

from null521 import fault, tls
from null521.session import Session
from null521.tls import DECODE_ERROR, MAX_HELLO, RETRY, Hello, Secured

CUTS = st.lists(st.integers(0, 3000), max_size=5)
SIZES = st.integers(1, 2000)


@pytest.fixture(scope="module")
def context(tmp_path_factory: pytest.TempPathFactory) -> ssl.SSLContext:
    return tls.context(*make(tmp_path_factory.mktemp("pair")))


@pytest.fixture(scope="module")
def contexts() -> Iterator[Contexts]:
    made = Contexts()
    yield made
    made.close()


def given_to(hello: Hello, octets: bytes, *cuts: int) -> list[bytes]:
    """What each piece makes OpenSSL see."""
    return [hello.receive(piece) for piece in cut(octets, *cuts)]


def refused(octets: bytes, cuts: Iterable[int]) -> str:
    """Why these are refused, before OpenSSL has seen any of them."""
    hello = Hello()
    for piece in cut(octets, *cuts):
        try:
            assert hello.receive(piece) == b""
        except ValueError as error:
            return str(error)
    raise AssertionError("not refused")


@given(CUTS, SIZES, st.binary(max_size=200), st.booleans())
def test_a_hello_is_seen_once_it_is_whole(
    cuts: list[int], size: int, behind: bytes, changes: bool
) -> None:
    """However it is cut into records, and these into pieces; what is behind it is not seen."""
    octets = fragments(client_hello(), size)
    if changes:  # a record that says nothing, for middleboxes: RFC 8446, D.4
        octets = record(CHANGE_CIPHER_SPEC, b"\1") + octets
    hello = Hello()
    for at, seen in enumerate(given_to(hello, octets[:-1], *cuts)):
        assert seen == b"", at
    assert hello.receive(octets[-1:] + behind) == octets
    assert hello.rest == behind


@given(CUTS, SIZES, st.integers(MAX_HELLO - 3, 2**24 - 1), st.binary(max_size=100))
def test_a_claim_is_never_seen(cuts: list[int], size: int, claimed: int, body: bytes) -> None:
    octets = fragments(message(1, body, claimed), size)
    assert refused(octets, cuts) == f"a ClientHello of {claimed + 4} octets"


def test_the_longest_hello() -> None:
    for length, octets in ((MAX_HELLO - 4, 3 * MAX_HELLO // 4), (MAX_HELLO - 9, MAX_HELLO - 9)):
        hello = Hello()
        assert hello.receive(fragments(message(1, bytes(octets), length), 2**14)[:-1]) == b""
    whole = fragments(message(1, bytes(MAX_HELLO - 9)), 2**14)
    assert Hello().receive(whole) == whole


def test_what_never_becomes_a_hello_is_not_kept() -> None:
    for octets in (
        record(CHANGE_CIPHER_SPEC, b"\1") * (MAX_HELLO // 6 + 1),
        record(HANDSHAKE, bytes(2**14))[: MAX_HELLO + 1],
        fragments(message(1, bytes(1400), 1500), 1),
    ):
        assert len(octets) > MAX_HELLO
        pieces = range(0, len(octets), 500)
        assert refused(octets, pieces) == "a ClientHello of more than 8192 octets"


@pytest.mark.parametrize(
    "octets",
    [
        b"QUIT\r\n",
        record(ALERT, CLOSE_NOTIFY),
        record(HANDSHAKE, b""),
        record(HANDSHAKE, message(11, b"", 2**24 - 1)),
        b"\x16\x03\x01\x40\x01",
        b"\x80\x2e\x01\x03\x03",
    ],
)
def test_what_is_no_hello_is_seen_at_once(octets: bytes) -> None:
    hello = Hello()
    assert given_to(hello, octets, 2)[-1] == octets
    assert hello.rest == b""


def test_a_message_in_the_record_of_the_hello() -> None:
    octets = record(HANDSHAKE, client_hello() + b"\1")
    assert refused(octets, []) == "a record that goes on behind the ClientHello"


# With OpenSSL.


def ready(context: ssl.SSLContext, max_octets: int = 100_000) -> tuple[Session, Secured]:
    session = Session("h.example", "no", "rcpt", starttls=True)
    session.receive(b"STARTTLS\r\n")
    assert session.in_clear
    session.starttls(ready=True)
    assert not session.in_clear
    return session, Secured(session, context, max_octets)


def up(context: ssl.SSLContext, peer: Peer) -> tuple[Session, Secured]:
    session, secured = ready(context)
    octets = peer.hello()
    while octets:
        assert not secured.is_up
        octets = peer.receive(secured.receive(octets))
    assert secured.is_up
    return session, secured


@given(CUTS, SIZES)
def test_a_claim_behind_a_hello_retry_request(
    context: ssl.SSLContext, cuts: list[int], size: int
) -> None:
    session, secured = ready(context)
    said = b""
    for piece in cut(fragments(client_hello(), size) + CLAIM, *cuts):
        said += secured.receive(piece)
    assert RETRY in said
    assert said.endswith(DECODE_ERROR)
    assert (secured.ending, session.tls) == ("tls", "failed: a ClientHello of 131400 octets")


def test_a_session_id_that_looks_as_a_hello_retry_request(context: ssl.SSLContext) -> None:
    """The server says it again; what comes next is no ClientHello, and OpenSSL says so."""
    session, secured = ready(context)
    share = b"\0\x1d\0\x20" + b"\x09" + bytes(31)
    octets = client_hello(share).replace(b"\x20" + bytes(range(32)), b"\x20" + RETRY)
    assert RETRY in secured.receive(fragments(octets, 2**14))
    secured.receive(record(HANDSHAKE, message(20, bytes(12))))
    assert secured.ending == "tls"
    assert session.tls.startswith("failed: ")


@pytest.mark.parametrize("cuts", [[], [1], range(0, 4000, 50)])
def test_replies_wait_for_the_rest_of_a_key_update(
    context: ssl.SSLContext, contexts: Contexts, cuts: list[int]
) -> None:
    peer = contexts.peer(TLS_1_3)
    session, secured = up(context, peer)
    said = peer.says(b"HELO x\r\n" + b"RCPT TO:<a@b>\r\n" * 900)
    first, second = peer.key_update_in_two()
    for piece in cut(said + first, *cuts):
        peer.receive(secured.receive(piece))
        while secured.has_more:
            peer.receive(secured.receive(b""))
    assert (secured.ending, session.helo) == ("", b"x")
    for piece in (second, peer.says(b"QUIT\r\n")):
        peer.receive(secured.receive(piece))
        while secured.has_more and not secured.ending:
            peer.receive(secured.receive(b""))
    assert peer.read() == b"250 h.example\r\n" + b"521 no\r\n" * 900 + b"221 h.example\r\n"
    assert (secured.ending, session.recipient_count, session.helo) == ("quit", 900, b"x")


@pytest.mark.parametrize("version", [TLS_1_2, TLS_1_3])
def test_an_end_of_tls_behind_more_commands_than_one_step_answers(
    context: ssl.SSLContext, contexts: Contexts, version: ssl.TLSVersion
) -> None:
    for last, ending in ((b"QUIT\r\n", "quit"), (b"", "eof")):
        peer = contexts.peer(version)
        _, secured = up(context, peer)
        said = peer.says(b"RCPT\r\n" * 1500 + last) + peer.encrypted(ALERT, CLOSE_NOTIFY)
        replies = secured.receive(said)
        steps = 1
        while not secured.ending:
            assert secured.has_more
            replies += secured.receive(b"")
            steps += 1
        peer.receive(replies)
        assert peer.read() == b"521 no\r\n" * 1500 + b"221 h.example\r\n" * (ending == "quit")
        assert (secured.ending, steps > 1) == (ending, True)


# In words.


def test_why_tls_failed(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No such file") as raised:
        tls.context(str(tmp_path / "none"), str(tmp_path / "none"))
    assert tls.reason(raised.value) == "No such file or directory"
    cert, key = make(tmp_path)
    lines = Path(key).read_text().splitlines(keepends=True)
    Path(key).write_text(lines[0] + "QUJD" * 16 + "\n" + lines[-1])
    with pytest.raises(ssl.SSLError) as failed:
        tls.context(cert, key)
    assert tls.reason(failed.value).isprintable()
    error = failed.value
    for name, reason in ((None, "[SSL] PEM lib"), ("KEY_VALUES_MISMATCH", "key values mismatch")):
        error.reason, error.strerror = name, "[SSL] PEM lib (_ssl.c:3900)"  # type: ignore[assignment]
        assert tls.reason(error) == reason
    assert tls.reason(ValueError("password cannot be longer")) == "password cannot be longer"


def test_a_fault_is_one_line() -> None:
    try:
        raise KeyError("a\nb\udcff" + "x" * 1000)
    except KeyError as error:
        line = fault.line(error)
    assert line.isascii()
    assert line.isprintable()
    assert line.startswith("a fault of null521's own: KeyError('a\\nb\\udcffxxx")
    assert " at test_hello.py:" in line
    assert len(line) < 400
    assert fault.line(MemoryError()) == "a fault of null521's own: MemoryError()"


def test_a_last_word_after_a_fault(
    context: ssl.SSLContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = Session("h.example", "no")
    assert fault.refusal(session) == b"521 no\r\n"
    assert fault.refusal(ready(context)[0]) == b""
    monkeypatch.setattr(session, "refusal", lambda: 1 / 0)
    assert fault.refusal(session) == b""
