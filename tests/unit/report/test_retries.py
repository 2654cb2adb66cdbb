"""Senders that retry, found in records of all kinds."""

from itertools import accumulate
from sys import getsizeof

import pytest
from helpers import journals
from hypothesis import Phase, find, given, settings
from hypothesis import strategies as st

from null521.report import retries as module
from null521.report.reading import Entry, parse_line
from null521.report.retries import APART, GAPS, Retries, Retry
from null521.report.schedules import LONGEST

POSTFIX = (300, 600, 1200, 2400, 4000)
DAY = 86400.0
ANN = journals.said("mx.example.net", "ann@example.net", "bob@ntp.example")
NULL = "bounce or address check: look whether this host sends mail"


def entry(
    moment: float, said: bytes = ANN, refuse_at: str = "rcpt", client: str = "192.0.2.7"
) -> Entry:
    """The entry of a session in which the client said that."""
    parsed = parse_line(
        journals.line(journals.START + moment, journals.of(client, said, refuse_at))
    )
    assert isinstance(parsed, Entry)
    return parsed


def found(*entries: Entry, kept: int = 100, end: float = 0.0) -> list[Retry]:
    retries = Retries(kept)
    for each in entries:
        retries.add(each.client, each)
    assert (retries.forgotten, retries.unordered) == (0, 0)
    return retries.found(max(journals.START + end, *(each.time for each in entries)))


def at(*gaps: float) -> list[float]:
    return list(accumulate(gaps, initial=0.0))


def test_five_retries_of_a_postfix() -> None:
    (retry,) = found(*(entry(moment) for moment in at(*POSTFIX)))
    assert retry == Retry(
        place="192.0.2.7",
        sender="ann@example.net",
        recipient="bob@ntp.example",
        host=None,
        tries=6,
        every=1200.0,
        first=journals.START,
        last=journals.START + 8500,
        still=True,
        like=("Postfix",),
        advice="tell postmaster@example.net",
    )


def test_three_tries_are_retrying_and_two_are_not() -> None:
    assert found(*(entry(moment) for moment in at(600))) == []
    (retry,) = found(*(entry(moment) for moment in at(600, 601)))
    assert (retry.tries, retry.every, retry.like) == (3, 600.5, ())


def test_in_the_greeting_only_the_gaps_tell_a_mail_server_from_a_scanner() -> None:
    """Postfix says only QUIT there, like many scanners."""
    (retry,) = found(*(entry(moment, b"QUIT\r\n", "greeting") for moment in at(*POSTFIX)))
    assert (retry.sender, retry.recipient, retry.like) == (None, None, ("Postfix",))
    assert retry.advice == "refuse at rcpt: earlier, many queue the mail"
    assert found(*(entry(moment, b"QUIT\r\n", "greeting") for moment in at(90, 500, 77, 9))) == []


def test_a_sender_that_says_only_ehlo_may_require_tls() -> None:
    said = journals.said("mx.example.net", None)
    entries = [entry(moment, said) for moment in at(600, 600, 600)]
    assert [retry.advice for retry in found(*entries)] == ["offer STARTTLS: it may require TLS"]
    secured = [each._replace(tls="TLSv1.3") for each in entries]
    assert [retry.advice for retry in found(*secured)] == ["tell postmaster@mx.example.net"]


@pytest.mark.parametrize(
    ("said", "gaps", "advice"),
    [
        (ANN, (600, 600), "tell postmaster@example.net"),
        (journals.said("mx.example.net", "", "b@n"), (600, 600), f"{NULL} as the recipient"),
        (journals.said("mx.example.net", ""), (600, 600), NULL),
        (journals.said("mx.example.net", "", "b@n"), (DAY, DAY), f"{NULL} as the recipient"),
        (journals.said("mx", '"a@b"@c.d', "b@n"), (600, 600), "tell postmaster@c.d"),
        (b"MAIL FROM:<>\r\nRCPT TO:<b@n>\r\nQUIT\r\n", (600, 600), f"{NULL} as the recipient"),
        (b"MAIL FROM:<a@>\r\nRCPT TO:<b@n>\r\nQUIT\r\n", (600, 600), "tell its administrator"),
        (journals.said("mx", "...", "b@n"), (600, 600), "tell postmaster@mx"),
        (journals.said("mx", "a@", "b@n"), (600, 600), "tell postmaster@mx"),
        (ANN, (DAY, DAY), "tell postmaster@example.net: new mail each time"),
        (ANN, (LONGEST, LONGEST), "tell postmaster@example.net"),
        (ANN, (LONGEST + 1, LONGEST + 1), "tell postmaster@example.net: new mail each time"),
    ],
)
def test_whom_to_tell(said: bytes, gaps: tuple[float, ...], advice: str) -> None:
    (retry,) = found(*(entry(moment, said) for moment in at(*gaps)))
    assert retry.advice == advice


