"""Timestamps as people write them, compared with systemd's own parser."""

import os
import re
import subprocess
import time
from collections.abc import Iterator
from zoneinfo import available_timezones

import pytest
from helpers.timezones import in_zone
from hypothesis import given, settings
from hypothesis import strategies as st

from null521.report.timestamps import UNITS, seconds_at

RIGHT = [
    "now",
    "today",
    "yesterday",
    "tomorrow",
    "yesterday UTC",
    "2 hours ago",
    "1h 30min ago",
    "1h30min5 ago",
    "1.5h ago",
    "3min left",
    "-1h",
    "- 5",
    "+2w 3d",
    "@1700000000",
    "@1700000000.25",
    "2012-11-23 11:12:13",
    "2012-11-23 11:12:13.654321",
    "2012-11-23 11:12",
    "2012-11-23",
    "12-11-23",
    "12-11-23 11:12",
    "2012-1-2 3:04",
    "11:12:13",
    "11:12",
    "11:12 UTC",
    "2012-07-23 11:12 Asia/Tokyo",
    "2012-07-23 11:12:13 CEST",
    "2012-11-23 11:12:13 CET",
    "Fri 2012-11-23 11:12:13",
    "friday 2012-11-23",
    "Fri 2012-11-23 11:12:13 UTC",
    "2012-07-23 00:00",
]
WRONG = [
    "",
    "ago",
    " left",
    "5",
    "-",
    "+-5",
    "+1.",
    "+1.5.5",
    "-1 ago",
    "@",
    "@x",
    "now UTC",
    "nowadays",
    "yesterday 11:00",
    "Thu 2012-11-23",
    "Fri",
    "2012-11-23 11",
    "2012-11-23 11:12 Mars/Olympus",
    "2012-13-23",
    "25:00",
    "2 horas ago",
    "2012/11/23",
    "UTC",
    "2012-11-23 11:12 UTC UTC",
]

ZONES = available_timezones() - {"UTC"}


@pytest.fixture(autouse=True, scope="module")
def berlin() -> Iterator[None]:
    """A time zone with summer time, for systemd's parser and for ours."""
    with in_zone("Europe/Berlin"):
        yield


def by_systemd(text: str) -> float | None:
    """The seconds that systemd-analyze prints; None if it rejects the text.

    systemd 252 documents time zones other than UTC in the text, but rejects them, so TZ is set.
    """
    said, _, zone = text.rpartition(" ")
    environ = dict(os.environ)
    if zone in ZONES and said:
        text, environ["TZ"] = said, zone
    words = ["systemd-analyze", "timestamp", "--", text]
    done = subprocess.run(words, capture_output=True, text=True, check=False, env=environ)
    found = re.search(r"^ +UNIX seconds: @([0-9.]+)$", done.stdout, re.M)
    assert (done.returncode == 0) == bool(found), done
    return float(found[1]) if found else None


def by_us(text: str) -> float | None:
    try:
        return seconds_at(text, time.time())
    except ValueError:
        return None


def assert_alike(before: float | None, theirs: float | None, after: float | None) -> None:
    """Theirs is between ours before it and after it, which differ by a day around midnight."""
    assert before is not None
    assert theirs is not None
    assert after is not None
    assert before - 1 < theirs < after + 1


@pytest.mark.parametrize("text", RIGHT)
def test_timestamps_have_the_same_value_for_systemd(text: str) -> None:
    assert_alike(by_us(text), by_systemd(text), by_us(text))


@pytest.mark.parametrize("text", WRONG)
def test_texts_that_systemd_rejects_are_rejected(text: str) -> None:
    assert (by_us(text), by_systemd(text)) == (None, None)


NUMBERS = st.integers(0, 10**5).map(str) | st.decimals(0, 10**4, places=3).map(str)
SPANS = st.lists(
    st.tuples(NUMBERS, st.sampled_from(["", " "]), st.sampled_from(sorted(UNITS))).map("".join),
    min_size=1,
    max_size=4,
).map(" ".join)
DATES = st.dates().map(str) | st.dates().map(lambda date: date.strftime("%y-%-m-%-d"))
CLOCKS = st.times().map(str) | st.times().map(lambda time: time.strftime("%H:%M"))
IN_ZONES = st.sampled_from(["", " UTC", " America/New_York", " Asia/Kolkata"])
SAID = (
    st.tuples(SPANS, st.sampled_from([" ago", " left", "ago", ""])).map("".join)
    | st.tuples(st.sampled_from("+-@"), SPANS).map("".join)
    | st.tuples(DATES, IN_ZONES).map("".join)
    | st.tuples(CLOCKS, IN_ZONES).map("".join)
    | st.tuples(DATES, st.just(" "), CLOCKS, IN_ZONES).map("".join)
    | st.text(alphabet="0123456789-:. +@agostdynwleftUTC", max_size=20)
    | st.text(max_size=8)
)


@settings(max_examples=400)
@given(SAID.filter(lambda text: "\0" not in text))
def test_any_text_that_is_accepted_has_the_same_value_for_systemd(text: str) -> None:
    """The reverse does not hold: systemd reads 30 February as 1 March."""
    if (ours := by_us(text)) is not None and ours >= 0:
        assert_alike(ours, by_systemd(text), by_us(text))
