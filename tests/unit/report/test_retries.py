"""Who has not given up, from records of all kinds."""

from itertools import accumulate

import pytest
from helpers import journals
from hypothesis import given
from hypothesis import strategies as st

from null521.report.findings import Findings
from null521.report.reading import Seen, of_line
from null521.report.retries import APART, TRIES, Retries, Retry

POSTFIX = (300, 600, 1200, 2400, 4000)
DAY = 86400.0
SAID = journals.said("mx.example.net", "ann@example.net", "bob@ntp.example")


def seen(
    moment: float, said: bytes = SAID, refuse_at: str = "rcpt", client: str = "192.0.2.7"
) -> Seen:
    """The record of a session in which the client said that."""
    made = of_line(journals.line(journals.START + moment, journals.of(client, said, refuse_at)))
    assert made
    return made


def found(*records: Seen, kept: int = 100, end: float = 0.0) -> list[Retry]:
    retries = Retries(kept)
    for record in records:
        retries.add(record.client, record)
    return retries.found(max(journals.START + end, *(record.time for record in records)))


def at(*gaps: float) -> list[float]:
    return list(accumulate(gaps, initial=0.0))


def test_five_retries_of_a_postfix() -> None:
    (retry,) = found(*(seen(moment) for moment in at(*POSTFIX)))
    assert retry == Retry(
        place="192.0.2.7",
        sender="ann@example.net",
        recipient="bob@ntp.example",
        tries=6,
        every=1200.0,
        first=journals.START,
        last=journals.START + 8500,
        still=True,
        like=("Postfix",),
        advice="tell postmaster@example.net",
    )


def test_in_the_greeting_its_waits_alone_tell_a_mail_server() -> None:
    """Postfix says no more than QUIT there; a scanner too, but not like that."""
    (retry,) = found(*(seen(moment, b"QUIT\r\n", "greeting") for moment in at(*POSTFIX)))
    assert (retry.sender, retry.recipient, retry.like) == (None, None, ("Postfix",))
    assert retry.advice == "refuse at rcpt: earlier, many keep the mail"
    assert found(*(seen(moment, b"QUIT\r\n", "greeting") for moment in at(90, 500, 77, 9))) == []


def test_who_says_only_ehlo_may_insist_on_tls() -> None:
    said = journals.said("mx.example.net", None)
    (retry,) = found(*(seen(moment, said) for moment in at(600, 600, 600)))
    assert retry.advice == "offer STARTTLS: it may insist on TLS"


@pytest.mark.parametrize(
    ("said", "gaps", "advice"),
    [
        (journals.said("mx.example.net", "", "b@n"), (600, 600), "tell postmaster@mx.example.net"),
        (b"MAIL FROM:<>\r\nRCPT TO:<b@n>\r\nQUIT\r\n", (600, 600), "tell who runs it"),
        (SAID, (DAY, DAY), "tell postmaster@example.net: new mail each time"),
    ],
)
def test_whom_to_tell(said: bytes, gaps: tuple[float, ...], advice: str) -> None:
    (retry,) = found(*(seen(moment, said) for moment in at(*gaps)))
    assert retry.advice == advice


def test_tls_that_fails() -> None:
    records = [seen(moment)._replace(tls="failed: no shared cipher") for moment in at(600, 600)]
    assert [retry.advice for retry in found(*records)] == ["see why TLS fails with it"]


def test_only_the_same_client_sender_and_recipient_are_one() -> None:
    others = [
        seen(0),
        seen(600, journals.said("mx.example.net", "ann@example.net", "root@ntp.example")),
        seen(1200, journals.said("mx.example.net", "eve@example.net", "bob@ntp.example")),
        seen(1800, client="192.0.2.8"),
        seen(2400),
    ]
    assert found(*others) == []
    both = journals.said("mx.example.net", "ann@example.net", "bob@ntp.example", "root@ntp.example")
    retries = found(*others, seen(3000, both), seen(3600, both), seen(4200, both))
    assert {(retry.recipient, retry.tries) for retry in retries} == {
        ("bob@ntp.example", 5),
        ("root@ntp.example", 4),
    }