@pytest.mark.parametrize(
    ("refuse_at", "advice"),
    [
        ("greeting", "refuse at rcpt: earlier, many queue the mail"),
        ("helo", "refuse at rcpt: earlier, many queue the mail"),
        ("mail", "find out why TLS fails"),
        ("rcpt", "find out why TLS fails"),
        (None, "find out why TLS fails"),
    ],
)
def test_the_stage_matters_more_than_tls(refuse_at: str, advice: str) -> None:
    entries = [
        entry(moment)._replace(tls="failed: no shared cipher", refuse_at=refuse_at)
        for moment in at(600, 600)
    ]
    assert [retry.advice for retry in found(*entries)] == [advice]


def test_the_advice_is_about_the_latest_record() -> None:
    entries = [entry(0, refuse_at="greeting"), entry(600, refuse_at="greeting"), entry(1200)]
    assert [retry.advice for retry in found(*entries)] == ["tell postmaster@example.net"]
    assert [retry.advice for retry in found(*entries[1:], *entries[2:], entry(1800))] == [
        "tell postmaster@example.net"
    ]


def test_the_host_of_a_retry_is_that_of_the_latest_record() -> None:
    """One message may come to several hosts: all addresses of a name, or all its MXes."""
    entries = [
        entry(moment)._replace(host=host)
        for moment, host in zip(at(600, 600, 1), ("a.example", None, "c", "d.example"), strict=True)
    ]
    assert [(retry.tries, retry.host) for retry in found(*entries)] == [(3, "d.example")]
    assert [retry.host for retry in found(*entries, entry(1800))] == [None]


def test_only_the_same_client_sender_and_recipient_are_retries() -> None:
    others = [
        entry(0),
        entry(600, journals.said("mx.example.net", "ann@example.net", "root@ntp.example")),
        entry(1200, journals.said("mx.example.net", "eve@example.net", "bob@ntp.example")),
        entry(1800, client="192.0.2.8"),
        entry(2400),
    ]
    assert found(*others) == []
    both = journals.said("mx.example.net", "ann@example.net", "bob@ntp.example", "root@ntp.example")
    retries = found(*others, entry(3000, both), entry(3600, both), entry(4200, both))
    assert {(retry.recipient, retry.tries) for retry in retries} == {
        ("bob@ntp.example", 5),
        ("root@ntp.example", 4),
    }


def test_several_connections_at_once_are_one_try() -> None:
    """Postfix opens a connection for each of two messages in its queue."""
    moments = [moment + more for moment in at(*POSTFIX) for more in (0, 0.2, 3)]
    (retry,) = found(*(entry(moment) for moment in moments))
    assert (retry.tries, retry.like) == (6, ("Postfix",))


def test_a_try_ends_after_a_minute() -> None:
    (retry,) = found(*(entry(moment) for moment in at(APART, APART)))
    assert (retry.tries, retry.every) == (3, APART)
    assert found(*(entry(moment) for moment in at(APART, APART - 1))) == []
    (retry,) = found(*(entry(moment) for moment in at(APART, APART - 1, 1)))
    assert (retry.tries, retry.every) == (3, APART)
    (retry,) = found(*(entry(moment) for moment in at(600, 600, 30)))
    assert (retry.tries, retry.last) == (3, journals.START + 1230)


def test_a_gap_of_days_separates_two_messages() -> None:
    moments = [*at(*POSTFIX), *(3 * DAY + moment for moment in at(*POSTFIX))]
    (retry,) = found(*(entry(moment) for moment in moments))
    assert (retry.tries, retry.like) == (12, ("Postfix",))
    # As long as that, and no longer, is a gap within one message.
    (retry,) = found(*(entry(moment) for moment in at(LONGEST, LONGEST, LONGEST)))
    assert retry.like == ("sendmail",)
    (retry,) = found(*(entry(moment) for moment in at(600, 600, 600, LONGEST + 1)))
    assert retry.like == ()


def test_only_the_latest_gaps_are_remembered() -> None:
    moments = at(7, *[9000] * 3, *[600] * GAPS)
    (retry,) = found(*(entry(moment) for moment in moments))
    assert (retry.tries, retry.every, retry.like) == (GAPS + 4, 600, ("sendmail",))
    (retry,) = found(*(entry(moment) for moment in at(9000, *[600] * (GAPS - 1))))
    assert (retry.every, retry.like) == (600, ())


