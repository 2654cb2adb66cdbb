"""What DNS says about a host, from a name server in a thread of the tests."""

import dns.message
import dns.name
import dns.rcode
import pytest
from helpers.nameserver import LOOPBACK, NameServer, from_zone

from null521.check import mx
from null521.check.mx import MxFindings
from null521.check.remarks import Remark
from null521.check.resolver import NoAnswer
from null521.check.tlsa import Tlsa, TlsaRecords

HERE, HERE6, ELSEWHERE = "192.0.2.1", "2001:db8::1", "192.0.2.9"
TIMEOUT = 5.0  # seconds; all servers here answer at once
ONLY = "a null MX is MX 0 . (RFC 7505, 3)"
MISSING = "no null MX (RFC 7505), which would tell most senders not to connect at all"
PREFERENCE = "a null MX must have preference 0 and be the only MX (RFC 7505, 3): "
BESIDE = "a null MX beside another MX"
NOWHERE = "an MX points to a host that has no address: "
FORBIDDEN = "an MX must not point to a host that answers 521 (RFC 1846, 4.3)"
OTHERS = f"""
mx.test A {ELSEWHERE}
other.test A {HERE}
six.test AAAA {HERE6}
self.test A 127.0.0.1
self.test AAAA ::1
any.test A 0.0.0.0
half.test A 127.0.0.1
half.test A {ELSEWHERE}
bare.test TXT x
"""


def look_up(
    records: str,
    name: str = "h.test.",
    addresses: tuple[str, ...] = (HERE, HERE6),
    is_authentic: bool = False,
    port: int = 25,
) -> MxFindings:
    with NameServer(from_zone(records + OTHERS, is_authentic=is_authentic)) as server:
        return mx.look_up(name, port, list(addresses), (LOOPBACK, server.port), TIMEOUT)


def said(findings: MxFindings, *without: str) -> list[tuple[str, str]]:
    """Names and texts of the remarks, except for these names."""
    assert all(remark.about == "DNS" for remark in findings.remarks)
    return [(one.name, one.text) for one in findings.remarks if one.name not in without]


def remarks(findings: MxFindings, *without: str) -> dict[str, str]:
    named = {remark.name: remark.text for remark in findings.remarks}
    assert len(named) == len(findings.remarks)
    return {name: text for name, text in named.items() if name not in without}


CONDITION = (
    "if no mail to @{0} is wanted, and none is ever sent from it (cron's root@{0}, say; "
    "RFC 7505, 4.2)"
)


# The null MX.


def test_a_null_mx() -> None:
    found = look_up("h.test MX 0 .")
    assert found == MxFindings(
        name="h.test",
        mx=[(0, ".")],
        null_mx=True,
        remarks=[Remark("null-mx", "DNS", "there is a null MX (RFC 7505)")],
    )


def test_none() -> None:
    found = look_up("h.test TXT x")
    condition = CONDITION.format("h.test")
    assert found == MxFindings(
        name="h.test",
        record="h.test. IN MX 0 .",
        condition=condition,
        remarks=[
            Remark("null-mx-missing", "DNS", MISSING),
            Remark("null-mx-to-publish", "DNS", f"{condition}, publish: h.test. IN MX 0 ."),
        ],
    )


def test_no_address_either() -> None:
    found = remarks(look_up("h.test TXT x", addresses=()))
    assert list(found) == ["no-address", "null-mx-to-publish"]
    assert found["no-address"] == (
        "h.test has neither an MX nor an address, so no mail can reach it; a null MX would "
        "say that this is intended (RFC 7505)"
    )


