"""What a server says of itself: the records that are no client's.

It knows how they read, and their ids, which the catalog explains. It must not know where they go.
"""

import os

from null521.record import INFO, WARNING, Record, of_fault

STARTED = "4c336d5b6cf04842aac6193614c03677"
TROUBLE = "a529e6a4c4ec4e4491a4b06601d898bf"


def of_start(text: str) -> Record:
    """The record of a server that has started."""
    return Record(STARTED, INFO, text, [])


def of_trouble(trouble: str) -> Record:
    """The record of something that it lacks for a while, and goes on without."""
    return Record(TROUBLE, WARNING, trouble, [])


def of_bug(context: dict[str, object]) -> Record:
    """The record, in one line, of an exception that nobody has expected."""
    error = context.get("exception")
    where = ""
    if isinstance(error, BaseException) and error.__traceback__:
        trace = error.__traceback__
        while trace.tb_next:
            trace = trace.tb_next
        name = os.path.basename(trace.tb_frame.f_code.co_filename)
        where = f" at {name}:{trace.tb_lineno}"
    return of_fault(f"a fault of null521's own: {error!a}{where}")