def test_retries_are_sorted_by_how_urgent_they_are() -> None:
    stopped = [entry(moment, client="192.0.2.8") for moment in at(*POSTFIX, 4000)]
    going_on = [entry(4 * DAY + moment) for moment in at(*POSTFIX)]
    few = [entry(4 * DAY + moment, client="192.0.2.9") for moment in at(*POSTFIX[:4])]
    unlike = [entry(4 * DAY + moment, client="192.0.2.10") for moment in at(100, 900, *[70] * 9)]
    early = [entry(4 * DAY - 9 + moment, client="192.0.2.11") for moment in at(*POSTFIX)]
    same = [entry(4 * DAY + moment, client="192.0.2.12") for moment in at(*POSTFIX)]
    records = sorted(going_on + same + stopped + unlike + few + early, key=lambda each: each.time)
    assert [(retry.place, retry.still) for retry in found(*records)] == [
        ("192.0.2.12", True),
        ("192.0.2.7", True),
        ("192.0.2.11", True),
        ("192.0.2.9", True),
        ("192.0.2.10", True),
        ("192.0.2.8", False),
    ]


@pytest.mark.parametrize(
    ("gaps", "silence"), [((600, 600), LONGEST), ((DAY, DAY, DAY), 2 * DAY), ((300, 600), LONGEST)]
)
def test_a_sender_has_stopped_after_half_a_day_or_twice_its_gap(
    gaps: tuple[float, ...], silence: float
) -> None:
    entries = [entry(moment) for moment in at(*gaps)]
    for more, still in ((0, True), (1, False)):
        (retry,) = found(*entries, end=sum(gaps) + silence + more)
        assert retry.still is still


def test_records_that_are_out_of_order() -> None:
    retries = Retries(100)
    for moment in (0, 600, 300, -50, 1200, 1200, 1800):
        retries.add("192.0.2.7", entry(moment))
    (retry,) = retries.found(journals.START + 1800)
    assert (retry.tries, retry.every, retries.unordered) == (4, 600.0, 2)
    assert retry.first == journals.START - 50


def test_a_flood_of_others_does_not_hide_a_sender_that_retries() -> None:
    """As long as no more come between two tries than are remembered."""
    retries = Retries(50)
    for moment in at(*POSTFIX):
        retries.add("192.0.2.7", entry(moment))
        for number in range(50):
            retries.add(f"{moment} {number}", entry(moment + number))
    assert retries.forgotten > 100
    (retry,) = retries.found(journals.START + 8500)
    assert (retry.place, retry.like) == ("192.0.2.7", ("Postfix",))


def test_the_oldest_of_those_seen_once_are_forgotten() -> None:
    retries = Retries(3)
    forgotten = []
    for place in "abcdef":
        retries.add(place, entry(0))
        forgotten.append(retries.forgotten)
    assert forgotten == [0, 0, 0, 0, 0, 3]
    for moment in (600, 1200):
        for place in "fedcba"[: 3 if moment == 600 else 6]:
            retries.add(place, entry(moment))
    assert sorted(str(retry.place) for retry in retries.found(0)) == ["d", "e", "f"]


def test_of_those_seen_again_the_ones_with_few_tries_are_forgotten_first() -> None:
    retries = Retries(2)
    for moment in at(600, 600, 600):
        retries.add("a", entry(moment))
    for place in "bcd":
        assert retries.forgotten == 0
        retries.add(place, entry(3000 + ord(place)))
        retries.add(place, entry(4000 + ord(place)))
    # "a" has more tries; of the others, "c" was seen last with two.
    assert (retries.forgotten, sorted(key[0] or "" for key in retries._again)) == (2, ["a", "c"])
    for moment in (5000, 6000):
        retries.add("c", entry(moment))
    # From three tries on, the number does not matter: "a" was seen longest ago.
    for place in "ef":
        for moment in (7000, 8000, 9000):
            retries.add(place, entry(moment))
    assert {retry.place: retry.tries for retry in retries.found(0)} == {"c": 4, "e": 3}
    assert retries.forgotten == 4


def test_who_is_forgotten_at_once_and_who_is_not() -> None:
    """Others are forgotten first only if they have as few tries, and were seen longer ago."""
    retries = Retries(2)
    for place in "abc":
        for moment in (0, 10):
            retries.add(place, entry(moment))
    for moment in (1000, 1100, 1200):
        retries.add("d", entry(moment))
    assert [(retry.place, retry.tries) for retry in retries.found(0)] == [("d", 3)]

    retries = Retries(2)
    for place in "abc":
        for moment in (0, 100):
            retries.add(place, entry(moment))
    for moment in (1000, 1100, 1200):
        retries.add("d", entry(moment)._replace(recipients=("x", "y")))
    assert [(retry.recipient, retry.tries) for retry in retries.found(0)] == [("y", 3)]


