"""Counts in bounded memory, compared with exact counts."""

import time
from collections import Counter
from itertools import pairwise

import pytest
from helpers.timezones import in_zone
from hypothesis import given
from hypothesis import strategies as st

from null521.report import tally
from null521.report.tally import FINER, ROWS, Groups, Timeline

KEYS = st.lists(st.sampled_from("abcdefghijklmnopqrstuvwxyz") | st.none(), max_size=300)
MOMENTS = st.lists(st.floats(0, 253e9) | st.floats(1.7e9, 1.8e9), max_size=200)


@given(KEYS, st.integers(1, 6))
def test_counts_have_bounds_that_hold(keys: list[str | None], kept: int) -> None:
    groups = Groups(kept)
    for moment, key in enumerate(keys):
        groups.add(key, float(moment))
        assert len(groups) <= 2 * kept
    exact = Counter(keys)
    found = dict(groups.largest(len(keys)))
    for key, count in exact.items():
        if key in found:
            assert found[key].count <= count <= found[key].count + found[key].error
            assert keys[int(found[key].last)] == key
            assert keys[int(found[key].first)] == key
        else:
            assert count <= groups.error
    if len(exact) <= 2 * kept:
        assert {key: group.count for key, group in found.items()} == exact


@given(st.lists(st.sampled_from("abcdefghijklmnopqrstuvwxyz"), max_size=200))
def test_long_keys_are_forgotten_sooner(keys: list[str]) -> None:
    """The bounds of the counts hold all the same."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(tally, "MAX_OCTETS", 10_000)
        groups = Groups(100)
        for moment, key in enumerate(keys):
            groups.add(key * 1000, float(moment))
            assert sum(len(key or "") for key in groups._groups) <= 12_000
        found = {(key or "")[:1]: group for key, group in groups.largest(100)}
        for key, count in Counter(keys).items():
            if key in found:
                assert found[key].count <= count <= found[key].count + found[key].error
            else:
                assert count <= groups.error
        if len(set(keys)) < 10:
            assert groups.error == 0


def test_a_flood_of_other_keys_does_not_hide_the_largest() -> None:
    groups = Groups(100)
    for number in range(100_000):
        groups.add(f"once {number}", number)
        if number % 20 == 0:
            groups.add("often", number)
    ((key, group),) = groups.largest(1)
    assert key == "often"
    assert group.count <= 5000 <= group.count + group.error
    assert groups.error <= 2 * 100_000 / 100


@given(KEYS)
def test_the_largest_come_first(keys: list[str | None]) -> None:
    groups = Groups(100)
    for key in keys:
        groups.add(key, 0.0)
    counts = [group.count for _, group in groups.largest(1000)]
    assert counts == sorted(counts, reverse=True)
    assert [group.count for _, group in groups.largest(3)] == counts[:3]


def test_of_keys_with_the_same_count_the_latest_comes_first() -> None:
    groups = Groups(100)
    for moment, key in ((1, "a"), (3, "b"), (2, "c"), (2, "B"), (2, None), (2, "d")):
        groups.add(key, moment)
    assert [key for key, _ in groups.largest(9)] == ["b", None, "B", "c", "d", "a"]


@given(MOMENTS)
def test_a_timeline_counts_every_record_in_few_rows(moments: list[float]) -> None:
    timeline = Timeline()
    for moment in moments:
        timeline.add(moment)
        assert len(timeline._counts) <= ROWS * FINER
    rows = list(timeline.rows())
    assert len(rows) <= ROWS
    assert sum(count for _, count in rows) == len(moments)
    for (begin, count), (after, _) in pairwise(rows):
        assert after - begin == timeline.width
        assert count == sum(begin <= moment < after for moment in moments)


@pytest.mark.parametrize("zone", ["UTC", "Asia/Kolkata", "America/New_York", "Pacific/Chatham"])
@pytest.mark.parametrize("start", [1.7e9, 1.72e9])
def test_days_begin_at_midnight_and_weeks_on_a_monday(zone: str, start: float) -> None:
    """As long as the clocks do not change: both are begun in summer and in winter."""
    days, weeks = Timeline(), Timeline()
    with in_zone(zone):
        for hour in range(24 * 60):
            weeks.add(start + 6 * 86400 * hour // 24)
            if hour < 24 * 20:
                days.add(start + 3600 * hour)
        rows = list(days.rows())
        begins = [time.localtime(moment) for moment, _ in rows]
        first = time.localtime(next(weeks.rows())[0])
    hours = [start + 3600 * hour for hour in range(24 * 20)]
    for begin, count in rows:
        assert count == sum(begin <= moment < begin + 86400 for moment in hours)
    assert {(begin.tm_hour, begin.tm_min) for begin in begins} == {(0, 0)}
    assert days.width == 86400
    assert (first.tm_wday, first.tm_hour, first.tm_min) == (0, 0, 0)
    assert weeks.width == 2 * 7 * 86400


def test_the_widths_of_an_interval() -> None:
    widths = []
    for days in (0.4, 0.5, 1.6, 1.7, 9, 11, 39, 41, 272, 300, 500, 600, 1100, 1200):
        timeline = Timeline()
        for moment in (0, days * 86400):
            timeline.add(1.7e9 + moment)
        assert len(list(timeline.rows())) > 1
        widths.append(timeline.width / 3600)
    assert widths == [0.25, 1, 1, 6, 6, 24, 24, 168, 168, 336, 336, 672, 672, 1344]


def test_a_timeline_is_exact_up_to_a_number_of_intervals() -> None:
    timeline = Timeline()
    for number in range(ROWS * FINER):
        timeline.add(900.0 * number)
    assert (timeline.width, len(timeline._counts)) == (900, 2000)
    timeline.add(900.0 * ROWS * FINER)
    assert (timeline.width, len(timeline._counts)) == (3600, 501)


def test_the_first_days_of_the_epoch() -> None:
    with in_zone("UTC"):
        timeline = Timeline()
        for moment in (0, 899.5, 900, 2000):
            timeline.add(moment)
        assert list(timeline.rows()) == [(0, 2), (900, 1), (1800, 1)]
