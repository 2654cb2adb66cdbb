"""What is said about how a host refuses mail."""

from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from helpers.certificates import make
from helpers.conversations import TLS, answers, conversation, refusing_at

from null521.check import prediction
from null521.check.advice import VERIFIERS, is_self_signed, judge
from null521.check.probe import Answers
from null521.check.remarks import ADVICE, FAULT, NOTE, Remark
from null521.check.verdict import Finding
from null521.check.verdict import judge as verdict_of

A, B, C = "192.0.2.1", "2001:db8::1", "192.0.2.3"
ACCEPTS = conversation({"RCPT": "250 yes"})
NO_TLS = answers({}, "no reply to STARTTLS within 1 s")
SECURED = refusing_at("rcpt", tls=TLS)
CHAIN = (b"junk",)


def at(address: str, talk: Answers, secured: Answers | None = None) -> Finding:
    return verdict_of(address, talk, secured)


def remarks(*findings: Finding, port: int = 25) -> list[Remark]:
    return judge(findings, port)


def named(name: str, *findings: Finding, port: int = 25) -> list[Remark]:
    return [remark for remark in judge(findings, port) if remark.name == name]


def test_nothing_to_say() -> None:
    assert remarks(at(A, refusing_at("rcpt"), SECURED), at(B, ACCEPTS)) == []


# STARTTLS.


def test_faults_of_starttls() -> None:
    accepts = conversation({"RCPT": "250 yes"}, tls=TLS)
    found = remarks(
        at(A, refusing_at("rcpt"), NO_TLS),
        at(B, ACCEPTS, SECURED),
        at(C, refusing_at("rcpt"), accepts),
    )
    assert [one[:3] for one in found] == [
        ("starttls-fails", A, "STARTTLS does not work: no reply to STARTTLS within 1 s"),
        ("tls-differs", B, "under TLS it refuses at rcpt: '521 no'"),
    ]
    assert {one.level for one in found} == {FAULT}


@pytest.mark.parametrize("stage", ["mail", "rcpt"])
def test_starttls_that_is_not_offered(stage: str) -> None:
    """One line for all addresses; senders by those that queue the mail, as measured."""
    talk = refusing_at(stage)
    [found] = remarks(at(A, talk), at(C, refusing_at("rcpt"), SECURED), at(B, talk))
    assert (found.name, found.level, found.about) == ("starttls-not-offered", ADVICE, f"{A}, {B}")
    assert found.text == (
        "STARTTLS is not offered, so senders that require TLS queue the mail; offer it "
        "(null521: tls-cert and tls-key)"
    )
    predicted = prediction.at_stage("rcpt", starttls=False)
    assert found.senders == tuple(one.sender for one in predicted if one.insisting != AT_ONCE)
    assert len(found.senders) > 1


def test_no_advice_for_a_host_that_does_not_refuse_after_helo() -> None:
    for talk in (ACCEPTS, refusing_at("greeting"), refusing_at("helo")):
        assert named("starttls-not-offered", at(A, talk)) == []


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    cert, _ = make(tmp_path_factory.mktemp("certificate"))
    return x509.load_pem_x509_certificate(Path(cert).read_bytes()).public_bytes(Encoding.DER)


def test_a_self_signed_certificate(certificate: bytes) -> None:
    secured = refusing_at("rcpt", tls=TLS)
    secured.chain = (certificate, b"other")
    other = refusing_at("rcpt", tls=TLS)
    other.chain = (certificate.replace(b"h.example", b"i.example", 1),)  # its issuer
    late = refusing_at("rcpt")
    [found] = remarks(at(A, late, secured), at(C, late, other), at(B, ACCEPTS, secured))[-1:]
    assert (found.name, found.level, found.about) == ("self-signed", NOTE, f"{A}, {B}")
    listed = ", ".join(f"{sender} ({how})" for sender, how in VERIFIERS.items())
    assert found.text.startswith(
        "the certificate is self-signed; senders that verify certificates reject it. These "
        f"queue the mail, as measured: {listed}, python-slimta; by documentation, also KumoMTA "
        "and senders that use MTA-STS. "
    )
    assert found.senders == tuple(VERIFIERS)
    assert len(found.senders) == 4


@pytest.mark.parametrize("chain", [(), (b"",), (b"junk",)])
def test_a_certificate_that_cannot_be_read(chain: tuple[bytes, ...], certificate: bytes) -> None:
    assert is_self_signed(chain) is False
    assert is_self_signed((certificate,)) is True