@pytest.mark.parametrize(
    ("records", "mistakes"),
    {
        "MX 10 .": {"null-mx-preference": f"{PREFERENCE}MX 10 ."},
        "MX 1 .;MX 0 .": {"null-mx-preference": f"{PREFERENCE}MX 0 ., MX 1 ."},
        "MX 0 .;MX 10 mx.test": {"null-mx-not-alone": f"{BESIDE}, mx.test, is invalid; {ONLY}"},
        "MX 0 .;MX 1 h.test;MX 2 localhost": {
            "null-mx-not-alone": f"{BESIDE}, h.test, localhost, is invalid; {ONLY}",
            "mx-here": f"the MX of h.test is this host, h.test: {FORBIDDEN}",
            "mx-localhost": f"an MX makes senders connect to themselves: MX 2 localhost.; {ONLY}",
        },
        **{
            f"MX 0 {name}": {
                "mx-localhost": f"an MX makes senders connect to themselves: MX 0 {name}.; {ONLY}"
            }
            for name in ("localhost", "localhost.localdomain", "localhost6", "LOCALHOST")
        },
        **{
            f"MX 5 {name}": {
                "mx-localhost": f"an MX makes senders connect to themselves: MX 5 {name}.; {ONLY}"
            }
            for name in ("self.test", "any.test", "x.localhost")
        },
        **{
            f"MX 0 {name}": {
                "mx-address": f"an MX must name a host, not an address (RFC 1035, 3.3.9): "
                f"MX 0 {name}.; {ONLY}"
            }
            for name in ("127.0.0.1", "192.0.2.1", "2001:db8::1", "[127.0.0.1]")
        },
        "MX 0 gone.test": {"mx-without-address": f"{NOWHERE}MX 0 gone.test.; {ONLY}"},
        "MX 7 bare.test;MX 8 gone.test": {
            "mx-without-address": f"{NOWHERE}MX 7 bare.test., MX 8 gone.test.; {ONLY}"
        },
        "MX 10 mx.test;MX 9 half.test": {
            "mx-elsewhere": "the MX of h.test is half.test, mx.test, so its mail goes there, not "
            "here (RFC 5321, 5.1)"
        },
        **{
            f"MX 10 {name}": {"mx-here": f"the MX of h.test is this host, {name}: {FORBIDDEN}"}
            for name in ("h.test", "other.test", "six.test")
        },
        "MX 10 h.test;MX 11 other.test": {
            "mx-here": f"the MX of h.test is this host, h.test, other.test: {FORBIDDEN}"
        },
        "MX 10 h.test;MX 20 mx.test": {
            "mx-here": f"the MX of h.test is this host, h.test: {FORBIDDEN}",
            "mx-elsewhere": "the MX of h.test is mx.test, so its mail goes there, not here "
            "(RFC 5321, 5.1)",
        },
    }.items(),
)
def test_mistakes(records: str, mistakes: dict[str, str]) -> None:
    found = look_up("\n".join(f"h.test {record}" for record in records.split(";")))
    assert found.null_mx is False
    assert found.record == "h.test. IN MX 0 ."
    assert remarks(found, "null-mx-to-publish") == mistakes


def test_an_mx_here_without_addresses() -> None:
    """By name alone."""
    found = look_up("h.test MX 5 h.test\nh.test MX 6 other.test", addresses=())
    assert list(remarks(found, "null-mx-to-publish")) == ["mx-here", "mx-elsewhere"]


def test_many_records() -> None:
    """Some are shown, and a null MX is found among all."""
    many = "\n".join(f"h.test MX {number} m{number}.test" for number in range(10, 30))
    found = look_up(f"{many}\nh.test MX 99 .")
    assert found.mx == [(number, f"m{number}.test") for number in range(10, 18)]
    names = ", ".join(f"m{number}.test" for number in range(10, 18))
    text = f"a null MX beside another MX, {names}, is invalid; {ONLY}"
    assert remarks(found)["null-mx-not-alone"] == text


def test_names_are_escaped() -> None:
    found = look_up(r"h.test MX 0 \027[2J\010x.test")
    assert found.mx == [(0, r"\027[2J\010x.test")]
    assert all(remark.text.isprintable() for remark in found.remarks)


def test_an_alias() -> None:
    found = look_up("h.test CNAME real.test\nreal.test MX 0 .")
    assert found.name == "real.test"
    assert remarks(found)["alias"] == (
        "h.test is an alias of real.test, whose MX records apply to it (RFC 5321, 5.1)"
    )
    found = look_up("h.test CNAME real.test\nreal.test TXT x")
    assert found.record == "real.test. IN MX 0 ."


