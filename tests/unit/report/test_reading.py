"""Entries read back from JSON lines and journals, which anybody may have written to."""

import contextlib
import errno
import io
import json
import os
import sys
import tracemalloc
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from helpers import journals
from hypothesis import given
from hypothesis import strategies as st

from null521.console import tables
from null521.record import INFO, REFUSED, STARTED, SUMMED, Record, clean
from null521.report import reading, values
from null521.report.findings import KEYS, Findings
from null521.report.reading import (
    FIELDS,
    Entry,
    Journal,
    Lines,
    Sum,
    parse_fields,
    parse_line,
)
from null521.session import MAX_MAILBOX, MAX_RECIPIENTS

RECORD = journals.of("192.0.2.7", journals.said("mx.example.net", "ann@example.net", "b@n", "c@n"))
ENTRY = Entry(
    time=float(journals.START),
    recipients=("b@n", "c@n"),
    client="192.0.2.7",
    helo="mx.example.net",
    sender="ann@example.net",
    refuse_at="rcpt",
    tls=None,
    host=None,
)
GOOD = json.loads(journals.line(journals.START, RECORD))


@pytest.fixture(autouse=True)
def no_cache() -> None:
    """No test profits from what another one has read."""
    reading._texts.clear()


def changed(**fields: object) -> bytes:
    return json.dumps(GOOD | fields).encode()


def without(name: str) -> bytes:
    return json.dumps({key: value for key, value in GOOD.items() if key != name}).encode()


def read(octets: bytes, folder: Path, **bounds: float) -> tuple[list[Entry], int]:
    """The entries in a file of lines, and how many lines are not records."""
    path = folder / "lines"
    path.write_bytes(octets)
    lines = Lines([str(path)], **{"since": 0.0, "until": 1e12, **bounds})
    assert (lines.done, lines.total, lines.bad) == (0, 0, 0)
    entries = list(lines)
    assert lines.done == lines.total == len(octets)
    assert all(entry.host == "lines" for entry in entries), "the name of the file"
    return [entry._replace(host=None) for entry in entries], lines.bad


def test_a_line_and_a_journal_entry_are_parsed_alike() -> None:
    assert parse_line(journals.line(journals.START, RECORD)) == ENTRY
    fields: dict[str, bytes | list[bytes]] = {
        f"NULL521_{name}": str(value).encode()
        for name, value in RECORD.fields
        if name != "RECIPIENT"
    }
    fields["NULL521_RECIPIENT"] = [b"b@n", b"c@n"]
    assert parse_fields(journals.START, fields) == ENTRY
    fields["NULL521_RECIPIENT"] = b"b@n"
    assert parse_fields(journals.START, fields) == ENTRY._replace(recipients=("b@n",))
    assert parse_fields(1.5, {}) == Entry(1.5, (), None, None, None, None, None, None)


def test_records_of_the_server_itself_are_skipped_silently(tmp_path: Path) -> None:
    started = Record(STARTED, INFO, "Answering", [])
    assert read(journals.line(journals.START, started), tmp_path) == ([], 0)


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"null521: Refused 192.0.2.7; quit after 1 command, 0.041 s",
        b"{",
        b"[]",
        b"null",
        b"{}",
        b"\xff\xfe{}",
        b"[" * 60000,
        b"[" * 70000,
        b'{"a":' * 12000,
        b"9" * 5000,
        without("message_id"),
        without("time"),
        changed(message_id=1),
        changed(time=None),
        changed(time="yesterday"),
        changed(time="2026-01-01T00:00:00"),
        changed(time="9999-12-31T23:59:59Z"),
        changed(time="1969-12-31T23:59:59Z"),
        changed(client=7),
        changed(helo=["x"]),
        changed(sender={}),
        changed(recipient="b@n"),
        changed(recipient=["b@n", None]),
        changed(message="x" * 70000),
        changed(message="x" * 200000),
    ],
)
def test_a_line_that_is_not_a_record_is_counted(line: bytes, tmp_path: Path) -> None:
    good = journals.line(journals.START, RECORD)
    assert read(good + line + b"\n" + good, tmp_path) == ([ENTRY, ENTRY], 1)
    assert read(good + line, tmp_path) == ([ENTRY], 1 if line else 0)
    if line:
        assert read((line + b"\n") * 3, tmp_path) == ([], 3)


