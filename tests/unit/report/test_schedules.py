"""Retry schedules, as the servers' documentation describes them, with the delays of a queue."""

import itertools
import random
from collections.abc import Callable

import pytest
from hypothesis import Phase, find, given, settings
from hypothesis import strategies as st

from null521.report.schedules import ENOUGH, LONGEST, matching

CHANCE = st.integers(0, 2**32).map(random.Random)


def postfix(chance: random.Random, tries: int) -> list[float]:
    """A message is deferred for its age, 300 to 4000 s, until the next scan, every 300 s."""
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
    """F,2h,15m; G,16h,1h,1.5; F,4d,6h, with runs of the queue at that interval."""
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
    """Runs of the queue at a fixed interval, in which other messages are tried first."""
    interval = chance.choice([600, 900, 1800, 3600, 14400])
    starts = [interval * n + chance.uniform(0, 0.04 * interval) for n in range(tries + 1)]
    starts = [min(start, interval * n + 100) for n, start in enumerate(starts)]
    return [late - early for early, late in itertools.pairwise(starts)]


def chasquid(chance: random.Random, tries: int) -> list[float]:
    """One minute, five, ten, and then twenty each time, by age, and up to a minute more."""
    age = 0.0
    gaps = []
    for _ in range(tries):
        age += chance.uniform(0, 20)
        wait = next((60.0 * n for n in (1, 5, 10) if age < 60 * n), 1200.0)
        gaps.append(wait + chance.uniform(0, 60))
        age += gaps[-1]
    return gaps


def quadratic(chance: random.Random, tries: int) -> list[float]:
    """The n-th try is 400 * n * n seconds after the first."""
    starts = [400 * n * n + chance.uniform(0, 20) for n in range(tries + 1)]
    return [late - early for early, late in itertools.pairwise(starts)]


SERVERS = {
    "Postfix": postfix,
    "Exim": exim,
    "sendmail": sendmail,
    "chasquid": chasquid,
    "OpenSMTPD or qmail": quadratic,
}


@pytest.mark.parametrize("name", SERVERS)
@given(chance=CHANCE, tries=st.integers(ENOUGH, 25), unseen=st.integers(0, 20))
def test_each_server_matches_its_own_schedule(
    name: str, chance: random.Random, tries: int, unseen: int
) -> None:
    """From the first gap on, or from any later one."""
    server: Callable[[random.Random, int], list[float]] = SERVERS[name]
    assert name in matching(server(chance, tries + unseen)[unseen:][-16:])


@pytest.mark.parametrize("name", SERVERS)
@given(chance=CHANCE)
def test_a_long_run_matches_one_server_alone(name: str, chance: random.Random) -> None:
    """Ten gaps from the first on are enough."""
    assert matching(SERVERS[name](chance, 10)) == (name,)


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
        # After four tries, when Postfix would fit as well if a try took a minute.
        ([400, 1200, 2000], ("OpenSMTPD or qmail",)),
        ([402, 1198, 2003], ("OpenSMTPD or qmail",)),
        ([440, 1160, 2000], ("Postfix", "OpenSMTPD or qmail")),
        ([440, 1160, 2000, 2800], ("OpenSMTPD or qmail",)),
        ([440, 1160, 2010, 4000], ("Postfix",)),
        ([97, 331, 642], ("chasquid",)),
        ([97, 331, 642, 1217, 1250, 1201], ("chasquid",)),
        ([331, 642, 1217], ("Postfix", "chasquid")),
        ([331, 642, 1217, 1250], ("chasquid",)),
        ([1217, 1250, 1201], ("Exim", "sendmail", "chasquid")),
        ([97, 642, 1217], ()),
        ([300, 600], ()),
        ([60, 60, 60], ()),
        ([86400] * 5, ()),
        ([500, 20, 9000, 77], ()),
        ([400, 400, 400, 4000], ()),
    ],
)
def test_matching(gaps: list[float], names: tuple[str, ...]) -> None:
    assert matching(gaps) == names


