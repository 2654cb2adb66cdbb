"""A record as a line of JSON: complete, and never longer than one atomic write to a pipe."""

import json
import time
from collections.abc import Sequence
from typing import Any

import pytest

from null521.jsonline import json_line
from null521.log import MAX_LINE
from null521.record import INFO, REFUSED, Record

Fields = Sequence[tuple[str, str | int]]


def written(fields: Fields, message: str = "Refused a local client") -> bytes:
    return json_line(Record(REFUSED, INFO, message, list(fields)))


def line_of(fields: Fields, message: str = "Refused a local client") -> dict[str, Any]:
    """The line, parsed, after a check of its length and its end."""
    line = written(fields, message)
    assert len(line) <= MAX_LINE
    assert line.endswith(b"}\n")
    assert line.count(b"\n") == 1
    entry: dict[str, Any] = json.loads(line)
    return entry


def test_names_and_order_of_the_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "time", lambda: 1700000000.0625)
    fields: Fields = [
        ("CLIENT", "192.0.2.1"),
        ("CLIENT_PORT", 4711),
        ("RECIPIENT", "x@y.z"),
        ("RECIPIENT", "grün@w"),
        ("RECIPIENTS", 2),
    ]
    assert written(fields, "Refused 192.0.2.1").decode() == (
        '{"time": "2023-11-14T22:13:20.062Z", "priority": 6, '
        f'"message_id": "{REFUSED}", "message": "Refused 192.0.2.1", '
        '"client": "192.0.2.1", "client_port": 4711, '
        '"recipient": ["x@y.z", "grün@w"], "recipients": 2}\n'
    )


@pytest.mark.parametrize(
    ("now", "text"),
    [
        (0.0, "1970-01-01T00:00:00.000Z"),
        (951782399.9999, "2000-02-28T23:59:59.999Z"),
        (1735689599.005, "2024-12-31T23:59:59.005Z"),
    ],
)
def test_time_is_in_utc_and_milliseconds(
    monkeypatch: pytest.MonkeyPatch, now: float, text: str
) -> None:
    monkeypatch.setattr(time, "time", lambda: now)
    monkeypatch.setenv("TZ", "America/Los_Angeles")
    time.tzset()
    try:
        assert line_of([])["time"] == text
    finally:
        monkeypatch.undo()
        time.tzset()


def test_no_recipients_no_list() -> None:
    assert set(line_of([("HELO", "x")])) == {"time", "priority", "message_id", "message", "helo"}


def test_a_line_of_the_maximum_length_is_complete() -> None:
    """MAX_LINE includes the line end."""
    shortest = len(written([("HELO", "x")], ""))
    message = "m" * (MAX_LINE - shortest)
    entry = line_of([("HELO", "x")], message)
    assert entry["message"] == message
    assert len(written([("HELO", "x")], message)) == MAX_LINE


def test_a_longer_line_has_its_message_cut() -> None:
    """One octet too long. The message repeats the fields, and these stay."""
    shortest = len(written([("RECIPIENT", "x")], ""))
    entry = line_of([("RECIPIENT", "x")], "m" * (MAX_LINE - shortest + 1))
    assert entry["message"] == "m" * 200
    assert entry["recipient"] == ["x"]


def test_a_shortened_line_is_utf_8_too() -> None:
    line = written([("HELO", "grün")], "m" * 5000)
    assert '"helo": "grün"}\n'.encode() in line


def test_then_the_last_recipients_are_dropped() -> None:
    """The limit is in octets: each of these characters has four."""
    recipients = ["\N{GRINNING FACE}" * 99 + str(number) for number in range(9)] + [
        "\N{GRINNING FACE}" * 99 + "x"
    ]
    entry = line_of([("RECIPIENT", recipient) for recipient in recipients], "m" * 300)
    kept = entry["recipient"]
    assert 0 < len(kept) < 10
    assert kept == recipients[: len(kept)]
    assert entry["message"] == "m" * 200
    # One more would be too long.
    more = [("RECIPIENT", recipient) for recipient in recipients[: len(kept) + 1]]
    entry["recipient"] = recipients[: len(more)]
    assert len(json.dumps(entry, ensure_ascii=False).encode()) >= MAX_LINE


def test_no_more_recipients_are_dropped_than_necessary() -> None:
    """The message is cut in both cases; the last recipient of the second is one letter longer."""
    rest = [("RECIPIENT", "y" * 300)] * 11 + [("RECIPIENT", "x")]
    shortest = len(written(rest, "m" * 200))
    fits = "x" * (1 + MAX_LINE - shortest)
    for last, kept in ((fits, 12), (fits + "x", 11)):
        entry = line_of([*rest[:-1], ("RECIPIENT", last)], "m" * 5000)
        assert len(entry["recipient"]) == kept


def test_a_line_without_recipients_may_stay_too_long() -> None:
    line = written([("HELO", "h" * 5000)])
    assert json.loads(line)["helo"] == "h" * 5000
