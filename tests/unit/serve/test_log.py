"""Records on their way out of a server, by themselves: a slow log, one that is gone, the budget."""

import asyncio
import itertools
import select
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from helpers.program import TEST_TIMEOUT

from null521 import log as journal
from null521 import record
from null521.record import Record
from null521.serve import log as outbox
from null521.serve.log import BURST, MAX_WAITING, OVERHEAD, LogQueue, encoded

PLENTY = 10**9  # octets a second


@pytest.fixture
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    """One that runs only when a test lets it."""
    loop = asyncio.new_event_loop()
    yield loop
    loop.close()


@pytest.fixture
def log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    """Where the records arrive, which the kernel lets wait only in small numbers: unix(7)."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiving:
        receiving.bind(str(tmp_path / "log"))
        receiving.setblocking(False)
        monkeypatch.setattr(journal, "JOURNAL_SOCKET", str(tmp_path / "log"))
        yield receiving


class Clock:
    """time.monotonic() for the queue; for the loop only where a test sets it."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(outbox, "time", SimpleNamespace(monotonic=clock))
    return clock


def fields(octets: bytes) -> dict[str, str]:
    return dict(line.split("=", 1) for line in octets.decode().splitlines())


def datagrams(log: socket.socket) -> Iterator[dict[str, str]]:
    """What waits there."""
    while True:
        try:
            yield fields(log.recv(65536))
        except BlockingIOError:
            return


def arrived(log: socket.socket) -> list[str]:
    """The messages that wait there."""
    return [datagram["MESSAGE"] for datagram in datagrams(log)]


def awaited(log: socket.socket, loop: asyncio.AbstractEventLoop) -> str:
    """The next message, once it is there: what is full is tried again within 50 ms."""
    for _ in range(1000):
        if select.select([log], [], [], 0)[0]:
            break
        let_run(loop, 0.001)
    return fields(log.recv(65536))["MESSAGE"]


def session(number: int, ending: str = "quit", size: int = 0) -> Record:
    text = f"{number}".ljust(size)
    return Record(record.REFUSED, record.INFO, text, [("ENDING", ending)])


def warning(number: int) -> Record:
    return Record(record.TROUBLE, record.WARNING, f"warning {number}", [])


def let_run(loop: asyncio.AbstractEventLoop, seconds: float = 0.0) -> None:
    loop.run_until_complete(asyncio.sleep(seconds))


def elapse(loop: asyncio.AbstractEventLoop, clock: Clock, seconds: float) -> None:
    """Let that much time pass for a loop that goes by this clock."""
    clock.now += seconds
    let_run(loop)


def fill(log: socket.socket, queue: LogQueue) -> int:
    """Put warnings until one has to wait; how many did not."""
    for number in itertools.count():
        queue.put(warning(number))
        if not queue.is_empty():
            return number
    raise AssertionError


# A slow log, and none.


def test_a_slow_log_has_all_that_there_was_room_for(
    log: socket.socket, loop: asyncio.AbstractEventLoop
) -> None:
    """In order, none twice; the others are counted, and told of once."""
    queue = LogQueue("journal", loop, PLENTY)
    size = len(encoded(session(0, size=4000)))
    count = MAX_WAITING // size + 1000
    for number in range(count):
        queue.put(session(number, size=4000))
    assert not queue.is_empty()
    assert 0 < queue.lost <= 1000
    lost = queue.lost
    messages: list[str] = []
    while not messages or "lost" not in messages[-1]:
        messages += arrived(log)
        let_run(loop, 0.001)
    assert queue.is_empty()
    assert queue.waiting == 0
    assert [int(message) for message in messages[:-1]] == list(range(count - lost))
    assert messages[-1] == outbox.LOST.format(lost)
    queue.put(session(1))
    assert arrived(log) == ["1"]
    assert queue.lost == lost


