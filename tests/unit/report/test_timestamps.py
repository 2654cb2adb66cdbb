"""Timestamps beside the values that systemd-analyze(1) of systemd 252 prints for them.

tests/system/test_timestamps.py asks the systemd of the host.
"""

from collections.abc import Iterator

import pytest
from helpers.timezones import in_zone
from hypothesis import given
from hypothesis import strategies as st

from null521.report.timestamps import UNITS, seconds_at

# Tue 2026-11-24 19:35:38 CET; systemd-analyze timestamp ran at this time, with TZ=Europe/Berlin.
NOW = 1795545338.0

ABSOLUTE = {
    "@1700000000": 1700000000,
    "@1700000000.25": 1700000000.25,
    "@1h": 3600,
    "2012-11-23 11:12:13": 1353665533,
    "2012-11-23 11:12:13.654321": 1353665533.654321,
    "2012-11-23 11:12": 1353665520,
    "2012-11-23": 1353625200,
    "12-11-23": 1353625200,
    "12-11-23 11:12": 1353665520,
    "12-11-23 11:12:13": 1353665533,
    "12-11-23 11:12:13.5": 1353665533.5,
    "2012-1-2 3:04": 1325469840,
    "2012-11-23  11:12": 1353665520,
    "2012-07-23 00:00": 1342994400,
    "2100-01-01": 4102441200,
    # Time zones.
    "1970-01-01 UTC": 0,
    "2012-11-23 UTC": 1353628800,
    "Fri 2012-11-23 11:12:13 UTC": 1353669133,
    "2012-07-23 11:12:13 CEST": 1343034733,
    "2012-11-23 CEST": 1353621600,
    "2012-11-23 11:12:13 CET": 1353665533,
    "2012-07-23 11:12 Asia/Tokyo": 1343009520,
    "2012-07-23 11:12 America/New_York": 1343056320,
    # Days of the week.
    "Tue 2012-11-20": 1353366000,
    "Wed 2012-11-21": 1353452400,
    "Thu 2012-11-22": 1353538800,
    "Fri 2012-11-23 11:12:13": 1353665533,
    "friday 2012-11-23": 1353625200,
    "FRI 2012-11-23": 1353625200,
    "Sat 2012-11-24": 1353711600,
    "Sunday 2012-11-25": 1353798000,
    "Mon 2026-03-30": 1774821600,
    # Days on which the clocks change.
    "2026-03-29": 1774738800,
    "2026-03-30": 1774821600,
    "2026-10-25": 1792879200,
    "2026-10-26": 1792969200,
    # Parts that come from NOW.
    "today": 1795474800,
    "yesterday": 1795388400,
    "tomorrow": 1795561200,
    "yesterday UTC": 1795392000,
    "today UTC": 1795478400,
    "tomorrow UTC": 1795564800,
    "11:12:13": 1795515133,
    "11:12:13.5": 1795515133.5,
    "11:12": 1795515120,
    "11:12 UTC": 1795518720,
    "12:00 UTC": 1795521600,
    "11:12:13 CEST": 1795511533,
}
# Seconds from NOW.
RELATIVE = {
    "now": 0,
    "2 hours ago": -7200,
    "1h 30min ago": -5400,
    "1h30min5 ago": -5405,
    "1.5h ago": -5400,
    ".5h ago": -1800,
    "1 h ago": -3600,
    "1h  ago": -3600,
    " 1h ago": -3600,
    "1.5 ago": -1.5,
    "-1h": -3600,
    "- 5": -5,
    "+2w 3d": 1468800,
    "+ 1h": 3600,
    "+1h2": 3602,
    "+1 h 2 min": 3720,
    "+1.5 .5h": 1801.5,
    "+100y": 3155760000,
    "3min left": 180,
    "1s left": 1,
    "1500000us ago": -1.5,
    "1500000usec ago": -1.5,
    "1500000µs ago": -1.5,  # U+00B5
    "1500000μs ago": -1.5,  # U+03BC
    "1500ms ago": -1.5,
    "1500msec ago": -1.5,
    "1sec ago": -1,
    "1second ago": -1,
    "2seconds ago": -2,
    "1m ago": -60,
    "1min ago": -60,
    "1minute ago": -60,
    "2minutes ago": -120,
    "1hr ago": -3600,
    "1hour ago": -3600,
    "1hours ago": -3600,
    "1day ago": -86400,
    "2days ago": -172800,
    "1week ago": -604800,
    "2weeks ago": -1209600,
    "1M ago": -2629800,
    "1month ago": -2629800,
    "1months ago": -2629800,
    "1y ago": -31557600,
    "1year ago": -31557600,
    "1 years ago": -31557600,
}
DATE, SPAN = "not a date or time", "not a time span"
DAY, RANGE = "that date is another day of the week", "out of range"
WRONG = {
    "": DATE,
    "ago": DATE,
    " left": SPAN,
    " ago": SPAN,
    "5": DATE,
    "-": SPAN,
    "+": SPAN,
    "@": SPAN,
    "@x": SPAN,
    "+-5": SPAN,
    "@-5": SPAN,
    "-1 ago": SPAN,
    "+1.": SPAN,
    "+1. h": SPAN,
    "+.h": SPAN,
    "+1.5.5": SPAN,
    "+.55.5": SPAN,
    "+1. 5": SPAN,
    "+1e3": SPAN,
    "+1H": SPAN,
    "1..5h ago": SPAN,
    "2 horas ago": SPAN,
    "1 fortnight ago": SPAN,
    "1h AGO": DATE,
    "1hago": DATE,
    "1h ago ": DATE,
    "now ": DATE,
    "now UTC": DATE,
    "nowadays": DATE,
    "Today": DATE,
    "yesterday 11:00": DATE,
    "tomorrow CET now": DATE,
    "Thu 2012-11-23": DAY,
    "Fri": DATE,
    "monday": DATE,
    "Fri, 2012-11-23": DATE,
    "2012-11-23 11": DATE,
    "2012-11-23 11:12 Mars/Olympus": DATE,
    "2012-11-23 11:12 UTC UTC": DATE,
    "2012-11-23 11:12 utc": DATE,
    "2012-11-23 11:12 Europe": DATE,
    "2012-11-23 11:12 posix/UTC": DATE,
    "2012-11-23T11:12:13": DATE,
    "2012-13-23": DATE,
    "2012/11/23": DATE,
    "24:00": DATE,
    "25:00": DATE,
    "UTC": DATE,
}


