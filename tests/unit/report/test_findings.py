"""Tables and notes, from entries of all kinds."""

from collections.abc import Iterator
from itertools import accumulate

import pytest
from helpers.timezones import in_zone

from null521.console.tables import Bar, Cell, Moment, Span
from null521.report import findings as module
from null521.report.findings import KEYS, Findings
from null521.report.reading import Entry

START = 1767225600.0  # 2026-01-01 00:00:00 UTC
POSTFIX = list(accumulate((300, 600, 1200, 2400, 4000), initial=0))
ANN = Entry(
    time=START,
    recipients=("bob@ntp.example", "eve@ntp.example"),
    client="203.0.113.9",
    helo="mx.example.net",
    sender="Ann@Example.NET",
    refuse_at="rcpt",
    tls=None,
    host="ntp.example",
)
SCAN = Entry(START, (), "2001:db8::26", None, None, "rcpt", None, "ntp.example")
EARLY = Entry(START, (), "2001:db8::28", None, None, "greeting", None, "ntp.example")
NOTICE = Entry(START, ("x@ntp.example",), "2001:db8::27", "", "", "rcpt", None, "ntp.example")
CHECK = Entry(START, ("postmaster",), "127.0.0.1", "h", "", "rcpt", None, "ntp.example")


@pytest.fixture(autouse=True, scope="module")
def utc() -> Iterator[None]:
    with in_zone("UTC"):
        yield


@pytest.fixture(autouse=True)
def no_cache() -> None:
    """No test profits from what another one has looked up."""
    module._network_of.cache_clear()


def of(*entries: Entry, by: str = "client", limit: int = 20) -> Findings:
    findings = Findings(by, limit)
    for entry in entries:
        findings.add(entry)
    return findings


def at(entry: Entry, *seconds: float, **changes: object) -> list[Entry]:
    changed = entry._replace(**changes)  # type: ignore[arg-type]
    return [changed._replace(time=START + moment) for moment in seconds]


def by_kind(cell: Cell) -> tuple[type, Cell]:
    """With its kind, because a Span equals a Moment of the same number."""
    return type(cell), cell


def test_the_names_that_records_can_be_grouped_by() -> None:
    names = ["client", "network", "helo", "sender", "sender-domain", "recipient", "host"]
    assert list(KEYS) == names


@pytest.mark.parametrize(
    ("by", "counts", "others"),
    [
        (
            "client",
            {("203.0.113.9",): 2, ("2001:db8::27",): 1, ("forged",): 1, (None,): 1},
            {("2001:db8::26",): 1, ("2001:db8::28",): 2},
        ),
        (
            "network",
            {("203.0.113.0/24",): 2, ("2001:db8::/64",): 1, ("forged",): 1, (None,): 1},
            {("2001:db8::/64",): 3},
        ),
        ("helo", {("mx.example.net",): 4, ("",): 1}, {(None,): 3}),
        ("sender", {("Ann@Example.NET",): 4, ("",): 1}, None),
        ("sender-domain", {("example.net",): 4, ("",): 1}, None),
        (
            "recipient",
            {("bob@ntp.example",): 4, ("eve@ntp.example",): 4, ("x@ntp.example",): 1},
            None,
        ),
        (
            "host",
            {("ntp.example", "Ann@Example.NET"): 3, ("b", "Ann@Example.NET"): 1, (None, ""): 1},
            {("ntp.example",): 2, ("b",): 1},
        ),
    ],
)
def test_group_by(
    by: str,
    counts: dict[tuple[str | None, ...], int],
    others: dict[tuple[str | None], int] | None,
) -> None:
    """Those that named no sender are grouped by client where they have no such name."""
    entries = [
        ANN,
        ANN._replace(host="b"),
        ANN._replace(client="forged"),
        ANN._replace(client=None),
    ]
    entries += [SCAN, EARLY, EARLY._replace(host="b"), NOTICE._replace(host=None), CHECK]
    found = of(*entries, by=by)
    table, width = found.mail(), len(next(iter(counts)))
    assert {row[:width]: row[width] for row in table.rows} == counts
    columns = ("host", "sender") if by == "host" else (by,)
    assert (table.name, table.title) == ("mail", f"Mail, by {' and '.join(columns)}")
    latest = [f"last_{name}" for name in ("sender", "recipient") if name not in columns]
    assert table.columns == (*columns, "records", *latest, "first_seen", "last_seen")
    table, others_by = found.others(), "client" if others is None else by
    expected = others or {("2001:db8::26",): 1, ("2001:db8::28",): 2}
    assert {row[:1]: row[1] for row in table.rows} == expected
    title = f"Others, which named no sender, by {others_by}"
    assert (table.name, table.title) == ("others", title)
    assert table.columns == (others_by, "records", "first_seen", "last_seen")


