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
)
SCAN = Entry(START, (), "2001:db8::26", None, None, "rcpt", None)
NOTICE = Entry(START, ("x@ntp.example",), "2001:db8::27", "", "", "rcpt", None)


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
    assert list(KEYS) == ["client", "network", "helo", "sender", "sender-domain", "recipient"]


@pytest.mark.parametrize(
    ("by", "counts"),
    {
        "client": {"203.0.113.9": 2, "2001:db8::26": 1, "2001:db8::27": 1, "forged": 1, None: 1},
        "network": {"203.0.113.0/24": 2, "2001:db8::/64": 2, "forged": 1, None: 1},
        "helo": {"mx.example.net": 4, None: 1, "": 1},
        "sender": {"Ann@Example.NET": 4, None: 1, "": 1},
        "sender-domain": {"example.net": 4, None: 1, "": 1},
        "recipient": {"bob@ntp.example": 4, "eve@ntp.example": 4, None: 1, "x@ntp.example": 1},
    }.items(),
)
def test_group_by(by: str, counts: dict[str | None, int]) -> None:
    entries = [ANN, ANN, ANN._replace(client="forged"), ANN._replace(client=None), SCAN, NOTICE]
    table = of(*entries, by=by).writers()
    assert {row[0]: row[1] for row in table.rows} == counts
    assert (table.name, table.title) == ("writers", f"Most records, by {by}")
    assert table.columns == (by, "records", "first_seen", "last_seen")


@pytest.mark.parametrize(
    ("sender", "domain"),
    [("a@B.c", "b.c"), ('"a@b"@c', "c"), ("plain", "plain"), ("", ""), (None, None)],
)
def test_the_domain_of_a_sender(sender: str | None, domain: str | None) -> None:
    ((found, *_),) = of(ANN._replace(sender=sender), by="sender-domain").writers().rows
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
    assert empty.facts() == {"records": 0, "first": None, "last": None, "by": "client"}
    tables = [empty.retries(), empty.writers(), empty.timeline()]
    assert [table.name for table in tables] == ["retries", "writers", "timeline"]
    assert [table.rows for table in tables] == [[], [], []]
    without = ["Nobody kept retrying.", "No records.", "No records."]
    assert [table.without for table in tables] == without
    assert empty.notes() == []


def test_the_summary() -> None:
    assert of(ANN).summary() == "1 record, from 2026-01-01 00:00:00 to 2026-01-01 00:00:00 UTC"
    found = of(*at(ANN, 60, 7200, 0.5), by="helo")
    assert found.summary() == "3 records, from 2026-01-01 00:00:00 to 2026-01-01 02:00:00 UTC"
    facts = found.facts()
    assert facts == {"records": 3, "first": START + 0.5, "last": START + 7200, "by": "helo"}
    assert (type(facts["first"]), type(facts["last"])) == (Moment, Moment)


@pytest.mark.parametrize(
    ("day", "zone"), [("2026-01-01 01:00:00", "CET"), ("2026-07-01 02:00:00", "CEST")]
)
def test_the_summary_names_the_time_zone(day: str, zone: str) -> None:
    moment = START if zone == "CET" else START + 181 * 86400
    with in_zone("Europe/Berlin"):
        assert of(ANN._replace(time=moment)).summary() == f"1 record, from {day} to {day} {zone}"


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
        *("first_seen", "last_seen", "still_trying", "what_to_do"),
    )
    ((row),) = table.rows
    assert [by_kind(cell) for cell in row] == [
        *((str, "203.0.113.9"), (str, "Ann@Example.NET"), (str, "bob@ntp.example")),
        *((int, 6), (Span, 1200), (tuple, ("Postfix",))),
        *((Moment, START), (Moment, START + 8500), (bool, True)),
        (str, "tell postmaster@Example.NET"),
    ]


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


def test_the_table_of_groups() -> None:
    found = of(*at(ANN, 60, 0, 30), *at(SCAN, 5))
    rows = found.writers().rows
    assert rows == [
        ("203.0.113.9", 3, START, START + 60),
        ("2001:db8::26", 1, START + 5, START + 5),
    ]
    assert {tuple(map(type, row)) for row in rows} == {(str, int, Moment, Moment)}


def test_the_table_of_times() -> None:
    table = of(*at(ANN, 0, 1, 899, 1800, 1801, 3600)).timeline()
    assert (table.name, table.title) == ("timeline", "Records in each 15min")
    assert table.columns == ("from", "records", "bar")
    assert table.rows == [
        (START, 3, 1.0),
        (START + 900, 0, 0.0),
        (START + 1800, 2, 2 / 3),
        (START + 2700, 0, 0.0),
        (START + 3600, 1, 1 / 3),
    ]
    assert {tuple(map(type, row)) for row in table.rows} == {(Moment, int, Bar)}
    assert of(*at(ANN, 0, 86400)).timeline().title == "Records in each 1h"


def test_a_table_has_at_most_as_many_rows_as_the_limit() -> None:
    entries = [
        entry
        for number in range(3)
        for entry in at(ANN, 0, 600, 1200, client=f"192.0.2.{number}", recipients=("b@n",))
    ]
    found = of(*entries, limit=2)
    assert len(found.retries().rows) == len(found.writers().rows) == 2
    assert found.notes() == [
        "1 more kept retrying.",
        "Showing 2 of 3 groups: most records first.",
    ]
    assert of(*entries, limit=3).notes() == []


@pytest.mark.parametrize("sender", ["@example.net", "..."])
def test_a_note_about_hidden_addresses(sender: str) -> None:
    note = "log-addresses hides addresses: several senders may look like one."
    entries = at(ANN, 0, 600, 1200, sender=sender)
    assert of(*entries).notes() == [note]
    assert of(*entries, *at(ANN, *POSTFIX), limit=1).notes()[-1] == note
    assert of(*entries[:2]).notes() == []
    assert of(*at(NOTICE, 0, 600, 1200)).notes() == []
    for shown in ("a.b@c", "X@b.c", '"@"@c'):
        assert of(*at(ANN, 0, 600, 1200, sender=shown)).notes() == []


def test_notes_about_what_did_not_fit_into_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "KEPT", 2)
    found = of(*(ANN._replace(client=f"192.0.2.{n}", recipients=("b@n",)) for n in range(6)))
    groups = (
        "Too many groups to count exactly: each has at least RECORDS and at most AT MOST records. "
        "Groups that are not remembered have at most 1 each."
    )
    assert found.notes() == [
        "Too many senders to remember all: one that retried only after 2 others had come may be "
        "missing.",
        groups,
    ]
    table = found.writers()
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
    own = Entry(0, ("postmaster",), "127.0.0.1", "h", "", "rcpt", None)
    found = of(*at(own, *range(0, 3600, 300), **changes))
    assert (found.retries().rows == []) == is_check
    assert found.records == 12
    assert sum(row[1] for row in found.timeline().rows) == 12  # type: ignore[misc]