@pytest.fixture(autouse=True, scope="module")
def berlin() -> Iterator[None]:
    """A time zone with summer time."""
    with in_zone("Europe/Berlin"):
        yield


@pytest.mark.parametrize(("text", "seconds"), ABSOLUTE.items())
def test_a_date_or_time(text: str, seconds: float) -> None:
    assert seconds_at(text, NOW) == seconds


@pytest.mark.parametrize("text", ["today", "11:12", "2012-11-23"])
def test_the_fraction_of_the_present_second_does_not_matter(text: str) -> None:
    assert seconds_at(text, NOW + 0.5) == ABSOLUTE[text]


@pytest.mark.parametrize(("text", "seconds"), RELATIVE.items())
def test_a_time_span_from_now(text: str, seconds: float) -> None:
    assert seconds_at(text, NOW) == pytest.approx(NOW + seconds, abs=1e-6)


@pytest.mark.parametrize(("text", "error"), WRONG.items())
def test_what_is_not_a_timestamp_raises_and_says_why(text: str, error: str) -> None:
    with pytest.raises(ValueError, match=f"^{error}$"):
        seconds_at(text, NOW)


def test_a_time_too_far_away_is_out_of_range() -> None:
    """To systemd, a time before 1970 is out of range too; here it is only long ago."""
    with pytest.raises(ValueError, match=f"^{RANGE}$"):
        seconds_at("tomorrow", seconds_at("9999-12-31 12:00", NOW))
    assert seconds_at("1969-12-31 UTC", NOW) == -86400
    assert seconds_at("@100000000000", NOW) == 1e11
    with pytest.raises(ValueError, match=f"^{SPAN}$"):
        seconds_at("@100000000001", NOW)


@pytest.mark.parametrize(
    ("text", "now", "seconds"),
    [
        ("yesterday", "2026-03-30 12:00", "2026-03-29 00:00"),
        ("today", "2026-03-29 12:00", "2026-03-29 00:00"),
        ("tomorrow", "2026-03-29 01:00", "2026-03-30 00:00"),
        ("yesterday", "2026-10-26 12:00", "2026-10-25 00:00"),
        ("tomorrow", "2026-10-25 12:00", "2026-10-26 00:00"),
    ],
)
def test_a_day_on_which_the_clocks_change_is_not_24_hours_long(
    text: str, now: str, seconds: str
) -> None:
    assert seconds_at(text, seconds_at(now, NOW)) == seconds_at(seconds, NOW)


def test_a_zone_without_summer_time() -> None:
    with in_zone("Asia/Tokyo"):
        assert seconds_at("2012-07-23 11:12", NOW) == 1343009520
        assert seconds_at("2012-07-23 11:12 JST", NOW) == 1343009520


@given(
    st.lists(st.tuples(st.integers(0, 10**5), st.sampled_from(sorted(UNITS))), min_size=1),
    st.sampled_from([("+", "", 1), ("-", "", -1), ("", " ago", -1), ("", " left", 1)]),
)
def test_a_time_span_is_the_sum_of_its_parts(
    parts: list[tuple[int, str]], form: tuple[str, str, int]
) -> None:
    before, after, sign = form
    total = sum(number * UNITS[unit] for number, unit in parts)
    text = before + " ".join(f"{number}{unit}" for number, unit in parts) + after
    if total < 1e11:
        assert seconds_at(text, NOW) == pytest.approx(NOW + sign * total, abs=1e-3)
