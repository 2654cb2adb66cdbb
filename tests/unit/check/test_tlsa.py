"""Whether a certificate is the one that TLSA records promise."""

import hashlib
from pathlib import Path

import pytest
from cryptography import x509 as library
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from helpers.certificates import make
from helpers.conversations import TLS, answers, conversation, refusing_at

from null521.check.probe import Answers
from null521.check.remarks import FAULT, NOTE, UNKNOWN
from null521.check.tlsa import Tlsa, TlsaRecords, judge
from null521.check.verdict import Finding
from null521.check.verdict import judge as verdict_of

A, B = "192.0.2.1", "2001:db8::1"
NAME = "_25._tcp.h.example"
SECURED = "; the name server says that DNSSEC secures the record (AD)"
NOT_SECURED = "; the record counts only with DNSSEC, which the name server does not confirm (no AD)"
QUEUE = "so senders that use DANE queue the mail (by RFC 7672; not measured)"
HASHES = {0: bytes, 1: lambda part: hashlib.sha256(part).digest()}
HASHES[2] = lambda part: hashlib.sha512(part).digest()


class Certificate:
    """One in DER, and its public key."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        found = library.load_pem_x509_certificate(Path(make(folder)[0]).read_bytes())
        self.der = found.public_bytes(Encoding.DER)
        self.key = found.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)

    def data(self, selector: int, matching: int) -> bytes:
        return HASHES[matching](self.key if selector else self.der)


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    return Certificate(tmp_path_factory.mktemp("own") / "x")


@pytest.fixture(scope="module")
def issuer(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    return Certificate(tmp_path_factory.mktemp("issuer") / "x")


EACH = [(selector, matching) for selector in (0, 1) for matching in (0, 1, 2)]


@pytest.mark.parametrize(("selector", "matching"), EACH)
def test_matches(own: Certificate, issuer: Certificate, selector: int, matching: int) -> None:
    """DANE-EE is the host's own certificate, DANE-TA another one of the chain."""
    chain = (own.der, issuer.der)
    for usage, right, wrong in ((3, own, issuer), (2, issuer, own)):
        good = Tlsa(usage, selector, matching, right.data(selector, matching))
        assert good.is_usable
        assert good.matches(chain) is True
        bad = Tlsa(usage, selector, matching, wrong.data(selector, matching))
        # That certificate or key may be in DNS only.
        not_judged = usage == 2 and matching == 0
        assert bad.matches(chain) is (None if not_judged else False)
        for other in (1 - selector,):
            swapped = Tlsa(usage, other, matching, right.data(selector, matching))
            assert swapped.matches(chain) is (None if not_judged else False)


def test_a_chain_of_one(own: Certificate) -> None:
    """As of a self-signed certificate, which is not its own trust anchor for DANE-TA."""
    assert Tlsa(2, 0, 1, own.data(0, 1)).matches((own.der,)) is False
    assert Tlsa(3, 0, 1, own.data(0, 1)).matches(()) is False


def test_a_certificate_that_cannot_be_read(issuer: Certificate) -> None:
    """It has no key, but may match as a whole; and the next one is looked at."""
    assert Tlsa(3, 1, 0, b"junk").matches((b"junk",)) is False
    assert Tlsa(3, 0, 0, b"junk").matches((b"junk",)) is True
    assert Tlsa(2, 1, 1, issuer.data(1, 1)).matches((b"own", b"junk", issuer.der)) is True


@pytest.mark.parametrize(
    ("usage", "selector", "matching", "length", "usable"),
    [
        (0, 0, 1, 32, False),
        (1, 0, 1, 32, False),
        (2, 0, 1, 32, True),
        (3, 0, 1, 32, True),
        (4, 0, 1, 32, False),
        (255, 0, 1, 32, False),
        (3, 1, 1, 32, True),
        (3, 2, 1, 32, False),
        (3, 1, 0, 1, True),
        (3, 1, 0, 0, False),
        (3, 1, 1, 31, False),
        (3, 1, 1, 33, False),
        (3, 1, 2, 64, True),
        (3, 1, 2, 32, False),
        (3, 1, 3, 32, False),
    ],
)
def test_usable(usage: int, selector: int, matching: int, length: int, usable: bool) -> None:
    assert Tlsa(usage, selector, matching, bytes(length)).is_usable is usable


def test_as_text() -> None:
    """The data is cut."""
    assert str(Tlsa(3, 1, 1, b"\xab" * 8)) == "3 1 1 abababababababab"
    assert str(Tlsa(2, 0, 2, b"\x01" * 9)) == "2 0 2 0101010101010101..."
    records = TlsaRecords(NAME, (Tlsa(3, 1, 1, b"\1"), Tlsa(2, 0, 0, b"")), False)
    assert str(records) == f"{NAME} IN TLSA 3 1 1 01 and 2 0 0 "


# The remarks.


def finding(address: str, talk: Answers, *chain: bytes, has_tls: bool = True) -> Finding:
    secured = refusing_at("rcpt", tls=TLS if has_tls else None)
    secured.chain = chain
    return verdict_of(address, talk, secured)


