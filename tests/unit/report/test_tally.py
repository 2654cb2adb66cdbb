"""Counts in bounded memory, compared with exact counts."""

import time
from collections import Counter
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

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


def test_days_begin_at_midnight_and_weeks_on_a_monday() -> None:
    days, weeks = Timeline(), Timeline()
    for day in range(200):
        weeks.add(1.7e9 + 86400 * day)
        if day < 20:
            days.add(1.7e9 + 86400 * day)
    begins = [time.localtime(moment) for moment, _ in days.rows()]
    assert {(begin.tm_hour, begin.tm_min) for begin in begins} == {(0, 0)}
    assert days.width == 86400
    assert {time.localtime(moment).tm_wday for moment, _ in weeks.rows()} == {0}
    assert weeks.width == 7 * 86400