def test_several_at_once_are_one_try() -> None:
    """A queue with two messages for us gives two connections a run."""
    moments = [moment + more for moment in at(*POSTFIX) for more in (0, 0.2, 3)]
    (retry,) = found(*(seen(moment) for moment in moments))
    assert (retry.tries, retry.like) == (6, ("Postfix",))


def test_a_silence_of_days_is_between_two_messages() -> None:
    moments = [*at(*POSTFIX), *(3 * DAY + moment for moment in at(*POSTFIX))]
    (retry,) = found(*(seen(moment) for moment in moments))
    assert (retry.tries, retry.like) == (12, ("Postfix",))


def test_who_has_stopped_comes_last() -> None:
    stopped = [seen(moment, client="192.0.2.8") for moment in at(*POSTFIX, 4000)]
    going_on = [seen(4 * DAY + moment) for moment in at(*POSTFIX)]
    retries = found(*stopped, *going_on)
    assert [(retry.place, retry.still) for retry in retries] == [
        ("192.0.2.7", True),
        ("192.0.2.8", False),
    ]
    # One who comes daily has stopped after two days without.
    daily = [seen(DAY * day) for day in range(4)]
    assert [retry.still for retry in found(*daily, end=4.5 * DAY)] == [True]
    assert [retry.still for retry in found(*daily, end=5.5 * DAY)] == [False]


def test_records_that_are_not_in_order() -> None:
    retries = Retries(100)
    for moment in (0, 600, 300, 1200, 1800):
        retries.add("192.0.2.7", seen(moment))
    (retry,) = retries.found(journals.START + 1800)
    assert (retry.tries, retry.every, retries.unordered) == (4, 600.0, 1)


def test_a_flood_does_not_make_forget_who_comes_again() -> None:
    """As long as no more come between two tries than are remembered."""
    retries = Retries(50)
    for moment in at(*POSTFIX):
        retries.add("192.0.2.7", seen(moment))
        for number in range(50):
            retries.add(f"{moment} {number}", seen(moment + number))
    assert retries.forgotten > 100
    (retry,) = retries.found(journals.START + 8500)
    assert (retry.place, retry.like) == ("192.0.2.7", ("Postfix",))


SEEN = st.builds(
    Seen,
    time=st.floats(0, 1e6),
    recipients=st.lists(st.sampled_from("ab"), max_size=2, unique=True).map(tuple),
    client=st.sampled_from(["1", "2", None]),
    helo=st.sampled_from(["", "h", None]),
    sender=st.sampled_from(["", "a@b", "@b", "...", "a", None]),
    refuse_at=st.sampled_from(["greeting", "rcpt", "?", None]),
    tls=st.sampled_from(["TLSv1.3", "failed: x", None]),
)


@given(st.lists(SEEN, max_size=60), st.integers(1, 5))
def test_anything_may_come(records: list[Seen], kept: int) -> None:
    retries = Retries(kept)
    for record in records:
        retries.add(record.client, record)
        assert len(retries._once) < 2 * kept
        assert len(retries._again) < 2 * kept
    for retry in retries.found(1e6):
        assert retry.tries >= TRIES
        assert APART <= retry.every <= 1e6
        assert retry.first <= retry.last
        assert retry.sender is not None or retry.like


def test_a_health_check_is_none_that_has_not_given_up() -> None:
    findings = Findings("client", 20)
    for minute in range(0, 60, 5):
        seen = Seen(60.0 * minute, ("postmaster",), "127.0.0.1", "h", "", "rcpt", None)
        findings.add(seen)
        findings.add(seen._replace(client="192.0.2.1"))
    assert [row[0] for row in findings.retries().rows] == ["192.0.2.1"]
