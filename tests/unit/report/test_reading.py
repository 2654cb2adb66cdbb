"""Records read back, from lines and from journals that anybody may have written to."""

import contextlib
import io
import json
import tracemalloc
from pathlib import Path

import pytest
from helpers import journals
from hypothesis import given
from hypothesis import strategies as st

from null521.console import tables
from null521.record import INFO, REFUSED, STARTED, Record, clean
from null521.report.findings import KEYS, Findings
from null521.report.reading import FIELDS, Lines, Seen, of_fields, of_line
from null521.session import MAX_MAILBOX, MAX_RECIPIENTS

MADE = journals.of("192.0.2.7", journals.said("mx.example.net", "ann@example.net", "b@n", "c@n"))
SEEN = Seen(
    time=float(journals.START),
    recipients=("b@n", "c@n"),
    client="192.0.2.7",
    helo="mx.example.net",
    sender="ann@example.net",
    refuse_at="rcpt",
    tls=None,
)
GOOD = json.loads(journals.line(journals.START, MADE))


def changed(**values: object) -> bytes:
    return json.dumps(GOOD | values).encode()


def read(octets: bytes, folder: Path, **bounds: float) -> tuple[list[Seen], int]:
    """The records in a file of lines, and how many lines are none."""
    path = folder / "lines"
    path.write_bytes(octets)
    lines = Lines([str(path)], **{"since": 0.0, "until": 1e12, **bounds})
    records = list(lines)
    assert lines.done == lines.total == len(octets)
    return records, lines.bad


def test_a_line_and_an_entry_of_the_journal_say_the_same() -> None:
    assert of_line(journals.line(journals.START, MADE)) == SEEN
    fields: dict[str, bytes | list[bytes]] = {
        f"NULL521_{name}": str(value).encode() for name, value in MADE.fields if name != "RECIPIENT"
    }
    fields["NULL521_RECIPIENT"] = [b"b@n", b"c@n"]
    assert of_fields(journals.START, fields) == SEEN


def test_our_other_records_are_no_clients(tmp_path: Path) -> None:
    assert read(
        journals.line(journals.START, Record(STARTED, INFO, "Answering", [])), tmp_path
    ) == ([], 0)


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
    ],
)
def test_what_is_no_record_is_counted(line: bytes, tmp_path: Path) -> None:
    good = journals.line(journals.START, MADE)
    assert read(good + line + b"\n" + good, tmp_path) == ([SEEN, SEEN], 1)
    assert read(good + line, tmp_path) == ([SEEN], 1 if line else 0)


def test_what_is_forged_is_cut_and_escaped(tmp_path: Path) -> None:
    bad = "\x1b[2J\u202e\ud800\0\n" + "x" * 1000
    line = changed(helo=bad, sender="\\x1b", client="\u2028", recipient=[bad] * 20 + ["y"] * 20)
    ((seen,), _) = read(line, tmp_path)
    assert seen.helo == r"\x1b[2J\u202e\ud800\x00\n" + "x" * (MAX_MAILBOX - 8)
    assert seen.client == r"\u2028"
    assert seen.sender == r"\x1b", "what was escaped once is not escaped again"
    assert seen.recipients == (seen.helo,)
    ((seen,), _) = read(changed(recipient=[str(number) for number in range(40)]), tmp_path)
    assert len(seen.recipients) == MAX_RECIPIENTS


def test_since_and_until(tmp_path: Path) -> None:
    octets = b"".join(journals.line(journals.START + n, MADE) for n in range(5))
    records, bad = read(octets, tmp_path, since=journals.START + 1, until=journals.START + 3)
    assert ([seen.time - journals.START for seen in records], bad) == ([1, 2, 3], 0)


def test_several_files_are_read_in_the_order_of_time(tmp_path: Path) -> None:
    for name in range(3):
        moments = range(name, 30, 3)
        octets = (journals.line(journals.START + moment, MADE) for moment in moments)
        (tmp_path / str(name)).write_bytes(b"".join(octets))
    names = [str(tmp_path / str(name)) for name in range(3)]
    records = list(Lines(names, 0.0, 1e12))
    assert [seen.time - journals.START for seen in records] == list(range(30))


def test_a_line_without_end_takes_no_memory(tmp_path: Path) -> None:
    path = tmp_path / "lines"
    with path.open("wb") as file:
        file.truncate(200 * 2**20)  # NULs, which take no room on the disk either
    tracemalloc.start()
    lines = Lines([str(path)], 0.0, 1e12)
    assert (list(lines), lines.bad) == ([], 1)
    assert tracemalloc.get_traced_memory()[1] < 2**20
    tracemalloc.stop()


@pytest.mark.parametrize("name", FIELDS)
def test_a_field_that_is_there_twice_is_none_of_ours(name: str) -> None:
    with pytest.raises(TypeError):
        of_fields(0.0, {name: [b"x", b"y"]})


JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
)
TEXTS = st.none() | st.text() | st.text(alphabet="\x1b\u202e\ud800[]:@=-,;\"'\\\r\n\t x") | JSON
TIMES = st.datetimes().map(lambda moment: moment.isoformat() + "Z") | TEXTS
ENTRIES = st.fixed_dictionaries(
    {"message_id": st.just(REFUSED) | TEXTS, "time": TIMES},
    optional={
        "client": TEXTS | st.ip_addresses().map(str),
        "helo": TEXTS,
        "sender": TEXTS,
        "recipient": st.lists(TEXTS, max_size=12) | TEXTS,
        "refuse_at": TEXTS,
        "tls": TEXTS,
    },
)
LINES = ENTRIES.map(json.dumps).map(str.encode) | st.binary() | JSON.map(json.dumps).map(str.encode)


@given(st.lists(LINES, max_size=12), st.sampled_from(sorted(KEYS)))
def test_any_lines_make_a_report_that_can_be_printed(octets: list[bytes], by: str) -> None:
    findings, bad = Findings(by, 5), 0
    for number, line in enumerate(octets * 3):
        try:
            seen = of_line(line)
        except (ValueError, TypeError, RecursionError):
            bad += 1
        else:
            if seen:
                findings.add(seen._replace(time=seen.time + 600 * number))
    assert findings.records + bad <= 3 * len(octets)
    shown = [findings.retries(), findings.writers(), findings.timeline()]
    with contextlib.redirect_stdout(io.StringIO(newline="")) as out:
        tables.plain(findings.said(), shown, findings.notes())
        tables.as_json(findings.facts(), shown, findings.notes())
        for table in shown:
            tables.as_csv(table)
    assert all(line.isprintable() for line in out.getvalue().splitlines())


@given(st.binary(max_size=400))
def test_what_a_record_has_escaped_is_read_as_it_is(octets: bytes) -> None:
    """And what is safe to print stays as it is, of whatever length a record has it."""
    escaped = clean(octets, MAX_MAILBOX)
    seen = of_fields(0.0, {"NULL521_HELO": escaped.encode()})
    assert seen.helo == escaped
