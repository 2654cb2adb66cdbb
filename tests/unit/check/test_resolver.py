"""Questions to a name server in a thread of the tests, and what becomes of its answers."""

import socket
import time
from collections.abc import Callable

import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.resolver
import pytest
from helpers.nameserver import LOOPBACK, NameServer, from_zone

from null521.check import resolver
from null521.check.resolver import NoAnswer, NoSuchName, Resolver, as_given, shown

TIMEOUT = 5.0
H = dns.name.from_text("h.test.")
ZONE = "h.test MX 5 mx.test\nalias.test CNAME h.test\nh.test TXT x"


def asked(answer: Callable[[bytes], bytes | None], timeout: float = TIMEOUT) -> resolver.Answer:
    with NameServer(answer) as server:
        return Resolver((LOOPBACK, server.port), timeout).ask(H, "MX")


def with_code(code: dns.rcode.Rcode) -> Callable[[bytes], bytes]:
    def answer(query: bytes) -> bytes:
        reply = dns.message.make_response(dns.message.from_wire(query))
        reply.set_rcode(code)
        octets: bytes = reply.to_wire()
        return octets

    return answer


def test_an_answer() -> None:
    found = asked(from_zone(ZONE))
    assert (found.asked, found.name, found.is_authentic) == (H, H, False)
    assert [str(record) for record in found.records] == ["5 mx.test."]
    assert asked(from_zone(ZONE, is_authentic=True)).is_authentic is True


def test_an_alias_and_no_records() -> None:
    alias = dns.name.from_text("alias.test.")
    with NameServer(from_zone(ZONE)) as server:
        ask = Resolver((LOOPBACK, server.port), TIMEOUT).ask
        found = ask(alias, "MX")
        assert (found.asked, found.name, len(found.records)) == (alias, H, 1)
        assert ask(H, "TLSA").records == []


def test_what_is_asked() -> None:
    """With recursion, and for AD (RFC 6840, 5.7)."""
    flags = []

    def answer(query: bytes) -> bytes:
        flags.append(dns.message.from_wire(query).flags)
        return from_zone(ZONE)(query)

    asked(answer)
    assert flags == [dns.flags.RD | dns.flags.AD]


def test_no_such_name() -> None:
    with pytest.raises(NoSuchName, match=r"^there is no such name$"):
        asked(with_code(dns.rcode.NXDOMAIN))


@pytest.mark.parametrize("code", ["REFUSED", "NOTIMP", "SERVFAIL", "FORMERR"])
def test_refusals(code: str) -> None:
    with pytest.raises(NoAnswer, match=f"^no answer: {code}$") as error:
        asked(with_code(dns.rcode.from_text(code)))
    assert type(error.value) is NoAnswer


def test_another_code() -> None:
    """YXDOMAIN is an exception of its own in dnspython."""
    with pytest.raises(NoAnswer, match=r"^no answer: The DNS query name is too long after DNAME s"):
        asked(with_code(dns.rcode.YXDOMAIN))


def test_malformed() -> None:
    """Some versions of dnspython wait for another reply."""
    with pytest.raises(NoAnswer, match=r"^no answer"):
        asked(lambda query: b"\0", timeout=1.0)


def test_no_answer_in_time() -> None:
    """The timeout is for all queries, and a share is of what remains."""
    with NameServer(lambda query: None) as server:
        start = time.monotonic()
        asking = Resolver((LOOPBACK, server.port), 2.0)
        with pytest.raises(NoAnswer, match=r"^no answer in time$"):
            asking.ask(H, "MX", share=0.5)
        assert time.monotonic() - start < 2.0
        with pytest.raises(NoAnswer, match=r"^no answer within 2 s$"):
            asking.ask(H, "MX")
        assert time.monotonic() - start >= 2.0
        with pytest.raises(NoAnswer, match=r"^no answer within 2 s$"):
            asking.ask(H, "MX")
        assert len(server.asked) >= 2
        start = time.monotonic()
        for _ in range(10):  # after the deadline, no query waits
            with pytest.raises(NoAnswer):
                asking.ask(H, "MX")
        assert time.monotonic() - start < 8.0


def test_the_systems_name_server(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever it is: it is not asked here."""
    made = Resolver(None, TIMEOUT)
    assert made._resolver.nameservers

    def unreadable(*_: object, **__: object) -> None:
        raise dns.resolver.NoResolverConfiguration

    monkeypatch.setattr(dns.resolver.Resolver, "read_resolv_conf", unreadable)
    with pytest.raises(NoAnswer, match=r"^no name server is configured$"):
        Resolver(None, TIMEOUT)
    Resolver((LOOPBACK, 53), TIMEOUT)

    def invalid(*_: object, **__: object) -> None:
        b"\351".decode()

    monkeypatch.setattr(dns.resolver.Resolver, "read_resolv_conf", invalid)
    with pytest.raises(NoAnswer, match=r"^/etc/resolv\.conf is invalid: "):
        Resolver(None, TIMEOUT)


def test_a_name_that_is_not_whole() -> None:
    """The domains that resolv.conf(5) says to search apply to it."""
    with NameServer(from_zone(ZONE)) as server:
        asking = Resolver((LOOPBACK, server.port), TIMEOUT)
        asking._resolver.search = [dns.name.from_text("test.")]
        found = asking.ask(as_given("h"), "MX")
    assert (found.asked, len(found.records)) == (H, 1)


def test_several_reasons() -> None:
    """A reply that is cut off, and nothing over TCP, where the rest would be."""

    def answer(query: bytes) -> bytes:
        reply = dns.message.make_response(dns.message.from_wire(query))
        reply.flags |= dns.flags.TC
        octets: bytes = reply.to_wire()
        return octets

    words = r"^no answer: .*[a-z], \[Errno 111\] Connection refused$"
    with socket.socket() as held:  # so that no other test listens there
        held.bind((LOOPBACK, 0))
        port = held.getsockname()[1]
        with NameServer(answer, port=port), pytest.raises(NoAnswer, match=words):
            Resolver((LOOPBACK, port), TIMEOUT).ask(H, "MX")


def test_names() -> None:
    assert shown(H) == "h.test"
    assert shown(dns.name.root) == "."
    assert as_given("h.test").is_absolute() is False
    assert as_given("h.test.") == H


def test_reasons() -> None:
    """In one line, cut, and never empty."""
    assert resolver._safe("a\n\x1b.") == r"a\n\x1b"
    assert resolver._safe(ValueError()) == "ValueError"
    assert resolver._safe("x" * 61) == "x" * 60
    assert resolver._safe("X.") == "X"