@pytest.mark.parametrize(
    ("line", "error"),
    [
        (b"[]", "not a record"),
        (changed(message_id=1), "not a record"),
        (without("time"), "Invalid isoformat string: ''"),
        (changed(time="2026-01-01T00:00:00"), "time without a zone, or out of range"),
        (changed(time="1969-12-31T23:59:59Z"), "time without a zone, or out of range"),
        (changed(time="9987-04-02T17:46:41Z"), "time without a zone, or out of range"),
        (changed(recipient="b@n"), "recipients are not a list"),
        (changed(sender=7), "a field is not a string"),
        (changed(message_id=SUMMED, sessions=0), "not a number of sessions"),
        (b"two words " + changed(), "not the prefix of a log"),
    ],
)
def test_the_error_says_what_is_wrong_with_a_line(line: bytes, error: str) -> None:
    with pytest.raises(ValueError, match=f"^{error}$"):
        parse_line(line)


@pytest.mark.parametrize(
    ("time", "seconds"),
    [
        ("1970-01-01T00:00:00Z", 0),
        ("1970-01-01T01:00:00+01:00", 0),
        ("1970-01-01T00:00:00.250Z", 0.25),
        ("9987-04-02T17:46:40Z", 253e9),
    ],
)
def test_the_earliest_and_latest_time_of_a_line(time: str, seconds: float) -> None:
    entry = parse_line(changed(time=time))
    assert isinstance(entry, Entry)
    assert entry.time == seconds


@pytest.mark.parametrize("name", [*reading.NAMES, "recipient"])
def test_a_line_may_lack_a_field(name: str) -> None:
    entry = parse_line(without(name))
    field, value = ("recipients", ()) if name == "recipient" else (name, None)
    assert entry == ENTRY._replace(**{field: value})  # type: ignore[arg-type]


TIME = "2026-01-01T00:00:00.123456789Z "


@pytest.mark.parametrize(
    ("prefix", "host"),
    [
        ("", "file"),
        ("  ", "file"),
        # kubectl logs --prefix
        ("[pod/null521-7d9c-x2k/null521] ", "null521-7d9c-x2k"),
        (f"[pod/a.b/c] {TIME}", "a.b"),
        # podman logs, with --names or without
        ("ntp-1 ", "ntp-1"),
        ("0123456789ab ", "0123456789ab"),
        ("ntp_1 2026-01-01T00:00:00+01:00 ", "ntp_1"),
        # docker compose logs, docker service logs
        ("ntp-null521-1  | ", "ntp-null521-1"),
        ("\x1b[36mntp-1  | \x1b[0m", "ntp-1"),
        (f"ntp-1  | {TIME}", "ntp-1"),
        ("web.1.k2x@node    | ", "web.1.k2x@node"),
        # docker logs --timestamps, Kubernetes' own files
        (TIME, "file"),
        (f"{TIME}stderr F ", "file"),
        (f"{TIME}stdout F ", "file"),
        ("n" * 509 + " ", None),
        # Something else
        ("n" * 512 + " ", "not a record"),
        ("null521: ", "not a record"),
        ("two words ", "not a record"),
        (f"{TIME}stderr P ", "not a record"),
        ("[pod/a] ", "not a record"),
        ("[pod/a/b]", "not a record"),
        ("name", "not a record"),
        (" | ", "not a record"),
        ("\x1b[2Jname ", "not a record"),
        ("n\u00e4me ", "not a record"),
        ("n\udce4me ", "not a record"),
    ],
)
def test_what_stands_before_a_line_may_name_its_host(prefix: str, host: str | None) -> None:
    line = prefix.encode(errors="surrogateescape") + changed()
    if host == "not a record":
        with pytest.raises(
            ValueError, match=r"not the prefix of a log|Expecting value|can't decode"
        ):
            parse_line(line, "file")
    else:
        expected = host or "n" * MAX_MAILBOX
        assert parse_line(line, "file") == ENTRY._replace(host=expected)


