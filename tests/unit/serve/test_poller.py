"""Whoever is ready is called, and nobody notices the faults of another."""

import asyncio
import itertools
import socket
from collections.abc import Callable, Iterator
from select import EPOLLIN

import pytest

from null521.serve import poller
from null521.serve.poller import Poller


@pytest.fixture
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    with asyncio.Runner() as runner:
        yield runner.get_loop()


@pytest.fixture
def ready() -> Iterator[list[socket.socket]]:
    """Sockets with an octet to read, which stays there."""
    pairs = [socket.socketpair() for _ in range(5)]
    for _, other in pairs:
        other.send(b"x")
    yield [one for one, _ in pairs]
    for pair in pairs:
        for each in pair:
            each.close()


def turn(loop: asyncio.AbstractEventLoop) -> None:
    """Let the loop call what is ready, at least once."""
    loop.run_until_complete(asyncio.sleep(0.01))


def note(calls: list[int], number: int) -> Callable[[], None]:
    return lambda: calls.append(number)


def no_fault(error: Exception) -> None:
    raise AssertionError(error)


def test_an_exception_is_told_and_the_others_are_called(
    loop: asyncio.AbstractEventLoop, ready: list[socket.socket]
) -> None:
    def fail() -> None:
        raise ValueError(2)

    made, calls, faults = Poller(loop), list[int](), list[Exception]()
    for number, one in enumerate(ready):
        call = fail if number == 2 else note(calls, number)
        made.watch(one.fileno(), call, faults.append)
    turn(loop)
    assert set(calls) == {0, 1, 3, 4}
    assert {str(error) for error in faults} == {"2"}


def test_another_call_with_the_same_fault(
    loop: asyncio.AbstractEventLoop, ready: list[socket.socket]
) -> None:
    def fail() -> None:
        raise ValueError

    made, calls, faults = Poller(loop), list[int](), list[Exception]()
    made.watch(ready[0].fileno(), note(calls, 0), faults.append)
    made.watch_for(ready[0].fileno(), EPOLLIN, fail)
    turn(loop)
    assert not calls
    assert faults


def test_one_that_is_forgotten_meanwhile_is_not_called(
    loop: asyncio.AbstractEventLoop, ready: list[socket.socket]
) -> None:
    """A server that ends all sessions closes descriptors that are ready too."""
    made, calls = Poller(loop), list[int]()

    def first(number: int) -> Callable[[], None]:
        def call() -> None:
            calls.append(number)
            for one in ready:
                made.forget(one.fileno())

        return call

    for number, one in enumerate(ready):
        made.watch(one.fileno(), first(number), no_fault)
    turn(loop)
    assert len(calls) == 1


def test_the_loop_has_its_turn_among_descriptors_that_stay_ready(
    loop: asyncio.AbstractEventLoop, ready: list[socket.socket]
) -> None:
    made, calls = Poller(loop), list[int]()
    seen: list[int] = []
    for number, one in enumerate(ready):
        made.watch(one.fileno(), note(calls, number), no_fault)

    async def look() -> None:
        for _ in range(3):
            seen.append(len(calls))
            await asyncio.sleep(0)

    loop.run_until_complete(look())
    turns = [after - before for before, after in itertools.pairwise(seen)]
    assert all(0 < count <= poller.BATCH for count in turns)