@pytest.mark.parametrize(
    ("changes", "kind"),
    [
        ({}, "sending"),
        ({"recipients": ()}, "sending"),  # refused at MAIL
        ({"sender": None}, "sending"),
        ({"sender": ""}, "sending"),
        ({"sender": None, "recipients": ()}, "unnamed"),
        ({"sender": None, "recipients": (), "refuse_at": "mail"}, "unnamed"),
        ({"sender": None, "recipients": (), "refuse_at": None}, "unnamed"),
        ({"sender": None, "recipients": (), "refuse_at": "helo"}, "early"),
        ({"sender": None, "recipients": (), "refuse_at": "greeting"}, "early"),
        ({"refuse_at": "greeting"}, "sending"),  # some go on
        ({"sender": "", "client": "::1", "recipients": ("postmaster",)}, "checks"),
        ({"sender": "", "client": "::1", "recipients": ()}, "checks"),
    ],
)
def test_the_kinds_of_connections(changes: dict[str, object], kind: str) -> None:
    found = of(*at(ANN, 0, 0, **changes))
    kinds = {"sending": 0, "unnamed": 0, "early": 0, "checks": 0}
    assert (found.records, found.counts) == (2, kinds | {kind: 2})
    assert [len(table.rows) > 0 for table in (found.mail(), found.others())] == [
        kind == "sending",
        kind in ("unnamed", "early"),
    ]
    ((_, mail, others, bar),) = found.timeline().rows
    assert (mail, others, bar) == ((2, 0, 1) if kind == "sending" else (0, 2, 1))


@pytest.mark.parametrize(
    ("sender", "domain"),
    [("a@B.c", "b.c"), ('"a@b"@c', "c"), ("plain", "plain"), ("", ""), (None, None)],
)
def test_the_domain_of_a_sender(sender: str | None, domain: str | None) -> None:
    ((found, *_),) = of(ANN._replace(sender=sender), by="sender-domain").mail().rows
    assert found == domain


def test_what_is_too_long_for_an_address_fills_no_cache() -> None:
    longest = "2001:db8:1111:2222:3333:4444:5555:6666%" + "x" * 25
    for client in (longest, longest + "x", "y" * 1000):
        of(ANN._replace(client=client), by="network")
    assert len(longest) == 64
    assert module._network_of.cache_info().currsize == 1


def test_a_report_without_records() -> None:
    empty = of()
    assert empty.summary() == "No records of null521."
    assert empty.facts() == {
        **{"records": 0, "first": None, "last": None, "by": "client"},
        **{"sending": 0, "unnamed": 0, "early": 0, "checks": 0},
        **{"senders": 0, "recipients": 0, "hosts": 0},
    }
    tables = [empty.retries(), empty.mail(), empty.timeline(), empty.others()]
    assert [table.name for table in tables] == ["retries", "mail", "timeline", "others"]
    assert [table.rows for table in tables] == [[], [], [], []]
    without = ["Nobody kept retrying.", "None.", "No records.", "None."]
    assert [table.without for table in tables] == without
    assert empty.notes() == []


NEW_YEAR = "from 2026-01-01 00:00:00 to 2026-01-01 00:00:00 UTC"


