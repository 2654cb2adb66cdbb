"""A server's records with a real journald: a fast one, a full one, and one that does not read."""

import contextlib
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers.namespaces import TEST_TIMEOUT, BootedJournald, Journald
from helpers.program import SERVE, TREE
from helpers.superservers import dial, serving

from null521 import record
from null521.record import SUMMED, TROUBLE
from null521.serve.log import BURST, MAX_WAITING

SAID = b"EHLO mx.b.c\r\nMAIL FROM:<a@b.c>\r\nRCPT TO:<x@y>\r\nRCPT TO:<\0\r\nQUIT\r\n"
SERVER = ["env", f"PYTHONPATH={TREE}", *SERVE, "--listen=127.0.0.1:25", "--refuse-at=rcpt"]

# As much as a record can hold, from which journald makes 8.4 KB.
RECIPIENTS = b"".join(b"RCPT TO:<%d%s@y>\r\n" % (number, b"r" * 310) for number in range(10))
LONG = b"EHLO %s\r\nMAIL FROM:<%s@b>\r\n%sQUIT\r\n" % (b"h" * 255, b"s" * 310, RECIPIENTS)
# What one such record takes at least, while it waits.
LONG_OCTETS = 7500

MANY = 9000

# Clients, in the namespace: each sends what is on standard input, and reads to the end. It prints
# how many were refused, and the seconds that all took.
CROWD = """
import multiprocessing, socket, sys, time
said, count = sys.stdin.buffer.read(), int(sys.argv[1])
def client(number):
    with socket.create_connection(("127.0.0.1", 25), 60) as s:
        s.sendall(said)
        received = b""
        while chunk := s.recv(65536):
            received += chunk
        return b"221 " in received
with multiprocessing.get_context("fork").Pool(16) as several:
    several.map(len, [b""] * 16)
    start = time.monotonic()
    print(sum(several.imap_unordered(client, range(count), 50)), time.monotonic() - start)
"""


def crowd(journald: Journald, said: bytes, count: int) -> float:
    """So many sessions, in all of which the client is answered; the seconds that they took."""
    words = [sys.executable, "-c", CROWD, str(count)]
    done = journald.run(words, input=said, stdout=subprocess.PIPE, timeout=120)
    refused, seconds = done.stdout.split()
    assert int(refused) == count
    return float(seconds)


def metric(journald: Journald, name: str) -> int:
    text = journald.output("curl", "--silent", "--fail", "http://127.0.0.1:9521/metrics")
    (line,) = (line for line in text.splitlines() if line.startswith(f"{name} "))
    return int(float(line.split()[1]))


def pid_of_the_server(journald: Journald) -> int:
    """By its id outside."""
    found = journald.output("ss", "-Hltnp", "sport = 25")
    inside = re.findall(r"pid=(\d+)", found)[0]
    for status in Path("/proc").glob("[0-9]*/status"):
        with contextlib.suppress(OSError):
            ids = re.findall(r"^NSpid:\t(\d+)\t(\d+)$", status.read_text(), re.M)
            same = os.readlink(status.parent / "ns/pid_for_children")
            if (
                ids
                and ids[0][1] == inside
                and same == os.readlink(f"/proc/{journald.pid}/ns/pid_for_children")
            ):
                return int(ids[0][0])
    raise AssertionError(found)


