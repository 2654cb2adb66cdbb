"""Records on their way out of a server: to each log, and to logs that are slow, full or gone."""

import asyncio
import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers.namespaces import BootedJournald, Journald
from helpers.program import BYE, PATIENCE, REFUSED, SERVE, TREE, Served, Server
from helpers.serve import ask, samples
from helpers.superservers import dial, serving

from null521 import log as journal
from null521 import record
from null521.record import TROUBLE, Record
from null521.serve import log as outbox
from null521.serve.log import MAX_WAITING, LogQueue

SAID = b"EHLO mx.b.c\r\nMAIL FROM:<a@b.c>\r\nRCPT TO:<x@y>\r\nRCPT TO:<\0\r\nQUIT\r\n"


# The Outbox by itself, with a real socket in the place of journald's.


@pytest.fixture
def log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    """Where the records arrive, which the kernel lets wait only in small numbers: unix(7)."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiving:
        receiving.bind(str(tmp_path / "log"))
        receiving.setblocking(False)
        monkeypatch.setattr(journal, "JOURNAL_SOCKET", str(tmp_path / "log"))
        yield receiving


def arrived(log: socket.socket) -> Iterator[str]:
    """The messages that wait there."""
    while True:
        try:
            octets = log.recv(65536)
        except BlockingIOError:
            return
        yield octets.partition(b"\nMESSAGE=")[2].partition(b"\n")[0].decode()


def entry(number: int) -> Record:
    return Record(record.REFUSED, record.INFO, f"{number}", [])


def test_a_slow_log_has_all_that_there_was_room_for(
    log: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In order, none twice; the others are counted, and told of once."""
    monkeypatch.setattr(outbox, "PAUSE", 0.001)
    loop = asyncio.new_event_loop()
    box = LogQueue("journal", loop, 10**9)
    count = MAX_WAITING + 1000
    for number in range(count):
        box.put(entry(number))
    assert not box.is_empty()
    assert 0 < box.lost <= 1000
    first = box.lost
    messages: list[str] = []
    while not messages or "lost" not in messages[-1]:
        messages += arrived(log)
        loop.run_until_complete(asyncio.sleep(0.001))
    assert box.is_empty()
    assert messages[:-1] == [str(number) for number in range(count - first)]
    assert messages[-1].startswith(f"{first} records were lost: ")
    box.put(entry(1))
    assert list(arrived(log)) == ["1"]
    assert box.lost == first
    loop.close()


def test_another_place_where_a_log_is_gone(
    log: socket.socket, capfd: pytest.CaptureFixture[str]
) -> None:
    loop = asyncio.new_event_loop()
    box = LogQueue("journal", loop, 10**9)
    Path(journal.JOURNAL_SOCKET).unlink()
    box.put(entry(1))
    log.close()
    assert capfd.readouterr().err == "null521: 1\n"
    assert (box.lost, box.is_empty()) == (0, True)
    loop.close()


# A server's records, by where they are to go.


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
            "priority": 6,
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
        told, complaint = process.communicate(timeout=PATIENCE)
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
            assert process.wait(PATIENCE) == 0


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
            assert process.wait(PATIENCE) == 0


def test_standard_output_that_nobody_reads(port: int) -> None:
    """No client waits for it, and when it is read again, it says how many records are missing."""
    count = MAX_WAITING + 500
    with Server(f"--metrics=127.0.0.1:{port}") as server:
        for _ in range(count):
            assert ask(socket.AF_INET, server.address()) == REFUSED + BYE
        assert samples(port)["null521_connections_total", "quit"] == count
        lost = int(samples(port)["null521_records_dropped_total", ""])
        assert 0 < lost < 500
        for _ in range(count - lost):
            assert server.next()["ending"] == "quit"
        told = server.next()
        assert told["message_id"] == TROUBLE
        assert told["message"].startswith(f"{lost} records were lost")
        assert ask(socket.AF_INET, server.address()) == REFUSED + BYE
        assert server.next()["ending"] == "quit"
        assert server.stop() == []


# journald itself.

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root, for namespaces")
SERVER = ["env", f"PYTHONPATH={TREE}", *SERVE, "--listen=127.0.0.1:25", "--refuse-at=rcpt"]


@needs_root
@pytest.mark.parametrize(("name", "transport"), [("auto", "journal"), ("syslog", "syslog")])
def test_journald(journald: Journald, name: str, transport: str) -> None:
    with serving(journald, [*SERVER, f"--log={name}"]):
        ((number, _),) = dial(journald, "127.0.0.1", SAID.decode())
        start, refused = journald.wait_for(2, "-t", "null521")
    assert start["MESSAGE"] == "Answering on 127.0.0.1:25"
    assert refused["MESSAGE"].startswith("Refused 127.0.0.1 (mx.b.c), mail from <a@b.c>, to <x@y>,")
    assert (refused["_TRANSPORT"], refused["PRIORITY"]) == (transport, "6")
    if name == "auto":
        assert refused["NULL521_CLIENT_PORT"] == str(number)
        assert refused["NULL521_RECIPIENT"] == ["x@y", "\\x00"]
        assert refused["MESSAGE_ID"] == record.REFUSED


@needs_root
def test_a_journald_that_does_not_read(tmp_path: Path) -> None:
    """It makes no client wait, and is told afterwards how many records are missing."""
    count = MAX_WAITING + 1000
    with (
        BootedJournald(tmp_path / "journald") as journald,
        serving(journald, [*SERVER, "--log=journal", "--metrics=127.0.0.1:9521"]),
    ):
        journald.wait_for(1, "-t", "null521")
        os.kill(journald.pid, signal.SIGSTOP)
        try:
            answers = dial(journald, "127.0.0.1", "QUIT\r\n", count)
            assert len(answers) == count
            assert all("\r\n221 " in received for _, received in answers)
            page = "http://127.0.0.1:9521/metrics"
            text = journald.output("curl", "--silent", "--fail", page)
        finally:
            os.kill(journald.pid, signal.SIGCONT)
        (line,) = (line for line in text.splitlines() if line.startswith("null521_records_dropped"))
        lost = int(float(line.split()[1]))
        assert 0 < lost < 1000
        (told,) = journald.wait_for(1, f"MESSAGE_ID={TROUBLE}")
        assert told["MESSAGE"].startswith(f"{lost} records were lost")
        assert len(journald.entries(f"MESSAGE_ID={record.REFUSED}")) == count - lost