@pytest.mark.parametrize(
    ("entries", "lines"),
    [
        (
            [ANN],
            [
                f"1 connection, {NEW_YEAR}",
                "1 wanted to send mail, from 1 sender to 2 recipients",
            ],
        ),
        (
            [ANN, ANN, NOTICE, SCAN, SCAN, EARLY, CHECK],
            [
                f"7 connections, {NEW_YEAR}",
                "3 wanted to send mail, from 2 senders to 3 recipients",
                "2 named no sender and no recipient, as scanners do",
                "1 refused at greeting or helo, before they could name a sender",
                "1 from null521 check on the host itself",
            ],
        ),
        (
            [SCAN, SCAN._replace(host="b")],
            [
                f"2 connections to 2 hosts, {NEW_YEAR}",
                "None wanted to send mail",
                "2 named no sender and no recipient, as scanners do",
            ],
        ),
        (
            [EARLY, EARLY._replace(host=None)],
            [
                f"2 connections, {NEW_YEAR}",
                "2 refused at greeting or helo, before they could name a sender",
            ],
        ),
        (
            [ANN._replace(recipients=()), ANN._replace(sender="x", recipients=())],
            [f"2 connections, {NEW_YEAR}", "2 wanted to send mail, from 2 senders"],
        ),
        (
            [ANN._replace(sender=None)],
            [f"1 connection, {NEW_YEAR}", "1 wanted to send mail, to 2 recipients"],
        ),
    ],
)
def test_the_summary_says_first_what_mail_it_is(entries: list[Entry], lines: list[str]) -> None:
    assert of(*entries).summary().splitlines() == lines


def test_the_summary() -> None:
    found = of(*at(ANN, 60, 7200, 0.5), *at(SCAN, 7), *at(ANN, 9, host="b"), by="helo")
    start = "5 connections to 2 hosts, from 2026-01-01 00:00:00 to 2026-01-01 02:00:00 UTC\n"
    assert found.summary().startswith(start)
    facts = found.facts()
    assert facts == {
        **{"records": 5, "first": START + 0.5, "last": START + 7200, "by": "helo"},
        **{"sending": 4, "unnamed": 1, "early": 0, "checks": 0},
        **{"senders": 1, "recipients": 2, "hosts": 2},
    }
    assert (type(facts["first"]), type(facts["last"])) == (Moment, Moment)


def test_different_senders_recipients_and_hosts_are_counted_up_to_a_number(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "KEPT", 3)
    entries = [
        ANN._replace(sender=f"{number}@a", recipients=(f"{number}@n",), host=f"{number}.example")
        for number in range(9)
    ]
    first, second = of(*entries[:3]).summary().splitlines()
    assert first.startswith("3 connections to 3 hosts, from ")
    assert second == "3 wanted to send mail, from 3 senders to 3 recipients"
    found = of(*entries)
    first, second = found.summary().splitlines()
    assert first.startswith("9 connections to more than 3 hosts, from ")
    assert second == "9 wanted to send mail, from more than 3 senders to more than 3 recipients"
    assert [found.facts()[name] for name in ("senders", "recipients", "hosts")] == [4, 4, 4]


@pytest.mark.parametrize(
    ("day", "zone"), [("2026-01-01 01:00:00", "CET"), ("2026-07-01 02:00:00", "CEST")]
)
def test_the_summary_names_the_time_zone(day: str, zone: str) -> None:
    moment = START if zone == "CET" else START + 181 * 86400
    with in_zone("Europe/Berlin"):
        first, _ = of(ANN._replace(time=moment)).summary().splitlines()
        assert first == f"1 connection, from {day} to {day} {zone}"


def test_records_of_the_first_second() -> None:
    facts = of(ANN._replace(time=0.5), ANN._replace(time=0.25)).facts()
    assert (facts["first"], facts["last"]) == (0.25, 0.5)


def test_the_table_of_retries() -> None:
    found = of(*at(ANN, *POSTFIX, recipients=("bob@ntp.example",)))
    table = found.retries()
    title = "Retries: the same client, sender and recipient, three times or more"
    assert (table.name, table.title) == ("retries", title)
    assert table.columns == (
        *("client", "sender", "recipient", "tries", "every", "like"),
        *("still_trying", "first_seen", "last_seen", "what_to_do"),
    )
    ((row),) = table.rows
    assert [by_kind(cell) for cell in row] == [
        *((str, "203.0.113.9"), (str, "Ann@Example.NET"), (str, "bob@ntp.example")),
        *((int, 6), (Span, 1200), (tuple, ("Postfix",)), (bool, True)),
        *((Moment, START), (Moment, START + 8500)),
        (str, "tell postmaster@Example.NET"),
    ]
    assert table.stacked == 3


