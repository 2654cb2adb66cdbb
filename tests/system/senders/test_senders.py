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
from helpers.versions import covering
from lab import NULL_MX, RESOLVER, RefusingHost, in_network, package_of
from matrix import ALL, COLUMNS, NUMBERS, Cell, measure
from mtas import (
    EIGHT_BIT,
    INTERNATIONAL,
    PLAIN,
    SENDERS,
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
    #                                greeting helo    mail    rcpt    tls  mandatory-tls null-mx
    "debian-12-postfix":            [(D, D), (B, B), (B, B), (B, B), (B, B), (B, B), (B, B)],
    "debian-13-postfix":            [(D, D), (B, B), (B, B), (B, B), (B, B), (B, B), (B, B)],
    "debian-12-exim4-daemon-light": [(B, D), (B, D), (B, B), (B, B), (B, B), (B, B), (B, B)],
    "debian-13-exim4-daemon-light": [(B, D), (B, D), (B, B), (B, B), (B, B), (B, B), (B, B)],
    "debian-12-opensmtpd":          [(D, D), (D, D), (B, B), (B, B), (B, B), (B, B), (D, D)],
    "debian-13-opensmtpd":          [(D, D), (D, D), (B, B), (B, B), (B, B), (B, B), (B, B)],
    "debian-12-sendmail":           [(B, B), (B, B), (B, B), (B, B), (B, B), (B, B), (B, B)],
    "debian-13-sendmail":           [(B, B), (B, B), (B, B), (B, B), (B, B), (B, B), (B, B)],
}  # fmt: skip

# Why it was deferred, as the log has it.
REASONS = {
    "postfix": "refused to talk to me: 521 greeting.test is configured NOT to accept any mail.",
    "exim4-daemon-light": "retry time not reached for any host",
    "opensmtpd": "Network error on destination MXs",
}
# OpenSMTPD has the null MX since 7.5.
NO_MX = "No MX found for domain"
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


@pytest.fixture(params=SENDERS)
def host(
    request: pytest.FixtureRequest, refusing: RefusingHost, tmp_path: Path
) -> Iterator[MailServer]:
    """Each sender, fresh after its start."""
    with MailServer(tmp_path / "host", refusing, request.param) as running:
        yield running


@pytest.mark.parametrize("column", COLUMNS)
@pytest.mark.parametrize("layer", SENDERS)
def test_two_messages_in_turn(
    cells: Mapping[tuple[str, str], Cell], layer: str, column: str
) -> None:
    """To each stage; at RCPT where STARTTLS is offered, if it may and if it must; to a null MX."""
    fates = cells[layer, column].fates
    outcomes = OUTCOMES[layer][list(COLUMNS).index(column)]
    assert tuple(fate.outcome for fate in fates) == outcomes, fates
    for fate in fates:
        if fate.outcome == D:
            assert (NO_MX if column == "null-mx" else REASONS[package_of(layer)]) in fate.reason
        elif column == "null-mx":
            assert fate.report
            assert fate.report.action == "failed"
        else:
            assert_says_why(fate, COLUMNS[column].to)


def test_a_null_mx_keeps_all_of_them_from_connecting(
    refusing: RefusingHost, cells: Mapping[tuple[str, str], Cell]
) -> None:
    """Its name has an address too, where mail would be refused at RCPT."""
    assert cells
    for number in NUMBERS:
        words = (f"MESSAGE_ID={REFUSED}", f"NULL521_RECIPIENT={number}@{NULL_MX}")
        assert refusing.entries(*words) == []


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
@pytest.mark.parametrize("layer", SENDERS)
def test_what_is_predicted(
    predicted: Mapping[str, list[Prediction]],
    cells: Mapping[tuple[str, str], Cell],
    layer: str,
    column: str,
) -> None:
    """What null521 check says of senders is what they do, in all columns and in these versions."""
    cell = cells[layer, column]
    outcomes = {(B, B): AT_ONCE, (D, D): QUEUES, (B, D): FIRST}
    seen = outcomes[cell.fates[0].outcome, cell.fates[1].outcome]
    named = {one.sender: one for one in predicted[ALL[column].to]}
    [prediction] = covering(cell.sender, named)
    assert seen == (prediction.insisting if ALL[column].insists_on_tls else prediction.outcome)


def test_tls_is_used_where_it_is_offered(
    refusing: RefusingHost, cells: Mapping[tuple[str, str], Cell]
) -> None:
    """By those that may as well: otherwise their bounces would say nothing about it."""
    columns = [column for column in COLUMNS.values() if column.to == "tls.test"]
    count = len(columns) * len(SENDERS)
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
    if host.package in ("opensmtpd", "sendmail"):
        assert complaint == "SMTPNotSupportedError: SMTPUTF8 not supported by server"
    else:
        assert complaint == ""
        assert_bounced(host, "bøb@rcpt.test")
    host.wait_for_empty_queue()


def test_null_reverse_path(refusing: RefusingHost, host: MailServer) -> None:
    """A bounce that we refuse: RFC 5321, 6.1 forbids another one, and there is none, nor a loop."""
    assert host.submit(PLAIN, "bob@rcpt.test", null=True) == ""
    assert_tried_once(refusing, host, "bob@rcpt.test")
    if host.package == "exim4-daemon-light":
        # Exim keeps it for postmaster to look at, two days at most, but tries it no more.
        deadline = ("bash", "-c", "until exim4 -bp | grep -q frozen; do sleep 0.05; done")
        host.run(list(deadline), timeout=60)
        host.run(["exim4", "-q"])
        assert host.queue().count("<>") == 1
    else:
        host.wait_for_empty_queue()
    assert_tried_once(refusing, host, "bob@rcpt.test")
    assert host.reports() == []


@pytest.mark.parametrize("column", ["mail-mandatory", "rcpt-mandatory"])
@pytest.mark.parametrize("layer", SENDERS)
def test_a_sender_that_requires_tls_queues_the_mail(
    cells: Mapping[tuple[str, str], Cell], layer: str, column: str
) -> None:
    """Where STARTTLS is not offered: it does not get as far as MAIL."""
    cell = cells[layer, column]
    assert [fate.outcome for fate in cell.fates] == [D, D]
    assert NO_TLS[package_of(layer)] in cell.log
    for number in NUMBERS:
        assert f"{number}@{ALL[column].to}" in cell.queue