@pytest.mark.parametrize(
    ("name", "gaps", "fits"),
    [
        # The least and the most that a message of Postfix waits, each with the slack of one try.
        ("Postfix", [240, 600, 1200], True),
        ("Postfix", [239, 600, 1200], False),
        ("Postfix", [4360, 4360, 4360], True),
        ("Postfix", [4361, 4360, 4360], False),
        # After a wait that may be the least, the message may be of any lower age.
        ("Postfix", [660, 700, 1400], True),
        ("Postfix", [600, 540, 1100], True),
        ("Postfix", [600, 539, 1100], False),
        # One age alone fits.
        ("Postfix", [1000, 1580, 3220], True),
        ("Postfix", [1000, 1579, 3220], False),
        # Each wait of Exim ends at a run of the queue, at once or half an hour later.
        ("Exim", [3540, 5400, 8100], True),
        ("Exim", [3539, 5400, 8100], False),
        ("Exim", [5460, 7260, 9960], True),
        ("Exim", [5461, 7260, 9960], False),
        # The first waits last for two hours, and the growing ones follow in their order.
        ("Exim", [2420, 2420, 2420, 1000, 3600], True),
        ("Exim", [2420, 2420, 2421, 1000, 3600], False),
        ("Exim", [900, 3600, 5400], True),
        ("Exim", [900, 5400, 8100], False),
        ("Exim", [12150, 18225, 27337, 21600], True),
        ("Exim", [12150, 18225, 21600, 21600], True),
        ("Exim", [12150, 21600, 21600], False),
        # The waits of sendmail differ by a fifth at most, and by four minutes at most.
        ("sendmail", [1000, 1200, 1100], True),
        ("sendmail", [1000, 1201, 1100], False),
        ("sendmail", [3600, 3840, 3700], True),
        ("sendmail", [3600, 3841, 3700], False),
        ("sendmail", [240, 240, 240], True),
        ("sendmail", [239, 239, 239], False),
        ("sendmail", [43200, 43200, 43200], True),
        ("sendmail", [43200, 43201, 43200], False),
        # Each wait of chasquid is up to a minute longer, and a try may take another.
        ("chasquid", [60, 300, 600, 1200], True),
        ("chasquid", [180, 420, 720, 1320], True),
        ("chasquid", [59, 300, 600], False),
        ("chasquid", [181, 300, 600], False),
        ("chasquid", [60, 299, 600], False),
        ("chasquid", [60, 300, 600, 1321], False),
        ("chasquid", [600, 1200, 1200], True),
        ("chasquid", [1200, 600, 1200], False),
        # A try of OpenSMTPD or qmail may be a minute early or late.
        ("OpenSMTPD or qmail", [460, 1260, 2060], True),
        ("OpenSMTPD or qmail", [461, 1260, 2060], False),
        ("OpenSMTPD or qmail", [340, 1140, 1940], True),
        ("OpenSMTPD or qmail", [339, 1140, 1940], False),
    ],
)
def test_the_bounds_of_each_schedule(name: str, gaps: list[float], fits: bool) -> None:
    assert (name in matching(gaps)) == fits


def run(seed: int, name: str, tries: int) -> list[float]:
    return SERVERS[name](random.Random(seed), tries)


RUNS = st.builds(run, st.integers(0, 2**32), st.sampled_from(sorted(SERVERS)), st.integers(0, 16))
RANDOM = st.lists(st.floats(0, 10 * LONGEST), max_size=16)


@st.composite
def disturbed(draw: st.DrawFn) -> list[float]:
    """A run of a server with one gap changed, as when a message or a record got lost."""
    gaps = draw(RUNS.filter(bool))
    place = draw(st.integers(0, len(gaps) - 1))
    other = draw(
        st.floats(0, 10 * LONGEST) | st.floats(0, 3).map(lambda times: times * gaps[place])
    )
    return [*gaps[:place], other, *gaps[place + 1 :]]


# Equal gaps, around the least and the most that any server waits.
EVEN = st.builds(
    lambda gap, tries: [gap] * tries,
    st.integers(0, 400) | st.floats(0.9 * LONGEST, 1.1 * LONGEST),
    st.integers(0, 16),
)
GAPS = RANDOM | EVEN | RUNS | disturbed()


@given(GAPS)
def test_only_gaps_of_a_schedule_match(gaps: list[float]) -> None:
    names = matching(gaps)
    if names:
        assert len(gaps) >= 3
        assert all((60 if "chasquid" in names else 200) <= gap <= 43200 for gap in gaps)
    if len(gaps) > ENOUGH and names:
        assert set(names) <= set(matching(gaps[:-1])), "a prefix matches as well"


@pytest.mark.parametrize("name", SERVERS)
def test_the_gaps_tested_include_those_of_each_server(name: str) -> None:
    """Without them, the test above would prove nothing."""
    several = settings(max_examples=50_000, database=None, phases=[Phase.generate])
    find(GAPS, lambda gaps: name in matching(gaps), settings=several)
    find(disturbed(), lambda gaps: name in matching(gaps), settings=several)
    find(disturbed(), lambda gaps: len(gaps) >= ENOUGH and not matching(gaps), settings=several)