def test_a_line_may_say_its_host_itself() -> None:
    line = changed(hostname="own\n")
    for octets in (line, b"other " + line):
        assert parse_line(octets, "file") == ENTRY._replace(host=r"own\n")
    assert parse_line(changed(hostname=None), "file") == ENTRY
    assert parse_line(changed()) == ENTRY
    with pytest.raises(ValueError, match="a field is not a string"):
        parse_line(changed(hostname=["x"]))


def test_the_host_of_a_line_is_the_file_without_its_folder(
    tmp_path: Path, monkeypatch: Any
) -> None:
    paths = [tmp_path / name for name in ("ntp1.json", "n\tp2", "\udcff")]
    for path in paths:
        path.write_bytes(journals.line(journals.START, RECORD))
    lines = Lines([str(path) for path in paths], 0.0, 1e12)
    assert [entry.host for entry in lines] == ["ntp1.json", r"n\tp2", r"\udcff"]
    descriptor = os.open(paths[0], os.O_RDONLY)
    before = os.dup(0)
    os.dup2(descriptor, 0)
    try:
        assert [entry.host for entry in Lines(["-"], 0.0, 1e12)] == [None]
    finally:
        os.dup2(before, 0)
        os.close(before)
        os.close(descriptor)


def test_the_host_of_a_journal_entry_is_from_journald() -> None:
    """A client cannot choose a field that begins with an underscore."""
    fields = {"_HOSTNAME": b"ntp1.example", "NULL521_HOSTNAME": b"x", "HOSTNAME": b"y"}
    assert parse_fields(0.0, fields).host == "ntp1.example"
    assert parse_fields(0.0, {"_HOSTNAME": b"\x1b" * 1000}).host == r"\x1b" * MAX_MAILBOX


def test_the_longest_line_that_is_read(tmp_path: Path) -> None:
    size = reading.MAX_LINE - len(changed(message="")) - 1
    longest = changed(message="x" * size)
    assert len(longest + b"\n") == 65536
    assert read(longest + b"\n" + longest, tmp_path) == ([ENTRY, ENTRY], 0)
    longer = changed(message="x" * (size + 1))
    assert read(longer + b"\n" + longest, tmp_path) == ([ENTRY], 1)


def test_forged_values_are_cut_and_escaped(tmp_path: Path) -> None:
    bad = "\x1b[2J\u202e\ud800\0\n" + "x" * 1000
    line = changed(helo=bad, sender="\\x1b", client="\u2028", recipient=[bad] * 20 + ["y"] * 20)
    ((entry,), _) = read(line, tmp_path)
    assert entry.helo == r"\x1b[2J\u202e\ud800\x00\n" + "x" * (MAX_MAILBOX - 8)
    assert entry.client == r"\u2028"
    assert entry.sender == r"\x1b", "what was escaped once is not escaped again"
    assert entry.recipients == (entry.helo,)
    ((entry,), _) = read(changed(recipient=[str(number) for number in range(40)]), tmp_path)
    assert entry.recipients == tuple(map(str, range(MAX_RECIPIENTS)))


def test_octets_that_are_not_utf_8_are_replaced() -> None:
    entry = parse_fields(0.0, {"NULL521_HELO": b"\xff\x1b", "NULL521_RECIPIENT": b"\xfe"})
    assert (entry.helo, entry.recipients) == ("\ufffd\\x1b", ("\ufffd",))
    entry = parse_fields(0.0, {"NULL521_HELO": "\u0436\n".encode()})
    assert entry.helo == "\u0436\\n"
    entry = parse_fields(0.0, {"NULL521_RECIPIENT": [b"a", b"\n", b"a"]})
    assert entry.recipients == ("a", r"\n")


