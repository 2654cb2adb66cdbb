"""One client of every kind, for both drivers: a process for each, and `null521 serve` for all."""

import re
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from helpers.program import (
    BYE,
    GREETING,
    LONG_REFUSED,
    REFUSED,
    SLOW_COUNT,
    SLOW_FLAGS,
    TEST_TIMEOUT,
    Driver,
    reset,
)

TRANSCRIPTS = sorted(Path(__file__).parents[1].glob("unit/transcripts/*.txt"))

# How long after its bound a session may last: lingering waits 2 s for the client, and a busy
# machine is not to fail the tests.
GRACE = 8.0


# What a client may say.


@pytest.mark.parametrize("path", TRANSCRIPTS, ids=lambda path: path.stem)
def test_transcript(driver: Driver, path: Path) -> None:
    """All of a transcript in one segment."""
    lines = path.read_text().splitlines()
    said = "".join(line[3:] + "\r\n" for line in lines if line.startswith("C:"))
    expected = "".join(line[3:] + "\r\n" for line in lines if line.startswith("S:"))
    flags = [f"--refuse-at={path.stem.partition('-')[0]}", "--hostname=canon.inria.fr"]
    with driver(*flags) as to:
        to.client.sendall(said.encode())
        assert to.read_all().decode() == expected
        assert to.ending() == "quit"


CLIENT_HELLO = bytes.fromhex("16030100c4010000c00303") + bytes(range(185)) + b"\n"
HTTP = b"GET / HTTP/1.1\r\nHost: h.example\r\nUser-Agent: x\r\n\r\n"


@pytest.mark.parametrize(
    ("octets", "replies"),
    [
        (b"\0\0\0\r\n", 1),
        (b"MAIL \0FROM:<\0>\r\n", 1),
        (bytes(range(128, 256)) + b"\r\n", 1),
        ("MAIL FROM:<grün@exämple>\r\n".encode("latin-1"), 1),
        (CLIENT_HELLO, CLIENT_HELLO.count(b"\n")),
        (HTTP, 4),
        (b"\r\n\r\n\n\n", 4),
        (b"\r\r\r\n", 1),
    ],
    ids=["NULs", "NULs in MAIL", "8-bit", "latin-1", "TLS", "HTTP", "empty lines", "CRs"],
)
def test_what_is_not_smtp_is_refused_line_by_line(
    driver: Driver, octets: bytes, replies: int
) -> None:
    with driver() as to:
        to.client.sendall(octets + b"QUIT\r\n")
        assert to.read_all() == REFUSED * (1 + replies) + BYE
        record = to.record()
    assert "; quit after " in record
    assert record[:-1].isprintable()


@pytest.mark.parametrize("stage", ["greeting", "rcpt"])
def test_eof_at_every_point(driver: Driver, stage: str) -> None:
    said = b"EHLO x\r\nMAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\n"
    for length in range(0, len(said) + 1, 3):
        with driver(f"--refuse-at={stage}") as to:
            to.client.sendall(said[:length])
            to.client.shutdown(socket.SHUT_WR)
            replies = to.read_all()
            assert len(re.findall(rb"^\d{3} ", replies, re.M)) == 1 + said[:length].count(b"\n")
            assert replies.endswith(b"\r\n")
            assert to.ending() == "eof"


def test_half_close_after_quit(driver: Driver) -> None:
    with driver() as to:
        to.client.sendall(b"EHLO x\r\nQUIT\r\n")
        to.client.shutdown(socket.SHUT_WR)
        assert to.read_all() == REFUSED * 2 + BYE
        assert to.ending() == "quit"


# Bounds. A client that sends first and reads afterwards must find its last reply whole, which a
# RST in between would have taken from it.


