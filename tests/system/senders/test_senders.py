"""Every sender gives up at once where we refuse at RCPT, and what each does at the other stages.

The tables hold what is to be noticed if it changes, in a sender or in us: also where a sender keeps
the mail, which is why the shipped units and lines say rcpt.
"""

import json
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from helpers.namespaces import TEST_TIMEOUT, TREE
from lab import RESOLVER, RefusingHost, in_network
from matrix import ALL, COLUMNS, Cell, measure
from mtas import (
    EIGHT_BIT,
    INTERNATIONAL,
    MTAS,
    PLAIN,
    MailServer,
    assert_bounced,
    assert_says_why,
)

from null521.check.prediction import AT_ONCE, FIRST, QUEUES, Prediction
from null521.record import REFUSED

B, D = "bounced at once", "deferred"

# What becomes of the first and the second message. Exim remembers a refusal before MAIL as the
# host's, and does not try that again for 15 minutes.
OUTCOMES = {
    #                     greeting  helo    mail    rcpt    tls     mandatory-tls
    "postfix":            [(D, D), (B, B), (B, B), (B, B), (B, B), (B, B)],
    "exim4-daemon-light": [(B, D), (B, D), (B, B), (B, B), (B, B), (B, B)],
    "opensmtpd":          [(D, D), (D, D), (B, B), (B, B), (B, B), (B, B)],
    "sendmail":           [(B, B), (B, B), (B, B), (B, B), (B, B), (B, B)],
}  # fmt: skip

# Why it was deferred, as the log has it.
REASONS = {
    "postfix": "refused to talk to me: 521 greeting.test is configured NOT to accept any mail.",
    "exim4-daemon-light": "retry time not reached for any host",
    "opensmtpd": "Network error on destination MXs",
}
NO_TLS = {
    "postfix": "TLS is required, but was not offered by host",
    "exim4-daemon-light": "a TLS session is required, but the server did not offer TLS support",
    "opensmtpd": "TLS required but not supported by remote host",
    "sendmail": "454 4.7.0 encryption too weak 0 less than 112",
}


@pytest.fixture(scope="module")
def refusing(launcher: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RefusingHost]:
    with RefusingHost(tmp_path_factory.mktemp("refusing") / "host", launcher) as host:
        yield host


@pytest.fixture(scope="module")
def cells(
    refusing: RefusingHost, tmp_path_factory: pytest.TempPathFactory
) -> Mapping[tuple[str, str], Cell]:
    return measure(tmp_path_factory.mktemp("cells"), refusing)


@pytest.fixture(params=MTAS)
def host(
    request: pytest.FixtureRequest, refusing: RefusingHost, tmp_path: Path
) -> Iterator[MailServer]:
    """Each sender, fresh after its start."""
    with MailServer(tmp_path / "host", refusing, request.param) as running:
        yield running


@pytest.mark.parametrize("column", COLUMNS)
@pytest.mark.parametrize("package", MTAS)
def test_two_messages_in_turn(
    cells: Mapping[tuple[str, str], Cell], package: str, column: str
) -> None:
    """To each stage; and at RCPT where STARTTLS is offered, to senders that may and that must."""
    fates = cells[package, column].fates
    outcomes = OUTCOMES[package][list(COLUMNS).index(column)]
    assert tuple(fate.outcome for fate in fates) == outcomes, fates
    for fate in fates:
        if fate.outcome == D:
            assert REASONS[package] in fate.reason
        else:
            assert_says_why(fate, COLUMNS[column].to)


@pytest.fixture(scope="module")
def predicted(refusing: RefusingHost) -> Mapping[str, list[Prediction]]:
    """By null521 check, for each host that mail is sent to."""
    return {to: predict(refusing, to) for to in {column.to for column in ALL.values()}}


def predict(refusing: RefusingHost, to: str) -> list[Prediction]:
    words = [sys.executable, "-m", "null521", "check", "--json", f"--resolver={RESOLVER}", to]
    done = in_network(refusing, *words, cwd=TREE, stdout=subprocess.PIPE)
    [group] = json.loads(done.stdout)["senders"]
    return [Prediction(**sender) for sender in group["senders"]]


@pytest.mark.parametrize("column", ALL)
@pytest.mark.parametrize("package", MTAS)
def test_what_is_predicted(
    predicted: Mapping[str, list[Prediction]],
    cells: Mapping[tuple[str, str], Cell],
    package: str,
    column: str,
) -> None:
    """What null521 check says of senders is what they do, in all columns and in these versions."""
    cell = cells[package, column]
    outcomes = {(B, B): AT_ONCE, (D, D): QUEUES, (B, D): FIRST}
    seen = outcomes[cell.fates[0].outcome, cell.fates[1].outcome]
    sender = f"{MTAS[package].name} {cell.version}"
    [prediction] = [one for one in predicted[ALL[column].to] if sender.startswith(one.sender)]
    assert seen == (prediction.insisting if ALL[column].insists_on_tls else prediction.outcome)