def test_by_host_the_table_of_retries_says_which_host_it_was() -> None:
    table = of(*at(ANN, *POSTFIX, recipients=("bob@ntp.example",)), by="host").retries()
    title = "Retries: the same client, sender and recipient, three times or more"
    assert (table.title, table.stacked) == (title, 4)
    assert table.columns == (
        *("client", "sender", "recipient", "host", "tries", "every", "like"),
        *("still_trying", "first_seen", "last_seen", "what_to_do"),
    )
    ((row),) = table.rows
    assert row[:5] == ("203.0.113.9", "Ann@Example.NET", "bob@ntp.example", "ntp.example", 6)


def test_by_network_a_sender_with_several_addresses_is_one() -> None:
    entries = [
        ANN._replace(time=START + moment, client=f"203.0.113.{number}")
        for number, moment in enumerate(POSTFIX)
    ]
    assert of(*entries).retries().rows == []
    table = of(*entries, by="network").retries()
    assert table.columns[0] == "network"
    assert "the same network, sender" in table.title
    assert [row[:4] for row in table.rows] == [
        ("203.0.113.0/24", "Ann@Example.NET", "bob@ntp.example", 6),
        ("203.0.113.0/24", "Ann@Example.NET", "eve@ntp.example", 6),
    ]


def test_the_table_of_mail() -> None:
    later = at(ANN, 50, sender="later@example.net", recipients=("first@n", "last@n"))
    table = of(*at(ANN, 40, 0, 30), *at(NOTICE, 5), *later, *at(SCAN, 99)).mail()
    assert table.rows == [
        ("203.0.113.9", 4, "later@example.net", "last@n", START, START + 50),
        ("2001:db8::27", 1, "", "x@ntp.example", START + 5, START + 5),
    ]
    assert {tuple(map(type, row)) for row in table.rows} == {(str, int, str, str, Moment, Moment)}
    assert table.stacked == 2
    ((row),) = of(*at(ANN, 0, recipients=())).mail().rows
    assert row[2:4] == ("Ann@Example.NET", None)


@pytest.mark.parametrize(
    ("by", "row"),
    {
        "sender": ("Ann@Example.NET", 1, "eve@ntp.example", START, START),
        "recipient": ("eve@ntp.example", 1, "Ann@Example.NET", START, START),
        "host": ("ntp.example", "Ann@Example.NET", 1, "eve@ntp.example", START, START),
    }.items(),
)
def test_the_table_of_mail_says_nothing_twice(by: str, row: tuple[Cell, ...]) -> None:
    assert row in of(ANN, by=by).mail().rows


def test_the_table_of_others() -> None:
    entries = [*at(ANN, 0), *at(SCAN, 60, 0, 30), *at(EARLY, 5), *at(SCAN, 1, client="x")]
    found = of(*entries)
    assert found.others().rows == [
        ("2001:db8::26", 3, START, START + 60),
        ("2001:db8::28", 1, START + 5, START + 5),
        ("x", 1, START + 1, START + 1),
    ]
    title = "Others, which named no sender, by client"
    for limit, shown in ((1, 1), (2, 2), (3, 3), (4, 3)):
        table = found.others(limit)
        assert len(table.rows) == shown
        assert table.title == title + (f": the first {limit}" if limit < 3 else "")
    table = of(*entries, limit=2).others(3)
    assert (len(table.rows), table.title) == (2, f"{title}: the first 2")


def test_the_table_of_times() -> None:
    found = of(*at(ANN, 0, 1, 899, 1800, 1801, 3600), *at(SCAN, *range(900, 910), 3600))
    table = found.timeline()
    assert (table.name, table.title) == ("timeline", "Mail in each 15min")
    assert table.columns == ("from", "mail", "others", "bar")
    assert table.rows == [
        (START, 3, 0, 1.0),
        (START + 900, 0, 10, 0.0),
        (START + 1800, 2, 0, 2 / 3),
        (START + 2700, 0, 0, 0.0),
        (START + 3600, 1, 1, 1 / 3),
    ]
    assert {tuple(map(type, row)) for row in table.rows} == {(Moment, int, int, Bar)}
    assert of(*at(ANN, 0, 86400)).timeline().title == "Mail in each 1h"
    assert of(ANN).timeline().title == "Mail in each 15min"