def test_a_mark_of_the_byte_order_is_no_part_of_the_first_line(tmp_path: Path) -> None:
    octets = b"\xef\xbb\xbf" + json.dumps(GOOD).encode() + b"\n"
    entries, bad = read(octets, tmp_path)
    assert (len(entries), bad) == (1, 0)


def test_since_and_until_are_inclusive(tmp_path: Path) -> None:
    octets = b"".join(journals.line(journals.START + n, RECORD) for n in range(5))
    entries, bad = read(octets, tmp_path, since=journals.START + 1, until=journals.START + 3)
    assert ([entry.time - journals.START for entry in entries], bad) == ([1, 2, 3], 0)


def test_several_files_are_merged_by_time(tmp_path: Path) -> None:
    for name in range(3):
        moments = range(name, 30, 3)
        octets = (journals.line(journals.START + moment, RECORD) for moment in moments)
        (tmp_path / str(name)).write_bytes(b"".join(octets))
    names = [str(tmp_path / str(name)) for name in range(3)]
    lines = Lines(names, 0.0, 1e12)
    entries = list(lines)
    assert [entry.time - journals.START for entry in entries] == list(range(30))
    assert lines.total == lines.done == sum(os.path.getsize(name) for name in names)


def test_entries_of_the_same_time_are_in_the_order_of_their_files(tmp_path: Path) -> None:
    lines = [changed(helo=helo, recipient=[]) for helo in (None, "b", None, "a")]
    for name, line in enumerate(lines):
        (tmp_path / str(name)).write_bytes(line)
    merged = Lines([str(tmp_path / str(name)) for name in range(4)], 0.0, 1e12)
    assert [entry.helo for entry in merged] == [None, "b", None, "a"]


def test_the_rest_of_a_line_that_is_too_long_is_not_a_record(tmp_path: Path) -> None:
    good = journals.line(journals.START, RECORD)
    assert read(b"x" * reading.MAX_LINE + good + good, tmp_path) == ([ENTRY], 1)
    assert read(b"x" * 2 * reading.MAX_LINE + good, tmp_path) == ([], 1)


def test_a_dash_is_standard_input(tmp_path: Path) -> None:
    (tmp_path / "lines").write_bytes(journals.line(journals.START, RECORD))
    before = os.dup(0)
    try:
        with (tmp_path / "lines").open("rb") as file:
            os.dup2(file.fileno(), 0)
        assert list(Lines(["-"], 0.0, 1e12)) == [ENTRY]
    finally:
        os.dup2(before, 0)
        os.close(before)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError) as raised:
        list(Lines([str(tmp_path / "missing")], 0.0, 1e12))
    assert raised.value.filename == str(tmp_path / "missing")


def test_a_line_without_end_needs_no_memory(tmp_path: Path) -> None:
    path = tmp_path / "lines"
    with path.open("wb") as file:
        file.truncate(200 * 2**20)  # a hole, which needs no room on the disk either
    tracemalloc.start()
    lines = Lines([str(path)], 0.0, 1e12)
    assert (list(lines), lines.bad) == ([], 1)
    assert tracemalloc.get_traced_memory()[1] < 2**20
    tracemalloc.stop()


def summed(sessions: object, moment: float = journals.START) -> bytes:
    """The line of a record that sums up so many sessions."""
    line = journals.line(moment, Record(SUMMED, INFO, "Refused", []))
    return json.dumps(json.loads(line) | {"sessions": sessions}).encode() + b"\n"


