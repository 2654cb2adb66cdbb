"""Which mail server waits like this between its tries.

It knows the retry schedules that mail servers have by default. It must not know who was seen
trying: it is given gaps, in seconds, the oldest first, of which the first need not be known.
"""

import math
from collections.abc import Callable, Sequence
from itertools import chain, repeat, takewhile

# Fewer gaps than that fit too many by chance.
ENOUGH = 3
# The longest wait of any of them, Exim's with the run of its queue that follows, is under 9 h.
# Longer ones are not between two tries of one message.
LONGEST = 12 * 3600.0
# What one try may take, and with it the next one be late.
SLACK = 60.0

# qmgr(8): minimal_backoff_time, maximal_backoff_time and queue_run_delay of Postfix since 2.4.
POSTFIX_LEAST, POSTFIX_MOST, POSTFIX_SCAN = 300.0, 4000.0, 300.0

# Exim's specification, "Retry configuration", and its configuration as it comes, with Debian too:
# F,2h,15m; G,16h,1h,1.5; F,4d,6h. These are the least waits; the next run of the queue, every 30
# minutes with -q30m, ends them.
EXIM_FIRST, EXIM_FIRST_IN_ALL = 900.0, 7200.0
EXIM_GROWING = tuple(3600 * 1.5**step for step in range(5))
EXIM_LAST = 21600.0
EXIM_RUN = 1800.0

# sendmail(8), -q: each run of the queue tries all that is in it, so that all waits are alike.
SENDMAIL_LEAST, SENDMAIL_MOST = 240.0, LONGEST

# scheduler_backoff() with BACKOFF_TRANSFER in OpenSMTPD's scheduler_ramqueue.c, and nextretry() for
# remote recipients in qmail-send.c: the n-th try is 400 * n * n seconds after the first.
QUADRATIC_BASE = 400.0


def like(gaps: Sequence[float]) -> tuple[str, ...]:
    """The mail servers whose waits all these are; none where they are too few to tell."""
    if len(gaps) < ENOUGH:
        return ()
    return tuple(name for name, fits in SERVERS.items() if fits(gaps))


def _postfix(gaps: Sequence[float]) -> bool:
    """A message waits as long as it is old, within bounds: twice as long each time (qmgr_active.c).

    Then it waits for the next scan. low and high: how old it may be.
    """
    low, high = 0.0, math.inf
    for gap in gaps:
        least, most = gap - POSTFIX_SCAN - SLACK, gap + SLACK
        if most < POSTFIX_LEAST or least > POSTFIX_MOST:
            return False
        if most < POSTFIX_MOST:
            high = min(high, most)
        if least > POSTFIX_LEAST:
            low = max(low, least)
        if low > high:
            return False
        low, high = low + gap, high + gap
    return True


def _exim(gaps: Sequence[float]) -> bool:
    """Fifteen minutes for two hours, then half as long again each time, then six hours."""
    first = list(takewhile(lambda gap: gap < EXIM_GROWING[0] - SLACK, gaps))
    if sum(first[:-1]) > EXIM_FIRST_IN_ALL + SLACK:
        return False
    # The growing ones end after 16 hours, before or after a sixth. Where none of the first is
    # seen, any of them may have come before what is.
    for growing in (EXIM_GROWING, (*EXIM_GROWING, EXIM_GROWING[-1] * 1.5)):
        for unseen in range(1 if first else len(growing) + 1):
            waits = chain(repeat(EXIM_FIRST, len(first)), growing[unseen:], repeat(EXIM_LAST))
            if all(-SLACK <= gap - next(waits) <= EXIM_RUN + SLACK for gap in gaps):
                return True
    return False


def _sendmail(gaps: Sequence[float]) -> bool:
    """The same wait each time."""
    least, most = min(gaps), max(gaps)
    even = most - least <= min(0.2 * least, 4 * SLACK)
    return even and SENDMAIL_LEAST <= least <= most <= SENDMAIL_MOST


def _quadratic(gaps: Sequence[float]) -> bool:
    """Each wait is two bases longer than the one before, and the first is one."""
    first = max(0, round((gaps[0] / QUADRATIC_BASE - 1) / 2))
    return all(
        abs(gap - QUADRATIC_BASE * (2 * step + 1)) <= SLACK
        for step, gap in enumerate(gaps, start=first)
    )


SERVERS: dict[str, Callable[[Sequence[float]], bool]] = {
    "Postfix": _postfix,
    "Exim": _exim,
    "sendmail": _sendmail,
    "OpenSMTPD or qmail": _quadratic,
}
