"""Which mail servers have a retry schedule that fits the gaps between tries.

It knows the default retry schedules of mail servers. It must not know who was seen trying: it is
given gaps in seconds, oldest first. The first gap seen need not be the first of the schedule.
"""

import math
from collections.abc import Callable, Sequence
from itertools import chain, repeat, takewhile

# Fewer gaps than this fit too many schedules by chance.
ENOUGH = 3
# The longest wait of any schedule, Exim's plus the next run of its queue, is under 9 h. Longer gaps
# are between messages, not between two tries of one message.
LONGEST = 12 * 3600.0
# How long one try may take, and so delay the next; and how long it takes as a rule.
SLACK, USUAL = 60.0, 20.0

# qmgr(8): minimal_backoff_time, maximal_backoff_time and queue_run_delay of Postfix since 2.4.
POSTFIX_LEAST, POSTFIX_MOST, POSTFIX_SCAN = 300.0, 4000.0, 300.0

# Exim's specification, "Retry configuration", and its default configuration, also in Debian:
# F,2h,15m; G,16h,1h,1.5; F,4d,6h. These are minimum waits: a message is tried at the next run of
# the queue, every 30 minutes with -q30m.
EXIM_FIRST, EXIM_FIRST_IN_ALL = 900.0, 7200.0
EXIM_GROWING = tuple(3600 * 1.5**step for step in range(5))
EXIM_LAST = 21600.0
EXIM_RUN = 1800.0

# sendmail(8), -q: each run of the queue tries all messages in it, so all waits are equal.
SENDMAIL_LEAST, SENDMAIL_MOST = 240.0, LONGEST

# nextDelay() in chasquid's internal/queue/queue.go: by the age of the message, and up to a minute
# more by chance.
CHASQUID = (60.0, 300.0, 600.0, 1200.0)
CHASQUID_MORE = 60.0

# scheduler_backoff() with BACKOFF_TRANSFER in OpenSMTPD's scheduler_ramqueue.c, and nextretry() for
# remote recipients in qmail-send.c: the n-th try is 400 * n * n seconds after the first.
QUADRATIC_BASE = 400.0


def matching(gaps: Sequence[float]) -> tuple[str, ...]:
    """The mail servers whose schedule fits all these gaps; none if the gaps are too few."""
    if len(gaps) < ENOUGH:
        return ()
    return tuple(name for name, fits in SERVERS.items() if fits(gaps))


def _postfix(gaps: Sequence[float]) -> bool:
    """A message waits as long as it is old, within bounds, so each wait doubles (qmgr_active.c).

    Then it waits for the next scan of the queue. low and high: bounds of the message's age.
    """
    # The first tries of OpenSMTPD and qmail fit too, but only if tries took very long.
    slack = USUAL if _quadratic(gaps[:ENOUGH]) else SLACK
    low, high = 0.0, math.inf
    for gap in gaps:
        least, most = gap - POSTFIX_SCAN - slack, gap + slack
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
    # The growing waits end after 16 hours, before or after a sixth. Without any of the first waits,
    # the gaps may begin at any of the growing ones.
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


def _chasquid(gaps: Sequence[float]) -> bool:
    """One minute, five, ten, and then twenty each time."""
    for unseen in range(len(CHASQUID)):
        waits = chain(CHASQUID[unseen:], repeat(CHASQUID[-1]))
        if all(0 <= gap - next(waits) <= CHASQUID_MORE + SLACK for gap in gaps):
            return True
    return False


def _quadratic(gaps: Sequence[float]) -> bool:
    """The first wait is one base long, and each later one two bases longer than the one before."""
    first = max(0, round((gaps[0] / QUADRATIC_BASE - 1) / 2))
    return all(
        abs(gap - QUADRATIC_BASE * (2 * step + 1)) <= SLACK
        for step, gap in enumerate(gaps, start=first)
    )


SERVERS: dict[str, Callable[[Sequence[float]], bool]] = {
    "Postfix": _postfix,
    "Exim": _exim,
    "sendmail": _sendmail,
    "chasquid": _chasquid,
    "OpenSMTPD or qmail": _quadratic,
}