def test_sessions_without_a_record_of_their_own_are_counted(tmp_path: Path) -> None:
    (tmp_path / "lines").write_bytes(
        b"".join([summed(5), journals.line(journals.START, RECORD), summed(7), summed(9, 1.0)])
    )
    lines = Lines([str(tmp_path / "lines")], 2.0, 1e12)
    entry = ENTRY._replace(host="lines")
    assert (list(lines), lines.summed, lines.bad) == ([entry], 12, 0)
    fields = {"MESSAGE_ID": SUMMED.encode(), "NULL521_SESSIONS": b"5"}
    journal = Journal(Reader((1, fields), (2, named("a")), (3, fields)), 0.0, 1e12)
    assert ([entry.helo for entry in journal], journal.summed, journal.bad) == (["a"], 10, 0)


@pytest.mark.parametrize("sessions", [None, True, "5", 0, -1, 10**9 + 1, 1.5, [5]])
def test_a_sum_that_cannot_be(sessions: object, tmp_path: Path) -> None:
    (tmp_path / "lines").write_bytes(summed(sessions) + summed(10**9))
    lines = Lines([str(tmp_path / "lines")], 0.0, 1e12)
    assert (list(lines), lines.summed, lines.bad) == ([], 10**9, 1)
    assert isinstance(parse_line(summed(1)), Sum)
    forged = {"MESSAGE_ID": SUMMED.encode(), "NULL521_SESSIONS": str(sessions).encode()}
    if sessions != "5":
        journal = Journal(Reader((1, forged), (2, {"MESSAGE_ID": SUMMED.encode()})), 0.0, 1e12)
        assert (list(journal), journal.summed, journal.bad) == ([], 0, 2)


@pytest.mark.parametrize("error", [KeyError("time"), OverflowError, MemoryError, RuntimeError])
def test_whatever_is_in_a_line_it_ends_no_report(
    error: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: bytes) -> None:
        raise error

    monkeypatch.setattr(reading, "parse_line", fail)
    assert read(journals.line(journals.START, RECORD), tmp_path) == ([], 1)


BLANKS = "\u034f\u115f\u1160\u17b4\u2800\u3164\ufe0f\uffa0\U0001d159\U000e0001\U000e0100"


@pytest.mark.parametrize("blank", BLANKS, ids=ascii)
def test_what_is_printable_but_not_seen_is_escaped(blank: str) -> None:
    """Otherwise a forged record could look like one of another client."""
    shown = "a" + blank.encode("unicode_escape").decode() + "\u0436"
    entry = parse_line(changed(helo=f"a{blank}\u0436"))
    assert isinstance(entry, Entry)
    assert entry.helo == shown
    assert parse_fields(0.0, {"NULL521_HELO": f"a{blank}\u0436".encode()}).helo == shown


def test_a_bounded_number_of_values_fills_the_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "MAX_TEXTS", 3)
    for number in range(10):
        value = f"{number}\x1b".encode()
        for _ in range(2):
            assert parse_fields(0.0, {"NULL521_HELO": value}).helo == f"{number}\\x1b"
        assert len(reading._texts) == number % 3 + 1
    longest = b"x" * MAX_MAILBOX
    for value in (longest, longest + b"y", longest):
        assert parse_fields(0.0, {"NULL521_HELO": value}).helo == longest.decode()
    assert set(reading._texts) == {b"9\x1b", longest}


def test_long_values_fill_no_cache() -> None:
    for number in range(5):
        value = str(number).encode() + b"x" * 10**6
        entry = parse_fields(0.0, {"NULL521_HELO": value, "NULL521_CLIENT": b"192.0.2.7"})
        assert entry.helo == str(number) + "x" * (MAX_MAILBOX - 1)
    assert len(reading._texts) == 1


@pytest.mark.parametrize("name", FIELDS)
def test_a_repeated_field_is_not_ours(name: str) -> None:
    with pytest.raises(TypeError):
        parse_fields(0.0, {name: [b"x", b"y"]})


