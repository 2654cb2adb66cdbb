"""Senders that retry, as a server counts them for its metrics, with a simulated clock."""

import sys
import tracemalloc

import pytest

from null521.report import retries
from null521.serve import tries
from null521.serve.tries import APART, DAY, KEPT, TRIES, Tries

NOW = 1000.0
CLIENT = bytes([192, 0, 2, 7])
CLIENT_6 = bytes.fromhex("20010db8000100020003000400050006")


def add(
    seen: Tries,
    now: float = NOW,
    address: bytes = CLIENT,
    sender: bytes = b"a@b.c",
    recipients: tuple[bytes, ...] = (b"x@y",),
) -> tuple[int, int, int]:
    """Count a session; return all counts."""
    seen.add(address, sender, list(recipients), now)
    return seen.sessions, seen.retries, seen.retrying(now)


def test_nothing_yet() -> None:
    seen = Tries()
    assert (seen.sessions, seen.retries, seen.retrying(NOW)) == (0, 0, 0)


def test_the_third_try_is_retrying() -> None:
    seen = Tries()
    assert add(seen, NOW) == (1, 0, 0)
    assert add(seen, NOW + APART) == (2, 1, 0)
    assert add(seen, NOW + 2 * APART) == (3, 2, 1)
    assert add(seen, NOW + 3 * APART) == (4, 3, 1)


def test_what_is_retrying_is_what_the_report_says() -> None:
    assert (TRIES, APART) == (retries.TRIES, retries.APART) == (3, 60)


def test_sessions_at_once_are_one_try() -> None:
    seen = Tries()
    for number in range(20):
        assert add(seen, NOW + number * APART / 20)[1:] == (0, 0)
    assert add(seen, NOW + APART)[1:] == (1, 0)
    assert add(seen, NOW + 2 * APART - 0.1)[1:] == (1, 0)
    assert add(seen, NOW + 2 * APART)[1:] == (2, 1)


def test_what_has_not_come_for_a_day_is_forgotten() -> None:
    seen = Tries()
    add(seen, NOW)
    assert add(seen, NOW + DAY)[1:] == (0, 0)
    assert add(seen, NOW + 2 * DAY - 0.1)[1:] == (1, 0)
    assert add(seen, NOW + 3 * DAY - 1)[1:] == (2, 1)
    assert seen.retrying(NOW + 4 * DAY - 1.1) == 1
    assert seen.retrying(NOW + 4 * DAY - 1) == 0
    assert add(seen, NOW + 4 * DAY)[1:] == (2, 0)


def test_each_is_forgotten_at_its_own_time() -> None:
    seen = Tries()
    for number in range(2):
        for again in range(3):
            add(seen, NOW + number + again * APART, sender=sender(number))
    later = NOW + 2 * APART + DAY
    assert [seen.retrying(later + seconds) for seconds in (-0.1, 0, 0.9, 1)] == [2, 1, 1, 0]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({}, {"sender": b""}),
        ({}, {"recipients": (b"z@y",)}),
        ({}, {"recipients": ()}),
        ({}, {"address": bytes([192, 0, 3, 7])}),
        ({}, {"address": b""}),
        ({}, {"address": CLIENT_6}),
        ({"address": CLIENT_6}, {"address": CLIENT_6[:5] + b"\xff" + CLIENT_6[6:]}),
    ],
)
def test_another_network_sender_or_recipient_is_another_mail(
    one: dict[str, bytes], other: dict[str, bytes]
) -> None:
    seen = Tries()
    for number in range(3):
        add(seen, NOW + number * APART, **one)  # type: ignore[arg-type]
        assert add(seen, NOW + number * APART, **other)[1] == 2 * number  # type: ignore[arg-type]
    assert seen.retrying(NOW + 2 * APART) == 2


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({}, {"address": bytes([192, 0, 2, 255])}),
        ({"address": CLIENT_6}, {"address": CLIENT_6[:6] + bytes(10)}),
        ({}, {"recipients": (b"x@y", b"z@y")}),
    ],
)
def test_a_sender_with_several_addresses_or_recipients_is_one(
    one: dict[str, bytes], other: dict[str, bytes]
) -> None:
    seen = Tries()
    add(seen, NOW, **one)  # type: ignore[arg-type]
    assert add(seen, NOW + APART, **other)[1] == 1  # type: ignore[arg-type]


@pytest.mark.parametrize("here", [bytes([127, 0, 0, 1]), bytes(15) + b"\1"])
def test_null521_check_on_the_host_is_no_mail(here: bytes) -> None:
    """A container runs it every five minutes."""
    seen = Tries()
    probe = (b"postmaster@h.example",)
    assert add(seen, address=here, sender=b"", recipients=probe) == (0, 0, 0)
    assert add(seen, address=CLIENT, sender=b"", recipients=probe) == (1, 0, 0)
    assert add(seen, address=here, recipients=probe) == (2, 0, 0)
    assert add(seen, address=here, sender=b"") == (3, 0, 0)
    assert add(seen, address=here, sender=b"", recipients=()) == (4, 0, 0)


def sender(number: int) -> bytes:
    return b"%d@b.c" % number


def test_the_oldest_are_forgotten_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of those with as many tries, and by the last of these."""
    monkeypatch.setattr(tries, "KEPT", 3)
    seen = Tries()
    for number in range(4):
        add(seen, NOW + number, sender=sender(number))
    for trying, now in enumerate((NOW + 2 * APART, NOW + 4 * APART)):
        for number in (3, 2, 1):
            add(seen, now - number, sender=sender(number))
        assert (seen.retries, seen.retrying(now)) == (3 * trying + 3, 3 * trying)
    now += APART
    for _ in range(3):
        add(seen, now, sender=sender(0))  # the first of these is new, because it was forgotten
        now += APART
    assert (seen.retries, seen.retrying(now)) == (8, 3)
    assert add(seen, now, sender=sender(1))[1:] == (9, 3)
    assert add(seen, now, sender=sender(3))[1:] == (9, 3)  # it is new: 0 has taken its place


def test_a_flood_of_senders_does_not_hide_one_that_has_come_twice() -> None:
    seen = Tries()
    add(seen, NOW)
    add(seen, NOW + APART)
    for number in range(2 * KEPT):
        add(seen, NOW + APART, sender=sender(number))
    assert add(seen, NOW + 2 * APART)[2] == 1


def test_memory_is_bounded_however_much_comes() -> None:
    """Each table is full, of senders with long names."""
    seen = Tries()
    tracemalloc.start()
    try:
        for count in range(TRIES, 0, -1):
            for number in range(KEPT + 1):
                name = b"%0320d@%d" % (number, count)
                for again in range(count):
                    seen.add(CLIENT, name, [name], NOW + again * APART)
        octets = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert [len(table) for table in seen._tables] == [KEPT] * TRIES
    assert octets < 3 * 2**20, sys.version