def test_an_alias_of_the_root() -> None:
    found = look_up("h.test CNAME .")
    assert found.name == "."


# The domains above.


def test_parents() -> None:
    """Up to three, but no top-level domain."""
    found = look_up(
        "a.b.c.d.e.test TXT x\nb.c.d.e.test MX 1 a.b.c.d.e.test\nc.d.e.test MX 2 mx.test\n"
        "d.e.test MX 3 other.test\nd.e.test MX 4 mx.test\ne.test MX 5 other.test\n",
        name="a.b.c.d.e.test.",
    )
    assert said(found, "null-mx-missing", "null-mx-to-publish") == [
        ("mx-here", f"the MX of b.c.d.e.test is this host, a.b.c.d.e.test: {FORBIDDEN}"),
        ("mx-here", f"the MX of d.e.test is this host, other.test: {FORBIDDEN}"),
    ]
    found = look_up("h.test MX 0 .\ntest MX 1 h.test")
    assert list(remarks(found)) == ["null-mx"]
    found = look_up("g.h.test MX 0 .\nh.test MX 1 g.h.test\ntest MX 1 g.h.test", name="g.h.test.")
    assert list(remarks(found)) == ["null-mx", "mx-here"]


def test_a_parent_that_does_not_exist() -> None:
    """By a name server that is wrong about it. The next one is asked all the same."""
    zone = from_zone("a.b.c.test MX 0 .\nc.test MX 1 a.b.c.test")

    def answer(query: bytes) -> bytes:
        reply = dns.message.from_wire(zone(query))
        if reply.question[0].name == dns.name.from_text("b.c.test"):
            reply.set_rcode(dns.rcode.NXDOMAIN)
        octets: bytes = reply.to_wire()
        return octets

    with NameServer(answer) as server:
        found = mx.look_up("a.b.c.test.", 25, [HERE], (LOOPBACK, server.port), TIMEOUT)
    assert remarks(found)["mx-here"].startswith("the MX of c.test is this host, a.b.c.test: ")


# Whether mail is sent from the name.

SEEN = "mail may be sent from @h.test: its SPF record is {}, not 'v=spf1 -all'; {}"
REJECT = "servers may reject such mail (RFC 7505, 4.2)"


@pytest.mark.parametrize(
    ("policy", "shown"),
    {
        '"v=spf1 mx ~all"': "'v=spf1 mx ~all'",
        '"v=spf1" " a" " -all"': "'v=spf1 a -all'",
        '"V=SPF1 -ALL ip4:192.0.2.1"': "'V=SPF1 -ALL ip4:192.0.2.1'",
        '"v=spf1"': "'v=spf1'",
        '"v=spf1 ?all"': "'v=spf1 ?all'",
        r'"v=spf1 \027[2J\255"': r"'v=spf1 \x1b[2J\xff'",
    }.items(),
)
def test_an_spf_record_that_lets_others_send(policy: str, shown: str) -> None:
    """No record to publish then; and a null MX is a fault."""
    found = look_up(f"h.test TXT {policy}\nh.test TXT other")
    assert (found.spf, found.record, found.condition) == (shown, "", "")
    assert remarks(found) == {
        "sends-mail": SEEN.format(shown, f"with a null MX, {REJECT}"),
    }
    found = look_up(f"h.test MX 0 .\nh.test TXT {policy}")
    assert (found.spf, found.record, found.condition) == (shown, "", "")
    assert remarks(found, "null-mx") == {
        "null-mx-of-sender": SEEN.format(shown, f"because of the null MX, {REJECT}"),
    }


@pytest.mark.parametrize("policy", ["v=spf1 -all", "V=spf1  -ALL "])
def test_an_spf_record_that_lets_nobody_send(policy: str) -> None:
    text = f"no mail is sent from @h.test, says its SPF record: '{policy}'"
    found = look_up(f'h.test TXT "{policy}"')
    assert (found.spf, found.record) == (f"'{policy}'", "h.test. IN MX 0 .")
    assert remarks(found, "null-mx-missing", "null-mx-to-publish") == {"spf": text}
    found = look_up(f'h.test MX 0 .\nh.test TXT "{policy}"')
    assert remarks(found, "null-mx") == {"spf": text}


