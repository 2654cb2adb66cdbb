"""Conversations with hosts, as null521 check records them."""

from collections.abc import Mapping
from types import MappingProxyType

from null521.check.probe import Answers, Reply, Tls, script

TLS = Tls("TLSv1.3", "20260101000000Z", "20270101000000Z")
REFUSED_LATE = ["RCPT", "RCPT <postmaster>", "DATA", "VRFY", "XNULL521"]
# The commands that must get 521 where the first 521 comes at that stage: RFC 1846, 4.2.
REQUIRED = {
    "greeting": ["greeting", "EHLO", "HELO", "MAIL", *REFUSED_LATE, "NOOP", "RSET"],
    "helo": ["EHLO", "HELO", "MAIL", *REFUSED_LATE],
    "mail": ["MAIL", *REFUSED_LATE],
    "rcpt": REFUSED_LATE,
}
FIRST = {"greeting": "greeting", "helo": "EHLO", "mail": "MAIL", "rcpt": "RCPT"}


def answers(
    replies: dict[str, str],
    trouble: str = "",
    has_hung_up: bool = False,
    unreachable: bool = False,
    tls: Tls | None = None,
) -> Answers:
    """The answers with these replies, such as "250 ok", the first one after 1 ms and so on."""
    timed = {
        asked: Reply(int(reply[:3]), tuple(reply[4:].split("\n")), number / 1000)
        for number, (asked, reply) in enumerate(replies.items(), 1)
    }
    return Answers(timed, tls, trouble, has_hung_up, unreachable)


def conversation(replies: dict[str, str], other: str = "250 ok", tls: Tls | None = None) -> Answers:
    """A whole conversation, in the order of the probe, with `other` where no reply is given."""
    talk = answers({}, tls=tls)
    for number, (asked, _) in enumerate(script(talk.replies, "h.example", starttls=False), 1):
        reply = replies.get(asked, "221 bye" if asked == "QUIT" else other)
        talk.replies[asked] = Reply(int(reply[:3]), (reply[4:],), number / 1000)
    return talk


def refusing_at(
    stage: str, others: Mapping[str, str] = MappingProxyType({}), tls: Tls | None = None
) -> Answers:
    """A conversation with a host that refuses correctly at that stage, but for the others."""
    return conversation({**dict.fromkeys(REQUIRED[stage], "521 no"), **others}, tls=tls)