def memory(pid: int) -> int:
    """What is resident, in octets."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(re.findall(r"VmRSS:\s*(\d+) kB", status)[0]) * 1024


@contextlib.contextmanager
def not_reading(journald: Journald) -> Iterator[None]:
    os.kill(journald.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(journald.pid, signal.SIGCONT)


def accounted_for(journald: Journald, count: int) -> tuple[int, int, int]:
    """Single records, those that are summed up and those that are lost, once all have arrived."""
    deadline = time.monotonic() + TEST_TIMEOUT
    while True:
        single = len(journald.entries(f"MESSAGE_ID={record.REFUSED}"))
        sums = journald.entries(f"MESSAGE_ID={SUMMED}")
        summed = sum(int(entry["NULL521_SESSIONS"]) for entry in sums)
        for entry in sums:
            numbers = map(int, re.findall(r"\d+", entry["NULL521_ENDINGS"]))
            assert sum(numbers) == int(entry["NULL521_SESSIONS"])
        notices = journald.entries(f"MESSAGE_ID={TROUBLE}")
        lost = sum(int(entry["MESSAGE"].split(" records were lost")[0]) for entry in notices)
        if single + summed + lost == count or time.monotonic() > deadline:
            assert single + summed + lost == count
            return single, summed, lost
        time.sleep(0.1)


@pytest.mark.parametrize(("name", "transport"), [("auto", "journal"), ("syslog", "syslog")])
def test_journald(journald: Journald, name: str, transport: str) -> None:
    with serving(journald, [*SERVER, f"--log={name}"]):
        ((number, _),) = dial(journald, "127.0.0.1", SAID.decode())
        start, refused = journald.wait_for(2, "-t", "null521")
    assert start["MESSAGE"] == "Answering on 127.0.0.1:25"
    assert refused["MESSAGE"].startswith("Refused 127.0.0.1 (mx.b.c), mail from <a@b.c>, to <x@y>,")
    assert (refused["_TRANSPORT"], refused["PRIORITY"]) == (transport, "5")
    if name == "auto":
        assert refused["NULL521_CLIENT_PORT"] == str(number)
        assert refused["NULL521_RECIPIENT"] == ["x@y", "\\x00"]
        assert refused["MESSAGE_ID"] == record.REFUSED


@pytest.mark.parametrize("kind", [BootedJournald, Journald], ids=["queue of 512", "queue of 10"])
def test_no_record_is_lost_while_journald_reads(tmp_path: Path, kind: type[Journald]) -> None:
    """Nor summed up, at thousands of long sessions a second."""
    with (
        kind(tmp_path / "journald") as journald,
        serving(journald, [*SERVER, "--log=journal"]),
    ):
        seconds = crowd(journald, LONG, MANY)
        print(f"{MANY / seconds:.0f} sessions a second")
        assert accounted_for(journald, MANY) == (MANY, 0, 0)


def test_a_journald_that_does_not_read(tmp_path: Path) -> None:
    """It makes no client wait, is told how many records are missing, and costs bounded memory."""
    emoji = "\N{GRINNING FACE}".encode() * 79
    said = b"EHLO %s\r\nMAIL FROM:<%s>\r\n%sQUIT\r\n" % (
        emoji[:252],
        emoji,
        b"RCPT TO:<%s>\r\n" % emoji * 10,
    )
    count = 4096
    with (
        BootedJournald(tmp_path / "journald") as journald,
        serving(journald, [*SERVER, "--log=journal", "--metrics=127.0.0.1:9521"]),
    ):
        crowd(journald, said, 500)
        metric(journald, "null521_commands_total")
        accounted_for(journald, 500)
        pid = pid_of_the_server(journald)
        before = memory(pid)
        with not_reading(journald):
            crowd(journald, said, count)
            used = memory(pid) - before
            lost = metric(journald, "null521_records_dropped_total")
        print(f"{used / 2**20:.1f} MB for {MAX_WAITING / 2**20:.0f} MB that waited")
        assert used < 16 * 2**20
        assert 0 < lost <= count - MAX_WAITING // (3 * LONG_OCTETS)
        assert accounted_for(journald, 500 + count) == (500 + count - lost, 0, lost)


def test_a_flood_is_summed_up(tmp_path: Path) -> None:
    """What is in the journal is within the budget, and adds up to all connections."""
    budget = 500
    with (
        BootedJournald(tmp_path / "journald") as journald,
        serving(
            journald,
            [*SERVER, "--log=journal", "--metrics=127.0.0.1:9521", f"--log-budget={budget}"],
        ),
    ):
        start = time.monotonic()
        crowd(journald, b"QUIT\r\n", MANY)
        crowd(journald, LONG, 1000)
        os.kill(pid_of_the_server(journald), signal.SIGTERM)
        single, summed, lost = accounted_for(journald, MANY + 1000)
        seconds = time.monotonic() - start
        assert lost == 0
        assert single > 1000
        assert summed > 1000
        octets = 0
        for entry in journald.entries("-t", "null521"):
            ours = {name: value for name, value in entry.items() if not name.startswith("_")}
            octets += len(str(ours))
        assert octets < budget * (BURST + seconds)


@pytest.mark.parametrize("reads_again", [True, False])
def test_a_restart_with_records_that_wait(tmp_path: Path, reads_again: bool) -> None:
    """All arrive, or are counted on standard error, which is there when the journal is not."""
    count = 800
    errors = tmp_path / "errors"
    with BootedJournald(tmp_path / "journald") as journald, errors.open("w") as stderr:
        words = [*SERVER, "--log=journal"]
        process = journald.popen(words, stdout=subprocess.DEVNULL, stderr=stderr)
        journald.wait_for(1, "-t", "null521")
        with not_reading(journald):
            crowd(journald, LONG, count)
            os.kill(pid_of_the_server(journald), signal.SIGTERM)
            if not reads_again:
                assert process.wait(TEST_TIMEOUT) == 0
        assert process.wait(TEST_TIMEOUT) == 0
        said = errors.read_text()
        arrived = len(journald.entries(f"MESSAGE_ID={record.REFUSED}"))
        if reads_again:
            assert (arrived, said) == (count, "")
        else:
            (lost,) = re.findall(r"^null521: (\d+) records were lost", said)
            assert 0 < arrived < count
            assert arrived + int(lost) == count