@pytest.mark.parametrize("text", ["v=spf10 mx", "x v=spf1 mx", "v=spf1mx", "spf1", r"v=spf1\009mx"])
def test_what_is_not_an_spf_record(text: str) -> None:
    found = look_up(f'h.test MX 0 .\nh.test TXT "{text}"')
    assert (found.spf, list(remarks(found))) == ("", ["null-mx"])


def test_neither_an_address_nor_a_null_mx_of_a_sender() -> None:
    found = look_up('h.test TXT "v=spf1 mx"', addresses=())
    assert list(remarks(found)) == ["no-address", "sends-mail"]


def test_several_spf_records() -> None:
    found = look_up('h.test TXT "v=spf1 mx"\nh.test TXT "v=spf1 -all"')
    assert found.spf == "'v=spf1 -all' and 'v=spf1 mx'"
    assert "sends-mail" in remarks(found)


def test_a_long_spf_record() -> None:
    found = look_up('h.test TXT "v=spf1 ' + "x" * 240 + '"')
    assert len(found.spf) == 200


# TLSA records.


def test_tlsa() -> None:
    """Sorted, and all of them, because the last may be the one that matches."""
    lines = [f"_25._tcp.h.test TLSA 3 1 0 {number:02x}" for number in range(10)]
    found = look_up("\n".join(["h.test MX 0 .", *reversed(lines)]))
    records = tuple(Tlsa(3, 1, 0, bytes([number])) for number in range(10))
    assert found.tlsa == TlsaRecords("_25._tcp.h.test", records, False)
    assert str(found.tlsa).endswith(" and 3 1 0 07 and 2 more")
    found = look_up("h.test MX 0 .\n_25._tcp.h.test TLSA 2 0 0 ab", is_authentic=True)
    assert found.tlsa == TlsaRecords("_25._tcp.h.test", (Tlsa(2, 0, 0, b"\xab"),), True)
    assert list(remarks(found)) == ["null-mx"]


def test_tlsa_of_another_port() -> None:
    zone = "h.test MX 0 .\n_26._tcp.h.test TLSA 3 1 0 ab"
    assert look_up(zone).tlsa is None
    assert look_up(zone, port=26).tlsa is not None


def test_tlsa_of_an_alias() -> None:
    """That of the host itself counts first, and then that of its alias: RFC 7672, 2.2.2."""
    alias = "h.test CNAME real.test\nreal.test MX 0 .\n_25._tcp.h.test TLSA 3 1 0 aa\n"
    found = look_up(alias).tlsa
    assert found is not None
    assert found.name == "_25._tcp.h.test"
    found = look_up(alias + "_25._tcp.real.test TLSA 3 1 0 bb").tlsa
    assert found is not None
    assert (found.name, found.records[0].data) == ("_25._tcp.real.test", b"\xbb")
    found = look_up(alias + "_25._tcp.real.test TXT x").tlsa
    assert found is not None
    assert found.name == "_25._tcp.h.test"


def test_a_name_that_is_too_long_for_tlsa() -> None:
    host = ".".join(["x" * 61] * 4)
    found = look_up(f"{host} MX 0 .", name=host + ".")
    assert (found.tlsa, list(remarks(found))) == (None, ["null-mx", "dns-no-answer"])
    assert remarks(found)["dns-no-answer"].startswith("TLSA: ")


# No answer.


def test_no_such_name() -> None:
    found = look_up("h.test MX 0 .", name="gone.test.")
    assert found == MxFindings(
        remarks=[Remark("no-such-name", "DNS", "there is no such name")],
        trouble="there is no such name",
    )


def test_no_answer() -> None:
    with NameServer(lambda query: None) as server:
        found = mx.look_up("h.test.", 25, [HERE], (LOOPBACK, server.port), 0.2)
    text = "no answer within 0.2 s"
    assert found == MxFindings(remarks=[Remark("dns-no-answer", "DNS", text)], trouble=text)