def test_tls_is_used_where_it_is_offered(
    refusing: RefusingHost, cells: Mapping[tuple[str, str], Cell]
) -> None:
    """By those that may as well: otherwise their bounces would say nothing about it."""
    columns = [column for column in COLUMNS.values() if column.to == "tls.test"]
    count = len(columns) * len(MTAS)
    entries = refusing.wait_for(count, f"MESSAGE_ID={REFUSED}", "NULL521_RECIPIENT=first@tls.test")
    assert {entry.get("NULL521_TLS") for entry in entries} == {"TLSv1.3"}


def test_nothing_stays_in_the_queue(refusing: RefusingHost, host: MailServer) -> None:
    for recipient in ("first@rcpt.test", "second@rcpt.test"):
        assert host.submit(PLAIN, recipient) == ""
        assert_bounced(host, recipient)
        host.wait_for_empty_queue()
    assert_tried_once(refusing, host, "first@rcpt.test", "second@rcpt.test")


def assert_tried_once(refusing: RefusingHost, host: MailServer, *recipients: str) -> None:
    """Our records of the host name each just once, in one connection or more."""
    deadline = time.monotonic() + TEST_TIMEOUT
    tried: list[str] = []
    while len(tried) < len(recipients):
        assert time.monotonic() < deadline, tried
        time.sleep(0.05)
        entries = refusing.entries(f"MESSAGE_ID={REFUSED}", f"NULL521_CLIENT={host.address}")
        named = [entry["NULL521_RECIPIENT"] for entry in entries]
        # journalctl(1): a field that repeats is a list in JSON.
        tried = [to for tos in named for to in (tos if isinstance(tos, list) else [tos])]
    assert sorted(tried) == sorted(recipients)


def test_two_recipients_in_one_message(host: MailServer) -> None:
    assert host.submit(PLAIN, "bob@rcpt.test", "carol@rcpt.test") == ""
    assert_bounced(host, "bob@rcpt.test")
    assert_bounced(host, "carol@rcpt.test")
    host.wait_for_empty_queue()


def test_eight_bit_message(host: MailServer) -> None:
    assert host.submit(EIGHT_BIT, "bob@rcpt.test", with_="BODY=8BITMIME") == ""
    assert_bounced(host, "bob@rcpt.test")
    host.wait_for_empty_queue()


def test_internationalized_message(host: MailServer) -> None:
    """RFC 6531. OpenSMTPD 6.8, and sendmail as Debian builds it, have nothing of it."""
    complaint = host.submit(INTERNATIONAL, "bøb@rcpt.test", with_="SMTPUTF8")
    if host.sender in ("opensmtpd", "sendmail"):
        assert complaint == "SMTPNotSupportedError: SMTPUTF8 not supported by server"
    else:
        assert complaint == ""
        assert_bounced(host, "bøb@rcpt.test")
    host.wait_for_empty_queue()


def test_null_reverse_path(refusing: RefusingHost, host: MailServer) -> None:
    """A bounce that we refuse: RFC 5321, 6.1 forbids another one, and there is none, nor a loop."""
    assert host.submit(PLAIN, "bob@rcpt.test", null=True) == ""
    assert_tried_once(refusing, host, "bob@rcpt.test")
    if host.sender == "exim4-daemon-light":
        # Exim keeps it for postmaster to look at, two days at most, but tries it no more.
        deadline = ("bash", "-c", "until exim4 -bp | grep -q frozen; do sleep 0.05; done")
        host.run(list(deadline), timeout=10)
        host.run(["exim4", "-q"])
        assert host.queue().count("<>") == 1
    else:
        host.wait_for_empty_queue()
    assert_tried_once(refusing, host, "bob@rcpt.test")
    assert host.reports() == []


@pytest.mark.parametrize("package", MTAS)
def test_a_sender_that_insists_on_tls_keeps_the_mail(
    refusing: RefusingHost, tmp_path: Path, package: str
) -> None:
    """Where STARTTLS is not on offer: it does not get as far as RCPT."""
    with MailServer(tmp_path / "host", refusing, package, insists_on_tls=True) as host:
        assert host.submit(PLAIN, "bob@rcpt.test") == ""
        fate = host.fate("bob@rcpt.test")
        assert fate.outcome == D
        assert NO_TLS[package] in host.log_text()
        assert "bob@rcpt.test" in host.queue()
