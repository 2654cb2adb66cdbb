"""Whose waits are whose, by schedules as their documentation has them, with a queue's delays."""

import itertools
import random
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from null521.report.schedules import ENOUGH, LONGEST, like

GAPS = st.lists(st.floats(0, 10 * LONGEST), max_size=16)
CHANCE = st.integers(0, 2**32).map(random.Random)


def postfix(chance: random.Random, tries: int) -> list[float]:
    """A message deferred for its age, within 300 and 4000 s, and found by a scan each 300 s."""
    scan = chance.uniform(0, 300)
    arrival = now = chance.uniform(0, 1000)
    gaps = []
    for _ in range(tries):
        tried = now + chance.uniform(0, 20)
        due = tried + min(max(tried - arrival, 300), 4000)
        found = scan + 300 * -(-(due - scan) // 300)
        gaps.append(found - now)
        now = found
    return gaps


def exim(chance: random.Random, tries: int, interval: float = 1800) -> list[float]:
    """F,2h,15m; G,16h,1h,1.5; F,4d,6h, with the queue run at that interval."""
    run = chance.uniform(0, interval)
    first = now = last = chance.uniform(0, 1000)
    due = now
    gaps = []
    for _ in range(tries):
        tried = now + chance.uniform(0, 20)
        if tried - first <= 7200:
            wait = 900.0
        elif tried - first <= 57600:
            predicted = round(min(due - last, tried - last))
            wait = max(3600.0, predicted * 1.5 if predicted >= 3600 else 0)
        else:
            wait = 21600.0
        last, due = tried, tried + wait
        found = run + interval * -(-(due - run) // interval)
        gaps.append(found - now)
        now = found
    return gaps


def sendmail(chance: random.Random, tries: int) -> list[float]:
    """A run of the queue at a fixed interval, in which others are tried before."""
    interval = chance.choice([600, 900, 1800, 3600, 14400])
    starts = [interval * n + chance.uniform(0, 0.04 * interval) for n in range(tries + 1)]
    starts = [min(start, interval * n + 100) for n, start in enumerate(starts)]
    return [late - early for early, late in itertools.pairwise(starts)]


def quadratic(chance: random.Random, tries: int) -> list[float]:
    """The n-th try 400 * n * n seconds after the first."""
    starts = [400 * n * n + chance.uniform(0, 20) for n in range(tries + 1)]
    return [late - early for early, late in itertools.pairwise(starts)]


SERVERS = {
    "Postfix": postfix,
    "Exim": exim,
    "sendmail": sendmail,
    "OpenSMTPD or qmail": quadratic,
}


@pytest.mark.parametrize("name", SERVERS)
@given(chance=CHANCE, tries=st.integers(ENOUGH, 25), unseen=st.integers(0, 20))
def test_each_is_known_from_its_waits(
    name: str, chance: random.Random, tries: int, unseen: int
) -> None:
    """From the first on, or from any later one."""
    server: Callable[[random.Random, int], list[float]] = SERVERS[name]
    assert name in like(server(chance, tries + unseen)[unseen:][-16:])


@pytest.mark.parametrize("name", SERVERS)
@given(chance=CHANCE)
def test_a_long_run_is_taken_for_no_other(name: str, chance: random.Random) -> None:
    """Ten tries from the first on tell all apart."""
    assert like(SERVERS[name](chance, 10)) == (name,)


@pytest.mark.parametrize(
    ("gaps", "names"),
    [
        ([300, 600, 1200, 2400, 4000], ("Postfix",)),
        ([600, 600, 1200, 2400, 4200, 4200], ("Postfix",)),
        ([4000, 4200, 4100], ("Postfix", "sendmail")),
        ([900] * 8 + [3600, 5400, 8100], ("Exim",)),
        ([1800] * 4, ("Exim", "sendmail")),
        ([1800] * 9, ("sendmail",)),
        ([21600, 21700, 21600], ("Exim", "sendmail")),
        ([400, 1200, 2000, 2800], ("OpenSMTPD or qmail",)),
        ([300, 600], ()),
        ([60, 60, 60], ()),
        ([86400] * 5, ()),
        ([500, 20, 9000, 77], ()),
        ([400, 400, 400, 4000], ()),
    ],
)
def test_examples(gaps: list[float], names: tuple[str, ...]) -> None:
    assert like(gaps) == names


@given(GAPS)
def test_never_raises_and_never_names_what_no_schedule_has(gaps: list[float]) -> None:
    if like(gaps):
        assert len(gaps) >= ENOUGH
        assert all(200 < gap <= LONGEST for gap in gaps)