def only(kinds: tuple[str, ...], records: str) -> NameServer:
    """A name server that answers queries of these types alone."""
    zone = from_zone(records + OTHERS)
    server = NameServer(lambda query: zone(query) if server.asked[-1].split()[1] in kinds else None)
    return server


def test_no_answer_about_spf_and_tlsa() -> None:
    """Each query that is not answered leaves time for the others."""
    with only(("MX", "A", "AAAA"), "h.test MX 10 mx.test") as server:
        found = mx.look_up("h.test.", 25, [HERE], (LOOPBACK, server.port), 3.0)
    assert "_25._tcp.h.test. TLSA" in server.asked
    assert server.asked[-1] == "h.test. AAAA"
    unknown = "whether mail is sent from @h.test is not known: SPF: no answer in time"
    assert said(found, "mx-elsewhere", "null-mx-to-publish") == [
        ("dns-no-answer", unknown),
        ("dns-no-answer", "TLSA: no answer in time"),
    ]
    assert found.record == "h.test. IN MX 0 ."


def test_no_answer_about_an_exchange() -> None:
    """Then nothing bad is said of it."""
    with only(("MX",), "h.test MX 10 mx.test") as server:
        found = mx.look_up("h.test.", 25, [HERE], (LOOPBACK, server.port), 1.0)
    assert "mx-elsewhere" in {remark.name for remark in found.remarks}


# Addresses.


def addresses(records: str, name: str = "h.test.") -> list[str]:
    with NameServer(from_zone(records)) as server:
        return mx.addresses(name, (LOOPBACK, server.port), TIMEOUT)


def test_addresses() -> None:
    assert addresses(f"h.test A {HERE}\nh.test AAAA {HERE6}") == [HERE6, HERE]
    assert addresses(f"h.test A {HERE}") == [HERE]
    with pytest.raises(NoAnswer, match=r"^the name has no address$"):
        addresses("h.test TXT x")
    with pytest.raises(NoAnswer, match=r"^there is no such name$"):
        addresses("h.test TXT x", "gone.test.")


@pytest.mark.parametrize(("kind", "address"), [("A", HERE), ("AAAA", HERE6)])
def test_addresses_of_one_kind(kind: str, address: str) -> None:
    """It is enough, even if the other query is not answered."""
    with only((kind,), f"h.test {kind} {address}") as server:
        assert mx.addresses("h.test.", (LOOPBACK, server.port), 1.0) == [address]


@pytest.mark.parametrize(("kind", "address", "other"), [("A", HERE, 6), ("AAAA", HERE6, 4)])
def test_addresses_of_the_other_kind_are_not_known(kind: str, address: str, other: int) -> None:
    with only(("MX", "TXT", "TLSA", kind), f"h.test {kind} {address}") as server:
        found = mx.look_up("h.test.", 25, [address], (LOOPBACK, server.port), 1.0)
    unknown = f"whether h.test has IPv{other} addresses is not known: no answer in time"
    assert found.remarks[-1] == Remark("dns-no-answer", "DNS", unknown)


def test_addresses_of_the_other_kind_are_known_not_to_be_there() -> None:
    found = look_up("h.test TXT x", addresses=(HERE,))
    assert "dns-no-answer" not in {remark.name for remark in found.remarks}


@pytest.mark.parametrize(
    ("kinds", "trouble"),
    [
        ((), "no answer within 1 s"),
        (("A",), "no answer in time"),
        (("AAAA",), "no answer within"),
    ],
)
def test_addresses_that_are_not_known(kinds: tuple[str, ...], trouble: str) -> None:
    """One kind is not there, but the other may be."""
    with (
        only(kinds, "h.test TXT x") as server,
        pytest.raises(NoAnswer, match=f"^{trouble}") as error,
    ):
        mx.addresses("h.test.", (LOOPBACK, server.port), 1.0)
    assert type(error.value) is NoAnswer
