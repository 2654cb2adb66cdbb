"""A message to many recipients bounces at once too: senders pipeline all of them, under TLS.

Exim waits half a minute for the rest of a TLS record of more than 4,096 octets. Exim, sendmail and
Courier treat a connection that ends in the middle of their commands as a temporary failure.
"""

import contextlib
import ssl
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import pytest
from helpers.certificates import make
from helpers.namespaces import TREE
from helpers.program import SERVE, TEST_TIMEOUT, Caller, Servers, answered
from lab import ADDRESSES, CERTIFIED, RefusingHost, package_of
from lab import SERVE as HOST
from mtas import AT_ONCE, PLAIN, SENDERS, MailServer

from null521.record import REFUSED, STARTED

COUNT = 150
AT_RCPT, AT_MAIL = HOST, "mail-tls.test"
OPENSMTPD = [layer for layer in SENDERS if package_of(layer) == "opensmtpd"]
BOUNCING = [(layer, AT_MAIL if layer in OPENSMTPD else AT_RCPT) for layer in SENDERS]
# At RCPT, OpenSMTPD hangs up after so many refusals in a row, and queues the rest.
QUEUEING, MOST = [(layer, AT_RCPT) for layer in OPENSMTPD], 25
GIVES_UP = "Too many consecutive errors, closing connection"


class Sent(NamedTuple):
    """What became of one message: recipients in bounces, seconds, and what is in the queue."""

    failed: set[str]
    seconds: float
    queue: str


def recipients(host: str) -> set[str]:
    return {f"box{number:03}@{host}" for number in range(COUNT)}


def send(folder: Path, refusing: RefusingHost, layer: str, to: str) -> Sent:
    """Submit it, and wait for what is expected at most AT_ONCE."""
    with MailServer(folder / f"{layer}-{to}", refusing, layer) as host:
        assert host.submit(PLAIN, *sorted(recipients(to))) == ""
        start = time.monotonic()
        while True:
            failed = {who for who, report in host.reports() if report.action == "failed"}
            seconds = time.monotonic() - start
            queue = host.queue()
            is_over = failed == recipients(to) and not queue
            if (layer, to) in QUEUEING:
                is_over = len(failed) + queue.count(GIVES_UP) == COUNT
            if is_over or seconds > AT_ONCE:
                return Sent(failed, seconds, queue)
            time.sleep(0.1)


@pytest.fixture(scope="module")
def refusing(launcher: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RefusingHost]:
    """With `null521 serve` at RCPT, by its defaults."""
    with RefusingHost(tmp_path_factory.mktemp("refusing") / "host", launcher) as host:
        flags = [f"--listen={ADDRESSES[HOST]}:25", f"--hostname={HOST}", "--refuse-at=rcpt"]
        server = host.popen(["env", f"PYTHONPATH={TREE}", *SERVE, *flags, *CERTIFIED])
        try:
            host.wait_for(1, f"MESSAGE_ID={STARTED}")
            yield host
        finally:
            server.kill()
            server.wait()


@pytest.fixture(scope="module")
def sent(
    refusing: RefusingHost, tmp_path_factory: pytest.TempPathFactory
) -> Mapping[tuple[str, str], Sent]:
    """By sender and host, several side by side."""
    folder = tmp_path_factory.mktemp("senders")
    keys = [*BOUNCING, *QUEUEING]
    with ThreadPoolExecutor(len(keys) // 2) as several:
        found = several.map(lambda key: send(folder, refusing, *key), keys)
        return dict(zip(keys, found, strict=True))


@pytest.mark.parametrize("key", BOUNCING, ids=" ".join)
def test_all_bounce_at_once(
    sent: Mapping[tuple[str, str], Sent], refusing: RefusingHost, key: tuple[str, str]
) -> None:
    failed, seconds, queue = sent[key]
    assert (failed, queue) == (recipients(key[1]), "")
    assert seconds <= AT_ONCE


def test_all_of_it_is_under_tls_and_within_the_bounds(
    sent: Mapping[tuple[str, str], Sent], refusing: RefusingHost
) -> None:
    assert sent
    entries = refusing.entries(f"MESSAGE_ID={REFUSED}")
    assert {entry.get("NULL521_TLS") for entry in entries} == {"TLSv1.3"}
    assert {entry["NULL521_ENDING"] for entry in entries} <= {"quit", "eof", "reset"}
    assert max(int(entry["NULL521_RECIPIENTS"]) for entry in entries) == COUNT


@pytest.mark.parametrize("key", QUEUEING, ids=" ".join)
def test_opensmtpd_queues_most_of_them_at_rcpt(
    sent: Mapping[tuple[str, str], Sent], key: tuple[str, str]
) -> None:
    """Which is why docs/senders.md names the stage `mail`."""
    failed, _, queue = sent[key]
    assert len(failed) == MOST
    assert queue.count(GIVES_UP) == COUNT - MOST


@contextlib.contextmanager
def calling(driver: str, launcher: Path, folder: Path) -> Iterator[Caller]:
    """A client of either driver, by the defaults but for the stage, and with a certificate."""
    cert, key = make(folder)
    flags = ["--refuse-at=rcpt", f"--tls-cert={cert}", f"--tls-key={key}"]
    if driver == "handler":
        with answered(launcher, *flags) as caller:
            yield caller
    else:
        with Servers(SERVE) as servers, servers.answered(*flags) as caller:
            yield caller


@pytest.mark.parametrize("driver", ["handler", "serve"])
def test_all_recipients_and_data_in_one_piece(driver: str, launcher: Path, tmp_path: Path) -> None:
    """As Courier sends them, which is not in Debian's default installation."""
    with calling(driver, launcher, tmp_path) as caller:
        start = time.monotonic()
        clear = caller.client
        clear.settimeout(TEST_TIMEOUT)
        with clear.makefile("rb") as replies:
            replies.readline()
            clear.sendall(b"EHLO c.example\r\n")
            while replies.readline()[3:4] == b"-":
                pass
            clear.sendall(b"STARTTLS\r\n")
            assert replies.readline().startswith(b"220 ")
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        with context.wrap_socket(clear) as client, client.makefile("rb") as replies:
            client.sendall(b"EHLO c.example\r\n")
            while replies.readline()[3:4] == b"-":
                pass
            client.sendall(b"MAIL FROM:<ann@c.example>\r\n")
            assert replies.readline().startswith(b"250 ")
            to = "".join(f"RCPT TO:<{who}>\r\n" for who in sorted(recipients("h.example")))
            client.sendall(f"{to}DATA\r\n".encode())
            assert [replies.readline()[:4] for _ in range(COUNT + 1)] == [b"521 "] * (COUNT + 1)
            client.sendall(b"QUIT\r\n")
            assert replies.readline().startswith(b"221 ")
            assert replies.readline() == b""
        assert time.monotonic() - start < AT_ONCE
        assert caller.ending() == "quit"
