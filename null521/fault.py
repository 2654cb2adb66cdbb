"""What is said of an exception that nobody has expected, and to the client whose session it ends.

Imported only once there is one. It must not know what was being done.
"""

import os

from null521.record import ENDINGS, REFUSED, Record

MYPY = False
if MYPY:
    from null521.session import Session


def line(error: BaseException) -> str:
    """What and where, in one line of ASCII: for the administrator, and for a report of the bug."""
    where = ""
    if trace := error.__traceback__:
        while trace.tb_next:
            trace = trace.tb_next
        name = os.path.basename(trace.tb_frame.f_code.co_filename)
        where = f" at {name}:{trace.tb_lineno}"
    return f"a fault of null521's own: {error!a:.300}{where}"


def record_of(client: tuple[str, str]) -> Record:
    """The record of a session whose own cannot be made. client: address and port."""
    fields: list[tuple[str, str | int]] = [("CLIENT", client[0])] if client[0] else []
    message = f"Refused {client[0] or 'a local client'}; fault"
    return Record(REFUSED, ENDINGS["fault"], message, [*fields, ("ENDING", "fault")])


def refusal(session: "Session") -> bytes:
    """The last 521 for a client that is in clear, if there is no fault in that as well."""
    try:
        return session.refusal() if session.in_clear else b""
    except Exception:
        return b""