def test_long_values_are_forgotten_sooner(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those with few tries first, also if it is only the latest records that are long."""
    monkeypatch.setattr(module, "MAX_OCTETS", 100_000)
    retries = Retries(1000)
    for moment in at(*POSTFIX):
        retries.add("192.0.2.7", entry(moment))
    for number in range(200):
        for moment in (9000, 9100):
            retries.add(f"{number} " + "x" * 1000, entry(moment + number))
            assert retries._octets <= 100_000
    assert 40 <= len(retries._again) <= 80
    assert retries.forgotten == 201 - len(retries._again)
    (retry,) = retries.found(journals.START + 9000)
    assert retry.place == "192.0.2.7"
    counted = sum(getsizeof(text) for key in retries._again for text in key)
    counted += sum(triplet.octets for triplet in retries._again.values())
    assert retries._octets == counted
    before = len(retries._again)
    for key, triplet in list(retries._again.items())[1:]:
        soon = entry(triplet.last - journals.START + 1)  # not a try of its own
        retries.add(key[0], soon._replace(helo="x" * 10_000))
        assert retries._octets <= 100_000
    assert len(retries._again) < before
    assert [retry.place for retry in retries.found(0)] == ["192.0.2.7"]


def test_those_seen_once_cost_little_however_long_they_are() -> None:
    retries = Retries(100)
    for number in range(150):
        retries.add(f"{number} " + "x" * 1000, entry(number))
    assert {type(key) for key in retries._once} == {int}


CLIENTS, SENDERS = ["1", "2", None], ["", "a@b", "@b", "...", "a", None]
ENTRIES = st.builds(
    Entry,
    time=st.integers(0, 10**5).map(float),
    client=st.sampled_from(CLIENTS),
    sender=st.sampled_from(SENDERS),
    recipients=st.lists(st.sampled_from("ab"), max_size=2, unique=True).map(tuple),
    helo=st.sampled_from(["", "h", None]),
    refuse_at=st.sampled_from(["greeting", "rcpt", "?", None]),
    tls=st.sampled_from(["TLSv1.3", "failed: x", None]),
)
STEPS = (
    st.lists(st.floats(0, 1e5), max_size=12)
    | st.lists(st.floats(0, 100), max_size=12)
    | st.sampled_from([POSTFIX, (1800,) * 5, (400, 1200, 2000), (600,) * 20])
    | st.sampled_from([(DAY,) * 3, (600, 600, 2 * DAY, 600)])
)


@st.composite
def worlds(draw: st.DrawFn) -> list[Entry]:
    """Runs of several senders at the same time, most of them in order."""
    entries = []
    for _ in range(draw(st.integers(0, 6))):
        first = draw(ENTRIES)
        entries += [first._replace(time=first.time + moment) for moment in at(*draw(STEPS))]
    if draw(st.booleans()):
        entries = draw(st.permutations(entries))
    else:
        entries.sort(key=lambda each: each.time)
    return entries


def reported(entries: list[Entry], kept: int) -> list[Retry]:
    retries = Retries(kept)
    for each in entries:
        retries.add(each.client, each)
        assert len(retries._once) < 2 * kept
        assert len(retries._again) < 2 * kept
    return retries.found(1e6)


@given(worlds(), st.integers(1, 20))
def test_any_records_may_come(entries: list[Entry], kept: int) -> None:
    for retry in reported(entries, kept):
        moments = [
            each.time
            for each in entries
            if (each.client, each.sender) == (retry.place, retry.sender)
            and retry.recipient in (each.recipients or (None,))
        ]
        assert 3 <= retry.tries <= len(moments)
        assert 60 <= retry.every <= max(moments) - min(moments)
        assert min(moments) <= retry.first <= retry.last <= max(moments)
        assert (retry.tries - 1) * 60 <= retry.last - retry.first
        assert retry.sender is not None or retry.like
        if 2 * len({(each.client, each.sender, each.recipients) for each in entries}) <= kept:
            assert (retry.first, retry.last) == (min(moments), max(moments))


@pytest.mark.parametrize(
    "wanted",
    [
        lambda retry: retry.sender is None and retry.like,
        lambda retry: retry.sender and not retry.like,
        lambda retry: retry.sender == "" and retry.recipient is None,
        lambda retry: not retry.still,
        lambda retry: retry.tries > GAPS,
    ],
)
def test_the_records_tested_include_retries_of_each_kind(wanted: object) -> None:
    """Without them, the test above would prove nothing."""
    assert callable(wanted)
    several = settings(max_examples=3000, database=None, phases=[Phase.generate])
    find(worlds(), lambda entries: any(map(wanted, reported(entries, 3))), settings=several)
