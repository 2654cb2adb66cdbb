"""Records on their way out of a server, by themselves: a slow log, and one that is gone."""

import asyncio
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from null521 import log as journal
from null521 import record
from null521.record import Record
from null521.serve import log as outbox
from null521.serve.log import MAX_WAITING, LogQueue


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
    box = LogQueue("journal", loop)
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
    box = LogQueue("journal", loop)
    Path(journal.JOURNAL_SOCKET).unlink()
    box.put(entry(1))
    log.close()
    assert capfd.readouterr().err == "null521: 1\n"
    assert (box.lost, box.is_empty()) == (0, True)
    loop.close()