class Reader:
    """Stands in for systemd.journal.Reader: entries are (seconds, fields or the error they are)."""

    def __init__(self, *entries: tuple[float, Any]) -> None:
        self.entries = entries
        self.matches: list[str] = []
        self.position = len(entries)
        self.at_tail = False

    def add_match(self, match: str) -> None:
        self.matches.append(match)

    def seek_tail(self) -> None:
        self.at_tail = True

    def _previous(self) -> bool:
        assert self.at_tail
        self.position = len(self.entries) - 1
        return bool(self.entries)

    def seek_realtime(self, seconds: float) -> None:
        self.position = sum(moment < seconds for moment, _ in self.entries) - 1

    def _next(self) -> bool:
        self.position += 1
        return self.position < len(self.entries)

    def _get_realtime(self) -> int:
        return round(self.entries[self.position][0] * 1e6)

    def _get_all(self) -> Any:
        fields = self.entries[self.position][1]
        if isinstance(fields, Exception):
            raise fields
        return fields


def named(name: str) -> dict[str, bytes]:
    return {"NULL521_HELO": name.encode()}


def test_a_journal_is_read_from_since_until_until() -> None:
    reader = Reader(*((moment, named(str(moment))) for moment in (100, 200, 300, 400, 500)))
    journal = Journal(reader, 200.0, 400.0)
    assert reader.matches == [f"MESSAGE_ID={REFUSED}", f"MESSAGE_ID={SUMMED}"]
    assert (journal.done, journal.total, journal.bad) == (0, 0, 0)
    found = []
    for entry in journal:
        found.append((entry.time, entry.helo, journal.done, journal.total))
    assert found == [
        (200.0, "200", 0.0, 200.0),
        (300.0, "300", 100.0, 200.0),
        (400.0, "400", 200.0, 200.0),
    ]
    assert journal.bad == 0


def test_a_journal_of_clocks_that_differ() -> None:
    reader = Reader(*((moment, named("a")) for moment in (200, 900, 300, 400)))
    assert [entry.time for entry in Journal(reader, 200.0, 400.0)] == [200, 300, 400]


def test_progress_in_a_journal_ends_with_its_last_entry() -> None:
    journal = Journal(Reader((0.25, named("a")), (0.75, named("b"))), 0.0, 1e12)
    assert [(entry.time, journal.done, journal.total) for entry in journal] == [
        (0.25, 0.0, 0.5),
        (0.75, 0.5, 0.5),
    ]


def test_a_journal_without_entries() -> None:
    assert list(Journal(Reader(), 0.0, 1e12)) == []


def test_entries_that_cannot_be_read_are_counted() -> None:
    damaged = OSError(errno.EBADMSG, "Bad message")
    repeated = {"NULL521_HELO": [b"x", b"y"]}
    reader = Reader((1, named("a")), (2, damaged), (3, repeated), (4, repeated), (5, named("b")))
    journal = Journal(reader, 0.0, 1e12)
    assert [entry.helo for entry in journal] == ["a", "b"]
    assert journal.bad == 3