def test_starttls_that_fails_has_no_certificate(certificate: bytes) -> None:
    failed = answers({}, "no reply")
    failed.chain = (certificate,)
    assert named("self-signed", at(A, refusing_at("rcpt"), failed)) == []


# The stage.

AT_ONCE = prediction.AT_ONCE


@pytest.mark.parametrize("stage", ["greeting", "helo"])
def test_a_refusal_that_is_too_early(stage: str) -> None:
    """With the senders by what they do, as measured; those that give up are not named."""
    [found] = remarks(at(A, refusing_at(stage)), at(B, refusing_at(stage)))
    assert (found.name, found.level, found.about) == ("refused-early", FAULT, f"{A}, {B}")
    predicted = prediction.at_stage(stage, starttls=False)
    queueing = [one for one in predicted if one.outcome != AT_ONCE]
    outcomes = dict.fromkeys(one.outcome for one in queueing)
    groups = [
        f"{', '.join(one.sender for one in queueing if one.outcome == outcome)} ({outcome})"
        for outcome in outcomes
    ]
    assert found.text == (
        f"some senders queue mail that is refused at {stage}: {', '.join(groups)}; by their source "
        "code also chasquid, KumoMTA, notqmail; refuse at rcpt"
    )
    assert sorted(found.senders) == sorted(one.sender for one in queueing)
    assert 1 < len(found.senders) < len(predicted)


@pytest.mark.parametrize("stage", ["mail", "rcpt"])
def test_a_refusal_that_is_not(stage: str) -> None:
    assert named("refused-early", at(A, refusing_at(stage))) == []


def test_a_group_for_each_way_of_refusing() -> None:
    found = named(
        "refused-early",
        at(A, refusing_at("greeting")),
        at(B, refusing_at("helo")),
        at(C, refusing_at("greeting")),
    )
    assert [one.about for one in found] == [f"{A}, {C}", B]


def test_a_host_that_hangs_up() -> None:
    """At the greeting, senders were measured; at helo, not all of them."""
    early = answers({"greeting": "521 no"}, "it hung up", has_hung_up=True)
    [found] = remarks(at(A, early))
    assert found.senders
    helo = answers({"greeting": "220 h", "EHLO": "521 no"}, "it hung up", has_hung_up=True)
    [found] = remarks(at(A, helo))
    assert found == (
        "refused-early",
        A,
        "senders may queue the mail if refused at helo and cut off; refuse at rcpt",
        (),
    )
    found, other = remarks(at(A, helo), at(B, early))
    assert (found.about, other.about, other.senders != ()) == (A, B, True)


def test_a_host_that_refuses_some_commands_only() -> None:
    assert remarks(at(A, refusing_at("greeting", {"RCPT": "250 yes"}))) == []


def test_senders_that_all_give_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prediction, "OUTCOMES", {"x": (AT_ONCE,) * 5})
    assert remarks(at(A, refusing_at("greeting"))) == []


# Port 25.

BLOCKED = (
    "many networks, such as clouds and access providers, block outgoing connections to port 25, "
    "so the cause may be here, not there; check from another network too"
)


def unanswered(unreachable: bool = False) -> Answers:
    talk = answers({}, "no connection within 1 s", unreachable=unreachable)
    talk.unanswered = True
    return talk


def test_no_answer_from_port_25() -> None:
    found = remarks(at(A, unanswered()), at(B, unanswered()), at(C, unanswered()))
    assert found == [("port-25-blocked", f"{A}, {B}, {C}", BLOCKED, ())]
    assert found[0].level == ADVICE


def test_no_answer_that_has_another_cause() -> None:
    """Another port, the host itself, no route, or an address of the same kind that answers."""
    assert remarks(at(A, unanswered()), port=2525) == []
    assert remarks(at("127.0.0.1", unanswered()), at("::1", unanswered())) == []
    assert remarks(at(A, unanswered(unreachable=True))) == []
    assert remarks(at(A, unanswered()), at(C, refusing_at("rcpt"), SECURED)) == []
    late = answers({}, "it hung up before its greeting", has_hung_up=True)
    assert remarks(at(A, unanswered()), at(C, late)) == []


def test_an_answer_that_does_not_count() -> None:
    """Over the other version of IP, or from this host."""
    for answering in (B, "127.0.0.1"):
        [found] = remarks(at(A, unanswered()), at(answering, refusing_at("rcpt"), SECURED))
        assert found.about == A
