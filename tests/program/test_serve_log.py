"""A server's records, by where they are to go; journald is in tests/system."""

import json
import os
import socket
import subprocess
import time

import pytest
from helpers.program import BYE, REFUSED, SERVE, TEST_TIMEOUT, TREE, Served, Server
from helpers.serve import ask, samples

from null521 import record
from null521.log import MAX_LINE
from null521.record import SUMMED, TROUBLE
from null521.serve.log import LOST, MAX_WAITING

SAID = b"EHLO mx.b.c\r\nMAIL FROM:<a@b.c>\r\nRCPT TO:<x@y>\r\nRCPT TO:<\0\r\nQUIT\r\n"


def test_json_on_standard_output() -> None:
    with Server("--refuse-at=rcpt") as server, server.dial() as client:
        client.sendall(SAID)
        Served(client, server).read_all()
        found = server.next()
        assert found.pop("message").startswith("Refused 127.0.0.1 (mx.b.c), mail from <a@b.c>, to ")
        assert time.strptime(found.pop("time"), "%Y-%m-%dT%H:%M:%S.%fZ")
        assert found.pop("duration_usec") > 0
        assert found.pop("client_port") > 0
        assert found == {
            "priority": 5,
            "message_id": record.REFUSED,
            "client": "127.0.0.1",
            "helo": "mx.b.c",
            "sender": "a@b.c",
            "recipient": ["x@y", "\\x00"],
            "recipients": 2,
            "refuse_at": "rcpt",
            "commands": 5,
            "octets": len(SAID),
            "ending": "quit",
        }


@pytest.mark.parametrize("name", ["stderr", "none"])
def test_standard_error_and_nowhere(name: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = listener.getsockname()
        flags = [f"--log={name}", "--hostname=h.example"]
        process = subprocess.Popen(
            [*SERVE, *flags],
            cwd=TREE,
            stdin=listener.fileno(),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        assert ask(socket.AF_INET, address) == REFUSED + BYE
        process.terminate()
        told, complaint = process.communicate(timeout=TEST_TIMEOUT)
        assert (process.returncode, told) == (0, b"")
    lines = complaint.decode().splitlines()
    if name == "none":
        assert lines == []
    else:
        start, line = lines
        assert start == f"null521: Answering on 127.0.0.1:{address[1]}"
        assert line.startswith("null521: Refused 127.0.0.1; quit after 1 command, ")


def test_nothing_is_lost_where_nothing_is_kept(port: int) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        flags = ["--log=none", f"--metrics=127.0.0.1:{port}", "--hostname=h.example"]
        process = subprocess.Popen([*SERVE, *flags], cwd=TREE, stdin=listener.fileno())
        try:
            assert ask(socket.AF_INET, listener.getsockname()) == REFUSED + BYE
            assert samples(port)["null521_records_dropped_total", ""] == 0
        finally:
            process.terminate()
            assert process.wait(TEST_TIMEOUT) == 0


def test_standard_output_that_is_gone(port: int) -> None:
    """Each record is counted once, and clients are answered all the same."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        reading, writing = os.pipe()
        os.close(reading)
        flags = ["--log=json", f"--metrics=127.0.0.1:{port}", "--hostname=h.example"]
        process = subprocess.Popen(
            [*SERVE, *flags], cwd=TREE, stdin=listener.fileno(), stdout=writing
        )
        os.close(writing)
        try:
            for _ in range(10):
                assert ask(socket.AF_INET, listener.getsockname()) == REFUSED + BYE
            start_and_sessions = 1 + 10
            assert samples(port)["null521_records_dropped_total", ""] == start_and_sessions
        finally:
            process.terminate()
            assert process.wait(TEST_TIMEOUT) == 0


# As much as a record can hold; of its line, MAX_LINE octets are written.
RECIPIENTS = b"".join(b"RCPT TO:<%d%s@y>\r\n" % (number, b"r" * 310) for number in range(10))
LONG = b"EHLO %s\r\nMAIL FROM:<%s@b>\r\n%sQUIT\r\n" % (b"h" * 255, b"s" * 310, RECIPIENTS)


def test_standard_output_that_nobody_reads(port: int) -> None:
    """No client waits for it, and when it is read again, it says how many records are missing."""
    count = MAX_WAITING // MAX_LINE + 500
    with Server(f"--metrics=127.0.0.1:{port}", "--refuse-at=rcpt") as server:
        for _ in range(count):
            with server.dial() as client:
                client.sendall(LONG)
                assert Served(client, server).read_all().endswith(b"221 2.0.0 h.example\r\n")
        assert samples(port)["null521_connections_total", "quit"] == count
        lost = int(samples(port)["null521_records_dropped_total", ""])
        assert 0 < lost < 500
        entries = [server.next() for _ in range(count - lost + 1)]
        # It comes last, or after ten seconds before all that waits.
        (told,) = (entry for entry in entries if entry["message_id"] == TROUBLE)
        assert told["message"].startswith(f"{lost} records were lost")
        assert [entry.get("ending") for entry in entries].count("quit") == count - lost
        with server.dial() as client:
            client.sendall(b"QUIT\r\n")
            Served(client, server).read_all()
        assert server.next()["ending"] == "quit"
        assert server.stop() == []


def test_what_nobody_reads_until_the_end_is_counted() -> None:
    """Standard output is full, so standard error is told; and the process ends in time."""
    with Server("--refuse-at=rcpt") as server:
        for _ in range(100):
            with server.dial() as client:
                client.sendall(LONG)
                Served(client, server).read_all()
        server.process.terminate()
        assert server.process.wait(TEST_TIMEOUT) == 0
        records, said = server.process.communicate()
        arrived = [json.loads(line)["ending"] for line in records.splitlines()]
        assert arrived == ["quit"] * len(arrived)
        assert 0 < len(arrived) < 100
        assert said.decode() == f"null521: {LOST.format(100 - len(arrived))}\n"


def test_a_flood_is_summed_up() -> None:
    """By a small budget; single records and sums add up to all connections."""
    with Server("--log-budget=5") as server:
        for _ in range(50):
            assert ask(socket.AF_INET, server.address()) == REFUSED + BYE
        for _ in range(5):
            with server.dial() as client:  # with octets left to read, closing would be a reset
                assert client.recv(100) == REFUSED
        records = server.stop()
    single = [entry for entry in records if entry["message_id"] == record.REFUSED]
    (told,) = (entry for entry in records if entry["message_id"] == SUMMED)
    assert 5 < len(single) < 30
    assert len(single) + told["sessions"] == 55
    assert told["message"].startswith(f"Refused {told['sessions']} more, ")
    assert told["message"].endswith(told["endings"])
    assert "quit " in told["endings"]
    assert "eof 5" in told["endings"]
    assert told["priority"] == record.NOTICE