@pytest.fixture
def systemd(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Stands in for systemd-python; the arguments of each Reader."""
    opened: list[dict[str, Any]] = []

    def reader(**options: Any) -> dict[str, Any]:
        opened.append(options)
        return options

    package = ModuleType("systemd")
    package.journal = SimpleNamespace(Reader=reader)  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "systemd", package)
    return opened


def test_what_journal_is_opened(systemd: list[dict[str, Any]]) -> None:
    assert reading.open_journal(None, []) == {"path": None, "files": None}
    assert reading.open_journal("folder", []) == {"path": "folder", "files": None}
    assert reading.open_journal(None, ["a", "b"]) == {"path": None, "files": ["a", "b"]}
    assert len(systemd) == 3


@pytest.fixture
def unreadable(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """Paths that the user may not read: root, who may run the tests, can read all."""
    paths: set[str] = set()

    def access(path: str, mode: int, *, effective_ids: bool = False) -> bool:
        assert (mode, effective_ids) == (os.R_OK, True)
        return path not in paths

    monkeypatch.setattr(os, "access", access)
    return paths


@pytest.mark.parametrize(
    ("path", "out_of_reach"),
    [("machine", True), ("machine/system.journal~", True), ("machine/notes", False)],
)
def test_a_folder_is_out_of_reach_if_a_journal_in_it_is(
    path: str, out_of_reach: bool, tmp_path: Path, unreadable: set[str], monkeypatch: Any
) -> None:
    (tmp_path / "machine").mkdir()
    for name in ("system.journal~", "notes", "user-1000.journal"):
        (tmp_path / "machine" / name).touch()
    assert not reading.out_of_reach(str(tmp_path), [])
    unreadable.add(str(tmp_path / path))
    assert reading.out_of_reach(str(tmp_path), []) == out_of_reach
    monkeypatch.setattr(reading, "JOURNALS", (str(tmp_path / "missing"), str(tmp_path)))
    assert reading.out_of_reach(None, []) == out_of_reach
    assert not reading.out_of_reach(None, [str(tmp_path / "other")])
    monkeypatch.setattr(reading, "JOURNALS", (str(tmp_path / "missing"),))
    assert not reading.out_of_reach(None, [])


def test_a_file_is_out_of_reach_by_itself(unreadable: set[str], tmp_path: Path) -> None:
    unreadable.add("b.journal")
    assert not reading.out_of_reach(None, ["a.journal"])
    assert reading.out_of_reach(None, ["a.journal", "b.journal"])
    assert reading.out_of_reach(None, ["b.journal", "a.journal"])


JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
)
TEXTS = st.none() | st.text() | st.text(alphabet="\x1b\u202e\ud800[]:@=-,;\"'\\\r\n\t x") | JSON
TIMES = st.datetimes().map(lambda moment: moment.isoformat() + "Z") | TEXTS
ENTRIES = st.fixed_dictionaries(
    {"message_id": st.just(REFUSED) | TEXTS},
    optional={
        "time": TIMES,
        "client": TEXTS | st.ip_addresses().map(str),
        "helo": TEXTS,
        "sender": TEXTS,
        "recipient": st.lists(TEXTS, max_size=12) | TEXTS,
        "refuse_at": TEXTS,
        "tls": TEXTS,
        "hostname": TEXTS,
    },
)
PREFIXES = st.sampled_from(["", "a  | ", "[pod/a/b] ", "\x1b[36ma  | \x1b[0m"]) | st.text(
    max_size=8
)
LINES = st.tuples(PREFIXES, ENTRIES.map(json.dumps)).map("".join).map(str.encode)
LINES |= st.binary() | JSON.map(json.dumps).map(str.encode)


@given(st.lists(LINES, max_size=12), st.sampled_from(sorted(KEYS)))
def test_any_lines_make_a_report_that_can_be_printed(octets: list[bytes], by: str) -> None:
    findings, bad = Findings(by, 5), 0
    for number, line in enumerate(octets * 3):
        try:
            entry = parse_line(line)
        except (ValueError, TypeError, RecursionError):
            bad += 1
        else:
            if isinstance(entry, Entry):
                findings.add(entry._replace(time=entry.time + 600 * number))
    assert findings.records + bad <= 3 * len(octets)
    shown = [findings.retries(), findings.mail(), findings.timeline(), findings.others()]
    with contextlib.redirect_stdout(io.StringIO(newline="")) as out:
        tables.plain(findings.summary(), shown, findings.notes())
        values.as_json(findings.facts(), shown, findings.notes())
        for table in shown:
            values.as_csv(table)
    assert all(line.isprintable() for line in out.getvalue().splitlines())


@given(st.binary(max_size=400))
def test_values_that_a_record_has_escaped_are_read_unchanged(octets: bytes) -> None:
    """Of any length that a record has."""
    escaped = clean(octets, MAX_MAILBOX)
    entry = parse_fields(0.0, {"NULL521_HELO": escaped.encode()})
    assert entry.helo == escaped