def records(*each: Tlsa, is_authentic: bool = False) -> TlsaRecords:
    return TlsaRecords(NAME, each, is_authentic)


CLEAR = refusing_at("rcpt")
WRONG = Tlsa(3, 1, 1, b"\xab" * 32)
SHOWN = f"{NAME} IN TLSA 3 1 1 abababababababab..."


def test_no_records(own: Certificate) -> None:
    assert judge(None, [finding(A, CLEAR, own.der)]) == []


def test_a_match(own: Certificate) -> None:
    """One record that matches is enough."""
    right = Tlsa(3, 1, 1, own.data(1, 1))
    found = records(right, WRONG, is_authentic=True)
    [said] = judge(found, [finding(A, CLEAR, own.der), finding(B, CLEAR, own.der)])
    assert (said.name, said.level, said.about) == ("tlsa-matches", NOTE, f"{A}, {B}")
    assert said.text == f"the certificate matches {found}{SECURED}"


def test_a_match_in_the_chain(own: Certificate, issuer: Certificate) -> None:
    """What was not judged is said."""
    found = records(Tlsa(2, 1, 1, issuer.data(1, 1)))
    [said] = judge(found, [finding(A, CLEAR, own.der, issuer.der)])
    assert (said.name, said.about) == ("tlsa-matches", A)
    not_judged = "its signatures, names and dates were not judged"
    assert said.text == (f"the chain of the certificate matches {found}; {not_judged}{NOT_SECURED}")
    both = records(Tlsa(2, 1, 1, issuer.data(1, 1)), Tlsa(3, 0, 1, own.data(0, 1)))
    [said] = judge(both, [finding(A, CLEAR, own.der, issuer.der)])
    assert said.text == f"the certificate matches {both}{NOT_SECURED}"


@pytest.mark.parametrize(("is_authentic", "dnssec"), [(True, SECURED), (False, NOT_SECURED)])
def test_a_mismatch(own: Certificate, is_authentic: bool, dnssec: str) -> None:
    """At the addresses where it is one; records that cannot be used do not help."""
    right = finding(B, CLEAR, own.der)
    found = records(WRONG, Tlsa(1, 1, 1, own.data(1, 1)), is_authentic=is_authentic)
    [said] = judge(found, [finding(A, CLEAR, own.der), right])
    assert (said.name, said.level, said.about) == ("tlsa-mismatch", FAULT, f"{A}, {B}")
    shown = f"{SHOWN} and 1 1 1 {own.data(1, 1)[:8].hex()}..."
    assert said.text == f"the certificate does not match {shown}, {QUEUE}{dnssec}"
    named = records(Tlsa(3, 1, 1, own.data(1, 1)))
    told = judge(named, [finding(A, CLEAR, b"other"), right])
    assert [(one.name, one.about) for one in told] == [("tlsa-mismatch", A), ("tlsa-matches", B)]


def test_a_mismatch_that_is_not_certain(own: Certificate, issuer: Certificate) -> None:
    [said] = judge(records(WRONG, Tlsa(2, 0, 0, issuer.der)), [finding(A, CLEAR, own.der)])
    assert (said.name, said.level) == ("tlsa-not-judged", UNKNOWN)
    assert said.text.startswith(f"the certificate does not match {SHOWN} and 2 0 0 30")
    assert said.text.endswith(
        f", but a usage of 2 with matching type 0 was not judged{NOT_SECURED}"
    )


def test_no_usable_record(own: Certificate) -> None:
    [said] = judge(records(Tlsa(1, 1, 1, own.data(1, 1))), [finding(A, CLEAR, own.der)])
    assert (said.name, said.level) == ("tlsa-unusable", FAULT)
    assert said.text == (
        f"senders cannot use {NAME} IN TLSA 1 1 1 {own.data(1, 1)[:8].hex()}...: for mail, usage "
        "is 2 or 3, selector 0 or 1, and the data as long as matching type 0, 1 or 2 requires "
        f"(RFC 7672, 3.1){NOT_SECURED}"
    )


@pytest.mark.parametrize("usage", [1, 3])
@pytest.mark.parametrize("stage", ["mail", "rcpt"])
def test_without_starttls(stage: str, usage: int) -> None:
    """Any record promises it, also one that cannot be used."""
    found = records(Tlsa(usage, 1, 1, b"\xab" * 32))
    talk = refusing_at(stage)
    failed = finding(B, talk, has_tls=False)
    [said] = judge(found, [verdict_of(A, talk, None), failed])
    assert (said.name, said.level, said.about) == ("tlsa-without-starttls", FAULT, f"{A}, {B}")
    assert said.text == f"{found} promises STARTTLS, {QUEUE}{NOT_SECURED}"


@pytest.mark.parametrize(
    "talk",
    [
        refusing_at("greeting"),
        refusing_at("helo"),
        conversation({"RCPT": "250 yes"}),
        answers({}, "no greeting within 1 s"),
    ],
)
def test_where_starttls_is_not_due(talk: Answers) -> None:
    assert judge(records(WRONG), [verdict_of(A, talk, None)]) == []
