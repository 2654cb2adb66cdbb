"""What null521 check says of a Postfix that takes mail, and of those that are told to reject it."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers.namespaces import TREE
from lab import RefusingHost, in_network
from mtas import MailServer

# What each rejects, where it is not told to wait for RCPT (postconf(5), smtpd_delay_reject).
RESTRICTIONS = {"client": "greeting", "helo": "helo", "sender": "mail", "recipient": "rcpt"}


@pytest.fixture(scope="module")
def running(launcher: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[MailServer]:
    """As Debian has it, which takes mail for its own users; the refusing host is next to it."""
    folder = tmp_path_factory.mktemp("postfix")
    with (
        RefusingHost(folder / "refusing", launcher) as refusing,
        MailServer(folder / "host", refusing, "debian-12-postfix") as host,
    ):
        yield host


@pytest.fixture
def postfix(running: MailServer) -> Iterator[MailServer]:
    """The same, with its own settings again after each test."""
    yield running
    restrictions = (f"smtpd_{name}_restrictions" for name in RESTRICTIONS)
    running.run(["postconf", "-X", *restrictions, "reject_code", "smtpd_delay_reject"])


def settle(host: MailServer, *settings: str) -> None:
    """With these settings; each process of Postfix reads them when it is started."""
    host.run(["postconf", *settings])
    for command in ("stop", "start"):
        host.run(["postfix", command], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def check(host: MailServer) -> tuple[int, str]:
    """Exit status and output, asked from the next host."""
    words = [sys.executable, "-m", "null521", "check", host.address]
    done = in_network(host.refusing, *words, check=False, cwd=TREE, stdout=subprocess.PIPE)
    return done.returncode, done.stdout.decode()


def test_one_that_takes_mail(postfix: MailServer) -> None:
    words = "accepts mail: its reply to RCPT is '250 2.1.5 Ok'"
    assert check(postfix) == (1, f"{postfix.address} {words}\n")


def test_reject(postfix: MailServer) -> None:
    """With 554, and not for postmaster without a domain."""
    settle(postfix, "smtpd_recipient_restrictions=reject")
    words = "accepts mail: its reply to RCPT <postmaster> is '250 2.1.5 Ok'"
    assert check(postfix) == (1, f"{postfix.address} {words}\n")
    settle(postfix, "smtpd_client_restrictions=reject", "smtpd_delay_reject=no")
    status, said = check(postfix)
    words = "does not refuse with 521: its greeting is '554 5.7.1 "
    assert (status, said.startswith(f"{postfix.address} {words}")) == (1, True)


@pytest.mark.parametrize(("restriction", "stage"), RESTRICTIONS.items())
def test_reject_with_521(postfix: MailServer, restriction: str, stage: str) -> None:
    """After which Postfix hangs up: postconf(5), reject_code; RFC 1846, 4.2 (a)."""
    restrict = f"smtpd_{restriction}_restrictions=reject"
    settle(postfix, restrict, "reject_code=521", "smtpd_delay_reject=no")
    status, said = check(postfix)
    expected = f"{postfix.address} refuses at {stage}, and hangs up: '521 5.7.1 "
    assert (status, said.startswith(expected)) == (0, True)