def test_without_mail_the_table_of_times_shows_the_others() -> None:
    table = of(*at(SCAN, 0, 900, 901), *at(CHECK, 902, 903)).timeline()
    assert table.title == "Connections in each 15min"
    assert table.rows == [(START, 0, 1, 0.25), (START + 900, 0, 4, 1.0)]


def test_a_table_has_at_most_as_many_rows_as_the_limit() -> None:
    entries = [
        entry
        for number in range(3)
        for entry in at(ANN, 0, 600, 1200, client=f"192.0.2.{number}", recipients=("b@n",))
    ]
    found = of(*entries, limit=2)
    assert len(found.retries().rows) == len(found.mail().rows) == 2
    assert found.notes() == [
        "1 more kept retrying.",
        "Showing 2 of 3 groups of mail: most records first.",
    ]
    assert of(*entries, limit=3).notes() == []


@pytest.mark.parametrize("sender", ["@example.net", "..."])
def test_a_note_about_hidden_addresses(sender: str) -> None:
    note = "log-addresses hides addresses: several senders may look like one."
    entries = at(ANN, 0, 600, 1200, sender=sender)
    assert of(*entries).notes() == [note]
    assert of(*entries, *at(ANN, *POSTFIX), limit=1).notes()[-1] == note
    assert of(*entries[:1], ANN).notes() == [note]
    assert of(*at(NOTICE, 0, 600, 1200)).notes() == []
    for shown in ("a.b@c", "X@b.c", '"@"@c', None):
        assert of(*at(ANN, 0, 600, 1200, sender=shown)).notes() == []


def test_notes_about_what_did_not_fit_into_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "KEPT", 2)
    found = of(*(ANN._replace(client=f"192.0.2.{n}", recipients=("b@n",)) for n in range(6)))
    senders = (
        "Too many senders to remember all: one that retried only after 2 others had come may be "
        "missing."
    )
    groups = (
        "Too many groups of {} to count exactly: each has at least RECORDS and at most AT MOST "
        "records. Groups that are not remembered have at most 1 each."
    )
    assert found.notes() == [senders, groups.format("mail")]
    table = found.mail()
    assert table.columns == (
        *("client", "records", "at_most", "last_sender", "last_recipient"),
        *("first_seen", "last_seen"),
    )
    assert {row[1:3] for row in table.rows} == {(1, 1), (1, 2)}
    found = of(*(SCAN._replace(client=f"192.0.2.{n}") for n in range(6)))
    assert found.notes() == [senders, groups.format("others")]
    table = found.others()
    assert table.columns == ("client", "records", "at_most", "first_seen", "last_seen")
    assert {row[1:3] for row in table.rows} == {(1, 1), (1, 2)}


def test_a_note_about_records_out_of_order() -> None:
    entries = at(ANN, 0, 600, 300, recipients=("b@n",))
    assert of(*entries).notes() == ["1 record out of order: not counted as tries."]
    more = at(ANN, 100, 200, recipients=("b@n",))
    assert of(*entries, *more).notes() == ["3 records out of order: not counted as tries."]


@pytest.mark.parametrize(
    ("changes", "is_check"),
    [
        ({}, True),
        ({"client": "::1"}, True),
        ({"recipients": ("postmaster", "postmaster@h.example")}, True),
        ({"recipients": ()}, True),
        ({"client": "192.0.2.1"}, False),
        ({"client": None}, False),
        ({"sender": "a@b"}, False),
        ({"sender": None, "refuse_at": "greeting"}, False),
        ({"recipients": ("postmaster", "x@y")}, False),
    ],
)
def test_health_checks_of_the_host_itself_are_not_retries(
    changes: dict[str, object], is_check: bool
) -> None:
    found = of(*at(CHECK, *range(0, 3600, 300), **changes))
    assert (found.retries().rows == []) == is_check
    assert found.records == 12
    assert found.counts["checks"] == (12 if is_check else 0)
    assert sum(row[1] + row[2] for row in found.timeline().rows) == 12  # type: ignore[operator, misc]
