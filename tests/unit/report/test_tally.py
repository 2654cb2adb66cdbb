"""Counts in bounded memory, compared with exact counts."""

import time
from collections import Counter
from itertools import pairwise
from sys import getsizeof

import pytest
from helpers.timezones import in_zone
from hypothesis import given
from hypothesis import strategies as st

from null521.report import tally
from null521.report.tally import FINER, MONDAY, ROWS, Distinct, Groups, Timeline

KEYS = st.lists(st.tuples(st.sampled_from("abcdefghijklmnopqrstuvwxyz") | st.none()), max_size=300)
MOMENTS = st.lists(st.floats(0, 253e9) | st.floats(1.7e9, 1.8e9), max_size=200)


@given(KEYS, st.integers(1, 6))
def test_counts_have_bounds_that_hold(keys: list[tuple[str | None]], kept: int) -> None:
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
            groups.add((key * 1000,), float(moment))
            assert sum(len(key or "") for (key,) in groups._groups) <= 12_000
        found = {(key or "")[:1]: group for (key,), group in groups.largest(100)}
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
        groups.add((f"once {number}",), number)
        if number % 20 == 0:
            groups.add(("often",), number)
    ((key, group),) = groups.largest(1)
    assert key == ("often",)
    assert group.count <= 5000 <= group.count + group.error
    assert groups.error <= 2 * 100_000 / 100


@given(KEYS)
def test_the_largest_come_first(keys: list[tuple[str | None]]) -> None:
    groups = Groups(100)
    for key in keys:
        groups.add(key, 0.0)
    counts = [group.count for _, group in groups.largest(1000)]
    assert counts == sorted(counts, reverse=True)
    assert [group.count for _, group in groups.largest(3)] == counts[:3]


def test_of_keys_with_the_same_count_the_latest_comes_first() -> None:
    groups = Groups(100)
    for moment, key in ((1, "a"), (3, "b"), (2, "c"), (2, "B"), (2, None), (2, "d")):
        groups.add((key,), moment)
    assert [key for (key,), _ in groups.largest(9)] == ["b", None, "B", "c", "d", "a"]


def test_of_the_latest_record_is_remembered_what_was_said() -> None:
    groups = Groups(100)
    for moment, said in ((1, ("a", "b")), (3, ("c", None)), (2, ("d", "e"))):
        groups.add(("key", None), moment, said)
    ((key, group),) = groups.largest(9)
    assert key == ("key", None)
    assert (group.count, group.first, group.last, group.latest) == (3, 1, 3, ("c", None))
    groups.add(("key", None), 3, ("f", "g"))
    assert group.latest == ("f", "g"), "the last one of those of the same time"


def test_long_latest_texts_are_forgotten_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also those of groups that are there already, in which case no key is new."""
    monkeypatch.setattr(tally, "MAX_OCTETS", 100_000)
    groups = Groups(100)
    for key in range(100):
        for _ in range(1 + key):
            groups.add((str(key),), 0, ("short",))
    assert (len(groups), groups.error) == (100, 0)
    for key in range(100):
        groups.add((str(key),), 1, (f"{key} " + "x" * 2000,))
        assert (
            sum(len(text or "") for one in groups._groups.values() for text in one.latest) < 100_000
        )
    assert 10 < len(groups) < 60
    assert {key for (key,), _ in groups.largest(5)} == {"95", "96", "97", "98", "99"}
    assert 0 < groups.error < 100


@pytest.mark.parametrize(("size", "most", "kept"), [(1000, 201, 100), (1001, 200, 99)])
def test_what_is_kept_fills_half_of_the_memory(
    size: int, most: int, kept: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The key that comes after the memory is full makes others be forgotten."""
    monkeypatch.setattr(tally, "MAX_OCTETS", 200_000)
    groups = Groups(1000)
    longest = "x" * (size - getsizeof("1000"))
    for number in range(1000, 1300):
        groups.add((f"{number}{longest}",), 0)
        assert getsizeof(f"{number}{longest}") == size
        if groups.error:
            break
    assert (number - 1000, len(groups)) == (most, kept + 1)
    assert groups._octets == (kept + 1) * size


def test_texts_that_are_replaced_free_their_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tally, "MAX_OCTETS", 100_000)
    groups = Groups(100)
    for moment in range(1000):
        groups.add(("key",), moment, (f"{moment} " + "x" * 2000,))
        groups.add(("other",), moment, (f"{moment} " + "x" * 2000,))
    assert [group.count for _, group in groups.largest(9)] == [1000, 1000]
    assert groups.error == 0


@given(st.lists(st.text(max_size=2)), st.integers(1, 5))
def test_different_texts_are_counted_up_to_a_number(texts: list[str], most: int) -> None:
    distinct = Distinct(most)
    for text in texts:
        distinct.add(text)
    assert distinct.count == min(len(set(texts)), most + 1)


@given(MOMENTS)
def test_a_timeline_counts_every_record_in_few_rows(moments: list[float]) -> None:
    timeline = Timeline()
    for number, moment in enumerate(moments):
        timeline.add(moment, number % 3 == 0)
        assert len(timeline._counts) <= ROWS * FINER
    rows = list(timeline.rows())
    assert len(rows) <= ROWS
    assert sum(second for _, _, second in rows) == len(moments[::3])
    assert sum(first + second for _, first, second in rows) == len(moments)
    for (begin, first, second), (after, _, _) in pairwise(rows):
        assert after - begin == timeline.width
        assert first + second == sum(begin <= moment < after for moment in moments)
        assert second == sum(begin <= moment < after for moment in moments[::3])


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
        begins = [time.localtime(moment) for moment, _, _ in rows]
        first = time.localtime(next(weeks.rows())[0])
    hours = [start + 3600 * hour for hour in range(24 * 20)]
    for begin, count, _ in rows:
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
    timeline.add(900.0 * ROWS * FINER, second=True)
    assert (timeline.width, len(timeline._counts)) == (3600, 501)
    assert [sum(counts) for counts in zip(*timeline._counts.values(), strict=True)] == [2000, 1]


def test_the_most_rows_of_a_timeline() -> None:
    for intervals, width, rows in ((ROWS, 900, ROWS), (ROWS + 1, 3600, 11)):
        timeline = Timeline()
        for number in range(intervals):
            timeline.add(MONDAY + 900.0 * number, second=True)
        found = list(timeline.rows())
        assert (timeline.width, len(found)) == (width, rows)
        assert sum(second for _, _, second in found) == intervals


def test_the_first_days_of_the_epoch() -> None:
    with in_zone("UTC"):
        timeline = Timeline()
        for moment in (0, 899.5, 900, 2000):
            timeline.add(moment)
        timeline.add(1, second=True)
        assert list(timeline.rows()) == [(0, 2, 1), (900, 1, 0), (1800, 1, 0)]
