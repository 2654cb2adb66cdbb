"""Which senders will bounce mail at once, and which will queue it.

A table of what senders were seen to do, by where and how a host refuses. It must not know how that
was found out.

The table is that of tests/system/senders, where each sender of Debian 12 and of Debian 13, in its
default configuration, sends two messages in turn. `make senders` prints it, and a test there
asserts that the two are the same.
"""

from typing import NamedTuple

AT_ONCE = "bounces at once"
QUEUES = "queues the mail for days"
FIRST = "bounces one, then queues"

STAGES = ("greeting", "helo", "mail", "rcpt")
# The first and the last of these versions were measured.
OUTCOMES = {
    #                        greeting helo     mail     rcpt
    "Postfix 3.7 to 3.10":   (QUEUES,  AT_ONCE, AT_ONCE, AT_ONCE),
    "Exim 4.96 to 4.98":     (FIRST,   FIRST,   AT_ONCE, AT_ONCE),
    "OpenSMTPD 6.8 to 7.6":  (QUEUES,  QUEUES,  AT_ONCE, AT_ONCE),
    "sendmail 8.17 to 8.18": (AT_ONCE, AT_ONCE, AT_ONCE, AT_ONCE),
}  # fmt: skip
# Measured with 6.8.0 and 7.6.0; OpenSMTPD's CHANGES.md names the release between them.
NULL_MX = {
    "Postfix 3.7 to 3.10": AT_ONCE,
    "Exim 4.96 to 4.98": AT_ONCE,
    "OpenSMTPD before 7.5": QUEUES,
    "OpenSMTPD 7.5 or later": AT_ONCE,
    "sendmail 8.17 to 8.18": AT_ONCE,
}

# By their source code, of which docs/senders.md has more: these queue mail that is refused at the
# greeting or at HELO, and bounce it at MAIL and RCPT.
NOT_MEASURED = ("chasquid", "KumoMTA", "notqmail")


class Prediction(NamedTuple):
    """What a sender will do.

    outcome: in its default configuration. insisting: if it is configured to require TLS.
    """

    sender: str
    outcome: str
    insisting: str


def at_stage(stage: str, starttls: bool) -> list[Prediction]:
    """For a host that refuses at that stage. starttls: whether STARTTLS works there."""
    column = STAGES.index(stage)
    # A sender that requires TLS starts it before MAIL. Until then it is refused like any other.
    queues = stage in ("mail", "rcpt") and not starttls
    return [
        Prediction(sender, outcomes[column], QUEUES if queues else outcomes[column])
        for sender, outcomes in OUTCOMES.items()
    ]


def null_mx() -> list[Prediction]:
    """For a name with a null MX, which keeps senders from connecting at all (RFC 7505)."""
    return [Prediction(sender, outcome, outcome) for sender, outcome in NULL_MX.items()]