def test_what_waits_is_bounded_in_octets(
    log: socket.socket, loop: asyncio.AbstractEventLoop
) -> None:
    """To the octet, whatever the characters are."""
    queue = LogQueue("journal", loop, PLENTY)
    first = fill(log, queue)
    left = MAX_WAITING - len(encoded(warning(first)))
    size = len(encoded(session(0, size=4000)))
    for number in range(left // size):
        queue.put(session(number, size=4000))
    left %= size
    exactly = 4000 - (size - left)
    queue.put(session(0, size=exactly + 1))
    assert queue.lost == 1
    assert queue.waiting == MAX_WAITING - left
    queue.put(session(0, size=exactly))
    assert queue.lost == 1
    assert queue.waiting == MAX_WAITING
    queue.put(session(0))
    assert queue.lost == 2


def test_room_that_is_made_is_room_again(
    log: socket.socket, loop: asyncio.AbstractEventLoop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outbox, "MAX_WAITING", 20_000)
    queue = LogQueue("journal", loop, PLENTY)
    fill(log, queue)
    for _ in range(20):
        queue.put(session(0, size=10_000))
        while not queue.is_empty():
            arrived(log)
            let_run(loop, 0.001)
    assert queue.lost == 0


def test_a_full_log_is_tried_less_and_less_until_something_moves(
    log: socket.socket, loop: asyncio.AbstractEventLoop, monkeypatch: pytest.MonkeyPatch
) -> None:
    queue = LogQueue("journal", loop, PLENTY)
    delays: list[float] = []
    call_later = loop.call_later

    def call(delay: float, step: Any, *arguments: Any) -> asyncio.TimerHandle:
        delays.append(delay)
        return call_later(delay, step, *arguments)

    monkeypatch.setattr(loop, "call_later", call)
    fill(log, queue)
    let_run(loop, 0.3)
    tried = [delay for delay in delays if delay <= outbox.LATEST]
    assert tried[0] == outbox.SOONEST
    assert tried == sorted(tried)
    assert tried[-1] == outbox.LATEST
    assert len(tried) < 30
    for number in range(10):
        queue.put(warning(number))
    log.recv(65536)  # room for one
    delays.clear()
    deadline = time.monotonic() + TEST_TIMEOUT
    while outbox.SOONEST not in delays:
        assert time.monotonic() < deadline
        let_run(loop, 2 * outbox.SOONEST)


def test_a_log_that_was_full_just_now_is_tried_with_each_record(
    log: socket.socket, loop: asyncio.AbstractEventLoop, clock: Clock
) -> None:
    """While the loop has no time, because its turns are long when there are many clients."""
    queue = LogQueue("journal", loop, PLENTY)
    count = fill(log, queue)
    messages = [fields(log.recv(65536))["MESSAGE"] for _ in range(count)]
    queue.put(warning(count + 1))
    assert queue.is_empty()
    messages += arrived(log)
    assert messages == [f"warning {number}" for number in range(count + 2)]


def test_connections_get_their_turn_in_between(
    log: socket.socket, loop: asyncio.AbstractEventLoop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A thousand records that a log takes at once are not handed over in one go."""
    accepted = 0

    def place(datagrams: socket.socket, octets: bytes) -> None:
        nonlocal accepted
        if is_full:
            raise BlockingIOError
        accepted += 1

    monkeypatch.setitem(outbox.SENDERS, "journal", place)
    queue = LogQueue("journal", loop, PLENTY)
    is_full = True
    for number in range(1000):
        queue.put(session(number))
    is_full = False
    turns = []

    def take_turn() -> None:
        turns.append(accepted)
        loop.call_soon(take_turn)

    take_turn()
    while not queue.is_empty():
        let_run(loop)
    assert [turn for turn, _ in itertools.groupby(turns) if turn] == [256, 512, 768, 1000]


def test_another_place_where_a_log_is_gone(
    log: socket.socket, loop: asyncio.AbstractEventLoop, capfd: pytest.CaptureFixture[str]
) -> None:
    queue = LogQueue("journal", loop, PLENTY)
    Path(journal.JOURNAL_SOCKET).unlink()
    queue.put(session(1))
    assert capfd.readouterr().err == "null521: 1\n"
    assert (queue.lost, queue.is_empty()) == (0, True)


def test_syslog_has_priority_and_message(
    log: socket.socket, loop: asyncio.AbstractEventLoop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Read from what waits, which is as journald takes it."""
    monkeypatch.setattr(journal, "SYSLOG_SOCKET", journal.JOURNAL_SOCKET)
    queue = LogQueue("syslog", loop, PLENTY)
    entry = Record(record.REFUSED, record.NOTICE, "a=b, grün", [("HELO", "x=y"), ("ENDING", "")])
    queue.put(entry)
    assert log.recv(1000) == journal.syslog_line(record.NOTICE, "a=b, grün")


def test_none_is_no_place_and_loses_nothing(loop: asyncio.AbstractEventLoop) -> None:
    queue = LogQueue("none", loop, 1)
    for number in range(10):
        queue.put(session(number))
    queue.flush()
    queue.close()
    assert not queue.wants_records
    assert (queue.lost, queue.summed) == (0, 0)


# The end.


def test_what_still_waits_at_the_end_is_counted_and_said(
    log: socket.socket, loop: asyncio.AbstractEventLoop, capfd: pytest.CaptureFixture[str]
) -> None:
    """Elsewhere, because that log is full."""
    queue = LogQueue("journal", loop, PLENTY)
    fill(log, queue)
    for number in range(9):
        queue.put(session(number))
    queue.flush()
    let_run(loop, 0.01)
    assert not queue.is_empty()
    queue.close()
    assert queue.lost == 10
    assert capfd.readouterr().err == f"null521: {outbox.LOST.format(10)}\n"
    queue.put(session(1))
    queue.close()
    assert (queue.lost, capfd.readouterr().err) == (10, "")
    let_run(loop, 0.06)
    assert not any("lost" in message for message in arrived(log))


def test_an_end_at_which_nothing_waits_says_nothing(
    log: socket.socket, loop: asyncio.AbstractEventLoop, capfd: pytest.CaptureFixture[str]
) -> None:
    queue = LogQueue("journal", loop, PLENTY)
    queue.put(session(1))
    queue.flush()
    assert queue.is_empty()
    queue.close()
    assert arrived(log) == ["1"]
    assert (queue.lost, capfd.readouterr().err) == (0, "")


def test_sums_that_cannot_be_told_at_the_end_are_lost(
    log: socket.socket, loop: asyncio.AbstractEventLoop, capfd: pytest.CaptureFixture[str]
) -> None:
    """As many as were summed up, not one."""
    queue = LogQueue("journal", loop, 1)
    fill(log, queue)
    for number in range(100):
        queue.put(session(number, size=4000))
    queue.flush()
    assert not queue.is_empty()
    queue.close()
    assert (queue.summed, queue.lost) == (100, 1 + 100)
    assert capfd.readouterr().err == f"null521: {outbox.LOST.format(101)}\n"


def test_sums_where_there_is_no_place_at_all_are_lost(
    loop: asyncio.AbstractEventLoop, monkeypatch: pytest.MonkeyPatch
) -> None:
    def absent(datagrams: socket.socket, octets: bytes) -> None:
        raise FileNotFoundError

    monkeypatch.setitem(outbox.SENDERS, "stderr", absent)
    queue = LogQueue("stderr", loop, 1)
    for number in range(100):
        queue.put(session(number, size=4000))
    assert (queue.summed, queue.lost) == (100, 0)
    queue.flush()
    assert (queue.is_empty(), queue.lost) == (True, 100)


# The budget.


def cost(entry: Record) -> int:
    return len(encoded(entry)) + OVERHEAD


def test_an_hour_of_the_budget_may_go_out_at_once(
    log: socket.socket, loop: asyncio.AbstractEventLoop, clock: Clock
) -> None:
    """And then one second's worth each second; what is over it is summed up, by ending."""
    one = session(0)
    queue = LogQueue("journal", loop, cost(one))  # one a second
    for _ in range(BURST):
        queue.put(one)
        assert arrived(log) == ["0"]
    for number in range(30):
        queue.put(session(0, "quit" if number % 3 else "idle"))
    assert arrived(log) == []
    clock.now += 1
    queue.put(one)
    queue.put(session(0, "eof"))
    assert arrived(log) == ["0"]
    queue.flush()
    (found,) = datagrams(log)
    assert found["MESSAGE_ID"] == record.SUMMED
    assert found["PRIORITY"] == str(record.NOTICE)
    assert found["MESSAGE"] == outbox.SUM.format(31, "quit 20, idle 10, eof 1")
    assert found["NULL521_SESSIONS"] == "31"
    assert found["NULL521_ENDINGS"] == "quit 20, idle 10, eof 1"
    assert (queue.summed, queue.lost) == (31, 0)
    queue.flush()
    assert arrived(log) == []


def test_no_more_than_an_hour_is_saved_up(
    log: socket.socket, loop: asyncio.AbstractEventLoop, clock: Clock
) -> None:
    one = session(0)
    queue = LogQueue("journal", loop, cost(one))
    clock.now += 1e6
    for _ in range(BURST + 1):
        queue.put(one)
        arrived(log)
    assert queue.summed == 1


@pytest.mark.parametrize("seconds", [1, 2])
def test_the_sums_are_of_the_budget_too(
    log: socket.socket,
    loop: asyncio.AbstractEventLoop,
    clock: Clock,
    seconds: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Whether it has room for them or not; each would have room for a session without them."""
    clock_of_loop = Clock()  # no notice comes by itself, however long this takes
    monkeypatch.setattr(loop, "time", clock_of_loop)
    one = session(0)
    queue = LogQueue("journal", loop, cost(one))
    for _ in range(BURST + 1):
        queue.put(one)
    arrived(log)
    while not queue.is_empty():
        elapse(loop, clock_of_loop, 0.001)
        arrived(log)
    clock.now += seconds
    queue.flush()
    assert arrived(log) == [outbox.SUM.format(1, "quit 1")]
    for _ in range(2):
        queue.put(one)
    assert queue.summed == 2 + 1


def test_only_what_clients_cause_is_under_the_budget(
    log: socket.socket, loop: asyncio.AbstractEventLoop
) -> None:
    """Faults too, which are said when there is room for them; each session's ending is summed."""
    queue = LogQueue("journal", loop, 1)
    large = session(1, "fault", 4000)
    queue.put(record.of_fault("f" * 4000))
    queue.put(large)
    queue.put(warning(1))
    queue.put(record.of_fault("w" * 4000, record.WARNING))
    queue.put(Record(record.STARTED, record.INFO, "s" * 4000, []))
    assert [message[:9] for message in arrived(log)] == ["warning 1", "w" * 9, "s" * 9]
    queue.put(record.of_fault("small"))
    queue.flush()
    assert arrived(log) == ["small", outbox.SUM.format(1, "fault 1")]


def test_sums_are_told_now_and_then(
    log: socket.socket,
    loop: asyncio.AbstractEventLoop,
    clock: Clock,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(loop, "time", clock)
    queue = LogQueue("journal", loop, 1)
    for count in (3, 5):
        for number in range(count):
            queue.put(session(number, size=4000))
        elapse(loop, clock, outbox.NOTICE_SECONDS - 0.1)
        assert arrived(log) == []
        elapse(loop, clock, 0.2)
        assert arrived(log) == [outbox.SUM.format(count, f"quit {count}")]


def test_a_log_that_never_catches_up_is_told_all_the_same(
    log: socket.socket,
    loop: asyncio.AbstractEventLoop,
    clock: Clock,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """There are always more that wait; sums and losses go before them."""
    monkeypatch.setattr(loop, "time", clock)
    monkeypatch.setattr(outbox, "MAX_WAITING", 5000)
    queue = LogQueue("journal", loop, 1)
    told: list[str] = []
    for _ in range(100):
        for number in range(20):
            queue.put(warning(number))
            queue.put(session(number, size=4000))
        elapse(loop, clock, 0.2)
        assert not queue.is_empty()
        for _ in range(3):
            told.append(awaited(log, loop))
    assert any(" more" in message for message in told)
    assert any(" lost" in message for message in told)


def test_all_connections_are_accounted_for(
    log: socket.socket, loop: asyncio.AbstractEventLoop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Single records, sums and lost ones add up, while the log takes some and the budget some."""
    monkeypatch.setattr(outbox, "NOTICE_SECONDS", 0.02)
    monkeypatch.setattr(outbox, "MAX_WAITING", 50_000)
    queue = LogQueue("journal", loop, 500)
    single = summed = 0

    def read(count: int) -> None:
        nonlocal single, summed
        for found in itertools.islice(datagrams(log), count):
            single += found["MESSAGE_ID"] == record.REFUSED
            summed += int(found.get("NULL521_SESSIONS", 0))

    for number in range(3000):
        queue.put(session(number, "quit" if number % 2 else "eof"))
        if number % 7 == 0:
            read(2)
            let_run(loop)
    queue.flush()
    while not queue.is_empty():
        read(100)
        let_run(loop, 0.001)
    read(1000)
    queue.close()
    assert min(single, summed, queue.lost) > 0
    assert single + summed + queue.lost == 3000
    assert summed == queue.summed
