"""Which senders will return mail to their users at once, and which will keep it.

A table of what senders were seen to do, by where and how a host refuses. It must not know how that
was found out.

The table is that of tests/system/senders, where each sender of Debian 12, as it comes, sends two
messages in turn: `make senders` prints it, and a test there asserts that this one says the same.
"""

from typing import NamedTuple

AT_ONCE = "bounces at once"
KEEPS = "keeps the mail for days"
FIRST = "bounces one, keeps the next"

STAGES = ("greeting", "helo", "mail", "rcpt")
OUTCOMES = {
    #                   greeting helo     mail     rcpt     null MX
    "Postfix 3.7":     (KEEPS,   AT_ONCE, AT_ONCE, AT_ONCE, AT_ONCE),
    "Exim 4.96":       (FIRST,   FIRST,   AT_ONCE, AT_ONCE, AT_ONCE),
    "OpenSMTPD 6.8.0": (KEEPS,   KEEPS,   AT_ONCE, AT_ONCE, KEEPS),
    "sendmail 8.17.1": (AT_ONCE, AT_ONCE, AT_ONCE, AT_ONCE, AT_ONCE),
}  # fmt: skip


class Prediction(NamedTuple):
    """What a sender will do: as it comes, and where it is told to insist on TLS."""

    sender: str
    outcome: str
    insisting: str


def at_stage(stage: str, starttls: bool) -> list[Prediction]:
    """Where a host refuses at that stage, and STARTTLS works there or does not."""
    column = STAGES.index(stage)
    # Who insists on TLS gets to MAIL only with it, and up to there is refused like all others.
    keep = stage in ("mail", "rcpt") and not starttls
    return [
        Prediction(sender, outcomes[column], KEEPS if keep else outcomes[column])
        for sender, outcomes in OUTCOMES.items()
    ]


def null_mx() -> list[Prediction]:
    """Where a null MX keeps them from connecting at all (RFC 7505)."""
    return [Prediction(sender, of[-1], of[-1]) for sender, of in OUTCOMES.items()]