@pytest.mark.parametrize(
    ("flags", "octets", "replies"),
    [
        ([], b"NOOP\r\n" * 10_000, 5002),
        (["--max-commands=100"], b"NOOP\r\n" * 10_000, 102),
        ([], b"x" * 10_000_000, 2),
        ([], b"RCPT TO:<" + b"x" * 2000 + b">\r\n" + b"y" * 2048, 3),
        # 2001 octets each: 1,000,000 is in the 500th, and 65536 in the 33rd.
        ([], (b"RCPT TO:<" + b"x" * 1989 + b">\r\n") * 600, 501),
        (["--max-octets=65536"], (b"RCPT TO:<" + b"x" * 1989 + b">\r\n") * 40, 34),
        ([], b"NOOP\r\nQUIT\r\n" + b"z" * 1_000_000, 2),
    ],
    ids=[
        "10,000 commands",
        "10,000 commands where 100 are allowed",
        "10 MB without line end",
        "a long line",
        "octets",
        "octets where 65536 are allowed",
        "after QUIT",
    ],
)
def test_last_reply_arrives_whole_where_a_bound_is_hit(
    driver: Driver, flags: list[str], octets: bytes, replies: int
) -> None:
    with driver(*flags) as to:
        to.client.sendall(octets)
        to.client.shutdown(socket.SHUT_WR)
        quits = b"QUIT" in octets
        assert to.read_all() == REFUSED * replies + BYE * quits
        assert to.ending() == ("quit" if quits else "limit")


def test_a_silent_client_is_told_and_left(driver: Driver) -> None:
    start = time.monotonic()
    with driver("--refuse-at=rcpt", "--idle-timeout=1") as to:
        assert to.read_all() == GREETING + REFUSED
        assert 1 <= time.monotonic() - start < 1 + GRACE
        assert to.ending() == "idle"


def test_one_octet_a_second(driver: Driver) -> None:
    start = time.monotonic()
    with driver("--session-timeout=4") as to:
        replies = b""
        to.client.settimeout(1)
        for octet in b"EHLO a.very.patient.client":
            try:
                while chunk := to.client.recv(4096):
                    replies += chunk
                break
            except TimeoutError:
                to.client.sendall(bytes([octet]))
        assert replies == REFUSED * 2
        assert 4 <= time.monotonic() - start < 4 + GRACE
        to.client.close()
        assert to.ending() == "deadline"


@pytest.mark.parametrize(
    ("flags", "how"),
    [
        (["--max-commands=1000000000", "--max-octets=1000000000", "--idle-timeout=1"], "idle"),
        (
            ["--max-commands=1000000000", "--max-octets=1000000000", "--session-timeout=2"],
            "deadline",
        ),
        ([], "limit"),
    ],
)
def test_a_client_that_sends_and_never_reads(driver: Driver, flags: list[str], how: str) -> None:
    start = time.monotonic()
    with driver(*flags) as to:
        to.client.setblocking(False)
        while time.monotonic() - start < TEST_TIMEOUT:
            try:
                to.client.send(b"NOOP\r\n" * 1000)
            except BlockingIOError:
                time.sleep(0.01)
            except OSError:
                break
        assert to.ending() == how
    assert time.monotonic() - start < 2 + 2 + GRACE


def test_a_slow_reader_has_all_its_replies(driver: Driver) -> None:
    """Whole and in order, though they are more than is kept for it on the way at any time."""
    with driver(*SLOW_FLAGS) as to:
        to.client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2**16)
        to.client.sendall(b"NOOP\r\n" * SLOW_COUNT + b"QUIT\r\n")
        time.sleep(0.5)  # in which all would be answered, if there were room
        assert to.read_all() == LONG_REFUSED * (1 + SLOW_COUNT) + BYE
        assert to.ending() == "quit"


def test_drip_feeding_does_not_stretch_lingering(driver: Driver) -> None:
    start = time.monotonic()
    with driver() as to:
        to.client.sendall(b"QUIT\r\n")
        while time.monotonic() - start < TEST_TIMEOUT:
            try:
                to.client.send(b"x")
            except OSError:
                break
            time.sleep(0.1)
        assert to.ending() == "quit"
    assert time.monotonic() - start < 2 + GRACE


def test_rst_after_the_greeting(driver: Driver) -> None:
    with driver("--refuse-at=rcpt") as to:
        assert to.client.recv(100) == GREETING
        reset(to.client)
        assert to.ending() == "reset"


def test_rst_before_the_greeting(driver: Driver) -> None:
    with driver(first=reset) as to:
        assert to.ending() == "reset"


def test_many_at_once(driver: Driver) -> None:
    """Nothing is shared that one could spoil for another."""

    def one(_: int) -> bytes:
        with driver() as to:
            to.client.sendall(b"QUIT\r\n")
            return to.read_all()

    with ThreadPoolExecutor(20) as several:
        assert [one(0), *several.map(one, range(20))] == [REFUSED + BYE] * 21
